"""The graph with a clock at every border: where a request's time goes."""

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from fastapi import FastAPI
from ray.serve.handle import DeploymentHandle
from starlette.types import ASGIApp, Receive, Scope, Send

from recsys import logs
from recsys.histories import Histories
from recsys.inference.recommender import Recommendations
from recsys.inference.servable import Loaded
from recsys.registry.locate import open_store
from recsys.serving.answers import Answer, Question
from recsys.serving.api import create_api
from recsys.serving.deployments import CandidateReplica, FactorReplica, GraphEngine, Ingress, RankReplica
from recsys.serving.histories import SnapshotEvents
from recsys.serving.service import Service
from recsys.serving.settings import ServeSettings
from recsys.serving.stages import Wishes
from recsys.serving.versions import Versions

Means = dict[str, float]
"""Means by name. Times are in ms, over requests: what a batch of n took counts n times, since n waited for it; those of
the ranker over its rows."""


class Timings:
    """Sums up times by name."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = defaultdict(float)
        self._counts: dict[str, int] = defaultdict(int)

    @contextmanager
    def of(self, name: str, requests: int = 1) -> Iterator[None]:
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

    async def __call__(self, *asked: Any) -> Any:
        with self._timings.of("compute", len(asked[1])):
            return await super().__call__(*asked)  # type: ignore[misc]

    async def timings(self) -> Means:
        return self._timings.take()


class TimedCandidates(TimedStage, CandidateReplica): ...


class TimedFactors(TimedStage, FactorReplica): ...


class TimedRank(TimedStage, RankReplica): ...


TIMED_STAGES: Final = (TimedCandidates, TimedFactors, TimedRank)


class TimedEngine(GraphEngine):
    """Times all stages together and each call."""

    def __init__(self, timings: Timings, *stages: DeploymentHandle[Any]) -> None:
        super().__init__(*stages)
        self._timings = timings

    async def __call__(self, loaded: Loaded, histories: Histories, now: int, wishes: Wishes) -> Recommendations | None:
        with self._timings.of("stages", len(histories)):
            return await super().__call__(loaded, histories, now, wishes)

    async def _call(self, stage: str, *arguments: Any) -> Any:
        with self._timings.of(stage, len(arguments[1])):
            return await super()._call(stage, *arguments)

    async def timings(self) -> Means:
        """Compute times of the stages, of one replica each."""
        found = await self._everywhere("timings")
        return {
            f"{stage} compute": means["compute"] for stage, [means] in zip(self._stages, found, strict=True) if means
        }


class TimedService(Service):
    """Times a request with its wait for a batch, and the batch."""

    def __init__(self, timings: Timings, *parts: Any) -> None:
        super().__init__(*parts)
        self._timings = timings

    async def recommend(self, question: Question) -> Answer:
        with self._timings.of("service"):
            return await super().recommend(question)

    async def _answer_all(self, questions: Sequence[Question]) -> list[Answer | BaseException]:
        self._timings.note("requests in a batch", len(questions))
        with self._timings.of("batch", len(questions)):
            return await super()._answer_all(questions)


class TimedHttp:
    """Times the application as the HTTP server calls it."""

    def __init__(self, app: ASGIApp, timings: Timings) -> None:
        self._app, self._timings = app, timings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope.get("path", "").startswith("/recommend/"):
            with self._timings.of("application"):
                await self._app(scope, receive, send)
        else:
            await self._app(scope, receive, send)


class TimedIngress(Ingress):
    """An ingress that tells its timings, and its stages', under /timings."""

    def __init__(self, settings: ServeSettings, *stages: DeploymentHandle[Any]) -> None:
        logs.configure_logging(as_json=True)
        self._settings, self._timings = settings, Timings()
        versions = Versions(open_store(settings.registry), settings.alpha)
        self._engine = TimedEngine(self._timings, *stages)
        self._service = TimedService(self._timings, versions, self._engine, SnapshotEvents(), settings)

    def __serve_build_asgi_app__(self) -> FastAPI:
        api = create_api(self._service, self._settings.log_every)
        api.add_middleware(TimedHttp, timings=self._timings)

        @api.get("/timings")
        async def timings() -> Means:
            return self._timings.take() | await self._engine.timings()

        return api
