"""A new endpoint takes one file with its routes, and one line in the list of routers."""

from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.responses import Response
from typing_extensions import TypedDict

from recsys.registry.folder import FolderStore
from recsys.serving.api.create import ROUTERS
from recsys.serving.api.errors import responses
from recsys.serving.api.messages import Count, VersionName, json_response, message
from recsys.serving.service import Service
from tests.support.bundles import publish
from tests.support.services import http, service_bundle, service_of

pytestmark = pytest.mark.anyio


@message
class Shop(TypedDict):
    model_version: VersionName
    items: Count
    """Items of the shop."""


def add_routes(api: FastAPI, service: Service) -> None:
    """This function and the message above would be the new file."""

    @api.get("/shop", responses=responses(Shop, 503), response_model=None)
    async def shop() -> Response:
        bundle = service.following.ready().bundle
        return json_response(Shop(model_version=bundle.version, items=len(bundle.items)))


async def test_a_router_adds_its_routes_errors_and_documentation(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    routers = (*ROUTERS, add_routes)  # the new line
    async with http(service_of(store), routers=routers) as client:
        assert (await client.get("/shop")).status_code == 503
    publish(store, service_bundle(), "v1")
    async with http(service_of(store), routers=routers) as client:
        assert (await client.get("/shop")).json() == {"model_version": "v1", "items": len(service_bundle().items)}
        assert (await client.post("/shop")).status_code == 405
        assert (await client.get("/health")).status_code == 200
        document = (await client.get("/openapi.json")).json()
    assert set(document["paths"]["/shop"]["get"]["responses"]) == {"200", "500", "503"}
    described = document["components"]["schemas"]["Shop"]["properties"]["items"]
    assert (described["description"], described["examples"]) == ("Items of the shop.", [200])
