"""Responses to requests that fail: the body is always {"detail": …}."""

import logging
from typing import Annotated, Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pydantic import Field
from starlette.exceptions import HTTPException
from typing_extensions import TypedDict

from recsys.serving.api.messages import json_response, message
from recsys.serving.errors import HttpError

logger = logging.getLogger(__name__)

RETRY_AFTER_SECONDS: Final = 1
"""With 503: after so long a client may try again."""


@message
class Problem(TypedDict):
    detail: Annotated[str, Field(examples=["user 3 not found; ask with cold_start=true for popular items"])]


PROBLEMS: Final[dict[int | str, dict[str, Any]]] = {
    status: {"model": Problem, "description": text}
    for status, text in (
        (400, "A parameter is not valid"),
        (404, "There is no such user"),
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


def _problem(detail: str, status: int, headers: dict[str, str] | None = None) -> Response:
    return json_response(Problem(detail=detail), status, headers)


async def _http_error(_: Request, error: Any) -> Response:
    headers = {"Retry-After": str(RETRY_AFTER_SECONDS)} if error.status == 503 else {}
    return _problem(error.detail, error.status, headers)


async def _invalid_parameters(_: Request, error: Any) -> Response:
    problems = (
        f"{'.'.join(map(str, problem['loc'][1:]))}: {problem['msg']}, found {str(problem['input'])[:80]!r}"
        for problem in error.errors()
    )
    return _problem("; ".join(problems), 400)


async def _no_such_route(_: Request, error: Any) -> Response:
    """404 for an unknown path, 405 for another method."""
    headers = dict(error.headers or {})
    if "Allow" in headers:
        headers["Allow"] = ", ".join(sorted(headers["Allow"].split(", ")))  # of a set
    return _problem(error.detail, error.status_code, headers)


async def _fault(_: Request, error: Exception) -> Response:
    logger.error("a request failed", exc_info=error)
    return _problem("internal server error", 500)
