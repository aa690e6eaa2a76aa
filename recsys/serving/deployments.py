"""The service as Ray Serve deployments: the ingress, and a deployment for each stage."""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from fastapi import FastAPI
from ray.exceptions import RayActorError
from ray.serve.config import AutoscalingContext
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from recsys import logs
from recsys.histories import Histories
from recsys.inference.recommender import Recommendations, Recommender, StageScores
from recsys.inference.servable import Loaded
from recsys.registry.locate import open_store
from recsys.retrieval.generator import Candidates
from recsys.serving.api import create_api
from recsys.serving.histories import SnapshotEvents
from recsys.serving.service import Service
from recsys.serving.settings import ServeSettings
from recsys.serving.stages import Engine, Held, LocalEngine, Unavailable, Wishes
from recsys.serving.versions import Versions

logger = logging.getLogger(__name__)

BUSY: Final = "busy"
"""The metric that stages scale on: the share of the time in which a replica computes."""
TARGET_BUSY: Final = 0.6
DEAD: Final = (RayActorError, RayServeException)
"""What a call gives whose replica died or is not there yet."""
LEAVE_SECONDS: Final = 0.001
"""A call takes several turns of the event loop to leave, so that a single one (`sleep(0)`) is too few."""
BROADCAST_SECONDS: Final = 60.0
"""A replica that has not loaded a version by then counts as unable to."""


def by_busy_share(context: AutoscalingContext) -> tuple[float, dict[str, Any]]:
    """Autoscaling policy: as many replicas as would each be busy for TARGET_BUSY of the time.

    The ingress sends waiting requests together, so the number of calls under way says little about the load.
    """
    shares = (context.aggregated_metrics or {}).get(BUSY, {})
    if not shares:
        return context.target_num_replicas, {}
    return sum(shares.values()) / TARGET_BUSY, {}


class StageReplica:
    """A replica of one stage: holds versions, answers for those it holds, says how busy it is."""

    def __init__(self, settings: ServeSettings) -> None:
        logs.configure_logging(as_json=True)
        self._versions = Versions(open_store(settings.registry), settings.alpha, settings.try_apart)
        self._versions.load_first(settings.version)
        self._computing = 0.0
        self._since = time.perf_counter()
        self._missing: set[asyncio.Task[Any]] = set()

    async def prepare(self, version: str) -> str | None:
        """Load a version: why it cannot be, or None."""
        return await self._versions.refused(version)

    async def held(self) -> list[str]:
        return self._versions.held()

    def record_autoscaling_stats(self) -> dict[str, float]:
        """The share of the time since the last call in which this replica computed."""
        now = time.perf_counter()
        share = self._computing / max(now - self._since, 1e-9)
        self._computing, self._since = 0.0, now
        return {BUSY: share}

    def _compute(self, version: str, stage: Callable[[Recommender], Any]) -> Any:
        """What the stage makes of the call, or None where the version is not held; it is fetched then."""
        loaded = self._versions.get(version)
        if loaded is None:
            task = asyncio.create_task(self._fetch(version))
            self._missing.add(task)
            task.add_done_callback(self._missing.discard)
            return None
        started = time.perf_counter()
        try:
            return stage(loaded.recommender)
        finally:
            self._computing += time.perf_counter() - started

    async def _fetch(self, version: str) -> None:
        reason = await self._versions.refused(version)
        if reason is not None:
            logger.error("a version asked for is not there", extra={"version": version, "reason": reason})


class CandidateReplica(StageReplica):
    """Proposes items, with what the ranker looks at."""

    async def __call__(
        self, version: str, histories: Histories, now: int, objectives: np.ndarray, repeat_shares: np.ndarray | None
    ) -> tuple[Candidates, np.ndarray] | None:
        return self._compute(version, lambda its: its.propose(histories, now, objectives, repeat_shares))


class FactorReplica(StageReplica):
    """Folds users into the factorization."""

    async def __call__(self, version: str, histories: Histories) -> tuple[np.ndarray, np.ndarray] | None:
        return self._compute(version, lambda its: its.fold_in(histories))


class RankReplica(StageReplica):
    """Scores candidates by the ranker."""

    async def __call__(self, version: str, features: np.ndarray, for_discovery: np.ndarray) -> np.ndarray | None:
        return self._compute(version, lambda its: its.rank(features, for_discovery))


