"""A verified folder of named arrays, tables and texts. Nothing in it is ever unpickled.

    manifest.json        {"format": 2, "created": …, …the writer's own entries…,
                          "files": {"arrays/gram.npy": {"sha256": …, "bytes": …}, …}}
    arrays/NAME.npy      NumPy arrays without objects
    tables/NAME.arrow    uncompressed Arrow IPC files
    NAME.EXT             UTF-8 texts, pictures

The manifest is written last, so a folder without one is unfinished. Arrays and tables map into memory: the
processes of a node that open the same artifact share one copy.
"""

import hashlib
import json
import re
import stat
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Final, Literal, TypeAlias

import numpy as np
import pyarrow as pa
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from recsys.errors import RegistryError, TransientError, failure_of
from recsys.registry.npy import map_array
from recsys.schema import Config
from recsys.storage.files import open_regular, read_regular, sync

Json: TypeAlias = Mapping[str, "Json"] | Sequence["Json"] | str | int | float | bool | None

MANIFEST: Final = "manifest.json"
FORMAT: Final = 2
"""Format of the folder and of the manifest. It is raised whenever new code cannot serve earlier versions."""
MANIFEST_BYTES: Final = 1 << 20
"""Largest size of a manifest; the usual size is 20 kB. A larger manifest is refused before it is read into memory."""
TEXT_BYTES: Final = 1 << 28
"""Largest size of a file that is neither an array nor a table, since such a file is read into memory as a whole.

A ranker of 100 trees takes 300 kB.
"""
_NAME: Final = re.compile(r"[A-Za-z0-9_-]+")
_TEXT_NAME: Final = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)+")
_RESERVED: Final = ("format", "files")


def _inner_path(path: str) -> str:
    parts = PurePosixPath(path).parts
    if not parts or path != "/".join(parts) or parts[0] == "/" or ".." in parts or "\\" in path:
        raise ValueError(f"{path!r} is not a plain path inside the artifact")
    return path


class FileEntry(Config):
    """A file's entry in the manifest: its hash and its size in bytes."""

    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    bytes: int = Field(ge=0)


class _Manifest(BaseModel):
    """The entries of a manifest that this module needs; all others belong to the writer."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    format: Literal[2]
    files: dict[Annotated[str, AfterValidator(_inner_path)], FileEntry]


def write(
    directory: Path,
    arrays: Mapping[str, np.ndarray],
    tables: Mapping[str, pa.Table],
    texts: Mapping[str, str | bytes],
    manifest: Mapping[str, Json],
) -> None:
    """Write an artifact into `directory`. The folder is created if absent, and must not hold an artifact yet.

    arrays: by plain name, of any shape and any dtype but object
    tables: by plain name, of any schema
    texts: by file name with extension; bytes, for example of a picture, are written unchanged
    manifest: JSON entries of the writer's own; `created` (UTC, ISO 8601) is filled in if absent

    Raises RegistryError for a bad name, an object array, a manifest that is not JSON, or a folder with an artifact.
    """
    if (directory / MANIFEST).exists():
        raise RegistryError(f"{directory} already holds an artifact; artifacts are never overwritten")
    _check_content(arrays, tables, texts, manifest)
    for folder in ("arrays", "tables"):
        (directory / folder).mkdir(parents=True, exist_ok=True)
    files = []
    for name, array in arrays.items():
        files.append(directory / "arrays" / f"{name}.npy")
        np.save(files[-1], array, allow_pickle=False)
    for name, table in tables.items():
        files.append(directory / "tables" / f"{name}.arrow")
        with pa.ipc.new_file(files[-1], table.schema) as writer:
            writer.write_table(table.combine_chunks())  # one batch: reading gives one chunk a column
    for name, text in texts.items():
        files.append(directory / name)
        files[-1].write_bytes(text.encode() if isinstance(text, str) else text)

    entries = {
        path.relative_to(directory).as_posix(): {"sha256": digest, "bytes": path.stat().st_size}
        for path, digest in zip(files, _digests(files), strict=True)
    }
    sync(*files, directory / "arrays", directory / "tables")
    created = datetime.now(UTC).isoformat(timespec="milliseconds")
    content = {"format": FORMAT, "created": created, **manifest, "files": entries}
    (directory / MANIFEST).write_bytes(_dump(content))
    sync(directory / MANIFEST, directory)


def _check_content(
    arrays: Mapping[str, np.ndarray],
    tables: Mapping[str, pa.Table],
    texts: Mapping[str, str | bytes],
    manifest: Mapping[str, Json],
) -> None:
    for name in (*arrays, *tables):
        if not _NAME.fullmatch(name):
            raise RegistryError(f"bad name {name!r} of an array or table: use letters, digits, '_' and '-'")
    for name in texts:
        if not _TEXT_NAME.fullmatch(name) or name == MANIFEST:
            raise RegistryError(f"bad file name {name!r} of a text: expected one like 'ranker.txt'")
    for name, array in arrays.items():
        if array.dtype.hasobject:
            raise RegistryError(f"array {name!r} has dtype {array.dtype}: objects cannot be stored")
    for key in _RESERVED:
        if key in manifest:
            raise RegistryError(f"manifest key {key!r} is reserved")
    _dump(manifest)


def _dump(content: Mapping[str, Any]) -> bytes:
    try:
        return f"{json.dumps(content, ensure_ascii=False, allow_nan=False, indent=1)}\n".encode()
    except (TypeError, ValueError) as error:
        raise RegistryError(f"the manifest is not plain JSON: {error}") from error


def sha256_of(path: Path) -> str:
    """The sha256 of a regular file, in hexadecimal digits; raises OSError."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digests(paths: Sequence[Path]) -> list[str]:
    """The sha256 of each file; raises TransientError if a file cannot be read."""
    with ThreadPoolExecutor(2) as pool:  # hashlib releases the GIL
        try:
            return list(pool.map(sha256_of, paths))
        except OSError as error:
            raise TransientError(f"{error.filename} cannot be read: {error.strerror}") from error


