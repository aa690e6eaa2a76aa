"""The versions that a replica holds, opened in the background and swapped without a pause."""

import asyncio
import logging
from dataclasses import dataclass, replace

import numpy as np

from recsys.errors import RecsysError, RegistryError
from recsys.inference.stages import Recommender, read_version
from recsys.registry.bundle import Bundle
from recsys.registry.store import Store
from recsys.schema import UNKNOWN

logger = logging.getLogger(__name__)

KEPT = 2
"""Versions that a replica holds: the one in production and the one before it."""

UNFIT = (RecsysError, ValueError, LookupError, TypeError, ArithmeticError)
"""What code says of content that it cannot work with."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A version that is ready to answer."""

    bundle: Bundle
    recommender: Recommender


def open_version(store: Store, version: str, alpha: float | None) -> Loaded:
    """Open a version, check its hashes and answer once, so that the first request finds everything warm.

    alpha: instead of the version's own. Raises RegistryError where the version is missing, broken or does not answer.
    """
    try:
        opened = read_version(store.path(version))
        if alpha is not None:
            blend = opened.about.blend.model_copy(update={"alpha": alpha})
            opened = replace(opened, about=opened.about.model_copy(update={"blend": blend}))
        loaded = Loaded(opened, Recommender.of(opened))
        somebody_and_nobody = opened.snapshot.take(np.array([0, UNKNOWN]))
        loaded.recommender(somebody_and_nobody, opened.about.live_watermark, 1)
    except RegistryError:
        raise
    except UNFIT as error:  # the hashes are right, but files may hold anything
        raise RegistryError(f"version {version} does not answer: {type(error).__name__}: {error}") from error
    return loaded


class Versions:
    """The versions that a replica was asked for last, at most KEPT of them."""

    def __init__(self, store: Store, alpha: float | None = None) -> None:
        self.store = store
        self._alpha = alpha
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
        """Load what is likely to be asked for, by default the version in production; a failure is logged."""
        try:
            version = version or self.store.production()
            if version is not None:
                self._held[version] = open_version(self.store, version, self._alpha)
        except RegistryError as error:
            logger.error("no version at the start", extra={"reason": str(error)})

    async def load(self, version: str) -> Loaded:
        """The version, opened in a thread if it is not held; the oldest one goes once its requests have ended.

        Raises RegistryError, and holds what it held.
        """
        async with self._loading:
            loaded = self._held.pop(version, None)
            if loaded is None:
                loaded = await asyncio.to_thread(open_version, self.store, version, self._alpha)
                logger.info("version loaded", extra={"version": version})
            self._held[version] = loaded
            for old in self.held()[:-KEPT]:
                del self._held[old]
        return loaded

    async def refused(self, version: str) -> str | None:
        """Load a version: why it cannot be, or None."""
        try:
            await self.load(version)
        except RegistryError as error:
            return str(error)
        return None
