"""The versions that a replica has loaded."""

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from recsys.errors import RegistryError
from recsys.inference.probe import probed_path
from recsys.inference.servable import Servable, open_servable
from recsys.registry.store import Store
from recsys.serving.settings import ServeSettings

logger = logging.getLogger(__name__)

MAX_FALLBACKS: Final = 5
"""Versions that are considered where none is served yet: the one in production and those before it."""


class LoadedVersions:
    """At most `versions_kept` versions. To load another one, the version that was used longest ago is dropped.

    A version is test-opened in a subprocess (`probe`), then opened and kept (`load`). Opening happens in a thread, so
    that requests go on meanwhile.
    """

    def __init__(self, store: Store, settings: ServeSettings) -> None:
        self.store = store
        self._alpha, self._probes, self._kept = settings.alpha, settings.probe, settings.versions_kept
        self._loaded: dict[str, Servable] = {}
        self._loading = asyncio.Lock()

    def get(self, version: str) -> Servable | None:
        """The version, None where it is not loaded. From now on it counts as the one used last, see `load`."""
        servable = self._loaded.pop(version, None)
        if servable is not None:
            self._loaded[version] = servable
        return servable

    def names(self) -> list[str]:
        """Names of the loaded versions, the last asked for at the end."""
        return list(self._loaded)

    def newest_first(self) -> list[Servable]:
        """The loaded versions, the last asked for first."""
        return list(reversed(self._loaded.values()))

    def load_at_start(self, version: str | None) -> None:
        """Load the version given, else the first of `candidates` that can be opened. Failures are logged."""
        try:
            names = self.candidates(version)
        except RegistryError as error:
            logger.error("no version at the start", extra={"reason": str(error)})
            return
        for name in names:
            try:
                self._loaded[name] = self._open(name)
                return
            except RegistryError as error:
                logger.error("version rejected at the start", extra={"version": name, "reason": str(error)})

    def candidates(self, version: str | None) -> Sequence[str]:
        """Versions that may be served, the best first; reads the registry, and raises RegistryError.

        That is the version given, else the one in production and then those that were in production before it.
        """
        if version is not None:
            return [version]
        pointer = self.store.pointer()
        return list(dict.fromkeys(pointer.promoted))[:MAX_FALLBACKS] if pointer else []

    async def probe(self, version: str) -> None:
        """Test-open a version without loading it; raises RegistryError where it cannot be opened."""
        await asyncio.to_thread(self._path, version)

    async def load(self, version: str) -> Servable:
        """The version, opened if it is not loaded; the one asked for longest ago is dropped for it.

        Raises RegistryError where it cannot be opened, and keeps what was loaded. Requests under way keep the version
        that they began with.
        """
        async with self._loading:
            servable = self._loaded.pop(version, None)
            if servable is None:
                servable = await asyncio.to_thread(self._open, version)
                logger.info("version loaded", extra={"version": version})
            self._loaded[version] = servable
            for old in self.names()[: -self._kept]:
                del self._loaded[old]
        return servable

    def _open(self, version: str) -> Servable:
        return open_servable(self._path(version), self._alpha)

    def _path(self, version: str) -> Path:
        """The folder of a version that was test-opened; raises RegistryError."""
        return probed_path(self.store, version) if self._probes else self.store.path(version)
