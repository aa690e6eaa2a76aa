"""The access log: a sample of the requests, and every one that failed."""

import logging
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

logger = logging.getLogger(__name__)


class AccessLog:
    """Middleware that logs one of `every` requests, and each that ends with 500 or above."""

    def __init__(self, app: ASGIApp, every: int) -> None:
        self._app, self._every, self._count = app, every, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 0
        self._count += 1
        sampled = self._count % self._every == 0

        async def note_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, note_status)
        except Exception:  # becomes a response of 500 outside of this middleware
            status = 500
            raise
        finally:
            if sampled or status >= 500:
                ms = round((time.perf_counter() - started) * 1000, 2)
                extra = {"path": scope["path"], "status": status, "ms": ms, "sampled": self._every}
                logger.info("request", extra=extra)
