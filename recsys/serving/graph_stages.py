"""The stages of a request as Serve deployments."""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from ray.exceptions import RayActorError, RayTaskError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from recsys import logs
from recsys.errors import RegistryError
from recsys.histories import Histories
from recsys.inference import mixed
from recsys.inference.options import BatchOptions
from recsys.inference.recommender import Recommendations, StageScores
from recsys.inference.servable import Servable
from recsys.rules.file import RulesFile
from recsys.serving.errors import Unavailable
from recsys.serving.metrics.definitions import STAGE_FAILURES
from recsys.serving.metrics.recorder import Recorder
from recsys.serving.metrics.stages import StageMetrics
from recsys.serving.stages import VersionsByStage
from recsys.timeline import Present

logger = logging.getLogger(__name__)

DEAD: Final = (RayActorError, RayServeException)
"""Errors of a call whose replica died or does not exist yet."""
LEAVE_SECONDS: Final = 0.001
"""A call needs several turns of the event loop to leave this process; a single one, `sleep(0)`, is too few."""
BROADCAST_SECONDS: Final = 60.0
"""Time in which a replica has to load a version; after it the replica counts as unable to load it."""
FACTORS_SECONDS: Final = 0.25
"""Time that the factors' replicas have; after it the users are folded in here."""
LACKS_RULES: Final = "lacks rules"
"""The result of a replica that has not got the rules file of a call."""
ALONE_SECONDS: Final = 1.0
"""For so long users are folded in here after no replica could do it."""


