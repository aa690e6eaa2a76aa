"""The gate before all routes: keys, limits, and the size of headers. It answers before a body is read."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from fastapi import FastAPI
from fastapi.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from recsys.serving.access.access import Access
from recsys.serving.api.cors import NamedOrigins
from recsys.serving.api.errors import PROBLEMS, problem
from recsys.serving.api.scopes import CALLER, guard_routes

SignIn = Mapping[str, Callable[[], Response]]

OPEN_PATH: Final = "/health"
"""The route that needs no key; see `scopes` too."""
BEARER: Final = b"bearer "
MAX_HEADERS: Final = 100
MAX_HEADER_BYTES: Final = 12_288
"""Of names and values. HAProxy takes less than 16 KiB of headers and address together."""
MAX_URL: Final = 61_440
"""Bytes of path and query."""
NO_KEY: Final = "this needs an API key: `Authorization: Bearer KEY` or `X-API-Key: KEY`"
BAD_KEY: Final = "this API key is not valid"
TWO_KEYS: Final = "expected one API key, found several"
SCHEMES: Final[dict[str, Any]] = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "Authorization: Bearer KEY"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}


def add_access(api: FastAPI, access: Access, sign_in: SignIn) -> None:
    """Put the gate before the routes of an application, which has all its routes by now.

    sign_in: makers of the 401 for people, by the path of the page that it is for
    """
    if access.keys is not None:
        guard_routes(api)
        _document_keys(api)
    if access.keys is not None or access.addresses is not None:
        api.add_middleware(Gate, access=access, sign_in=sign_in)
    api.add_middleware(Bounds)
    if access.origins:
        api.add_middleware(NamedOrigins, origins=access.origins)


class Bounds:
    """Refuses long addresses, and headers that are many or long."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (response := _too_large(scope)):
            await response(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def _too_large(scope: Scope) -> Response | None:
    if len(scope.get("raw_path") or scope["path"]) + len(scope["query_string"]) > MAX_URL:
        return problem(f"the address has more than {MAX_URL:,} bytes", 414)
    headers = scope["headers"]
    if len(headers) > MAX_HEADERS:
        return problem(f"the request has more than {MAX_HEADERS} headers", 431)
    if sum([len(name) + len(value) for name, value in headers]) > MAX_HEADER_BYTES:
        return problem(f"the headers have more than {MAX_HEADER_BYTES:,} bytes", 431)
    return None


class Gate:
    """Lets requests through that have a valid key, and not too many of them.

    First the address counts, so that wrong keys count too, then the key. `/health` is open to GET and HEAD.
    """

    def __init__(self, app: ASGIApp, access: Access, sign_in: SignIn) -> None:
        self._app, self._access, self._sign_in = app, access, sign_in

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        response = self._refusal(scope) if scope["type"] == "http" else _no_socket
        await (response or self._app)(scope, receive, send)

    def _refusal(self, scope: Scope) -> Response | None:
        """The response to a request that is refused, None for one that passes; sets CALLER."""
        access = self._access
        if access.addresses is not None:
            address = access.addresses.client([value.decode("latin-1") for value in _values(scope, b"x-forwarded-for")])
            if address is not None and (wait := access.limits.wait_for_address(address)):
                return _too_many("this address", wait)
        if access.keys is None:
            return None
        given = list(_credentials(scope))
        caller = scope[CALLER] = access.keys.find(given[0]) if len(given) == 1 else None
        if _path(scope) == OPEN_PATH and scope["method"] in ("GET", "HEAD"):
            return None
        if caller is None:
            return self._unknown(scope, len(given))
        if wait := access.limits.wait_for_key(caller.name, caller.limit):
            return _too_many(f"the key of {caller.name}", wait)
        return None

    def _unknown(self, scope: Scope, given: int) -> Response:
        """The response of 401; a page for a browser that opens a page of the service."""
        page = self._sign_in.get(_path(scope)) if not given and scope["method"] == "GET" else None
        if page is not None and any(b"text/html" in value for value in _values(scope, b"accept")):
            return page()
        detail = BAD_KEY if given == 1 else TWO_KEYS if given else NO_KEY
        return problem(detail, 401, {"WWW-Authenticate": "Bearer"})


def _path(scope: Scope) -> str:
    """The path as the routes see it. Were it another one, the route would refuse a caller without a key."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


def _values(scope: Scope, name: bytes) -> Iterator[bytes]:
    return (value for key, value in scope["headers"] if key == name)


def _credentials(scope: Scope) -> Iterator[bytes]:
    """The keys that a request gives; an empty one for a header of another form."""
    for name, value in scope["headers"]:
        if name == b"authorization":
            yield value[len(BEARER) :].strip() if value[: len(BEARER)].lower() == BEARER else b""
        elif name == b"x-api-key":
            yield value.strip()


def _too_many(who: str, seconds: int) -> Response:
    return problem(f"too many requests of {who}; try again in {seconds} s", 429, {"Retry-After": str(seconds)})


async def _no_socket(scope: Scope, receive: Receive, send: Send) -> None:
    """Close a WebSocket, for which there is no route."""
    await send({"type": "websocket.close", "code": 1008})


def _document_keys(api: FastAPI) -> None:
    """Describe the keys in the OpenAPI document."""
    document = api.openapi()
    document["components"]["securitySchemes"] = SCHEMES
    schema = {"$ref": "#/components/schemas/Problem"}
    for path, operations in document["paths"].items():
        for operation in operations.values():
            if path == OPEN_PATH:
                continue
            operation["security"] = [{name: []} for name in SCHEMES]
            for status in (401, 403, 429):
                operation["responses"][str(status)] = {
                    "description": PROBLEMS[status]["description"],
                    "content": {"application/json": {"schema": schema}},
                }
