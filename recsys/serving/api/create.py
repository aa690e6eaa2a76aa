"""The HTTP interface of a service: a FastAPI application, for any server."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final

from fastapi import FastAPI
from fastapi.routing import APIRoute

from recsys import __version__
from recsys.serving.api import documentation, health, page, recommendations, related, sessions, users
from recsys.serving.api.access_log import AccessLog
from recsys.serving.api.errors import add_error_handlers
from recsys.serving.api.gate import add_access
from recsys.serving.api.routes import StrictRoute
from recsys.serving.api.sign_in import sign_in_pages
from recsys.serving.metrics.http import HttpMetrics
from recsys.serving.metrics.recorder import Recorder
from recsys.serving.service import Service

Router = Callable[[FastAPI, Service], None]
"""A function that adds some routes to the app, such as those of users. FastAPI's own routers cost time per request."""
ROUTERS: Final[tuple[Router, ...]] = (
    page.add_routes,
    health.add_routes,
    recommendations.add_routes,
    sessions.add_routes,
    users.add_routes,
    related.add_routes,
    documentation.add_routes,
)


def create_api(
    service: Service, log_every: int, routers: Sequence[Router] = ROUTERS, recorder: Recorder | None = None
) -> FastAPI:
    """The application. While it runs, the service follows the version in production.

    It takes requests once a version is served, or cannot be, so that a new replica can answer at once.

    log_every: number n; one of n requests goes to the access log
    recorder: counts the requests; None for counts that nobody reads
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await service.following.start()
        await service.rules.update()
        parts = (service.following, service.rules, service.access, service.lease)
        tasks = [asyncio.create_task(part.run()) for part in parts]
        yield
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    api = FastAPI(
        title="E-Commerce Recommendation API",
        version=__version__,
        lifespan=lifespan,
        redirect_slashes=False,
        openapi_url=None,  # `documentation` adds its own routes instead
    )
    api.router.route_class = StrictRoute
    add_error_handlers(api)
    for add_routes in routers:
        add_routes(api, service)
    _remove_validation_errors(api)
    for route in api.routes:
        if isinstance(route, APIRoute):  # an id may hold line breaks, and "3\n" is not "3"
            route.path_regex = re.compile(route.path_regex.pattern.removesuffix("$") + r"\Z", re.DOTALL)
            if route.methods and "GET" in route.methods:  # only now, since the document would list each route twice
                route.methods.add("HEAD")
    if service is not None:  # the documentation describes the routes without one
        add_access(api, service.access, sign_in_pages(service))
    metrics = HttpMetrics(recorder or Recorder(), api)
    api.add_middleware(AccessLog, every=log_every, metrics=metrics)  # the outermost, which sees what the gate refuses
    return api


def _remove_validation_errors(api: FastAPI) -> None:
    """Take FastAPI's own 422 out of the OpenAPI document: this API sends 400 instead."""
    document = api.openapi()
    for path in document["paths"].values():
        for operation in path.values():
            operation["responses"].pop("422", None)
    for name in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(name, None)