class GraphEngine:
    """The stages as deployments: candidates and users' factors side by side, then the ranker."""

    def __init__(
        self, candidates: DeploymentHandle[Any], factors: DeploymentHandle[Any], rank: DeploymentHandle[Any]
    ) -> None:
        stages = {"candidates": candidates, "factors": factors, "rank": rank}
        # Arrays in dataclasses need nothing of cloudpickle, Serve's default, which takes twice the time.
        self._stages = {
            name: handle.options(request_serialization="pickle", response_serialization="pickle")
            for name, handle in stages.items()
        }

    async def __call__(self, loaded: Loaded, histories: Histories, now: int, wishes: Wishes) -> Recommendations | None:
        version, recommender = loaded.bundle.version, loaded.recommender
        shares = recommender.repeat_caps(wishes.objectives, wishes.repeat_shares)
        # The candidates first: they take longer, and each call takes time to leave.
        proposed, folded_in = await asyncio.gather(
            self._call("candidates", version, histories, now, wishes.objectives, shares),
            self._fold_in(loaded, histories),
        )
        if proposed is None or folded_in is None:
            return None
        (candidates, features), (user_factors, warm) = proposed, folded_in
        lgb_raw, mf_raw = await asyncio.gather(
            self._call("rank", version, features, candidates.for_discovery),
            _meanwhile(recommender.factors.score, user_factors, candidates.users, candidates.items),
        )
        if lgb_raw is None:
            return None
        return recommender.combine(histories, candidates, StageScores(lgb_raw, mf_raw, warm), wishes.n, shares)

    async def _fold_in(self, loaded: Loaded, histories: Histories) -> Any:
        """Here where nobody is warm, or somebody asks alone: the call would take longer than the work, for which
        there is time until the candidates come.
        """
        if len(histories) > 1 and loaded.recommender.factors.warm(histories).any():
            return await self._call("factors", loaded.bundle.version, histories)
        return await _meanwhile(loaded.recommender.fold_in, histories)

    async def _call(self, stage: str, *arguments: Any) -> Any:
        """A stage's answer; asked once more where its replica died, since a stage changes nothing."""
        handle = self._stages[stage]
        try:
            return await handle.remote(*arguments)
        except DEAD as error:
            logger.warning("a replica died, asking another", extra={"stage": stage, "reason": type(error).__name__})
        try:
            return await handle.remote(*arguments)
        except DEAD as error:
            raise Unavailable(f"{stage}: {error}") from error

    async def prepare(self, version: str) -> str | None:
        for stage, reasons in zip(self._stages, await self._everywhere("prepare", version), strict=True):
            for reason in reasons:
                if reason is not None:
                    return f"{stage}: {reason}"
        return None

    async def held(self) -> Held:
        return dict(zip(self._stages, await self._everywhere("held"), strict=True))

    async def _everywhere(self, method: str, *arguments: Any) -> list[list[Any]]:
        """What each replica of each stage answers."""
        return await asyncio.gather(*(_ask_all(*stage, method, *arguments) for stage in self._stages.items()))


async def _meanwhile(work: Callable[..., Any], *arguments: Any) -> Any:
    """What this process computes after it gave the calls that were made before it the time to leave."""
    await asyncio.sleep(LEAVE_SECONDS)
    return work(*arguments)


async def _ask_all(stage: str, handle: DeploymentHandle[Any], method: str, *arguments: Any) -> list[Any]:
    try:
        return await handle.broadcast(method, *arguments).results_async(timeout_s=BROADCAST_SECONDS)
    except (*DEAD, TimeoutError) as error:
        raise Unavailable(f"{stage}: {type(error).__name__}: {error}") from error


class Ingress:
    """Takes HTTP requests and sends them through the stages, of which it is the only caller."""

    def __init__(self, settings: ServeSettings, *stages: DeploymentHandle[Any]) -> None:
        """stages: handles of candidates, factors and rank; none where everything runs in this replica"""
        logs.configure_logging(as_json=True)
        versions = Versions(open_store(settings.registry), settings.alpha, settings.try_apart)
        engine: Engine = GraphEngine(*stages) if stages else LocalEngine(versions)
        self._settings = settings
        self._service = Service(versions, engine, SnapshotEvents(), settings)

    def __serve_build_asgi_app__(self) -> FastAPI:
        return create_api(self._service, self._settings.log_every)
