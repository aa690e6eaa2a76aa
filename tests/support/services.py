"""Services in this process over small registries, and stages that misbehave."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import httpx
import numpy as np

from recsys.histories import Histories
from recsys.inference.recommender import Recommendations
from recsys.inference.servable import Loaded
from recsys.registry.bundle import Bundle
from recsys.registry.store import Store
from recsys.serving.api import create_api
from recsys.serving.histories import SnapshotEvents
from recsys.serving.messages import HttpError
from recsys.serving.service import Service
from recsys.serving.settings import ServeSettings
from recsys.serving.stages import Engine, Held, LocalEngine, Wishes
from recsys.serving.versions import Versions
from tests.support.bundles import small_bundle, without_factors

SELDOM = 1000.0
"""Seconds between two looks at a registry that does not change."""


def service_bundle() -> Bundle:
    """The small shop; the factorization knows no item of the user with the fewest events."""
    bundle = small_bundle()
    return without_factors(bundle, bundle.snapshot.histories.take(np.array([cold_row(bundle)])).items)


def cold_row(bundle: Bundle) -> int:
    return int(np.argmin(bundle.snapshot.histories.lengths))


def service_of(store: Store, engine: Engine | None = None, **settings: Any) -> Service:
    """A service that follows the registry, by default with all stages in this process."""
    own = {"registry": str(store), "poll_seconds": SELDOM, "deadline_ms": 60_000, "try_apart": False}
    chosen = ServeSettings(**own | settings)
    versions = Versions(store, chosen.alpha, chosen.try_apart)
    return Service(versions, engine or LocalEngine(versions), SnapshotEvents(), chosen)


@asynccontextmanager
async def http(service: Service, log_every: int = 100) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the running service; a fault of the service is an answer, not an exception."""
    api = create_api(service, log_every)
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
        return (await service.health())["model_version"]
    except HttpError:
        return None


class Call(NamedTuple):
    """What the stages were asked."""

    version: str
    users: int
    now: int
    n: int


class FakeStages:
    """Stages of which tests choose what they hold and how they fail.

    lacks: versions that they do not hold
    refuses: why they cannot load any version
    fault: raised by each call
    open: cleared, each call hangs
    prepared: the versions that they were told to load
    """

    def __init__(self) -> None:
        self.lacks: set[str] = set()
        self.refuses: str | None = None
        self.fault: BaseException | None = None
        self.open = asyncio.Event()
        self.open.set()
        self.stages: Held = {}
        self.calls: list[Call] = []
        self.inputs: list[str] = []
        self.hanging = 0

    async def __call__(self, loaded: Loaded, histories: Histories, now: int, wishes: Wishes) -> Recommendations | None:
        version = loaded.bundle.version
        self.calls.append(Call(version, len(histories), now, wishes.n))
        self.hanging += 1
        try:
            await self.open.wait()
        finally:
            self.hanging -= 1
        if self.fault is not None:
            raise self.fault
        if version in self.lacks:
            return None
        return loaded.recommender(histories, now, wishes.n, wishes.objectives, wishes.repeat_shares)

    async def prepare(self, version: str) -> str | None:
        self.inputs.append(version)
        return self.refuses

    async def held(self) -> Held:
        await self.open.wait()
        return self.stages
