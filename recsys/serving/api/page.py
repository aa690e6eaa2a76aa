"""The page that shows recommendations and the reasons for their scores."""

import pathlib
from collections.abc import Callable
from typing import Final

from fastapi import FastAPI
from fastapi.responses import Response

from recsys.serving.api.html import html_response, policy, script_hashes
from recsys.serving.service import Service

PAGE: Final = pathlib.Path(__file__).with_name("page.html")


def add_routes(api: FastAPI, service: Service) -> None:
    """Add GET /."""
    add_page(api, lambda: any("image" in servable.bundle.texts for servable in service.following.loaded))


def add_page(api: FastAPI, has_images: Callable[[], bool]) -> None:
    """Add GET /. The page may load images from elsewhere only while `has_images` returns true."""
    text = PAGE.read_text(encoding="utf-8")
    content, scripts = text.encode(), script_hashes(text)
    plain, with_images = policy(scripts, ["data:"]), policy(scripts, ["data:", "'self'", "https:"])

    @api.get("/", include_in_schema=False)
    async def page() -> Response:
        return html_response(content, with_images if has_images() else plain)