class GraphStages:
    """A StageRunner over deployments: candidates and users' factors side by side, then the ranker."""

    def __init__(
        self,
        candidates: DeploymentHandle[Any],
        factors: DeploymentHandle[Any],
        rank: DeploymentHandle[Any],
        *,
        metrics: StageMetrics | None = None,
    ) -> None:
        stages = {"candidates": candidates, "factors": factors, "rank": rank}
        # Serve's default, cloudpickle, takes twice the time and is not needed for dataclasses of arrays.
        self._stages = {
            name: handle.options(request_serialization="pickle", response_serialization="pickle")
            for name, handle in stages.items()
        }
        self._alone_until = 0.0
        self._metrics = metrics or StageMetrics(Recorder(), "graph")
        for name in stages:
            self._metrics.recorder.expect(STAGE_FAILURES, name)

    async def __call__(
        self, servable: Servable, histories: Histories, now: Present, options: BatchOptions
    ) -> Recommendations | None:
        """See StageRunner."""
        version, recommender = servable.bundle.version, servable.recommender
        if mixed.uses_sessions(recommender, options.in_session):
            return await self._with_sessions(servable, mixed.RequestBatch(histories, now, options))
        # The call for candidates leaves first, since it takes longest.
        proposals, folded_in = await asyncio.gather(
            self._propose(version, histories, now, options), self._fold_in(servable, histories)
        )
        if proposals is None or folded_in is None:
            return None
        (candidates, features), (user_factors, warm) = proposals, folded_in
        self._metrics.proposed(recommender.main_sources, candidates.provenance, candidates.filtered)
        lgb, mf = await asyncio.gather(
            self.call("rank", version, features, candidates.for_discovery),
            _meanwhile(recommender.factors.score, user_factors, candidates.users, candidates.items),
        )
        if lgb is None:
            return None
        caps = recommender.repeat_caps(options.objectives, options.repeat_caps)
        scores = StageScores(lgb, mf, warm)
        with self._metrics.timed("blend"):
            best = recommender.combine(histories, candidates, scores, options.n, caps, options.rules)
        if options.explained is None:
            return best
        # Explanations of a list take less time here than a call of another stage would.
        with self._metrics.timed("explanations"):
            chosen = best.chosen(candidates, features, lgb, options.explained)
            return replace(best, explanations=recommender.explainer(chosen, histories, now))

    async def _with_sessions(self, servable: Servable, batch: mixed.RequestBatch) -> Recommendations | None:
        """The same for a batch that mixes requests with and without sessions."""
        version, recommender = servable.bundle.version, servable.recommender
        users = batch.without_session
        proposals, folded_in = await asyncio.gather(
            self._propose(version, batch.histories, batch.now, batch.options),
            self._fold_in(servable, batch.histories.take(users)) if len(users) else _nobody(),
        )
        if proposals is None or folded_in is None:
            return None
        candidates = proposals.candidates
        mixed.tell_proposed(self._metrics, recommender, proposals)
        if len(proposals.requests) > len(users):  # the session model proposes nothing to some sessions
            folded_in = recommender.fold_in(batch.histories.take(proposals.requests))
        session_features = proposals.sessions.candidates.features
        scored, mf = await asyncio.gather(
            self.call("rank", version, proposals.features, proposals.for_discovery, session_features),
            _nobody()
            if candidates is None
            else _meanwhile(recommender.factors.score, folded_in[0], candidates.users, candidates.items),
        )
        if scored is None:
            return None
        main = None if candidates is None else StageScores(scored[0], mf, folded_in[1])
        with self._metrics.timed("blend"):
            return mixed.combine(recommender, batch, proposals, main, scored[1])

    async def _propose(self, version: str, histories: Histories, now: Present, options: BatchOptions) -> Any:
        """Candidates and their rows. The rules file is sent along only where the replica has not got it yet."""
        proposals = await self.call("candidates", version, histories, now, options.without_file())
        if isinstance(proposals, str) and proposals == LACKS_RULES:
            proposals = await self.call("candidates", version, histories, now, options)
        return proposals

    async def _fold_in(self, servable: Servable, histories: Histories) -> Any:
        """User factors and who is warm, None where the stage has not loaded the version.

        For a single user, and if nobody is warm, they are computed in this process: a call of the factors' replicas
        would take longer than the computation. The result is there before the candidates arrive. The same happens
        while no replica answers.
        """
        many = len(histories) > 1 and time.monotonic() >= self._alone_until
        if many and servable.recommender.factors.warm(histories).any():
            try:
                async with asyncio.timeout(FACTORS_SECONDS):
                    with self._metrics.timed("factors"):
                        return await self._remote("factors", servable.bundle.version, histories)
            except (*DEAD, TimeoutError) as error:
                self._metrics.recorder.count(STAGE_FAILURES, "factors")
                logger.warning("no replica folds users in, the ingress does", extra={"reason": type(error).__name__})
                self._alone_until = time.monotonic() + ALONE_SECONDS
        return await _meanwhile(self._fold_in_here, servable, histories)

    def _fold_in_here(self, servable: Servable, histories: Histories) -> Any:
        with self._metrics.timed("factors"):
            return servable.recommender.fold_in(histories)

    async def call(self, stage: str, *arguments: Any) -> Any:
        """The result of a stage. Where the replica died, another is called once, since a stage changes nothing."""
        try:
            with self._metrics.timed(stage):
                return await self._remote(stage, *arguments)
        except DEAD as error:
            self._metrics.recorder.count(STAGE_FAILURES, stage)
            logger.warning("a replica died, calling another", extra={"stage": stage, "reason": type(error).__name__})
        try:
            with self._metrics.timed(stage):
                return await self._remote(stage, *arguments)
        except DEAD as error:
            self._metrics.recorder.count(STAGE_FAILURES, stage)
            raise Unavailable(f"{stage}: {error}") from error

    async def _remote(self, stage: str, *arguments: Any) -> Any:
        """The result of one call. The replica gets the ids of the requests for its log."""
        try:
            return await self._stages[stage].remote(*arguments, request_ids=logs.request_ids())
        except RayTaskError:
            self._metrics.recorder.count(STAGE_FAILURES, stage)
            raise

    async def load(self, version: str) -> None:
        """See StageRunner."""
        for stage, failures in (await self.broadcast("load", version)).items():
            for reason in failures:
                if reason is not None:
                    raise RegistryError(f"{stage}: {reason}")

    async def load_rules(self, file: RulesFile) -> None:
        """See StageRunner."""
        await _call_all("candidates", self._stages["candidates"], "load_rules", file)

    async def loaded_versions(self) -> VersionsByStage:
        """See StageRunner."""
        return await self.broadcast("loaded_versions")

    async def broadcast(self, method: str, *arguments: Any) -> dict[str, list[Any]]:
        """The results of a method from every replica of each stage."""
        results = await asyncio.gather(*(_call_all(*stage, method, *arguments) for stage in self._stages.items()))
        return dict(zip(self._stages, results, strict=True))


async def _meanwhile(work: Callable[..., Any], *arguments: Any) -> Any:
    """The result of work in this process. The work begins once the calls of other stages have been sent."""
    await asyncio.sleep(LEAVE_SECONDS)
    return work(*arguments)


async def _nobody() -> tuple[()]:
    """The result for a batch without users."""
    return ()


async def _call_all(stage: str, handle: DeploymentHandle[Any], method: str, *arguments: Any) -> list[Any]:
    try:
        return await handle.broadcast(method, *arguments).results_async(timeout_s=BROADCAST_SECONDS)
    except (*DEAD, TimeoutError) as error:
        raise Unavailable(f"{stage}: {type(error).__name__}: {error}") from error
