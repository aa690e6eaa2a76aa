"""Responses to requests that fail: the body is always {"detail": …}."""

import logging
from collections.abc import Mapping
from typing import Annotated, Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pydantic import Field
from starlette.exceptions import HTTPException
from starlette.routing import Match
from typing_extensions import TypedDict

from recsys import logs
from recsys.serving.api.messages import json_response, message
from recsys.serving.api.request_ids import HEADER
from recsys.serving.errors import HttpError, Unavailable
from recsys.serving.metrics.http import REFUSAL

logger = logging.getLogger(__name__)

SHOWN_PROBLEMS: Final = 5
"""Problems of one request that its response lists."""
RETRY_AFTER_SECONDS: Final = 1
"""With 503: after so long a client may try again."""


@message
class Problem(TypedDict):
    detail: Annotated[str, Field(examples=["user 3 not found; ask with cold_start=true for popular items"])]


PROBLEMS: Final[dict[int | str, dict[str, Any]]] = {
    status: {"model": Problem, "description": text}
    for status, text in (
        (400, "A parameter is not valid"),
        (401, "No valid API key"),
        (403, "The key lacks the scope of this route"),
        (404, "There is no such user, item or category"),
        (408, "The body did not come in time"),
        (413, "The body has too many bytes"),
        (429, "Too many requests of the key or the address; see Retry-After"),
        (503, "Not ready, or too busy; see Retry-After"),
        (500, "A fault of the service"),
    )
}


def responses(body: type[Any], *problems: int) -> dict[int | str, dict[str, Any]]:
    """The responses of a route for the OpenAPI document; body: the message of 200; problems: other status codes."""
    documented: dict[int | str, dict[str, Any]] = {status: PROBLEMS[status] for status in (*problems, 500)}
    return documented | {200: {"model": body}}


def add_error_handlers(api: FastAPI) -> None:
    """Turn every error of a request into a Problem."""
    api.add_exception_handler(HttpError, _http_error)
    api.add_exception_handler(RequestValidationError, _invalid_parameters)
    api.add_exception_handler(HTTPException, _no_such_route)
    api.add_exception_handler(Exception, _fault)


def problem(detail: str, status: int, headers: dict[str, str] | None = None) -> Response:
    """The response to a request that fails."""
    return json_response(Problem(detail=detail), status, headers)


async def _http_error(request: Request, error: Any) -> Response:
    if isinstance(error, Unavailable):
        request.scope[REFUSAL] = error.reason
    headers = {"Retry-After": str(RETRY_AFTER_SECONDS)} if error.status == 503 else {}
    return problem(error.detail, error.status, headers)


async def _invalid_parameters(_: Request, error: Any) -> Response:
    return problem("; ".join(map(_described, error.errors()[:SHOWN_PROBLEMS])), 400)


def _described(fault: Mapping[str, Any]) -> str:
    """A problem of pydantic's in words."""
    kind, place = fault["type"], ".".join(map(str, fault["loc"][1:]))
    if kind == "name":
        return f"{place + ': ' if place else ''}{fault['msg']}"
    text = str(fault["msg"]).removeprefix("Value error, ").replace("valid tuple", "valid list")
    given = "" if ", found " in text else f", found {str(fault['input'])[:80]!r}"
    return f"{place or 'body'}: {text}{given}"


async def _no_such_route(request: Request, error: Any) -> Response:
    """404 for an unknown path, 405 for another method."""
    headers = dict(error.headers or {})
    if "Allow" in headers:  # it has the methods of one route, and a path may have several
        routes = (route for route in request.app.routes if route.matches(request.scope)[0] is not Match.NONE)
        headers["Allow"] = ", ".join(sorted({method for route in routes for method in route.methods or ()}))
    return problem(error.detail, error.status_code, headers)


async def _fault(_: Request, error: Exception) -> Response:
    logger.error("a request failed", exc_info=error)
    # This response is made outside of the middleware that adds the id to all others.
    return problem("internal server error", 500, {HEADER: ",".join(logs.request_ids())})
