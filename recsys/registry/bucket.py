"""A registry in a bucket of S3, or of another server with the interface of S3.

PREFIX/versions/VERSION/…               as in a folder; the manifest is written last, and completes the version
PREFIX/versions/VERSION/.publisher      written first, and only once: it reserves the name for one publisher
PREFIX/production                       the pointer; a write succeeds only if nobody changed it since it was read
PREFIX/probe                            written to test whether the server supports such conditional writes
PREFIX/retraining.lock, …               small objects beside the versions, see Store.files
"""

import hashlib
import logging
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from recsys.errors import RegistryError
from recsys.registry.artifact import MANIFEST, Artifact, parse_manifest
from recsys.registry.cache import Cache
from recsys.registry.pointer import BrokenPointer, Pointer
from recsys.registry.store import VERSION_NAME, PointedStore, Step, checked_name, new_version
from recsys.storage.files import ABANDONED_SECONDS
from recsys.storage.s3 import S3Folder, S3Object, endpoint
from recsys.storage.small_files import SmallFiles

logger = logging.getLogger(__name__)

PRODUCTION: Final = "production"
PUBLISHER: Final = ".publisher"
PROBE: Final = "probe"
NO_TAG: Final = f'"{"0" * 32}"'
"""An ETag that no object has."""
UPLOADS: Final = 4
"""Files that are uploaded at the same time. Large files are sent in parts."""
CHANGES: Final = 100
"""Attempts to replace the pointer. An attempt fails only if another process replaced it meanwhile."""


