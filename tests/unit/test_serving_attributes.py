"""Titles and images in answers, and the page's policy on images."""

from collections.abc import AsyncIterator

import pyarrow as pa
import pytest
from httpx import AsyncClient

from recsys.registry.bundle import Bundle
from recsys.registry.folder import FolderStore
from tests.support.bundles import attributed_bundle, publish, small_bundle
from tests.support.services import http, service_of

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return attributed_bundle()


@pytest.fixture(scope="module")
async def client(tmp_path_factory: pytest.TempPathFactory, bundle: Bundle) -> AsyncIterator[AsyncClient]:
    store = FolderStore(tmp_path_factory.mktemp("registry"))
    publish(store, bundle, "v1")
    async with http(service_of(store)) as client:
        yield client


@pytest.fixture(scope="module")
async def plain(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[AsyncClient]:
    store = FolderStore(tmp_path_factory.mktemp("plain"))
    publish(store, small_bundle(), "v1")
    async with http(service_of(store)) as client:
        yield client


async def test_each_item_has_its_title_and_image(client: AsyncClient, bundle: Bundle) -> None:
    answer = (await client.get(f"/recommend/{bundle.snapshot.users[0]}?n=20")).json()
    recommendations = answer["recommendations"]
    codes = bundle.items.encode(pa.array([one["itemid"] for one in recommendations]))
    for name in ("title", "image"):
        expected = bundle.texts[name].take(pa.array(codes)).to_pylist()
        assert [one[name] for one in recommendations] == expected
    assert {one["image"] is None for one in recommendations} == {True, False}


async def test_a_version_without_texts_has_no_such_fields(plain: AsyncClient, bundle: Bundle) -> None:
    answer = (await plain.get(f"/recommend/{bundle.snapshot.users[0]}")).json()
    assert not {"title", "image"} & answer["recommendations"][0].keys()


async def test_the_page_may_load_images_only_where_a_version_has_some(client: AsyncClient, plain: AsyncClient) -> None:
    policies = [(await one.get("/")).headers["Content-Security-Policy"] for one in (client, plain)]
    assert [next(part for part in policy.split("; ") if part.startswith("img-src")) for policy in policies] == [
        "img-src data: 'self' https:",
        "img-src data:",
    ]
