"""The version that a replica serves, kept equal to the version in production."""

import asyncio
import logging
import time
from dataclasses import dataclass
from typing import Final

from recsys.errors import RegistryError
from recsys.inference.servable import Servable
from recsys.serving.errors import Unavailable
from recsys.serving.loaded_versions import LoadedVersions
from recsys.serving.settings import ServeSettings
from recsys.serving.stages import StageRunner

logger = logging.getLogger(__name__)

RETRY_REJECTED_SECONDS: Final = 30.0
"""A rejected version is opened again after so long, since a disk may have been at fault."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """A version that is in production and cannot be served."""

    version: str
    reason: str


class Following:
    """Serves the version in production: test-opens it, loads it in every replica of every stage, then switches to it.

    A version that fails anywhere is rejected, and the version before it is served on.
    """

    def __init__(self, versions: LoadedVersions, stages: StageRunner, settings: ServeSettings) -> None:
        self._versions, self._stages, self._settings = versions, stages, settings
        self._served: Servable | None = None
        self._rejection: Rejection | None = None
        self._rejected_at = 0.0
        self._problem: str | None = None
        self._updating = asyncio.Lock()

    def ready(self) -> Servable:
        """The version that is served; raises Unavailable where there is none yet."""
        if self._served is None:
            rejection = self._rejection
            why = f"version {rejection.version} was refused: {rejection.reason}" if rejection else self._problem
            raise Unavailable(f"the service is not ready, no version is loaded{f': {why}' if why else ''}")
        return self._served

    @property
    def loaded(self) -> list[Servable]:
        """The versions that a request may be answered from: the one served, then those served before it."""
        return self._versions.newest_first()

    @property
    def rejection(self) -> Rejection | None:
        """The version in production, where it cannot be served."""
        return self._rejection

    @property
    def problem(self) -> str | None:
        """Why the last update failed: the registry or a stage could not be reached."""
        return self._problem

    async def run(self) -> None:
        """Update again and again, until cancelled."""
        while True:
            await self.try_update()
            await asyncio.sleep(self._settings.poll_seconds)

    async def try_update(self) -> None:
        """Update once. A failure of any kind is logged, and the same version is served on."""
        [failure] = await asyncio.gather(self.update(), return_exceptions=True)
        self._problem = None if failure is None else f"{type(failure).__name__}: {failure}"
        if failure is not None:
            expected = isinstance(failure, RegistryError | Unavailable)
            logger.warning(
                "the version in production cannot be followed now",
                extra={"reason": self._problem},
                exc_info=None if expected else failure,
            )

    async def update(self) -> None:
        """Switch to the version in production, unless it is served already or rejected.

        Where nothing is served yet, the newest version before it that can be served is served meanwhile.
        Raises RegistryError or Unavailable where the registry or a stage cannot be reached.
        """
        async with self._updating:
            candidates = await asyncio.to_thread(self._versions.candidates, self._settings.version)
            if not candidates or (self._served and self._served.bundle.version == candidates[0]):
                self._rejection = None
                return
            wanted, *before = candidates
            if self._rejection and self._rejection.version == wanted and not self._may_retry():
                return
            self._rejection = await self._switch(wanted)
            for version in before:
                if self._served is None:
                    await self._switch(version)
            # The time is set last: where a stage could not be reached, the next update begins anew.
            self._rejected_at = time.monotonic()

    def _may_retry(self) -> bool:
        return time.monotonic() >= self._rejected_at + RETRY_REJECTED_SECONDS

    async def _switch(self, version: str) -> Rejection | None:
        """Serve a version; the rejection where it cannot be served.

        The stages load it before this replica does, which so never drops the served version for one that they reject.
        """
        try:
            await self._versions.probe(version)
            await self._stages.load(version)
            self._served = await self._versions.load(version)
        except RegistryError as error:
            logger.error("version rejected", extra={"version": version, "reason": str(error)})
            return Rejection(version, str(error))
        logger.info("version served", extra={"version": version})
        return None
