"""A registry in a bucket of S3 or of a server that speaks its language.

PREFIX/versions/VERSION/…               as in a folder; without its manifest, which comes last, a version is not there
PREFIX/versions/VERSION/.publisher      written first, once: whoever finds it there may not publish under this name
PREFIX/production                       the pointer, replaced only as the one that was read
PREFIX/probe                            written to find out whether that is possible
"""

import hashlib
import logging
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from recsys.errors import RegistryError
from recsys.registry.artifact import MANIFEST, Artifact, parse_manifest
from recsys.registry.cache import Cache
from recsys.registry.store import VERSION_NAME, PointedStore, Pointer, Step, checked_name, new_version
from recsys.storage.files import ABANDONED_SECONDS
from recsys.storage.s3 import S3Folder, S3Object, endpoint

logger = logging.getLogger(__name__)

PRODUCTION: Final = "production"
PUBLISHER: Final = ".publisher"
PROBE: Final = "probe"
NO_TAG: Final = f'"{"0" * 32}"'
"""An ETag that no object has."""
UPLOADS: Final = 4
"""Files sent at the same time, each in parts where it is large."""
CHANGES: Final = 100
"""Attempts to replace the pointer while others do; of those who try, one succeeds each time."""


class S3Store(PointedStore):
    """Versions are opened from a cache on the local disk, see Cache."""

    def __init__(self, uri: str, cache: Cache | None = None) -> None:
        self._bucket = S3Folder(uri, RegistryError)
        self._cache = cache or Cache.from_environment()
        place = f"{endpoint() or ''} {self._bucket}"
        self._cached_as = f"{self._bucket.bucket}-{hashlib.sha256(place.encode()).hexdigest()[:12]}"

    def __str__(self) -> str:
        return str(self._bucket)

    def publish(self, fill: Callable[[Path], None], version: str | None = None) -> str:
        """See Store. Readers see the version once its manifest is there, the last object written."""
        version = new_version() if version is None else checked_name(version)
        if self._bucket.read(_key(version, MANIFEST)):
            raise RegistryError(f"version {version} exists already in {self}; versions never change")
        self.prepare()
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
                f"version {version} cannot be published in {self}: somebody publishes it now, or began to and died"
            )
        content = (folder / MANIFEST).read_bytes()
        _, files = parse_manifest(content, str(folder / MANIFEST))
        with ThreadPoolExecutor(UPLOADS) as pool:
            list(pool.map(lambda name: self._bucket.upload(folder / name, _key(version, name)), files))
        if not self._bucket.replace(_key(version, MANIFEST), content, None):
            raise RegistryError(f"version {version} cannot be published in {self}: it exists already")

    def prepare(self) -> None:
        """See Store. The bucket must exist, and its server must know writes on a condition."""
        next(self._bucket.find("versions/"), None)  # raises where it cannot be listed
        self._bucket.write(PROBE, b"")
        if self._bucket.replace(PROBE, b"", None):  # though it is there
            raise RegistryError(f"{self}: the server passes over If-None-Match, so that two publishers could both win")
        if self._bucket.replace(PROBE, b"", NO_TAG):
            raise RegistryError(f"{self}: the server passes over If-Match, so that two publishers could both win")

    def path(self, version: str | None = None) -> Path:
        """See Store. What the node lacks is downloaded; where S3 fails, the version held here is used."""
        version = self._wanted(version)
        try:
            manifest = self._bucket.read(_key(version, MANIFEST))
        except RegistryError as error:
            if (held := self._cache.held(self._cached_as, version)) is None:
                raise
            logger.warning("version opened from the cache alone", extra={"version": version, "reason": str(error)})
            return held
        if manifest is None:
            raise self._unknown(version)

        def fetch(name: str, path: Path, sha256: str) -> None:
            self._bucket.download(_key(version, name), path, sha256)

        return self._cache.version(self._cached_as, version, manifest[0], fetch)

    def _names(self) -> list[str]:
        return sorted(name for name, files in self._files().items() if _key(name, MANIFEST) in files)

    def _manifest(self, version: str) -> Mapping[str, Any]:
        key = _key(version, MANIFEST)
        if (manifest := self._bucket.read(key)) is None:
            raise self._unknown(version)
        return parse_manifest(manifest[0], self._bucket.address(key))[0]

    def _files(self) -> dict[str, dict[str, S3Object]]:
        """Objects by version and key, those without a manifest included."""
        files: dict[str, dict[str, S3Object]] = defaultdict(dict)
        for entry in self._bucket.find("versions/"):
            version = entry.name.split("/")[1]
            if VERSION_NAME.fullmatch(version):
                files[version][entry.name] = entry
        return files

    def _remove_abandoned(self) -> None:
        """Remove what publishers left that died before they wrote the manifest."""
        for version, files in self._files().items():
            newest = max(entry.modified.timestamp() for entry in files.values())
            if _key(version, MANIFEST) in files or time.time() - newest < ABANDONED_SECONDS:
                continue
            try:
                # The claim goes last: until then nobody publishes under this name.
                self._bucket.remove(*sorted(files, key=lambda key: key.endswith(PUBLISHER)))
            except RegistryError as error:
                logger.warning("an unfinished version stays", extra={"version": version, "reason": str(error)})

    def pointer(self) -> Pointer | None:
        """See Store."""
        return self._pointer()[0]

    def _pointer(self) -> tuple[Pointer | None, str | None]:
        """The pointer and its ETag."""
        pointer = self._bucket.read(PRODUCTION)
        if pointer is None:
            return None, None
        return Pointer.parse(pointer[0], self._bucket.address(PRODUCTION)), pointer[1]

    def _change(self, step: Step) -> Pointer:
        for _ in range(CHANGES):
            before, etag = self._pointer()
            pointer = step(before)
            if pointer == before or self._bucket.replace(PRODUCTION, pointer.dump(), etag):
                return pointer
        raise RegistryError(f"{self._bucket.address(PRODUCTION)}: others change it faster than it can be replaced")


def _key(version: str, name: str) -> str:
    return f"versions/{version}/{name}"