@dataclass(frozen=True, slots=True)
class Artifact:
    """An opened artifact. Arrays, tables and texts are read on request.

    directory: its folder; manifest: all entries, `files` included
    """

    directory: Path
    manifest: Mapping[str, Any]

    @classmethod
    def open(cls, directory: Path, verify: bool = True) -> "Artifact":
        """The artifact in a folder, after a check of its manifest and of the size of each file.

        verify: check the sha256 of each file as well, see `verify`
        Raises RegistryError for a bad manifest, TransientError for a file that the manifest does not describe; both
        with the file, the expected value and the actual one.
        """
        content, files = read_manifest(directory)
        root = directory.resolve()
        for name, entry in files.items():
            path = directory / name
            if not name.startswith(("arrays/", "tables/")) and entry.bytes > TEXT_BYTES:
                raise RegistryError(f"{path} has {entry.bytes:,} bytes, expected at most {TEXT_BYTES:,}")
            try:
                status = path.stat()
            except OSError as error:
                raise TransientError(f"{path} is missing; the manifest lists it: {error.strerror}") from error
            if not stat.S_ISREG(status.st_mode):
                raise TransientError(f"{path} is not a regular file")
            if path.resolve() != root / name:
                raise TransientError(f"{path} leads to {path.resolve()}; links are not followed inside an artifact")
            if status.st_size != entry.bytes:
                raise TransientError(f"{path} has {status.st_size} bytes, expected {entry.bytes}")
        opened = cls(directory, content)
        if verify:
            opened.verify()
        return opened

    def verify(self) -> None:
        """Check the sha256 of each file. Raises TransientError with the file, the expected hash and the actual one."""
        expected = {self.directory / name: entry["sha256"] for name, entry in self.manifest["files"].items()}
        for path, digest in zip(expected, _digests(list(expected)), strict=True):
            if digest != expected[path]:
                raise TransientError(f"{path} has sha256 {digest}, expected {expected[path]}")

    @property
    def nbytes(self) -> int:
        """Size of all files in bytes, without the manifest."""
        return sum(file["bytes"] for file in self.manifest["files"].values())

    def array(self, name: str) -> np.ndarray:
        """A read-only array mapped into memory, see `map_array`."""
        return map_array(self._path(f"arrays/{name}.npy"))

    def table(self, name: str) -> pa.Table:
        """A table mapped into memory, without a copy; at most one chunk a column."""
        path = self._path(f"tables/{name}.arrow")
        try:
            return pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        except (pa.ArrowException, OSError) as error:
            raise failure_of(error)(f"{path} is not an Arrow file: {error}") from error

    def text(self, name: str) -> str:
        """The text of a file, by its name with extension."""
        path = self._path(name)
        try:
            return read_regular(path, TEXT_BYTES).decode()
        except (UnicodeDecodeError, OSError) as error:
            raise failure_of(error)(f"{path} is not a UTF-8 text: {error}") from error

    def _path(self, name: str) -> Path:
        if name not in self.manifest["files"]:
            names = ", ".join(sorted(self.manifest["files"]))
            raise RegistryError(f"{self.directory} has no {name}; its files: {names or 'none'}")
        return self.directory / name


def read_manifest(directory: Path) -> tuple[dict[str, Any], dict[str, FileEntry]]:
    """The whole manifest and its file entries; the files themselves are not opened.

    Raises RegistryError if the manifest is invalid or has another format, TransientError if it is missing or cannot be
    read.
    """
    path = directory / MANIFEST
    try:
        text = read_regular(path, MANIFEST_BYTES)
    except FileNotFoundError:
        raise TransientError(f"{directory} is no artifact: it has no {MANIFEST}") from None
    except OSError as error:
        raise TransientError(f"{path} cannot be read: {error.strerror}") from error
    return parse_manifest(text, str(path))


def _check_format(content: Any, place: str) -> None:
    """Raises RegistryError if another release wrote the manifest; the message tells the user how to go on."""
    number = content.get("format") if isinstance(content, dict) else None
    if type(number) is int and number < FORMAT:
        raise _OtherFormat(f"{place}, format: {number} is of an earlier release, expected {FORMAT}: train again")
    if type(number) is int and number > FORMAT:
        raise _OtherFormat(f"{place}, format: {number} is of a later release, expected {FORMAT}: upgrade recsys")


class _OtherFormat(RegistryError):
    """A manifest of another release."""


def parse_manifest(text: bytes, place: str) -> tuple[dict[str, Any], dict[str, FileEntry]]:
    """As `read_manifest`, from the manifest's text; place: path or address of the manifest, for messages."""
    try:
        content = json.loads(text)
        _dump(content)  # json.loads accepts NaN and broken surrogates, which cannot be written again
        _check_format(content, place)
        return content, _Manifest.model_validate(content).files
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "top level"
        raise RegistryError(f"{place}, {where}: {first['msg']}, found {first.get('input')!r:.100}") from error
    except _OtherFormat:
        raise
    except (ValueError, RecursionError, RegistryError) as error:
        raise RegistryError(f"{place} is not JSON: {error}") from error
