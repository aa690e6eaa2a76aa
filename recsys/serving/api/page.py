"""The page that shows recommendations and the reasons for their scores."""

import pathlib
from typing import Final

from fastapi import FastAPI
from fastapi.responses import Response

from recsys.serving.api.html import html_response, policy, script_hashes
from recsys.serving.service import Service

PAGE: Final = pathlib.Path(__file__).with_name("page.html")


def add_routes(api: FastAPI, service: Service) -> None:
    """Add GET /."""
    text = PAGE.read_text(encoding="utf-8")
    content, allowed = text.encode(), policy(script_hashes(text), ["data:"])

    @api.get("/", include_in_schema=False)
    async def page() -> Response:
        return html_response(content, allowed)
