"""Runners of a request's stages: in this process here, as Serve deployments in `graph_stages`."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from recsys.histories import Histories
from recsys.inference import mixed
from recsys.inference.options import BatchOptions
from recsys.inference.recommender import Recommendations
from recsys.inference.servable import Servable
from recsys.rules.file import RulesFile
from recsys.serving.metrics.recorder import Recorder
from recsys.serving.metrics.stages import StageMetrics
from recsys.timeline import Present

VersionsByStage = Mapping[str, Sequence[Sequence[str]]]
"""For each stage the versions that each of its replicas has loaded."""


class StageRunner(Protocol):
    """Runs the stages of a version over a batch of requests. Every method may raise Unavailable."""

    async def __call__(
        self, servable: Servable, histories: Histories, now: Present, options: BatchOptions
    ) -> Recommendations | None:
        """The best items of each request, or None where a stage has not loaded the version.

        histories: all events of each request
        """

    async def load(self, version: str) -> None:
        """Load a version in every replica of every stage; raises RegistryError where one cannot."""

    async def load_rules(self, file: RulesFile) -> None:
        """Compile a rules file in every replica of every stage that needs it."""

    async def loaded_versions(self) -> VersionsByStage: ...


class LocalStages:
    """All stages in this process, over the version that the service itself has loaded."""

    def __init__(self, metrics: StageMetrics | None = None) -> None:
        self._metrics = metrics or StageMetrics(Recorder(), "fused")

    async def __call__(
        self, servable: Servable, histories: Histories, now: Present, options: BatchOptions
    ) -> Recommendations | None:
        return mixed.recommend(servable.recommender, histories, now, options, self._metrics.watch())

    async def load(self, version: str) -> None:
        """Nothing is left to do: the service loads the version."""

    async def load_rules(self, file: RulesFile) -> None:
        """Nothing is left to do: the service compiles the rules."""

    async def loaded_versions(self) -> VersionsByStage:
        return {}
