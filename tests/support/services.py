"""Services in this process over small registries, and stages that misbehave."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import httpx
import numpy as np

from recsys.errors import RegistryError
from recsys.histories import Histories
from recsys.inference.recommender import Recommendations
from recsys.inference.servable import Servable
from recsys.registry.bundle import Bundle
from recsys.registry.store import Store
from recsys.rules.file import RulesFile
from recsys.schema import Objective
from recsys.serving.api.create import ROUTERS, Router, create_api
from recsys.serving.api.health import Health, health_message
from recsys.serving.api.recommendations import Recommendations as Message
from recsys.serving.api.recommendations import recommendations_message
from recsys.serving.errors import HttpError, Unavailable
from recsys.serving.histories import HistorySource, SnapshotHistories
from recsys.serving.loaded_versions import LoadedVersions
from recsys.serving.metrics.recorder import Recorder
from recsys.serving.metrics.stages import StageMetrics
from recsys.serving.recommendations import Request
from recsys.serving.service import Service
from recsys.serving.settings import ServeSettings
from recsys.serving.stages import BatchOptions, LocalStages, StageRunner, VersionsByStage
from tests.support.bundles import small_bundle, without_factors

SELDOM = 1000.0
"""Seconds between two readings of a registry that does not change."""


def service_bundle() -> Bundle:
    """The small shop, except that no item of the user with the fewest events has factors."""
    bundle = small_bundle()
    return without_factors(bundle, bundle.snapshot.histories.take(np.array([cold_row(bundle)])).items)


def cold_row(bundle: Bundle) -> int:
    return int(np.argmin(bundle.snapshot.histories.lengths))


def service_of(
    store: Store,
    stages: StageRunner | None = None,
    histories: HistorySource | None = None,
    metrics: StageMetrics | None = None,
    **settings: Any,
) -> Service:
    """A service that follows the registry, by default with all stages in this process and the snapshot's histories."""
    own = {"registry": str(store), "poll_seconds": SELDOM, "deadline_ms": 60_000, "probe": False}
    chosen = ServeSettings(**own | settings)
    versions = LoadedVersions(store, chosen)
    runner = stages or LocalStages(metrics)
    return Service.build(versions, runner, histories or SnapshotHistories(), chosen, metrics)


async def recommend(
    service: Service,
    user: Any,
    n: int = 5,
    cold_start: bool = False,
    explain: bool = False,
    objective: Objective = "all",
) -> Message:
    """The response to a request as it goes over HTTP."""
    request = Request(str(user), n, cold_start, objective, explain=explain)
    response = await service.recommender.recommend(request)
    return recommendations_message(response, service.sentences.templates["en"] if explain else None)


async def health(service: Service) -> Health:
    """The health of a service as it goes over HTTP."""
    return health_message(await service.health.report())


@asynccontextmanager
async def http(
    service: Service, log_every: int = 100, routers: Sequence[Router] = ROUTERS, recorder: Recorder | None = None
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the running service; a fault of the service is a response, not an exception."""
    api = create_api(service, log_every, routers, recorder)
    transport = httpx.ASGITransport(api, raise_app_exceptions=False)
    async with (
        api.router.lifespan_context(api),
        httpx.AsyncClient(transport=transport, base_url="http://shop") as client,
    ):
        yield client


async def until(condition: Callable[[], Any], seconds: float = 60.0) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.002)


async def until_served(service: Service, version: str) -> None:
    """Wait until a service answers from a version."""
    async with asyncio.timeout(60):
        while await _served(service) != version:
            await asyncio.sleep(0.002)


async def _served(service: Service) -> str | None:
    try:
        return (await health(service))["model_version"]
    except HttpError:
        return None


class Call(NamedTuple):
    """A call of the stages."""

    version: str
    users: int
    now: int
    n: int


class FakeStages:
    """Stages that have loaded, and fail, as a test chooses.

    lacks: versions that they have not loaded
    rejects: why they cannot load any version
    slow: versions whose load never ends; ended: those of them whose load was cancelled
    fault: raised by each call
    open: cleared, each call hangs
    told: the versions that they were told to load
    """

    def __init__(self) -> None:
        self.lacks: set[str] = set()
        self.rejects: str | None = None
        self.slow: set[str] = set()
        self.ended: list[str] = []
        self.fault: BaseException | None = None
        self.open = asyncio.Event()
        self.open.set()
        self.stages: VersionsByStage = {}
        self.calls: list[Call] = []
        self.told: list[str] = []
        self.hanging = 0

    async def __call__(
        self, servable: Servable, histories: Histories, now: Any, options: BatchOptions
    ) -> Recommendations | None:
        version = servable.bundle.version
        self.calls.append(Call(version, len(histories), now, options.n))
        self.hanging += 1
        try:
            await self.open.wait()
        finally:
            self.hanging -= 1
        if self.fault is not None:
            raise self.fault
        if version in self.lacks:
            return None
        return await LocalStages()(servable, histories, now, options)

    async def load(self, version: str) -> None:
        self.told.append(version)
        if version in self.slow:
            try:
                await asyncio.Event().wait()
            finally:
                self.ended.append(version)
        if self.rejects is not None:
            raise RegistryError(self.rejects)

    async def load_rules(self, file: RulesFile) -> None:
        if self.rejects is not None:
            raise Unavailable(self.rejects)

    async def loaded_versions(self) -> VersionsByStage:
        await self.open.wait()
        return self.stages
