"""A cache of versions of remote registries: local folders that the processes of a node share.

ROOT/files/SHA256                        every file once, also if several versions contain it
ROOT/versions/REGISTRY/VERSION/          hard links to these files, and the manifest
ROOT/versions/REGISTRY/.draft-…/         a version while its files arrive
ROOT/versions/REGISTRY/.lock-VERSION     held by the process that fetches the version
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
"""Largest size of all files in gigabytes, unless RECSYS_CACHE_GB is set."""
IN_USE_SECONDS: Final = 600
"""A version that was requested within this time is not removed: a process may still be opening it."""
DOWNLOADS: Final = 4
"""Files fetched at the same time."""

Fetch = Callable[[str, Path, str], None]
"""Downloads the file with a name to a path and checks its sha256; raises RegistryError."""


def cache_root() -> Path:
    """The folder for files that can be made or downloaded again: RECSYS_CACHE, by default ~/.cache/recsys."""
    return Path(os.environ.get("RECSYS_CACHE") or os.path.expanduser("~/.cache/recsys")).absolute()


class Cache:
    """A folder of versions with a limited size. The version requested least recently is removed first.

    Files are only unlinked: a process that has mapped their arrays can still read these.
    """

    def __init__(self, root: Path, bound: float = BOUND) -> None:
        """bound: largest size of all files, in gigabytes"""
        self.root = root
        self._files = root / "files"
        self._bound = bound * GIGABYTE

    @classmethod
    def from_environment(cls) -> "Cache":
        """The cache in `cache_root`; raises RegistryError for a bad RECSYS_CACHE_GB."""
        text = os.environ.get("RECSYS_CACHE_GB") or str(BOUND)
        try:
            bound = float(text)
        except ValueError:
            bound = 0.0
        if not bound > 0:
            raise RegistryError(f"RECSYS_CACHE_GB is {text!r}; expected a number of gigabytes above 0")
        return cls(cache_root(), bound)

    def held(self, registry: str, version: str) -> Path | None:
        """The folder of a version whose hashes are all right; None if it is absent or damaged.

        registry: a name for the registry
        """
        folder = self._folder(registry, version)
        if not _is_intact(folder):
            return None
        os.utime(folder)
        return folder

    def version(self, registry: str, version: str, manifest: bytes, fetch: Fetch) -> Path:
        """The folder of a version with this manifest; missing or damaged files are fetched.

        If several processes need the same version, the first one fetches it and the others wait. Raises RegistryError.
        """
        _, files = parse_manifest(manifest, f"the manifest of version {version}")
        folder = self._folder(registry, version)
        try:
            if not _is_intact(folder, manifest):
                self._files.mkdir(parents=True, exist_ok=True)
                folder.parent.mkdir(parents=True, exist_ok=True)
                # A lock of the version's own: a long download must not delay another version.
                with locked(folder.with_name(f".lock-{version}")):
                    if not _is_intact(folder, manifest):
                        self._fill(folder, manifest, files, fetch)
            os.utime(folder)
            self._evict()
        except OSError as error:
            raise RegistryError(f"version {version} cannot be stored in {self.root} (RECSYS_CACHE): {error}") from error
        return folder

    def _folder(self, registry: str, version: str) -> Path:
        return self.root / "versions" / registry / version

    def _fill(self, folder: Path, manifest: bytes, files: dict[str, FileEntry], fetch: Fetch) -> None:
        """Make the folder of a version; call it with the version's lock held."""
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
        """Put a file into a draft: as a link to the cached file, or from the registry and then into the cache."""
        cached, path = self._files / entry.sha256, draft / name
        try:
            os.link(cached, path)
            if sha256_of(path) == entry.sha256:
                return
            path.unlink()
            cached.unlink(missing_ok=True)
        except FileNotFoundError:  # never cached, or removed just now
            pass
        fetch(name, path, entry.sha256)
        with suppress(FileExistsError):  # another process cached it meanwhile
            os.link(path, cached)

    def _evict(self) -> None:
        """Remove versions until the files fit into the largest size."""
        folders = sorted(self.root.glob("versions/*/[!.]*"), key=_last_use)
        while self._size() > self._bound and folders and _last_use(folders[0]) < time.time() - IN_USE_SECONDS:
            oldest = folders.pop(0)
            logger.info("version removed from the cache", extra={"version": oldest.name})
            shutil.rmtree(oldest, ignore_errors=True)

    def _size(self) -> int:
        """Size of the cached files in bytes. Files without a version are removed."""
        total = 0
        for path in self._files.iterdir():
            try:
                status = path.stat()
                if status.st_nlink > 1:  # drafts have links as well
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
    """Whether a version has all its files with the right hashes and, if given, this manifest."""
    try:
        if manifest is not None and (folder / MANIFEST).read_bytes() != manifest:
            return False
        Artifact.open(folder)
    except (FileNotFoundError, RegistryError):
        return False
    return True
