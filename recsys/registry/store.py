"""Versions of artifacts, and the pointer that says which of them is in production.

ROOT/versions/VERSION/    published artifacts, never changed afterwards
ROOT/staging/…/VERSION/   a version while its publisher fills it
ROOT/production           {"version": …, "history": [versions promoted before it, oldest first], "checked": …}
ROOT/lock                 held while the pointer changes
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from recsys.errors import RegistryError
from recsys.registry.artifact import Artifact, read_manifest
from recsys.registry.s3 import S3Store
from recsys.registry.versions import (
    Check,
    PointedStore,
    Pointer,
    Step,
    Store,
    Version,
    checked_name,
    new_version,
)
from recsys.storage.files import locked, remove_abandoned, sync
from recsys.storage.s3 import SCHEME, is_s3

__all__ = [
    "REGISTRY_HELP",
    "Check",
    "FolderStore",
    "Store",
    "Version",
    "absolute",
    "default_registry",
    "new_version",
    "open_store",
]

FOLDER: Final = "registry"
"""Of a registry where nobody says otherwise."""
REGISTRY_HELP: Final = (
    f"a folder or s3://bucket/prefix (default: s3://$S3_BUCKET/{FOLDER} where that is set, else {FOLDER})"
)
"""What command lines say of the option."""


def default_registry() -> str:
    """Where no registry is given: in the bucket S3_BUCKET if that is set, else a folder."""
    bucket = os.environ.get("S3_BUCKET")
    return f"{SCHEME}{bucket}/{FOLDER}" if bucket else FOLDER


def absolute(uri: str) -> str:
    """The registry's URI, a folder's as an absolute path: processes elsewhere have other working folders."""
    return uri if "://" in uri or not uri else str(Path(uri).absolute())


def open_store(uri: str) -> Store:
    """The registry at a folder path or s3://bucket/prefix. It need not exist yet: the first publish makes it.

    Raises RegistryError where the URI is neither.
    """
    if is_s3(uri):
        return S3Store(uri)
    scheme, separator, _ = uri.partition("://")
    if separator:
        raise RegistryError(
            f"registry {uri}: {scheme}:// is not supported, expected a folder path or s3://bucket/prefix"
        )
    if not uri:
        raise RegistryError("the registry's path is empty, expected a folder path or s3://bucket/prefix")
    return FolderStore(Path(uri))


class FolderStore(PointedStore):
    """A registry in a folder of a local or shared filesystem.

    Publishing renames a finished folder into place and promoting replaces one small file, so a reader sees
    the old state or the new one, and a process killed on the way leaves the old one.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self._versions = self.root / "versions"
        self._staging = self.root / "staging"
        self._pointer = self.root / "production"

    def __str__(self) -> str:
        return str(self.root)

    def publish(self, fill: Callable[[Path], None], version: str | None = None) -> str:
        """See Store. `fill` must leave an artifact; if it raises, nothing is published."""
        version = new_version() if version is None else checked_name(version)
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
        """See Store."""
        try:
            for folder in (self._versions, self._staging):
                folder.mkdir(parents=True, exist_ok=True)
                tempfile.TemporaryFile(dir=folder).close()
        except OSError as error:
            raise RegistryError(f"cannot make a registry at {self.root}: {error}") from error

    def path(self, version: str | None = None) -> Path:
        """See Store. A caller that honours MODEL_VERSION passes it here as `version`."""
        version = self._wanted(version)
        folder = self._versions / version
        try:
            if not folder.is_dir():
                raise self._unknown(version)
        except OSError as error:
            raise RegistryError(f"{folder} cannot be read: {error.strerror}") from error
        return folder

    def _names(self) -> list[str]:
        if not self._versions.is_dir():
            return []
        return sorted(path.name for path in self._versions.iterdir() if path.is_dir())

    def _manifest(self, version: str) -> Mapping[str, Any]:
        return read_manifest(self._versions / version)[0]

    def pointer(self) -> Pointer | None:
        """See Store."""
        try:
            return Pointer.parse(self._pointer.read_bytes(), str(self._pointer))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise RegistryError(f"{self._pointer} cannot be read: {error.strerror}") from error

    def _change(self, step: Step) -> Pointer:
        if not self.root.is_dir():
            raise RegistryError(f"no registry at {self.root}")
        with locked(self.root / "lock"):
            before = self.pointer()
            pointer = step(before)
            if pointer != before:
                self._write(pointer)
        return pointer

    def _write(self, pointer: Pointer) -> None:
        """Replace the pointer as a whole; call it with the lock held."""
        fresh = self._pointer.with_suffix(".new")
        fresh.write_bytes(pointer.dump())
        sync(fresh)
        fresh.replace(self._pointer)
        sync(self.root)
