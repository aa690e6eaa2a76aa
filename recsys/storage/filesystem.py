"""Files on disk and on S3 alike: pyarrow reads both, from any node, a range of bytes at a time."""

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import pyarrow as pa
import pyarrow.fs as pafs

from recsys.errors import DataError
from recsys.storage import s3
from recsys.storage.s3 import S3Folder, is_s3


@dataclass(frozen=True, slots=True)
class File:
    """A file that a task on any node can open: it carries the server's endpoint and region, but no credentials.

    address: what people call it, an absolute path or s3://bucket/key
    system, path: what pyarrow calls it
    """

    address: str
    system: pafs.FileSystem
    path: str

    @property
    def name(self) -> str:
        return self.address.rpartition("/")[2]

    def inside(self, name: str) -> "File":
        """What lies in this folder under a name."""
        return replace(self, address=f"{self.address}/{name}", path=f"{self.path}/{name}")

    def open(self) -> pa.NativeFile:
        """For reading anywhere in it; raises OSError."""
        return self.system.open_input_file(self.path)

    def stream(self) -> pa.NativeFile:
        """For reading from its beginning, decompressed if its name ends in .gz; raises OSError."""
        return self.system.open_input_stream(self.path)


def file_at(address: str | Path) -> File:
    """The file of a path or of s3://bucket/key, which need not exist. Raises DataError where it is neither."""
    address = str(address)
    if is_s3(address):
        bucket, key = s3.split(address, DataError)
        return File(address, _s3_system(bucket, s3.endpoint(), s3.region()), f"{bucket}/{key}")
    address = str(Path(address).absolute())  # since tasks may run elsewhere
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
    """Files right in a folder or below an s3:// prefix, ordered by name; none where there is no such folder.

    Raises DataError where S3 cannot be asked.
    """
    if is_s3(folder):
        found = S3Folder(folder, DataError)
        return [file_at(found.address(entry.name)) for entry in found.find(deep=False) if entry.name]
    path = Path(folder)
    return [file_at(entry) for entry in sorted(path.iterdir()) if entry.is_file()] if path.is_dir() else []


def put(content: bytes | Path, address: str) -> None:
    """Write a file, from memory or from a file on disk. Raises DataError of S3, OSError of the disk."""
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
    """Remove a file if it is there; errors as of `put`."""
    if is_s3(address):
        folder, name = _parent(address)
        folder.remove(name)
    else:
        Path(address).unlink(missing_ok=True)


def _parent(address: str) -> tuple[S3Folder, str]:
    folder, _, name = address.rpartition("/")
    return S3Folder(folder, DataError), name