class S3Store(PointedStore):
    """A registry in a bucket. Versions are opened from a cache on the local disk, see Cache."""

    def __init__(self, uri: str, cache: Cache | None = None) -> None:
        self._bucket = S3Folder(uri, RegistryError)
        self.files: SmallFiles = self._bucket
        self._cache = cache or Cache.from_environment()
        place = f"{endpoint() or ''} {self._bucket}"
        self._cached_as = f"{self._bucket.bucket}-{hashlib.sha256(place.encode()).hexdigest()[:12]}"

    def __str__(self) -> str:
        return str(self._bucket)

    def publish(self, fill: Callable[[Path], None], version: str | None = None) -> str:
        """See Store. Readers see the version when its manifest, the last object, is written."""
        version = new_version() if version is None else checked_name(version)
        if self._bucket.read(_key(version, MANIFEST)):
            raise RegistryError(f"version {version} exists already in {self}; versions never change")
        self.check_writable()
        self._remove_abandoned()
        with tempfile.TemporaryDirectory(prefix="recsys-") as work:
            folder = Path(work) / version
            folder.mkdir()
            fill(folder)
            Artifact.open(folder, verify=False)
            self._upload(folder)
        return version

    def _upload(self, folder: Path) -> None:
        version = folder.name
        if not self._bucket.replace(_key(version, PUBLISHER), b"", None):
            raise RegistryError(
                f"version {version} cannot be published in {self}: another process publishes it, or died while it did"
            )
        content = (folder / MANIFEST).read_bytes()
        _, files = parse_manifest(content, str(folder / MANIFEST))
        with ThreadPoolExecutor(UPLOADS) as pool:
            list(pool.map(lambda name: self._bucket.upload(folder / name, _key(version, name)), files))
        if not self._bucket.replace(_key(version, MANIFEST), content, None):
            raise RegistryError(f"version {version} cannot be published in {self}: it exists already")

    def check_writable(self) -> None:
        """See Store. The bucket must exist, and its server must support conditional writes."""
        next(self._bucket.find("versions/"), None)  # raises if the bucket cannot be listed
        self._bucket.write(PROBE, b"")
        if self._bucket.replace(PROBE, b"", None):  # although the object exists
            raise RegistryError(f"{self}: the server ignores If-None-Match, so two publishers could both succeed")
        if self._bucket.replace(PROBE, b"", NO_TAG):
            raise RegistryError(f"{self}: the server ignores If-Match, so two publishers could both succeed")

    def check_exists(self) -> None:
        """See Store."""
        if next(self._bucket.find("versions/"), None) is None and self._bucket.read(PRODUCTION) is None:
            raise RegistryError(f"no registry at {self}: there is no object {self._bucket.address('versions/')}…")

    def path(self, version: str | None = None) -> Path:
        """See Store. Missing files are downloaded into the cache. If S3 fails, the cached version is used."""
        version = self._wanted(version)
        try:
            manifest = self._bucket.read(_key(version, MANIFEST))
        except RegistryError as error:
            if (folder := self._cache.held(self._cached_as, version)) is None:
                raise
            logger.warning("version opened from the cache: S3 failed", extra={"version": version, "reason": str(error)})
            return folder
        if manifest is None:
            raise self._unknown(version)

        def fetch(name: str, path: Path, sha256: str) -> None:
            self._bucket.download(_key(version, name), path, sha256)

        return self._cache.version(self._cached_as, version, manifest[0], fetch)

    def remove(self, version: str) -> None:
        """See Store. Nodes that have the version in their cache can still open what they hold."""
        key = _key(checked_name(version), MANIFEST)
        if (manifest := self._bucket.read(key)) is None:
            raise self._unknown(version)
        self._check_removable(version)
        self._bucket.remove(key)
        try:
            self._check_removable(version)
        except RegistryError:  # somebody promoted it just now
            self._bucket.write(key, manifest[0])
            raise
        self._remove_files([entry.name for entry in self._bucket.find(f"versions/{version}/")])

    def remove_unfinished(self) -> None:
        """See Store."""
        self._remove_abandoned()

    def _remove_files(self, keys: Sequence[str]) -> None:
        """Remove the objects of a version without a manifest."""
        # The publisher's object goes last: until then nobody can publish under this name.
        self._bucket.remove(*sorted(keys, key=lambda key: key.endswith(PUBLISHER)))

    def _is_published(self, version: str) -> bool:
        return self._bucket.read(_key(version, MANIFEST)) is not None

    def _names(self) -> list[str]:
        return sorted(name for name, files in self._files().items() if _key(name, MANIFEST) in files)

    def _manifest(self, version: str) -> Mapping[str, Any]:
        key = _key(version, MANIFEST)
        if (manifest := self._bucket.read(key)) is None:
            raise self._unknown(version)
        return parse_manifest(manifest[0], self._bucket.address(key))[0]

    def _files(self) -> dict[str, dict[str, S3Object]]:
        """Objects by version and key, including those of versions without a manifest."""
        files: dict[str, dict[str, S3Object]] = defaultdict(dict)
        for entry in self._bucket.find("versions/"):
            version = entry.name.split("/")[1]
            if VERSION_NAME.fullmatch(version):
                files[version][entry.name] = entry
        return files

    def _remove_abandoned(self) -> None:
        """Remove the objects of publishers that died before they wrote the manifest."""
        for version, files in self._files().items():
            newest = max(entry.modified.timestamp() for entry in files.values())
            if _key(version, MANIFEST) in files or time.time() - newest < ABANDONED_SECONDS:
                continue
            try:
                self._remove_files(list(files))
            except RegistryError as error:
                logger.warning("unfinished version not removed", extra={"version": version, "reason": str(error)})

    def pointer(self) -> Pointer | None:
        """See Store."""
        content = self._bucket.read(PRODUCTION)
        return None if content is None else self._parsed(content[0])

    def _parsed(self, content: bytes) -> Pointer:
        """The pointer in an object; raises BrokenPointer."""
        return Pointer.parse(content, self._bucket.address(PRODUCTION))

    def _change(self, step: Step) -> Pointer:
        for _ in range(CHANGES):
            content, etag = self._bucket.read(PRODUCTION) or (None, None)
            try:
                before = None if content is None else self._parsed(content)
            except BrokenPointer:
                before = None
            pointer = step(before)
            if pointer == before or self._bucket.replace(PRODUCTION, pointer.dump(), etag):
                return pointer
        raise RegistryError(
            f"{self._bucket.address(PRODUCTION)}: not replaced in {CHANGES} attempts: other processes changed it"
        )


def _key(version: str, name: str) -> str:
    return f"versions/{version}/{name}"
