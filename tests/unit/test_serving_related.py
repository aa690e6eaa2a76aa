"""Similar items, baskets and lists over HTTP."""

import json
from typing import Any

import numpy as np
import pytest
from httpx import AsyncClient, Response

from recsys.inference.related import RelatedItems
from recsys.registry.bundle import Bundle
from recsys.registry.folder import FolderStore
from recsys.serving.api.bodies import MAX_BODY
from tests.support.bundles import attributed_bundle, odd_bundle, publish, small_bundle
from tests.support.services import http, service_of
from tests.support.shop_data import item_id, leaf_id

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return small_bundle()


async def post(client: AsyncClient, body: Any, path: str = "/basket") -> Response:
    content = body if isinstance(body, bytes) else json.dumps(body)
    return await client.post(path, content=content, headers={"Content-Type": "application/json"})


def items(response: Response) -> list[Any]:
    assert response.status_code == 200, response.text
    return [row["itemid"] for row in response.json()["recommendations"]]


def problem(response: Response, status: int) -> str:
    assert response.status_code == status
    assert list(response.json()) == ["detail"]
    return response.json()["detail"]


async def test_routes_list_what_the_functions_do(client: AsyncClient, bundle: Bundle) -> None:
    related = RelatedItems.from_bundle(bundle)
    codes = np.array([4, 9], np.int32)
    ids = bundle.items.to_list(codes)
    expected = {
        f"/items/{ids[0]}/similar?n=7": related.similar(codes[:1], 7),
        f"/items/similar?item_id={ids[0]}&n=7": related.similar(codes[:1], 7),
        "/trending?n=7": related.lists.trending(7),
        "/new?n=7": related.lists.newest(7),
    }
    for path, listed in expected.items():
        response = await client.get(path)
        assert items(response) == bundle.items.to_list(listed.items)
        scores = [row["score"] for row in response.json()["recommendations"]]
        assert scores == listed.scores.tolist() == sorted(scores, reverse=True)
        assert response.json()["model_version"] == "v1"
    response = await post(client, {"items": ids, "n": 7})
    assert items(response) == bundle.items.to_list(related.basket(np.array([0, 2]), codes, 7).items)


async def test_messages_have_the_documented_fields(client: AsyncClient) -> None:
    similar = (await client.get(f"/items/{item_id(0)}/similar")).json()
    assert list(similar) == ["itemid", "model_version", "recommendations"]
    assert similar["itemid"] == item_id(0)
    assert len(similar["recommendations"]) == 5
    assert list(similar["recommendations"][0]) == ["itemid", "score"]
    cart = (await post(client, {"items": [item_id(0)]})).json()
    assert list(cart) == ["model_version", "unknown_items", "recommendations"]
    trending = (await client.get("/trending")).json()
    assert list(trending) == ["category", "model_version", "recommendations"]
    assert trending["category"] is None


async def test_titles_and_images_come_with_the_items(tmp_path: Any) -> None:
    store = FolderStore(tmp_path)
    published = publish(store, attributed_bundle(), "v1")
    assert "title" in published.texts
    titles = dict(zip(published.items.values.to_pylist(), published.texts["title"].to_pylist(), strict=True))
    async with http(service_of(store)) as client:
        for path in ("/trending?n=20", f"/items/{published.items[0]}/similar?n=20"):
            for row in (await client.get(path)).json()["recommendations"]:
                assert row["title"] == titles[row["itemid"]]


@pytest.mark.parametrize("list_name", ["trending", "new"])
async def test_a_category_has_its_descendants(client: AsyncClient, bundle: Bundle, list_name: str) -> None:
    below = [leaf_id(0), leaf_id(2), leaf_id(4)]  # the even leaves are below root 1
    response = await client.get(f"/{list_name}?n=50&category=1")
    assert response.json()["category"] == 1
    category = bundle.tables.statistics.category[bundle.items.encode(bundle.items.values)]
    by_item = dict(zip(bundle.items.values.to_pylist(), category.tolist(), strict=True))
    seen = {bundle.categories[by_item[item]] for item in items(response)}
    assert set(below) <= seen
    assert all(category % 2 == 0 for category in seen)
    leaf = items(await client.get(f"/{list_name}?n=50&category={leaf_id(0)}"))
    assert leaf
    assert {bundle.categories[by_item[item]] for item in leaf} == {leaf_id(0)}


