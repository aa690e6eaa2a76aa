"""The documentation of the HTTP interface: the OpenAPI document, and Swagger UI to read and try it."""

import pathlib
from collections.abc import Sequence
from importlib import resources
from typing import Final

from fastapi import FastAPI, Request
from fastapi.responses import Response

from recsys.serving.api.html import html_response, policy, script_hashes
from recsys.serving.api.messages import SAFE, json_response
from recsys.serving.api.scopes import needs
from recsys.serving.service import Service

DOCS: Final = pathlib.Path(__file__).with_name("docs.html")
FILES: Final = {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css"}
"""The files of Swagger UI, which come with the package fastapi-offline, and their types."""
KEEP_SECONDS: Final = 3600
"""Time for which a browser keeps these files before it asks for them again."""


def page_policy(scripts: Sequence[str] = ()) -> str:
    """The policy of the sources that the page may load; scripts: sources that may run beside its own"""
    text = DOCS.read_text(encoding="utf-8")
    return policy(["'self'", *script_hashes(text), *scripts], ["data:"])


def add_routes(api: FastAPI, service: Service) -> None:
    """Add GET /openapi.json, GET /docs, and the files that this page loads."""
    content, allowed = DOCS.read_bytes(), page_policy()

    @api.get("/openapi.json", include_in_schema=False)
    @needs("read")
    async def document(request: Request) -> Response:
        prefix = request.scope.get("root_path", "").rstrip("/")
        servers = {"servers": [{"url": prefix}]} if prefix else {}
        return json_response({**api.openapi(), **servers})

    @api.get("/docs", include_in_schema=False)
    @needs("read")
    async def docs() -> Response:
        return html_response(content, allowed)

    for name, media_type in FILES.items():
        _add_file(api, name, media_type)


def read_file(name: str) -> bytes:
    """One of FILES."""
    return resources.files("fastapi_offline").joinpath("static", name).read_bytes()


def _add_file(api: FastAPI, name: str, media_type: str) -> None:
    content = read_file(name)
    headers = {**SAFE, "Cache-Control": f"max-age={KEEP_SECONDS}"}

    @api.get(f"/docs/{name}", include_in_schema=False)
    @needs("read")
    async def file() -> Response:
        return Response(content, media_type=media_type, headers=headers)
