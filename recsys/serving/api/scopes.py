"""Who may use a route: each one declares the scope that a key needs for it, and a route without one needs `admin`."""

from collections.abc import Callable
from typing import Any, Final, Literal, TypeVar

from fastapi import FastAPI
from starlette.requests import HTTPConnection
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as Connection

from recsys.serving.access.document import Key, Scope
from recsys.serving.api.errors import problem

CALLER: Final = "recsys.caller"
"""The key of a connection's scope with the Key of the caller, None without one."""
NEEDS: Final = "recsys_needs"
"""The attribute of a route's function with what it needs."""
OPEN: Final = "open"

Need = Scope | Literal["open"]
Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


def needs(need: Need) -> Callable[[Endpoint], Endpoint]:
    """Decorator of a route's function, below that of the route: the scope that a key needs; `open` needs no key."""

    def declare(endpoint: Endpoint) -> Endpoint:
        vars(endpoint)[NEEDS] = need
        return endpoint

    return declare


def need_of(route: Route | Mount) -> Need:
    """The need of a route: `admin` where nothing is declared."""
    declared: Need = getattr(getattr(route, "endpoint", None), NEEDS, "admin")
    return declared


def caller_of(connection: HTTPConnection) -> Key | None:
    """The key that a request came with, None without a valid one."""
    caller: Key | None = connection.scope.get(CALLER)
    return caller


def guard_routes(api: FastAPI) -> None:
    """Have each route of the application refuse callers without the scope it needs.

    Raises TypeError for a route of another kind, which could not be guarded.
    """
    for route in api.routes:
        if not isinstance(route, Route | Mount):
            raise TypeError(f"{route!r} is not guarded; expected a route that is added to the application itself")
        route.app = Guard(route.app, need_of(route))


class Guard:
    """Refuses a request whose key has not the scope that the route needs."""

    def __init__(self, app: ASGIApp, need: Need) -> None:
        self._app, self._need = app, need

    async def __call__(self, scope: Connection, receive: Receive, send: Send) -> None:
        if self._need != OPEN:
            caller = scope.get(CALLER)
            if caller is None or self._need not in caller.scopes:
                await problem(f"this key lacks the scope {self._need}", 403)(scope, receive, send)
                return
        await self._app(scope, receive, send)
