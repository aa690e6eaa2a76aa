"""A registry in a folder of a local or shared filesystem.

ROOT/versions/VERSION/    published artifacts, never changed afterwards
ROOT/staging/…/VERSION/   a version while its publisher fills it
ROOT/production           {"version": …, "history": [versions promoted before it, oldest first], "checked": …}
ROOT/lock                 held while the pointer changes
ROOT/retraining.lock, …   small files beside the versions, see Store.files
"""

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from recsys.errors import RegistryError
from recsys.registry.artifact import Artifact, read_manifest
from recsys.registry.pointer import POINTER_BYTES, BrokenPointer, Pointer
from recsys.registry.store import PointedStore, Step, checked_name, new_version
from recsys.storage.files import UnexpectedFile, locked, new_folders, read_regular, remove_abandoned, sync
from recsys.storage.small_files import FolderFiles, SmallFiles


class FolderStore(PointedStore):
    """A registry in a folder of a local or shared filesystem.

    Publishing renames a finished folder, and promoting replaces one small file. So a reader sees either the old state
    or the new one, and a process that is killed in between leaves the old one.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self._versions = self.root / "versions"
        self._staging = self.root / "staging"
        self._pointer = self.root / "production"
        self.files: SmallFiles = FolderFiles(self.root, RegistryError)

    def __str__(self) -> str:
        return str(self.root)

    def publish(self, fill: Callable[[Path], None], version: str | None = None) -> str:
        """See Store. `fill` must leave an artifact; if it raises, nothing is published."""
        version = new_version() if version is None else checked_name(version)
        target = self._versions / version
        if target.exists():
            raise RegistryError(f"version {version} exists already in {self.root}; versions never change")
        with self._draft() as draft:
            folder = draft / version
            folder.mkdir()
            fill(folder)
            Artifact.open(folder, verify=False)
            sync(*folder.rglob("*"), folder)
            try:
                folder.rename(target)
            except OSError as error:  # rename never replaces a folder with content
                raise RegistryError(f"version {version} cannot be published as {target}: {error}") from error
            sync(self._versions)
        return version

    @contextmanager
    def _draft(self) -> Iterator[Path]:
        """A folder of a publisher's own, removed at the end; after a failure an empty registry is removed as well."""
        self.check_writable()
        with new_folders(self._versions, self._staging):
            remove_abandoned(self._staging.iterdir())
            draft = Path(tempfile.mkdtemp(dir=self._staging))
            try:
                yield draft
            finally:
                shutil.rmtree(draft, ignore_errors=True)

    def check_writable(self) -> None:
        """See Store."""
        try:
            for folder in (self._versions, self._staging):
                nearest = next(path for path in (folder, *folder.parents) if path.exists())
                tempfile.TemporaryFile(dir=nearest).close()
        except OSError as error:
            raise RegistryError(f"cannot make a registry at {self.root}: {error}") from error

    def check_exists(self) -> None:
        """See Store."""
        try:
            if self._versions.is_dir():
                return
            lacking = self._versions if self.root.is_dir() else self.root
        except OSError as error:
            raise RegistryError(f"{self.root} cannot be read: {error.strerror}") from error
        raise RegistryError(f"no registry at {self.root}: there is no folder {lacking}")

    def path(self, version: str | None = None) -> Path:
        """See Store. A caller that supports MODEL_VERSION passes its value as `version`."""
        version = self._wanted(version)
        if not self._is_published(version):
            raise self._unknown(version)
        return self._versions / version

    def remove(self, version: str) -> None:
        """See Store. Processes that have mapped its files can still read them."""
        folder = self.path(version)
        try:
            self._staging.mkdir(exist_ok=True)
            grave = Path(tempfile.mkdtemp(dir=self._staging))
            with locked(self.root / "lock"):  # no promotion happens in between
                self._check_removable(version)
                folder.rename(grave / version)
            sync(self._versions)
            shutil.rmtree(grave)
        except OSError as error:
            raise RegistryError(f"{folder} cannot be removed: {error.strerror}") from error

    def remove_unfinished(self) -> None:
        """See Store."""
        if self._staging.is_dir():
            remove_abandoned(self._staging.iterdir())

    def _is_published(self, version: str) -> bool:
        folder = self._versions / version
        try:
            return folder.is_dir()
        except OSError as error:
            raise RegistryError(f"{folder} cannot be read: {error.strerror}") from error

    def _names(self) -> list[str]:
        if not self._versions.is_dir():
            return []
        return sorted(path.name for path in self._versions.iterdir() if path.is_dir())

    def _manifest(self, version: str) -> Mapping[str, Any]:
        return read_manifest(self._versions / version)[0]

    def pointer(self) -> Pointer | None:
        """See Store."""
        try:
            return Pointer.parse(read_regular(self._pointer, POINTER_BYTES), str(self._pointer))
        except FileNotFoundError:
            return None
        except UnexpectedFile as error:
            raise BrokenPointer.at(str(self._pointer), str(error.strerror)) from error
        except OSError as error:
            raise RegistryError(f"{self._pointer} cannot be read: {error.strerror}") from error

    def _change(self, step: Step) -> Pointer:
        if not self.root.is_dir():
            raise RegistryError(f"no registry at {self.root}")
        with locked(self.root / "lock"):
            try:
                before = self.pointer()
            except BrokenPointer:
                before = None
            pointer = step(before)
            if pointer != before:
                self._write(pointer)
        return pointer

    def _write(self, pointer: Pointer) -> None:
        """Replace the pointer as a whole; call it with the lock held."""
        fresh = self._pointer.with_suffix(".new")
        try:
            fresh.write_bytes(pointer.dump())
            sync(fresh)
            fresh.replace(self._pointer)
            sync(self.root)
        except OSError as error:
            raise RegistryError(f"{self._pointer} cannot be written: {error.strerror}") from error
