"""The id of a request: taken from its header, or made."""

import re
import uuid
from collections.abc import Iterable
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADER: Final = "X-Request-ID"
RAW_HEADER: Final = HEADER.lower().encode()
SAFE_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}")
"""Ids that are taken. Any other could forge a line of a log, or fill it."""


def request_id(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The id that a client or a proxy has given, if it is safe; else a new one. headers: of an ASGI scope"""
    for name, value in headers:
        if name == RAW_HEADER and SAFE_ID.fullmatch(value):
            return value.decode("ascii")
    return uuid.uuid4().hex


class OneId:
    """Middleware around all others, Ray Serve's included: a request has one safe id, and its response one header.

    Ray Serve takes any id from the header, and adds a header of its own to the response.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        header = (RAW_HEADER, request_id(scope["headers"]).encode())
        scope["headers"] = [header, *_others(scope["headers"])]

        async def send_one(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*_others(message.get("headers", ())), header]
            await send(message)

        await self._app(scope, receive, send_one)


def _others(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The headers without ids of requests."""
    return [pair for pair in headers if pair[0].lower() != RAW_HEADER]