@pytest.mark.parametrize(
    ("path", "status", "detail"),
    [
        ("/items/7/similar", 404, "item 7 not found"),
        ("/items/x7/similar", 400, "item_id 'x7' does not fit; the ids of items are of type int64"),
        ("/items/similar?item_id=", 400, "item_id '' does not fit"),
        ("/items/similar", 400, "item_id"),
        ("/items/500/similar?n=51", 400, "n: "),
        ("/items/500/similar?m=5", 400, "unknown parameter m"),
        ("/trending?category=99", 404, "category 99 not found"),
        ("/new?category=x", 400, "category 'x' does not fit; the ids of categories are of type int64"),
        ("/new?category=", 400, "category '' does not fit"),
        ("/trending?n=0", 400, "n: "),
        ("/basket", 405, "Method Not Allowed"),
    ],
)
async def test_a_bad_request_is_named(client: AsyncClient, path: str, status: int, detail: str) -> None:
    assert detail in problem(await client.get(path), status)


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b"", "body: Field required"),
        (b"{", "body: not JSON: Expecting property name"),
        (b"\xff", "body: not UTF-8"),
        (b"[" * 100_000, "body: lists and objects are nested too deeply"),
        ([], "body: expected a JSON object"),
        ({}, "items: Field required"),
        ({"items": 3}, "items: Input should be a valid list"),
        ({"items": [True]}, "items: true and false are not accepted here"),
        ({"items": [1.5]}, "items.0: expected an id, a whole number or a text, found 1.5"),
        ({"items": [None]}, "items.0: expected an id, a whole number or a text, found None"),
        ({"items": ["x"]}, "items.0 'x' does not fit; the ids of items are of type int64"),
        ({"items": [item_id(0), 2**63]}, "items.1 '9223372036854775808' does not fit"),
        ({"items": [1] * 501}, "items: List should have at most 500 items"),
        ({"items": [1], "n": 0}, "n: Input should be greater than or equal to 1"),
        ({"items": [1], "n": "5"}, "n: Input should be a valid integer"),
        ({"items": [1], "m": 5}, "unknown field m; expected one of: "),
    ],
)
async def test_a_bad_cart_is_named(client: AsyncClient, body: Any, detail: str) -> None:
    assert detail in problem(await post(client, body), 400)


async def test_a_body_is_bounded(client: AsyncClient) -> None:
    text = problem(await post(client, b" " * (MAX_BODY + 1)), 413)
    assert text == f"the body has more than {MAX_BODY:,} bytes"


@pytest.mark.parametrize(
    ("path", "known"),
    [
        ("/basket?explain=true", "this route has no parameters"),
        ("/trending?explain=true", "expected one of: n, category, "),
        ("/items/similar?explain=true", "expected one of: item_id, n, "),
        ("/new?objective=all", "expected one of: n, category, "),
    ],
)
async def test_a_list_without_explanations_guesses_no_name(client: AsyncClient, path: str, known: str) -> None:
    response = await post(client, {"items": []}, path) if path.startswith("/basket") else await client.get(path)
    name = path.partition("?")[2].partition("=")[0]
    assert problem(response, 400).startswith(f"unknown parameter {name}; {known}")


async def test_a_basket_takes_no_parameters(client: AsyncClient) -> None:
    assert "unknown parameter n" in problem(await post(client, {"items": []}, "/basket?n=5"), 400)


async def test_unknown_items_of_a_cart_are_named_and_passed_over(client: AsyncClient) -> None:
    known = await post(client, {"items": [item_id(0)]})
    mixed = await post(client, {"items": [7, item_id(0), 7, -1]})
    assert mixed.json()["unknown_items"] == [7, -1]
    assert items(mixed) == items(known)
    assert len(items(await post(client, {"items": [], "n": 3}))) == 3
    assert len(items(await post(client, {"items": [7], "n": 3}))) == 3


async def test_an_id_may_be_written_as_text(client: AsyncClient) -> None:
    numbers, texts = await post(client, {"items": [item_id(0)]}), await post(client, {"items": [str(item_id(0))]})
    assert numbers.json() == texts.json()


async def test_any_text_is_an_id_in_a_shop_of_texts(tmp_path: Any) -> None:
    published = publish(FolderStore(tmp_path), odd_bundle(), "v1")
    item = published.items[3]
    async with http(service_of(FolderStore(tmp_path))) as client:
        by_parameter = await client.get("/items/similar", params={"item_id": item})
        assert by_parameter.json()["itemid"] == item
        assert item not in items(by_parameter)
        assert item not in items(await post(client, {"items": [item]}))
        assert problem(await client.get("/items/a%0Ab%2Fc/similar"), 404) == "item a\nb/c not found"


async def test_without_a_version_nothing_is_ready(tmp_path: Any) -> None:
    async with http(service_of(FolderStore(tmp_path))) as client:
        for path in ("/items/1/similar", "/trending", "/new"):
            response = await client.get(path)
            problem(response, 503)
            assert response.headers["retry-after"] == "1"
        problem(await post(client, {"items": []}), 503)
