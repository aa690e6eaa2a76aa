"""Versions of registries elsewhere, as local folders that the processes of a node share.

ROOT/files/SHA256                        every file once, whatever the versions that hold it
ROOT/versions/REGISTRY/VERSION/          hard links to these, and the manifest
ROOT/versions/REGISTRY/.draft-…/         a version while its files arrive
"""

import logging
import os
import shutil
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Final

from recsys.errors import RegistryError
from recsys.registry.artifact import MANIFEST, Artifact, FileEntry, parse_manifest, sha256_of
from recsys.storage.files import locked, remove_abandoned

logger = logging.getLogger(__name__)

GIGABYTE: Final = 10**9
BOUND: Final = 10.0
"""Gigabytes of files where RECSYS_CACHE_GB does not say otherwise."""
IN_USE_SECONDS: Final = 600
"""A version asked for since then is not removed: somebody may be opening it."""
DOWNLOADS: Final = 4
"""Files fetched at the same time."""

Fetch = Callable[[str, Path, str], None]
"""Writes the file of a name to a path and checks its sha256; raises RegistryError."""


def cache_root() -> Path:
    """Where this machine keeps what it can make or fetch again: the folder RECSYS_CACHE, by default ~/.cache/recsys."""
    return Path(os.environ.get("RECSYS_CACHE") or os.path.expanduser("~/.cache/recsys")).absolute()


class Cache:
    """A bounded folder of versions; those asked for least recently go first.

    What is removed is only unlinked: arrays that a process has mapped stay readable there.
    """

    def __init__(self, root: Path, bound: float = BOUND) -> None:
        """bound: gigabytes"""
        self.root = root
        self._files = root / "files"
        self._bound = bound * GIGABYTE

    @classmethod
    def from_environment(cls) -> "Cache":
        """In `cache_root`; raises RegistryError for a bad RECSYS_CACHE_GB."""
        text = os.environ.get("RECSYS_CACHE_GB") or str(BOUND)
        try:
            bound = float(text)
        except ValueError:
            bound = 0.0
        if not bound > 0:
            raise RegistryError(f"RECSYS_CACHE_GB is {text!r}; expected a number of gigabytes above 0")
        return cls(cache_root(), bound)

    def held(self, registry: str, version: str) -> Path | None:
        """The folder of a version if it is there, every hash checked; registry: a name for the registry."""
        folder = self._folder(registry, version)
        if not _is_intact(folder):
            return None
        os.utime(folder)
        return folder

    def version(self, registry: str, version: str, manifest: bytes, fetch: Fetch) -> Path:
        """The folder of a version with this manifest; what is missing or damaged is fetched.

        Processes that want the same version wait for the first of them. Raises RegistryError.
        """
        _, files = parse_manifest(manifest, f"the manifest of version {version}")
        folder = self._folder(registry, version)
        try:
            if not _is_intact(folder, manifest):
                self._files.mkdir(parents=True, exist_ok=True)
                folder.parent.mkdir(parents=True, exist_ok=True)
                with locked(folder.parent):
                    if not _is_intact(folder, manifest):
                        self._fill(folder, manifest, files, fetch)
            os.utime(folder)
            self._evict()
        except OSError as error:
            raise RegistryError(f"version {version} cannot be kept in {self.root} (RECSYS_CACHE): {error}") from error
        return folder

    def _folder(self, registry: str, version: str) -> Path:
        return self.root / "versions" / registry / version

    def _fill(self, folder: Path, manifest: bytes, files: dict[str, FileEntry], fetch: Fetch) -> None:
        """Make the folder of a version; call it with the registry's lock held."""
        shutil.rmtree(folder, ignore_errors=True)
        remove_abandoned(folder.parent.glob(".draft-*"))
        draft = folder.with_name(f".draft-{uuid.uuid4().hex}")
        draft.mkdir()
        try:
            for inner in {(draft / name).parent for name in files}:
                inner.mkdir(parents=True, exist_ok=True)
            with ThreadPoolExecutor(DOWNLOADS) as pool:
                list(pool.map(lambda name: self._place(name, files[name], draft, fetch), files))
            (draft / MANIFEST).write_bytes(manifest)
            draft.rename(folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def _place(self, name: str, entry: FileEntry, draft: Path, fetch: Fetch) -> None:
        """Put a file into a draft: a link to the one held, or fetched and then held."""
        kept, path = self._files / entry.sha256, draft / name
        try:
            os.link(kept, path)
            if sha256_of(path) == entry.sha256:
                return
            path.unlink()
            kept.unlink(missing_ok=True)
        except FileNotFoundError:  # never held, or removed just now
            pass
        fetch(name, path, entry.sha256)
        with suppress(FileExistsError):  # another version brought it meanwhile
            os.link(path, kept)

    def _evict(self) -> None:
        """Remove versions until the files fit into the bound."""
        folders = sorted(self.root.glob("versions/*/[!.]*"), key=_last_use)
        while self._size() > self._bound and folders and _last_use(folders[0]) < time.time() - IN_USE_SECONDS:
            oldest = folders.pop(0)
            logger.info("version removed from the cache", extra={"version": oldest.name})
            shutil.rmtree(oldest, ignore_errors=True)

    def _size(self) -> int:
        """Bytes of the files held; those that no version holds any more are removed."""
        total = 0
        for path in self._files.iterdir():
            try:
                status = path.stat()
                if status.st_nlink > 1:  # drafts hold links too
                    total += status.st_size
                else:
                    path.unlink()
            except FileNotFoundError:  # another process removes them as well
                continue
        return total


def _last_use(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _is_intact(folder: Path, manifest: bytes | None = None) -> bool:
    """Whether all files of a version are there with their hashes, and its manifest is this one."""
    try:
        if manifest is not None and (folder / MANIFEST).read_bytes() != manifest:
            return False
        Artifact.open(folder)
    except (FileNotFoundError, RegistryError):
        return False
    return True
