"""Versions of artifacts, and the pointer that says which of them is in production.

ROOT/versions/VERSION/    published artifacts, never changed afterwards
ROOT/staging/…/VERSION/   a version while its publisher fills it
ROOT/production           {"version": …, "history": [versions promoted before it, oldest first]}
ROOT/lock                 held while the pointer changes
"""

import fcntl
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Protocol

from pydantic import ValidationError

from recsys.errors import RegistryError
from recsys.files import remove_abandoned, sync
from recsys.registry.artifact import Artifact, read_manifest
from recsys.schema import Config

_VERSION: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}")
_LISTED: Final = 5


@dataclass(frozen=True, slots=True)
class Version:
    """A published version.

    created: UTC, ISO 8601, as its manifest says ("" where that cannot be read)
    summary: the manifest without its file entries, or {"broken": why it cannot be read}
    """

    name: str
    created: str
    summary: Mapping[str, Any]


Check = Callable[[Path], object]
"""Raises RecsysError where the version in a folder cannot be used."""


class Store(Protocol):
    """What a registry does, wherever it lies. Every method raises RegistryError."""

    def publish(self, fill: Callable[[Path], None], version: str | None = None) -> str:
        """Make a version of what `fill` writes into the folder it is given, whose name is the version's."""

    def prepare(self) -> None:
        """Make the registry where there is none yet, and find out whether it can be written to."""

    def promote(self, version: str, check: Check = Artifact.open) -> None:
        """Put a version into production, once `check` finds its folder in order; by default its files' hashes."""

    def rollback(self, check: Check = Artifact.open) -> str:
        """Put back the version that was in production before, checked as in `promote`; the one now in production."""

    def production(self) -> str | None:
        """The version in production, if any."""

    def versions(self) -> list[Version]:
        """All published versions, oldest first."""

    def path(self, version: str | None = None) -> Path:
        """A local folder with the version, by default the one in production."""


def open_store(uri: str) -> Store:
    """The registry at a folder path. It need not exist yet: the first publish makes it."""
    scheme, separator, _ = uri.partition("://")
    if separator:
        raise RegistryError(f"registry {uri}: {scheme}:// is not supported yet, expected a folder path")
    if not uri:
        raise RegistryError("the registry's path is empty, expected a folder path")
    return FolderStore(Path(uri))


def new_version() -> str:
    """A name such as v20261123-083501-3fa9c1: UTC time, then a random part.

    Names sort by time, need no counter that concurrent publishers would have to share, and stay unique when a
    version is copied to another registry.
    """
    return f"v{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"


class _Pointer(Config):
    version: str
    history: tuple[str, ...] = ()


class FolderStore:
    """A registry in a folder of a local or shared filesystem.

    Publishing renames a finished folder into place and promoting replaces one small file, so a reader sees
    the old state or the new one, and a process killed on the way leaves the old one.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self._versions = self.root / "versions"
        self._staging = self.root / "staging"
        self._pointer = self.root / "production"

    def publish(self, fill: Callable[[Path], None], version: str | None = None) -> str:
        """See Store. `fill` must leave an artifact; if it raises, nothing is published."""
        version = new_version() if version is None else _checked(version)
        target = self._versions / version
        if target.exists():
            raise RegistryError(f"version {version} exists already in {self.root}; versions never change")
        self.prepare()
        remove_abandoned(self._staging.iterdir())
        work = Path(tempfile.mkdtemp(dir=self._staging))
        try:
            folder = work / version
            folder.mkdir()
            fill(folder)
            Artifact.open(folder, verify=False)
            sync(*folder.rglob("*"), folder)
            try:
                folder.rename(target)
            except OSError as error:  # a folder with content is never replaced
                raise RegistryError(f"version {version} cannot be published as {target}: {error}") from error
            sync(self._versions)
        finally:
            shutil.rmtree(work, ignore_errors=True)
        return version

    def prepare(self) -> None:
        try:
            for folder in (self._versions, self._staging):
                folder.mkdir(parents=True, exist_ok=True)
                tempfile.TemporaryFile(dir=folder).close()
        except OSError as error:
            raise RegistryError(f"cannot make a registry at {self.root}: {error}") from error

    def promote(self, version: str, check: Check = Artifact.open) -> None:
        check(self.path(version))
        with self._locked():
            pointer = self._read()
            if pointer is None:
                self._write(_Pointer(version=version))
            elif pointer.version != version:
                self._write(_Pointer(version=version, history=(*pointer.history, pointer.version)))

    def rollback(self, check: Check = Artifact.open) -> str:
        with self._locked():
            pointer = self._read()
            if pointer is None or not pointer.history:
                raise RegistryError(
                    f"nothing to roll back to in {self.root}: no version was promoted before "
                    f"{pointer.version if pointer else 'now'}; {self._listing()}"
                )
            *history, version = pointer.history
            check(self.path(version))
            self._write(_Pointer(version=version, history=tuple(history)))
        return version

    def production(self) -> str | None:
        pointer = self._read()
        return pointer.version if pointer else None

    def versions(self) -> list[Version]:
        found = [_describe(folder) for folder in self._folders()]
        return sorted(found, key=lambda version: (version.created, version.name))

    def path(self, version: str | None = None) -> Path:
        """See Store. A caller that honours MODEL_VERSION passes it here as `version`."""
        if version is None and (version := self.production()) is None:
            raise RegistryError(f"no version is in production in {self.root}; {self._listing()}")
        folder = self._versions / _checked(version)
        if not folder.is_dir():
            raise RegistryError(f"no version {version} in {self.root}; {self._listing()}")
        return folder

    def _folders(self) -> list[Path]:
        if not self._versions.is_dir():
            return []
        return sorted(path for path in self._versions.iterdir() if path.is_dir())

    def _listing(self) -> str:
        names = [folder.name for folder in self._folders()]
        if not names:
            return "it holds no versions"
        more = len(names) - _LISTED
        return f"versions: {', '.join(names[-_LISTED:])}" + (f" and {more} older" if more > 0 else "")

    def _read(self) -> _Pointer | None:
        try:
            return _Pointer.model_validate_json(self._pointer.read_bytes())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise RegistryError(f"{self._pointer} cannot be read: {error.strerror}") from error
        except ValidationError as error:
            raise RegistryError(
                f"{self._pointer} is broken, expected JSON with a version: {error.errors()[0]['msg']}"
            ) from error

    def _write(self, pointer: _Pointer) -> None:
        """Replace the pointer as a whole; call it with the lock held."""
        fresh = self._pointer.with_suffix(".new")
        fresh.write_text(pointer.model_dump_json() + "\n", encoding="utf-8")
        sync(fresh)
        fresh.replace(self._pointer)
        sync(self.root)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        if not self.root.is_dir():
            raise RegistryError(f"no registry at {self.root}")
        descriptor = os.open(self.root / "lock", os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)  # given up with the descriptor, also when the process dies
            yield
        finally:
            os.close(descriptor)


def _checked(version: str) -> str:
    if not _VERSION.fullmatch(version):
        raise RegistryError(
            f"bad version {version!r}: expected at most 100 of letters, digits, '.', '_', '-', not '.' first"
        )
    return version


def _describe(folder: Path) -> Version:
    try:
        manifest, _ = read_manifest(folder)
    except RegistryError as error:
        return Version(folder.name, "", {"broken": str(error)})
    summary = {key: value for key, value in manifest.items() if key != "files"}
    return Version(folder.name, str(manifest.get("created", "")), summary)
