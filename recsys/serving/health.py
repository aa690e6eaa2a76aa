"""The health of the service: the version served, and whether every replica of every stage has loaded it."""

import asyncio
import logging
from dataclasses import dataclass

from recsys.errors import RegistryError
from recsys.inference.servable import Servable
from recsys.serving.deadline import deadline
from recsys.serving.errors import Unavailable
from recsys.serving.following import Following, Problem, Rejection
from recsys.serving.loaded_versions import LoadedVersions
from recsys.serving.rules import FollowedRules, RulesReport
from recsys.serving.settings import ServeSettings
from recsys.serving.stages import StageRunner, VersionsByStage

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class HealthReport:
    """The state of the service, as one replica of the ingress sees it.

    loaded: the versions of each replica of each stage, of the ingress those of this replica alone
    lacking: the stages of which a replica has not loaded the version served
    rejection, problem: see Following; rules: None without a rules file
    """

    served: Servable
    topology: str
    loaded: VersionsByStage
    lacking: list[str]
    rejection: Rejection | None
    problem: Problem | None
    rules: RulesReport | None = None


class HealthCheck:
    """Asks all replicas for their versions, and has those that lack the version served load it."""

    def __init__(
        self,
        following: Following,
        versions: LoadedVersions,
        stages: StageRunner,
        settings: ServeSettings,
        rules: FollowedRules | None = None,
    ) -> None:
        self._following, self._versions, self._stages, self._settings = following, versions, stages, settings
        self._rules = rules
        self._loading: asyncio.Task[None] | None = None

    async def report(self) -> HealthReport:
        """The state now; raises Unavailable where there is no version, or the stages do not answer."""
        served = self._following.ready()
        version = served.bundle.version
        async with deadline(self._settings.deadline_ms, "the stages did not answer"):
            loaded = {"ingress": [self._versions.names()], **await self._stages.loaded_versions()}
        lacking = [
            stage
            for stage, replicas in loaded.items()
            if not replicas or any(version not in names for names in replicas)
        ]
        if lacking and (self._loading is None or self._loading.done()):
            # A replica that gets no request would never load the version by itself. The next report shows the outcome.
            self._loading = asyncio.create_task(self._load(version))
        return HealthReport(
            served,
            self._settings.topology,
            loaded,
            lacking,
            self._following.rejection,
            self._following.problem,
            self._rules.report() if self._rules else None,
        )

    async def _load(self, version: str) -> None:
        try:
            await self._stages.load(version)
        except (RegistryError, Unavailable) as error:
            logger.warning("a stage lacks the version served", extra={"version": version, "reason": str(error)})
