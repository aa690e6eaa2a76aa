"""Requests of other sites' pages, in browsers: allowed for the origins that are named, and for no others."""

from collections.abc import Sequence
from typing import Final

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from recsys.serving.api.errors import problem
from recsys.serving.api.messages import SAFE

METHODS: Final = ("GET", "HEAD", "POST")
ASKED: Final = ("Authorization", "X-API-Key")
"""Headers that a page may send beside the plain ones."""
TOLD: Final = ("Retry-After",)
"""Headers that a page may read beside the plain ones."""


class NamedOrigins(CORSMiddleware):
    """Starlette's CORSMiddleware without cookies.

    Only named origins get a preflight's answer, for which no key is needed. All others get that of any other request.
    """

    def __init__(self, app: ASGIApp, origins: Sequence[str]) -> None:
        super().__init__(app, allow_origins=origins, allow_methods=METHODS, allow_headers=ASKED, expose_headers=TOLD)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "OPTIONS":
            origin = Headers(scope=scope).get("origin")
            if origin is None or not self.is_allowed_origin(origin):
                await self.app(scope, receive, send)
                return
        await super().__call__(scope, receive, send)

    def preflight_response(self, request_headers: Headers) -> Response:
        """See CORSMiddleware; a refusal has the form of all errors."""
        response = super().preflight_response(request_headers)
        if response.status_code == 400:
            return problem("the page asks for a method or a header that is not allowed", 400, _cors(response))
        response.headers.update(SAFE)
        return response


def _cors(response: Response) -> dict[str, str]:
    names = ("vary", "access-control-allow-origin")
    return {name: response.headers[name] for name in names if name in response.headers}
