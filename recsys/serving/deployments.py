"""The classes of the Serve deployments: the ingress, and one for each stage."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, ClassVar, Final

import numpy as np
from fastapi import FastAPI
from ray.serve.config import AutoscalingContext
from ray.serve.handle import DeploymentHandle

from recsys import logs
from recsys.errors import RegistryError
from recsys.histories import Histories
from recsys.inference import mixed
from recsys.inference.options import BatchOptions
from recsys.inference.recommender import Recommender
from recsys.registry.locate import open_store
from recsys.retrieval.generator import Candidates
from recsys.rules.book import UnknownRules
from recsys.rules.file import RulesFile
from recsys.serving.api.create import create_api
from recsys.serving.graph_stages import LACKS_RULES, GraphStages
from recsys.serving.histories import SnapshotHistories
from recsys.serving.loaded_versions import LoadedVersions
from recsys.serving.metrics.definitions import COMPUTE_SECONDS
from recsys.serving.metrics.export import export_from_replica
from recsys.serving.metrics.recorder import Recorder
from recsys.serving.metrics.stages import StageMetrics
from recsys.serving.metrics.state import ReplicaState, RetrainState, ServiceState
from recsys.serving.one_write import use_one_write
from recsys.serving.service import Service
from recsys.serving.settings import ServeSettings
from recsys.serving.stages import LocalStages, StageRunner
from recsys.timeline import Present

logger = logging.getLogger(__name__)

BUSY: Final = "busy"
"""The metric that stages scale by: the fraction of the time in which a replica computes."""
TARGET_BUSY: Final = 0.6


def by_busy_fraction(context: AutoscalingContext) -> tuple[float, dict[str, Any]]:
    """Autoscaling policy: the number of replicas with which each is busy for TARGET_BUSY of the time.

    The ingress sends waiting requests together, so the number of calls under way tells little about the load.
    """
    fractions = (context.aggregated_metrics or {}).get(BUSY, {})
    if not fractions:
        return context.target_num_replicas, {}
    return sum(fractions.values()) / TARGET_BUSY, {}


class FailuresLogged(AbstractContextManager[None]):
    """A context whose errors are logged on their way out, except for rules that the caller still has to send."""

    def __init__(self, stage: str) -> None:
        self._stage = stage

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if error is not None and not isinstance(error, UnknownRules):
            logger.error("a stage failed", extra={"stage": self._stage}, exc_info=error)


class StageReplica:
    """A replica of one stage; computes with the versions that it has loaded."""

    stage: ClassVar[str] = "stage"
    """The label of its metrics."""

    def __init__(self, settings: ServeSettings) -> None:
        logs.configure_logging(as_json=True)
        self._versions = LoadedVersions(open_store(settings.registry), settings, lists=False)
        self._versions.load_at_start(settings.version)
        self._recorder = Recorder(samplers=[ReplicaState(self._versions)])
        export_from_replica(self._recorder)
        self._computing = 0.0
        self._since = time.perf_counter()
        self._loading: set[asyncio.Task[Any]] = set()

    async def load(self, version: str) -> str | None:
        """Load a version; why it cannot be loaded, or None."""
        try:
            await self._versions.load(version)
        except RegistryError as error:
            return str(error)
        return None

    async def loaded_versions(self) -> list[str]:
        """The names of the versions that this replica has loaded."""
        return self._versions.names()

    def record_autoscaling_stats(self) -> dict[str, float]:
        """The fraction of the time since the last call in which this replica computed."""
        now = time.perf_counter()
        fraction = self._computing / max(now - self._since, 1e-9)
        self._computing, self._since = 0.0, now
        return {BUSY: fraction}

    def compute(self, version: str, stage: Callable[[Recommender], Any], request_ids: Sequence[str] = ()) -> Any:
        """The stage's result, or None where the version is not loaded; then it is loaded for later calls.

        request_ids: of the batch, for the log
        """
        servable = self._versions.get(version)
        if servable is None:
            task = asyncio.create_task(self._load_missing(version))
            self._loading.add(task)
            task.add_done_callback(self._loading.discard)
            return None
        started = time.perf_counter()
        try:
            with logs.for_requests(request_ids), FailuresLogged(self.stage):
                return stage(servable.recommender)
        finally:
            seconds = time.perf_counter() - started
            self._computing += seconds
            self._recorder.observe(COMPUTE_SECONDS, seconds, self.stage)

    async def _load_missing(self, version: str) -> None:
        reason = await self.load(version)
        if reason is not None:
            logger.error("a version of a call cannot be loaded", extra={"version": version, "reason": reason})


class CandidateReplica(StageReplica):
    """Proposes items, with their rows for the ranker."""

    stage = "candidates"

    async def __call__(
        self,
        version: str,
        histories: Histories,
        now: Present,
        options: BatchOptions,
        *,
        request_ids: Sequence[str] = (),
    ) -> tuple[Candidates, np.ndarray] | mixed.MixedProposals | str | None:
        """See `Recommender.propose`; for a batch with sessions see `mixed.propose`.

        LACKS_RULES where the rules file is neither here nor in the options.
        """
        try:
            return self.compute(version, lambda using: mixed.propose_any(using, histories, now, options), request_ids)
        except UnknownRules:
            return LACKS_RULES

    async def load_rules(self, file: RulesFile) -> None:
        """Compile a rules file for every loaded version, in a thread beside the requests."""
        for servable in self._versions.newest_first():
            await asyncio.to_thread(servable.recommender.rules.prepare, file)


class FactorReplica(StageReplica):
    """Folds users into the factorization."""

    stage = "factors"

    async def __call__(
        self, version: str, histories: Histories, *, request_ids: Sequence[str] = ()
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """See `Recommender.fold_in`."""
        return self.compute(version, lambda recommender: recommender.fold_in(histories), request_ids)


class RankReplica(StageReplica):
    """Scores candidates by the ranker."""

    stage = "rank"

    async def __call__(
        self,
        version: str,
        features: np.ndarray,
        for_discovery: np.ndarray,
        session_features: np.ndarray | None = None,
        *,
        request_ids: Sequence[str] = (),
    ) -> np.ndarray | tuple[np.ndarray, np.ndarray] | None:
        """See `Recommender.rank`; for a batch with sessions see `mixed.rank`."""
        if session_features is None:
            return self.compute(version, lambda using: using.rank(features, for_discovery), request_ids)
        return self.compute(
            version, lambda using: mixed.rank(using, features, for_discovery, session_features), request_ids
        )


class Ingress:
    """Takes HTTP requests and is the only caller of the stages."""

    def __init__(self, settings: ServeSettings, *stages: DeploymentHandle[Any]) -> None:
        """stages: handles of candidates, factors and rank; none where all stages run in this replica."""
        logs.configure_logging(as_json=True)
        use_one_write()
        self._settings = settings
        metrics = StageMetrics(Recorder(), settings.topology)
        self._recorder = metrics.recorder
        runner = GraphStages(*stages, metrics=metrics) if stages else LocalStages(metrics)
        self._service = self.build_service(runner, metrics)
        export_from_replica(self._recorder)

    def build_service(self, stages: StageRunner, metrics: StageMetrics) -> Service:
        """The service over the registry of the settings, whose state is among the metrics."""
        versions = LoadedVersions(open_store(self._settings.registry), self._settings)
        service = Service.build(versions, stages, SnapshotHistories(), self._settings, metrics)
        metrics.recorder.samplers += [
            ReplicaState(versions),
            ServiceState(service, self._settings),
            RetrainState(versions.store),
        ]
        return service

    def __serve_build_asgi_app__(self) -> FastAPI:
        return create_api(self._service, self._settings.log_every, recorder=self._recorder)
