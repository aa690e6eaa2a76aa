"""What the service counts about requests: route, status, time, and the reasons of those with 503."""

from collections.abc import Mapping
from typing import Any, Final

from fastapi import FastAPI

from recsys.serving.errors import REFUSALS
from recsys.serving.metrics import definitions as named
from recsys.serving.metrics.recorder import Recorder

EXPECTED: Final = ("200", "500", "503")
"""Statuses that are counted from 0 for each route."""
REFUSAL: Final = "recsys.refusal"
"""The key of an ASGI scope under which the error handler leaves the reason of a 503."""


class HttpMetrics:
    """Counts the requests of an application."""

    def __init__(self, recorder: Recorder, api: FastAPI) -> None:
        self._recorder, self._api = recorder, api
        for reason in REFUSALS:
            recorder.expect(named.REFUSALS, reason)
        self._expected = False

    def answered(self, scope: Mapping[str, Any], status: int, seconds: float) -> None:
        """A request has its response; scope: of ASGI, after the request."""
        if not self._expected:  # only now are the routes complete
            self._expect_routes()
        route = route_of(scope)
        self._recorder.count(named.REQUESTS, route, str(status))
        self._recorder.observe(named.REQUEST_SECONDS, seconds, route)
        if status == 503:
            self._recorder.count(named.REFUSALS, scope.get(REFUSAL, "unavailable"))

    def _expect_routes(self) -> None:
        self._expected = True
        routes = {path for route in self._api.routes if (path := getattr(route, "path", None)) is not None}
        for route in sorted(routes | {named.OTHER_ROUTE}):
            for status in EXPECTED:
                self._recorder.expect(named.REQUESTS, route, status)


def route_of(scope: Mapping[str, Any]) -> str:
    """The template of the route that answered, such as `/recommend/{user_id:path}`, or OTHER_ROUTE."""
    return getattr(scope.get("route"), "path", named.OTHER_ROUTE)
