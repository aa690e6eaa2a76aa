"""The page that shows recommendations and the reasons for their scores."""

import pathlib
from collections.abc import Callable, Sequence
from typing import Final

from fastapi import FastAPI
from fastapi.responses import Response

from recsys.serving.api.html import html_response, policy, script_hashes
from recsys.serving.api.scopes import needs
from recsys.serving.service import Service

PAGE: Final = pathlib.Path(__file__).with_name("page.html")


def add_routes(api: FastAPI, service: Service) -> None:
    """Add GET /."""
    add_page(api, lambda: has_images(service))


def has_images(service: Service) -> bool:
    """Whether a loaded version has images, which lie elsewhere."""
    return any("image" in servable.bundle.texts for servable in service.following.loaded)


def page_policy(with_images: bool, scripts: Sequence[str] = ()) -> str:
    """The policy of the sources that the page may load; scripts: sources that may run beside its own"""
    images = ["data:", "'self'", "https:"] if with_images else ["data:"]
    return policy([*script_hashes(PAGE.read_text(encoding="utf-8")), *scripts], images)


def add_page(api: FastAPI, with_images: Callable[[], bool]) -> None:
    """Add GET /. The page may load images from elsewhere only while `with_images` returns true."""
    content = PAGE.read_bytes()
    policies = {images: page_policy(images) for images in (False, True)}

    @api.get("/", include_in_schema=False)
    @needs("read")
    async def page() -> Response:
        return html_response(content, policies[with_images()])
