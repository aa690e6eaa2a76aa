"""Files on disk and on S3 behind one interface. pyarrow reads both on any node, a range of bytes at a time."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.fs as pafs

from recsys.errors import DataError
from recsys.storage import s3
from recsys.storage.address import is_s3
from recsys.storage.compression import Decompressed, codec_of
from recsys.storage.s3 import S3Folder


class FolderValue(NamedTuple):
    """A column that all rows of a file have in common, by a folder above the file such as `dt=2017-01-01`.

    A blank value also stands for a column that other files of the table have.
    """

    column: str
    value: str


@dataclass(frozen=True, slots=True)
class File:
    """A file that a task on any node can open. It holds the endpoint and region of its server, but no credentials.

    address: its name for people, an absolute path or s3://bucket/key
    system, path: its name for pyarrow
    values: columns that its rows have in common; a column of the file with the same name counts instead
    """

    address: str
    system: pafs.FileSystem
    path: str
    values: tuple[FolderValue, ...] = ()

    @property
    def name(self) -> str:
        """The part of the address after the last slash."""
        return self.address.rpartition("/")[2]

    @property
    def compressed(self) -> bool:
        """True if `stream` decompresses the file."""
        return codec_of(self.name) is not None

    def inside(self, name: str) -> "File":
        """The file with this name in this folder."""
        return replace(self, address=f"{self.address}/{name}", path=f"{self.path}/{name}")

    def open(self) -> pa.NativeFile:
        """The file opened for reading at any position. Raises OSError."""
        return self.system.open_input_file(self.path)

    def stream(self) -> pa.NativeFile | Decompressed:
        """The file opened for reading from its beginning, decompressed if it is compressed. Raises OSError."""
        codec = codec_of(self.name)
        if codec is None:
            return self.system.open_input_stream(self.path, compression=None)
        return Decompressed(self.open(), codec)


def file_at(address: str | Path) -> File:
    """The file at a path or at s3://bucket/key; it need not exist. Raises DataError if the bucket's name is invalid."""
    address = str(address)
    if is_s3(address):
        bucket, key = s3.split(address, DataError)
        return File(address, _s3_system(bucket, s3.endpoint(), s3.region()), f"{bucket}/{key}")
    address = str(Path(address).absolute())  # tasks may run in another folder
    return File(address, pafs.LocalFileSystem(), address)


@cache
def _s3_system(bucket: str, endpoint: str | None, region: str | None) -> pafs.S3FileSystem:
    if region is None:
        region = "us-east-1" if endpoint else pafs.resolve_s3_region(bucket)
    return pafs.S3FileSystem(
        region=region,
        endpoint_override=endpoint,
        scheme=endpoint.partition("://")[0] if endpoint else "https",
        connect_timeout=s3.CONNECT_SECONDS,
        request_timeout=s3.READ_SECONDS,
        retry_strategy=pafs.AwsStandardS3RetryStrategy(max_attempts=s3.attempts()),
    )


def files_in(folder: str) -> list[File]:
    """The files directly in a folder or below an s3:// prefix, ordered by name; none if there is no such folder.

    Raises DataError if S3 cannot list them.
    """
    if is_s3(folder):
        prefix = S3Folder(folder, DataError)
        return [file_at(prefix.address(entry.name)) for entry in prefix.find(deep=False) if entry.name]
    path = Path(folder)
    return [file_at(entry) for entry in sorted(path.iterdir()) if entry.is_file()] if path.is_dir() else []


def is_file(address: str) -> bool:
    """True if there is a file at a path or at s3://bucket/key. Raises DataError if S3 cannot tell."""
    if not is_s3(address):
        return Path(address).is_file()
    _, key = s3.split(address, DataError)
    if not key:
        return False
    folder, name = _parent(address)
    return any(entry.name == name for entry in folder.find(name, deep=False))


class Entry(NamedTuple):
    """A file below a folder or prefix; path: its path there, with slashes; size: in bytes, as it is stored."""

    path: str
    size: int


def walk(folder: str) -> Iterator[Entry]:
    """The files in a folder or below an s3:// prefix, in any depth, ordered by path. Hidden folders are left out.

    Folders that are links are entered, each folder once. Raises DataError if S3 cannot list them, OSError if the disk
    cannot.
    """
    if is_s3(folder):
        objects = S3Folder(folder, DataError).find()
        yield from (Entry(entry.name, entry.size) for entry in objects if entry.name and entry.name[-1] != "/")
    else:
        yield from _walk(Path(folder), "", {os.path.realpath(folder)})


def _walk(folder: Path, prefix: str, entered: set[str]) -> Iterator[Entry]:
    for path in sorted(folder.iterdir()):
        if path.is_file():
            yield Entry(prefix + path.name, path.stat().st_size)
        elif path.is_dir() and not path.name.startswith(".") and (real := os.path.realpath(path)) not in entered:
            entered.add(real)
            yield from _walk(path, f"{prefix}{path.name}/", entered)


def put(content: bytes | Path, address: str) -> None:
    """Write a file from memory or from a file on disk. Raises DataError if S3 fails, OSError if the disk fails."""
    if is_s3(address):
        folder, name = _parent(address)
        if isinstance(content, Path):
            folder.upload(content, name)
        else:
            folder.write(name, content)
        return
    path = Path(address)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.read_bytes() if isinstance(content, Path) else content)


def remove(address: str) -> None:
    """Remove a file if it exists. Raises the errors of `put`."""
    if is_s3(address):
        folder, name = _parent(address)
        folder.remove(name)
    else:
        Path(address).unlink(missing_ok=True)


def _parent(address: str) -> tuple[S3Folder, str]:
    folder, _, name = address.rpartition("/")
    return S3Folder(folder, DataError), name
