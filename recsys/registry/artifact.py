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
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from tokenize import TokenError
from typing import Annotated, Any, Final, Literal, TypeAlias

import numpy as np
import pyarrow as pa
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from recsys.errors import RegistryError
from recsys.schema import Config
from recsys.storage.files import sync

Json: TypeAlias = Mapping[str, "Json"] | Sequence["Json"] | str | int | float | bool | None

MANIFEST: Final = "manifest.json"
FORMAT: Final = 2
"""Of the folder and of a version's manifest; raised whenever code of today could not serve a version of before."""
_NAME: Final = re.compile(r"[A-Za-z0-9_-]+")
_TEXT_NAME: Final = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)+")
_RESERVED: Final = ("format", "files")


def _inner_path(path: str) -> str:
    parts = PurePosixPath(path).parts
    if not parts or path != "/".join(parts) or parts[0] == "/" or ".." in parts or "\\" in path:
        raise ValueError(f"{path!r} is not a plain path inside the artifact")
    return path


class FileEntry(Config):
    """What the manifest says of a file."""

    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    bytes: int = Field(ge=0)


class _Manifest(BaseModel):
    """The part of a manifest that this module relies on; other entries are the writer's."""

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
    """Write an artifact into `directory`, which is made if absent and must hold none yet.

    arrays: by plain name, of any shape and any dtype but object
    tables: by plain name, of any schema
    texts: by file name with extension; bytes, such as of a picture, as they are
    manifest: JSON entries of the writer's own; `created` (UTC, ISO 8601) is filled in if absent

    Raises RegistryError for a bad name, an object array, a manifest that is not JSON, an artifact in the way.
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
    """Of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digests(paths: Sequence[Path]) -> list[str]:
    """Raises RegistryError where a file cannot be read."""
    with ThreadPoolExecutor(2) as pool:  # hashlib releases the GIL
        try:
            return list(pool.map(sha256_of, paths))
        except OSError as error:
            raise RegistryError(f"{error.filename} cannot be read: {error.strerror}") from error


@dataclass(frozen=True, slots=True)
class Artifact:
    """An opened artifact. Arrays, tables and texts are read when asked for.

    directory: where it lies; manifest: all its entries, `files` included.
    """

    directory: Path
    manifest: Mapping[str, Any]

    @classmethod
    def open(cls, directory: Path, verify: bool = True) -> "Artifact":
        """Check the manifest and the size of each file, with `verify` also each hash.

        Raises RegistryError that names the file, what was expected and what was found.
        """
        content, files = read_manifest(directory)
        root, paths = directory.resolve(), [directory / name for name in files]
        for (name, expected), path in zip(files.items(), paths, strict=True):
            if not path.is_file():
                raise RegistryError(f"{path} is missing; the manifest lists it")
            if path.resolve() != root / name:
                raise RegistryError(f"{path} leads to {path.resolve()}; links are not followed inside an artifact")
            if (size := path.stat().st_size) != expected.bytes:
                raise RegistryError(f"{path} has {size} bytes, expected {expected.bytes}")
        if verify:
            for path, expected, digest in zip(paths, files.values(), _digests(paths), strict=True):
                if digest != expected.sha256:
                    raise RegistryError(f"{path} has sha256 {digest}, expected {expected.sha256}")
        return cls(directory, content)

    @property
    def nbytes(self) -> int:
        """Bytes of all files, the manifest apart."""
        return sum(file["bytes"] for file in self.manifest["files"].values())

    def array(self, name: str) -> np.ndarray:
        """A read-only array mapped into memory."""
        path = self._path(f"arrays/{name}.npy")
        try:
            mapped = np.lib.format.open_memmap(path, mode="r")
        except (ValueError, OSError, SyntaxError, TokenError) as error:  # its header is Python code
            raise RegistryError(f"{path} is not a NumPy array: {error}") from error
        # A plain view: np.memmap runs Python code at every slice, which adds up in a request.
        return np.asarray(mapped)

    def table(self, name: str) -> pa.Table:
        """A table mapped into memory, without a copy; at most one chunk a column."""
        path = self._path(f"tables/{name}.arrow")
        try:
            return pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        except (pa.ArrowException, OSError) as error:
            raise RegistryError(f"{path} is not an Arrow file: {error}") from error

    def text(self, name: str) -> str:
        """The text of a file, by its name with extension."""
        path = self._path(name)
        try:
            return path.read_bytes().decode()
        except (UnicodeDecodeError, OSError) as error:
            raise RegistryError(f"{path} is not a UTF-8 text: {error}") from error

    def _path(self, name: str) -> Path:
        if name not in self.manifest["files"]:
            names = ", ".join(sorted(self.manifest["files"]))
            raise RegistryError(f"{self.directory} has no {name}; its files: {names or 'none'}")
        return self.directory / name


def read_manifest(directory: Path) -> tuple[dict[str, Any], dict[str, FileEntry]]:
    """The whole manifest and its file entries, without a look at the files themselves.

    Raises RegistryError where it is missing, does not parse, or has another format.
    """
    path = directory / MANIFEST
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        raise RegistryError(f"{directory} is no artifact: it has no {MANIFEST}") from None
    except OSError as error:
        raise RegistryError(f"{path} cannot be read: {error.strerror}") from error
    return parse_manifest(text, str(path))


def _check_format(content: Any, place: str) -> None:
    """Raises RegistryError that tells what to do where the format is another release's."""
    number = content.get("format") if isinstance(content, dict) else None
    if type(number) is int and number < FORMAT:
        raise _OtherFormat(f"{place}, format: {number} is of an earlier release, expected {FORMAT}: train again")
    if type(number) is int and number > FORMAT:
        raise _OtherFormat(f"{place}, format: {number} is of a later release, expected {FORMAT}: upgrade to it")


class _OtherFormat(RegistryError):
    """A manifest of another release."""


def parse_manifest(text: bytes, place: str) -> tuple[dict[str, Any], dict[str, FileEntry]]:
    """As `read_manifest`, of a manifest's text; place: where it lies, for the error."""
    try:
        content = json.loads(text)
        _dump(content)  # Python's reader takes NaN, and texts that cannot be written again
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
