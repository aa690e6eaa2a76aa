"""The HTTP routes over a service: a FastAPI application, whatever server runs it."""

import asyncio
import json
import logging
import pathlib
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Annotated, Any, Final, TypeVar

from fastapi import FastAPI, Path, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from recsys import __version__, schema
from recsys.serving import messages
from recsys.serving.answers import Question
from recsys.serving.messages import HttpError
from recsys.serving.service import Service

logger = logging.getLogger(__name__)

PAGE: Final = pathlib.Path(__file__).with_name("page.html")
PROBLEMS: Final[dict[int | str, dict[str, Any]]] = {
    status: {"model": messages.Problem, "description": text}
    for status, text in (
        (400, "A parameter is not valid"),
        (404, "There is no such user"),
        (503, "Not ready, or too busy; see Retry-After"),
        (500, "A fault of the service"),
    )
}
Route = TypeVar("Route", bound=Callable[..., Awaitable[Response]])
UserId = Annotated[str, Path(description="As in the data: an integer or a text", examples=["3"])]
Limit = Annotated[int, Query(ge=1, le=50, description="How many at most", examples=[5])]
ColdStart = Annotated[bool, Query(description="Popular items for a user without events", examples=[True])]
Objective = Annotated[
    schema.Objective,
    Query(
        description="All items, only those new to the user, or only those the user had before", examples=["discover"]
    ),
]
RepeatShare = Annotated[
    float | None,
    Query(
        ge=0,
        le=1,
        allow_inf_nan=False,
        description="Of all items: the share of the list that may be items the user had before, by default the "
        "version's own",
        examples=[0.5],
    ),
]
Explain = Annotated[bool, Query(description="Name candidate sources and categories", examples=[True])]
UserType = Annotated[messages.UserType, Query(description="With an event on an item of the factorization, or none")]


def create_api(service: Service, log_every: int) -> FastAPI:
    """The application; while it is up the service follows the version in production.

    It takes requests from its first look at the registry on, so that a replica that joins others answers at once.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await service.look()
        following = asyncio.create_task(service.follow())
        yield
        following.cancel()
        with suppress(asyncio.CancelledError):
            await following

    api = FastAPI(
        title="E-Commerce Recommendation API",
        version=__version__,
        lifespan=lifespan,
        redirect_slashes=False,
        redoc_url=None,
    )
    api.add_middleware(AccessLog, every=log_every)
    api.add_exception_handler(HttpError, _http_error)
    api.add_exception_handler(RequestValidationError, _invalid)
    api.add_exception_handler(HTTPException, _refused)
    api.add_exception_handler(Exception, _fault)
    _add_routes(api, service)
    for route in api.routes:
        if isinstance(route, APIRoute):  # an id may hold line breaks, and "3\n" is not "3"
            route.path_regex = re.compile(route.path_regex.pattern.removesuffix("$") + r"\Z", re.DOTALL)
    _document(api)
    return api


def _add_routes(api: FastAPI, service: Service) -> None:
    def get(path: str, model: type[Any], problems: tuple[int, ...]) -> Callable[[Route], Route]:
        responses: dict[int | str, dict[str, Any]] = {status: PROBLEMS[status] for status in (*problems, 500)}
        return api.get(path, responses=responses | {200: {"model": model}}, response_model=None)

    content = PAGE.read_bytes()

    @api.get("/", include_in_schema=False)
    async def page() -> Response:
        return Response(content, media_type="text/html", headers={"Cache-Control": "no-cache"})

    @get("/health", messages.Health, (503,))
    async def health() -> Response:
        """What is served, by which replicas, from which data."""
        found = await service.health()
        return _json(found, 200 if found["status"] == "healthy" else 503)

    @get("/recommend/{user_id:path}", messages.Recommendations, (400, 404, 503))
    async def recommend(
        user_id: UserId,
        n: Limit = 5,
        cold_start: ColdStart = False,
        explain: Explain = False,
        objective: Objective = "all",
        repeat_share: RepeatShare = None,
    ) -> Response:
        """The items a user is most likely to want, with both models' scores."""
        return _json(await service.recommend(Question(user_id, n, cold_start, explain, objective, repeat_share)))

    @get("/user/{user_id:path}/stats", messages.UserStats, (400, 404, 503))
    async def stats(user_id: UserId) -> Response:
        """What a user did in all."""
        return _json(service.stats(user_id))

    @get("/user/{user_id:path}/events", messages.UserEvents, (400, 404, 503))
    async def events(user_id: UserId, limit: Limit = 50) -> Response:
        """A user's newest events."""
        return _json(service.events(user_id, limit))

    @get("/users/random", messages.UserChoice, (400, 404, 503))
    async def random_user(user_type: UserType = "warm") -> Response:
        """Some user of a type."""
        return _json(service.random_user(user_type))


def _json(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    body = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Response(body, status, headers, media_type="application/json")


async def _http_error(_: Request, error: Any) -> Response:
    return _json({"detail": error.detail}, error.status, error.headers)


async def _invalid(_: Request, error: Any) -> Response:
    problems = (
        f"{'.'.join(map(str, problem['loc'][1:]))}: {problem['msg']}, found {str(problem['input'])[:80]!r}"
        for problem in error.errors()
    )
    return _json({"detail": "; ".join(problems)}, 400)


async def _refused(_: Request, error: Any) -> Response:
    return _json({"detail": error.detail}, error.status_code, dict(error.headers or {}))


async def _fault(_: Request, error: Exception) -> Response:
    logger.error("a request failed", exc_info=error)
    return _json({"detail": "internal server error"}, 500)


def _document(api: FastAPI) -> None:
    """The OpenAPI schema without FastAPI's own 422, which this API never sends."""
    document = api.openapi()
    for path in document["paths"].values():
        for operation in path.values():
            operation["responses"].pop("422", None)
    for name in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(name, None)


class AccessLog:
    """Logs one of `every` requests, and each that ends with 500 or above."""

    def __init__(self, app: ASGIApp, every: int) -> None:
        self._app, self._every, self._count = app, every, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 0
        self._count += 1
        sampled = self._count % self._every == 0

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watch)
        except Exception:  # answered with 500 outside of here
            status = 500
            raise
        finally:
            if sampled or status >= 500:
                ms = round((time.perf_counter() - started) * 1000, 2)
                extra = {"path": scope["path"], "status": status, "ms": ms, "sampled": self._every}
                logger.info("request", extra=extra)
