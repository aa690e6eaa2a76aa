"""The versions that a replica has loaded."""

import asyncio
import logging
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from recsys.errors import RegistryError
from recsys.inference.probe import probed_path, ready_path
from recsys.inference.servable import Servable, open_servable
from recsys.registry.store import Store
from recsys.serving.settings import ServeSettings

logger = logging.getLogger(__name__)

MAX_FALLBACKS: Final = 5
"""Versions that are considered where none is served yet: the one in production and those before it."""


class LoadedVersions:
    """At most `versions_kept` versions. To load another one, the version that was used longest ago is dropped.

    A version is tried in a subprocess (`probe`), then opened and kept (`load`). Both happen in threads, so that
    requests go on meanwhile.
    """

    def __init__(self, store: Store, settings: ServeSettings, *, lists: bool = True) -> None:
        """lists: whether this process answers with lists that need no user, which take time and memory to make."""
        self.store = store
        self._settings = settings
        self._lists = lists
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
        """Load the version given, else one of `candidates`. Failures are logged.

        The first that needs no trial is preferred, so that a replica starts at once while another version is tried.
        """
        try:
            names = self.candidates(version)
        except RegistryError as error:
            logger.error("no version at the start", extra={"reason": str(error)})
            return
        ready = self.first_ready(names)
        for name in dict.fromkeys(names if ready is None else [ready.name, *names]):
            try:
                folder = ready if ready and ready.name == name else self._path(name, threading.Event())
                self._loaded[name] = open_servable(folder, self._settings.alpha, lists=self._lists)
                return
            except RegistryError as error:
                logger.error("version rejected at the start", extra={"version": name, "reason": str(error)})

    def candidates(self, version: str | None) -> Sequence[str]:
        """Versions that may be served, the best first; reads the registry, and raises RegistryError.

        That is the version given, else the one in production and then those that were in production before it. An
        error as well: that no version is in production.
        """
        if version is not None:
            return [version]
        pointer = self.store.pointer()
        if pointer is None:
            self.store.check_exists()
            raise RegistryError(f"no version is in production in {self.store}")
        return list(dict.fromkeys(pointer.promoted))[:MAX_FALLBACKS]

    def first_ready(self, versions: Sequence[str]) -> Path | None:
        """The folder of the first of some versions that needs no trial; None if each of them does."""
        return next((folder for version in versions if (folder := self._ready(version)) is not None), None)

    def _ready(self, version: str) -> Path | None:
        try:
            return ready_path(self.store, version) if self._settings.probe else self.store.path(version)
        except RegistryError:
            return None

    async def probe(self, version: str) -> Path:
        """Try a version without loading it; its folder. Raises RegistryError where it cannot be opened.

        A cancelled call ends the trial.
        """
        stop = threading.Event()
        try:
            return await asyncio.to_thread(self._path, version, stop)
        finally:
            stop.set()

    async def load(self, version: str) -> Servable:
        """The version, opened if it is not loaded; the one asked for longest ago is dropped for it.

        Raises RegistryError where it cannot be opened, and keeps what was loaded. Requests under way keep the version
        that they began with.
        """
        # The trial comes before the lock, so that a long one does not delay the load of another version.
        folder = None if version in self._loaded else await self.probe(version)
        async with self._loading:
            servable = self._loaded.pop(version, None)
            if servable is None:
                folder = folder or await self.probe(version)  # another call dropped the version meanwhile
                servable = await asyncio.to_thread(open_servable, folder, self._settings.alpha, lists=self._lists)
                logger.info("version loaded", extra={"version": version})
            self._loaded[version] = servable
            for old in self.names()[: -self._settings.versions_kept]:
                del self._loaded[old]
        return servable

    def _path(self, version: str, stop: threading.Event) -> Path:
        """The folder of a version that was tried, see `probe`."""
        if not self._settings.probe:
            return self.store.path(version)
        return probed_path(self.store, version, self._settings.probe_seconds, stop)
