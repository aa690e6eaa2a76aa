"""The access log: a sample of the requests, and every one that failed. Each request gets an id, and is counted."""

import logging
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from recsys import logs
from recsys.serving.api.request_ids import RAW_HEADER, request_id
from recsys.serving.metrics.definitions import OTHER_ROUTE
from recsys.serving.metrics.http import HttpMetrics, route_of

logger = logging.getLogger(__name__)


class AccessLog:
    """Middleware that logs one of `every` requests, and each that ends with 500 or above.

    It logs no header, no query string and no body; a path only where it belongs to a route, since it may be anything
    else. The id of the request goes into its response and into all records about it.
    """

    def __init__(self, app: ASGIApp, every: int, metrics: HttpMetrics) -> None:
        self._app, self._every, self._count, self._metrics = app, every, 0, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 0
        self._count += 1
        sampled = self._count % self._every == 0
        number = request_id(scope["headers"])
        # For all of the request's own task, so that the handler of faults, outside of this middleware, has it too.
        logs.set_request_ids((number,))
        header = (RAW_HEADER, number.encode())

        async def note_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), header]
            await send(message)

        try:
            await self._app(scope, receive, note_status)
        except Exception:  # becomes a response of 500 outside of this middleware
            status = 500
            raise
        finally:
            seconds = time.perf_counter() - started
            self._metrics.answered(scope, status, seconds)
            if sampled or status >= 500:
                route = route_of(scope)
                path = {} if route == OTHER_ROUTE else {"path": scope["path"]}
                extra = {"route": route, "status": status, "ms": round(seconds * 1000, 2), "sampled": self._every}
                logger.info("request", extra={**path, **extra})
