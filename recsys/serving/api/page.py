"""The page that shows recommendations and the reasons for their scores."""

import pathlib
from typing import Final

from fastapi import FastAPI
from fastapi.responses import Response

from recsys.serving.service import Service

PAGE: Final = pathlib.Path(__file__).with_name("page.html")


def add_routes(api: FastAPI, service: Service) -> None:
    """Add GET /."""
    content = PAGE.read_bytes()

    @api.get("/", include_in_schema=False)
    async def page() -> Response:
        return Response(content, media_type="text/html", headers={"Cache-Control": "no-cache"})
