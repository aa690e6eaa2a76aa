"""The versions that a replica holds, opened in the background and swapped without a pause."""

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from recsys.errors import RegistryError
from recsys.inference.servable import Loaded, open_version
from recsys.inference.trial import tried
from recsys.registry.store import Store

logger = logging.getLogger(__name__)

KEPT: Final = 2
"""Versions that a replica holds: the one in production and the one before it."""
TRIES: Final = 5
"""Versions looked at, back from the one in production, where nothing is in service yet."""


class Versions:
    """The versions that a replica was asked for last, at most KEPT of them."""

    def __init__(self, store: Store, alpha: float | None = None, apart: bool = False) -> None:
        """alpha: see `open_version`; apart: whether a version is tried in a process of its own first"""
        self.store = store
        self._alpha, self._apart = alpha, apart
        self._held: dict[str, Loaded] = {}
        self._loading = asyncio.Lock()

    def get(self, version: str) -> Loaded | None:
        """The version if it is held; it counts as wanted then, and outlives those that nobody asks for."""
        loaded = self._held.pop(version, None)
        if loaded is not None:
            self._held[version] = loaded
        return loaded

    def held(self) -> list[str]:
        """Names of the versions, the last wanted at the end."""
        return list(self._held)

    def load_first(self, version: str | None) -> None:
        """Load what is likely to be asked for: the version given, else the one in production or, where that is
        unfit, the newest before it that is not. Failures are logged.
        """
        try:
            names = self.wanted(version)
        except RegistryError as error:
            logger.error("no version at the start", extra={"reason": str(error)})
            return
        for name in names:
            try:
                self._held[name] = self._open(name)
                return
            except RegistryError as error:
                logger.error("version unfit at the start", extra={"version": name, "reason": str(error)})

    def wanted(self, version: str | None) -> Sequence[str]:
        """The version given, else the one in production and then those that may stand in for it; reads the registry."""
        if version is not None:
            return [version]
        pointer = self.store.pointer()
        return list(dict.fromkeys(pointer.promoted))[:TRIES] if pointer else []

    def _open(self, version: str) -> Loaded:
        """Raises RegistryError."""
        return open_version(self._tried(version), self._alpha)

    def _tried(self, version: str) -> Path:
        """A version's folder; raises RegistryError where it is not there, or ends processes that open it."""
        return tried(self.store, version) if self._apart else self.store.path(version)

    async def load(self, version: str) -> Loaded:
        """The version, opened in a thread if it is not held; the oldest one goes once its requests have ended.

        Raises RegistryError, and holds what it held.
        """
        async with self._loading:
            loaded = self._held.pop(version, None)
            if loaded is None:
                loaded = await asyncio.to_thread(self._open, version)
                logger.info("version loaded", extra={"version": version})
            self._held[version] = loaded
            for old in self.held()[:-KEPT]:
                del self._held[old]
        return loaded

    async def survived(self, version: str) -> str | None:
        """Try a version without holding it: why it is not fit to be opened by a replica, or None."""
        try:
            await asyncio.to_thread(self._tried, version)
        except RegistryError as error:
            return str(error)
        return None

    async def refused(self, version: str) -> str | None:
        """Load a version: why it cannot be, or None."""
        try:
            await self.load(version)
        except RegistryError as error:
            return str(error)
        return None
