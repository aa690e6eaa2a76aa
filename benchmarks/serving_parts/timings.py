"""The graph with a clock at every border: where a request's time goes."""

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final

from fastapi import FastAPI
from ray.serve.handle import DeploymentHandle
from starlette.types import ASGIApp, Receive, Scope, Send

from recsys import logs
from recsys.histories import Histories
from recsys.inference.options import BatchOptions
from recsys.inference.recommender import Recommendations
from recsys.inference.servable import Servable
from recsys.serving.api.create import create_api
from recsys.serving.deployments import CandidateReplica, FactorReplica, Ingress, RankReplica
from recsys.serving.errors import HttpError
from recsys.serving.graph_stages import GraphStages
from recsys.serving.histories import SnapshotHistories
from recsys.serving.metrics.recorder import Recorder
from recsys.serving.metrics.stages import StageMetrics
from recsys.serving.recommendations import BatchedRecommender, Request, Response
from recsys.serving.settings import ServeSettings
from recsys.timeline import Present

Means = dict[str, float]
"""Means by name. Times are in ms, over requests: what a batch of n took counts n times, since n waited for it; those of
the ranker over its rows."""


class Timings:
    """Sums up times by name."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = defaultdict(float)
        self._counts: dict[str, int] = defaultdict(int)

    @contextmanager
    def timed(self, name: str, requests: int = 1) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self.note(name, 1000 * (time.perf_counter() - started), requests)

    def note(self, name: str, value: float, requests: int = 1) -> None:
        self._sums[name] += requests * value
        self._counts[name] += requests

    def take(self) -> Means:
        """The means since the last call."""
        means = {name: total / self._counts[name] for name, total in self._sums.items()}
        self._sums.clear()
        self._counts.clear()
        return means


class TimedStage:
    """Put before a stage's replica class: times what it computes; of the ranker calls count by their rows."""

    def __init__(self, settings: ServeSettings) -> None:
        super().__init__(settings)  # type: ignore[call-arg]
        self._timings = Timings()

    async def __call__(self, *arguments: Any, **options: Any) -> Any:
        with self._timings.timed("compute", len(arguments[1])):
            return await super().__call__(*arguments, **options)  # type: ignore[misc]

    async def timings(self) -> Means:
        return self._timings.take()


class TimedCandidates(TimedStage, CandidateReplica): ...


class TimedFactors(TimedStage, FactorReplica): ...


class TimedRank(TimedStage, RankReplica): ...


TIMED_STAGES: Final = (TimedCandidates, TimedFactors, TimedRank)


class TimedStages(GraphStages):
    """Times all stages together and each call."""

    def __init__(self, timings: Timings, *stages: DeploymentHandle[Any]) -> None:
        super().__init__(*stages)
        self._timings = timings

    async def __call__(
        self, servable: Servable, histories: Histories, now: Present, options: BatchOptions
    ) -> Recommendations | None:
        with self._timings.timed("stages", len(histories)):
            return await super().__call__(servable, histories, now, options)

    async def call(self, stage: str, *arguments: Any) -> Any:
        with self._timings.timed(stage, len(arguments[1])):
            return await super().call(stage, *arguments)

    async def compute_times(self) -> Means:
        """Compute times of the stages, of one replica each."""
        timings = await self.broadcast("timings")
        return {f"{stage} compute": means["compute"] for stage, [means] in timings.items() if means}


class TimedRecommender(BatchedRecommender):
    """Times a request with its wait for a batch, and the batch."""

    def __init__(self, timings: Timings, *parts: Any) -> None:
        super().__init__(*parts)
        self._timings = timings

    async def recommend(self, request: Request) -> Response:
        with self._timings.timed("service"):
            return await super().recommend(request)

    async def recommend_batch(self, requests: Sequence[Request]) -> list[Response | HttpError]:
        self._timings.note("requests in a batch", len(requests))
        with self._timings.timed("batch", len(requests)):
            return await super().recommend_batch(requests)


class TimedHttp:
    """Times the application as the HTTP server calls it."""

    def __init__(self, app: ASGIApp, timings: Timings) -> None:
        self._app, self._timings = app, timings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope.get("path", "").startswith("/recommend/"):
            with self._timings.timed("application"):
                await self._app(scope, receive, send)
        else:
            await self._app(scope, receive, send)


class TimedIngress(Ingress):
    """An ingress with its timings, and its stages', under /timings."""

    def __init__(self, settings: ServeSettings, *stages: DeploymentHandle[Any]) -> None:
        logs.configure_logging(as_json=True)
        self._settings, self._timings = settings, Timings()
        self._stages = TimedStages(self._timings, *stages)
        service = self.build_service(self._stages, StageMetrics(Recorder(), settings.topology))
        parts = service.following, self._stages, SnapshotHistories(), settings
        self._service = replace(service, recommender=TimedRecommender(self._timings, *parts))

    def __serve_build_asgi_app__(self) -> FastAPI:
        api = create_api(self._service, self._settings.log_every)
        api.add_middleware(TimedHttp, timings=self._timings)

        @api.get("/timings")
        async def timings() -> Means:
            return self._timings.take() | await self._stages.compute_times()

        return api
