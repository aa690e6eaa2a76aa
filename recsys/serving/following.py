"""The version that a replica serves, kept equal to the version in production."""

import asyncio
import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from recsys.errors import RegistryError
from recsys.inference.servable import Servable
from recsys.registry.bundle import Bundle
from recsys.serving.errors import NotReady, Unavailable
from recsys.serving.loaded_versions import LoadedVersions
from recsys.serving.settings import ServeSettings
from recsys.serving.stages import StageRunner

logger = logging.getLogger(__name__)

RETRY_REJECTED_SECONDS: Final = 30.0
"""Pause before a rejected version is tried again, since a disk may have been at fault. Each rejection doubles it."""
LONGEST_RETRY_SECONDS: Final = 600.0
"""Longest pause."""
START_SECONDS: Final = 30.0
"""Time that the stages' first replicas have to start, before a replica of the ingress takes requests all the same."""
START_PAUSE_SECONDS: Final = 0.1
"""Seconds between two looks at them."""
READ_SECONDS: Final = 10.0
"""Seconds after which a registry that does not respond counts as one that cannot be read."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """A version that is in production and cannot be served."""

    version: str
    reason: str


@dataclass(frozen=True, slots=True)
class Problem:
    """Why the version in production cannot be followed now; since: when that began, ms since 1970 UTC."""

    text: str
    since: int


class Following:
    """Serves the version in production: tries it, loads it in every replica of every stage, then switches to it.

    A trial runs beside requests, and beside further readings of the registry. So a newer promotion ends the trial of a
    version that is not in production any more. A version that fails anywhere is rejected, and the version before it is
    served on.
    """

    def __init__(self, versions: LoadedVersions, stages: StageRunner, settings: ServeSettings) -> None:
        self._versions, self._stages, self._settings = versions, stages, settings
        self._served: Servable | None = None
        self._serving = asyncio.Event()
        self._rejection: Rejection | None = None
        self._rejections, self._rejected_at = 0, -math.inf  # of the version in production
        self._registry_problem: Problem | None = None
        self._trial_problem: Problem | None = None
        self._reading: asyncio.Task[Sequence[str]] | None = None
        self._trial: asyncio.Task[None] | None = None
        self._wanted: str | None = None

    def ready(self) -> Servable:
        """The version that is served; raises Unavailable where there is none yet."""
        if self._served is None:
            rejection, problem = self._rejection, self.problem
            why = f"version {rejection.version} was refused: {rejection.reason}" if rejection else ""
            why = why or (problem.text if problem else "")
            raise NotReady(f"the service is not ready, no version is loaded{f': {why}' if why else ''}")
        return self._served

    @property
    def served(self) -> Bundle | None:
        """The version that is served; None where there is none yet."""
        served = self._served
        return None if served is None else served.bundle

    @property
    def loaded(self) -> list[Servable]:
        """The versions that a request may be answered from: the one served, then those served before it."""
        return self._versions.newest_first()

    @property
    def rejection(self) -> Rejection | None:
        """The version in production, where it cannot be served."""
        return self._rejection

    @property
    def registry_problem(self) -> Problem | None:
        """Why the registry cannot be read."""
        return self._registry_problem

    @property
    def problem(self) -> Problem | None:
        """Why the version in production is not known, or could not be tried."""
        return self._registry_problem or self._trial_problem

    async def run(self) -> None:
        """Read the registry again and again, until cancelled."""
        try:
            while True:
                await self.read()
                await asyncio.sleep(self._settings.poll_seconds)
        finally:
            self._end_trial()

    async def start(self) -> None:
        """Read the registry; returns once a version is served, or once none can be served.

        A stage whose replicas have not started yet is waited for, START_SECONDS at most.
        """
        end = time.monotonic() + START_SECONDS
        while True:
            await self.read()
            if self._trial is not None:
                serving = asyncio.create_task(self._serving.wait())
                await asyncio.wait({serving, self._trial}, return_when=asyncio.FIRST_COMPLETED)
                serving.cancel()
            if self._served is not None or self._trial_problem is None or time.monotonic() >= end:
                return
            await asyncio.sleep(START_PAUSE_SECONDS)

    async def update(self) -> None:
        """Read the registry, and wait for the end of the trial that goes on then."""
        await self.read()
        if self._trial is not None:
            await asyncio.wait({self._trial})  # the trial goes on where the caller is cancelled

    async def read(self) -> None:
        """Read which version is in production. Its trial begins, unless it is served already or was just rejected.

        A failure of any kind is logged and kept as `problem`, and the same version is served on.
        """
        [outcome] = await asyncio.gather(self._candidates(), return_exceptions=True)
        if isinstance(outcome, BaseException):
            self._registry_problem = _problem(self._registry_problem, outcome)
            return
        if self._registry_problem is not None:
            logger.info("the version in production can be followed again")
        self._registry_problem = None
        wanted = outcome[0]
        if self._served is not None and self._served.bundle.version == wanted:
            self._end_trial()
        elif wanted != self._wanted or (self._trial is None and self._is_due()):
            self._begin_trial(outcome)

    async def _candidates(self) -> Sequence[str]:
        """See `LoadedVersions.candidates`; raises Unavailable where the registry does not respond."""
        reading = self._reading
        if reading is None:  # else the last one has not ended yet: a further thread would wait as well
            work = asyncio.to_thread(self._versions.candidates, self._settings.version)
            self._reading = reading = asyncio.create_task(work)
        done, _ = await asyncio.wait({reading}, timeout=READ_SECONDS)
        if not done:
            raise Unavailable(f"the registry {self._versions.store} does not respond within {READ_SECONDS:g} s")
        if self._reading is reading:
            self._reading = None
        return reading.result()

    def _is_due(self) -> bool:
        """Whether the version in production may be tried again after its rejections."""
        pause = RETRY_REJECTED_SECONDS * 2 ** min(self._rejections - 1, 30) if self._rejections else 0.0
        return time.monotonic() >= self._rejected_at + min(pause, LONGEST_RETRY_SECONDS)

    def _begin_trial(self, candidates: Sequence[str]) -> None:
        if candidates[0] != self._wanted:
            self._end_trial()
        self._wanted = candidates[0]
        self._trial = asyncio.create_task(self._try(candidates))
        self._trial.add_done_callback(self._trial_ended)

    def _end_trial(self) -> None:
        """Forget about the last version in production that is not served; if its trial goes on, the trial ends."""
        if self._trial is not None:
            logger.info("the trial of a version was ended", extra={"version": self._wanted})
            self._trial.cancel()
        self._trial = self._wanted = self._rejection = self._trial_problem = None
        self._rejections, self._rejected_at = 0, -math.inf

    def _trial_ended(self, trial: "asyncio.Task[None]") -> None:
        if trial is not self._trial:  # it was cancelled for another one
            return
        self._trial = None
        failure = None if trial.cancelled() else trial.exception()
        self._trial_problem = _problem(self._trial_problem, failure) if failure else None

    async def _try(self, candidates: Sequence[str]) -> None:
        """Switch to the version in production.

        Where nothing is served yet, a version before it is served meanwhile. One that needs no trial is served at
        once, any other after a rejection. Raises Unavailable where a stage cannot be reached.
        """
        wanted, *before = candidates
        if self._served is None:
            ready = await asyncio.to_thread(self._versions.first_ready, candidates)
            if ready is not None and ready.name != wanted:
                await self._switch(ready.name)
        self._rejection = await self._switch(wanted)
        for version in before:
            if self._served is None:
                await self._switch(version)
        if self._rejection is not None:
            # These are set last: where a stage could not be reached, the next trial begins without a pause.
            self._rejections, self._rejected_at = self._rejections + 1, time.monotonic()

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
        self._serving.set()
        logger.info("version served", extra={"version": version})
        return None


def _problem(before: Problem | None, failure: BaseException) -> Problem:
    """The problem that a failure is, logged if it is a new one; before: the problem until now, whose time it keeps."""
    text = f"{type(failure).__name__}: {failure}"
    if before is None or before.text != text:
        expected = isinstance(failure, RegistryError | Unavailable)
        logger.warning(
            "the version in production cannot be followed now",
            extra={"reason": text},
            exc_info=None if expected else failure,
        )
    return Problem(text, int(time.time() * 1000) if before is None else before.since)
