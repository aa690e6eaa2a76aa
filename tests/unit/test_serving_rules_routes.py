"""Filters, rules and the rules file on every route with a list: a test fails where a route ignores them."""

import json
from pathlib import Path
from typing import Any

import pytest
from httpx import AsyncClient, Response

from recsys.registry.bundle import Bundle
from recsys.registry.folder import FolderStore
from tests.support.bundles import attributed_bundle, with_sessions
from tests.support.services import http, service_of
from tests.support.shop_data import item_id

pytestmark = pytest.mark.anyio

N = 6
VISIT = [{"itemid": item_id(number)} for number in (3, 8, 4)]
ROUTES = {
    "a session": ("/recommend", {"events": VISIT}),
    "a session of a user": ("/recommend", {"events": VISIT, "user_id": 1000}),
    "a cart": ("/basket", {"items": [item_id(3), item_id(8)]}),
    "a user": ("/recommend/1000", None),
    "a context item": (f"/recommend/1000?item_id={item_id(3)}", None),
    "similar items": (f"/items/{item_id(3)}/similar", None),
    "trending items": ("/trending", None),
    "new items": ("/new", None),
}
"""The path and the body of each route, None for GET."""
FORMS: dict[str, tuple[str, dict[str, Any]]] = {
    "exclude": ("exclude={}", {"exclude": ["{}"]}),
    "only": ("only_categories={}", {"only": [{"categories": ["{}"]}]}),
    "boost": ("boost=item:{}:1000000", {"boost": [{"factor": 1e6, "where": {"items": ["{}"]}}]}),
    "pin": ("pin={}:2", {"pin": [{"item": "{}", "position": 2}]}),
    "cap": ("max_per=category:1", {"cap": [{"at_most": 1, "per": "category"}]}),
    "no rule": ("diversity=0", {"diversity": 0}),
    "no file": ("rules_file=false", {"rules_file": False}),
    "colour": ("only_values=colour:red", {"only": [{"attribute": "colour", "values": ["red"]}]}),
}
"""Each rule as a query and as fields of a body; {} stands for an id."""


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return with_sessions(attributed_bundle())


async def ask(client: AsyncClient, route: str, rule: str | None = None, id: Any = "", **more: Any) -> Response:
    path, body = ROUTES[route]
    query, fields = FORMS["no rule" if rule is None else rule]
    if body is None:
        given = [f"n={N}", query.format(id), *(f"{name}={value}" for name, value in more.items())]
        return await client.get(f"{path}{'&' if '?' in path else '?'}{'&'.join(given if rule else given[::2])}")
    filled = {name: filled_in(value, id) for name, value in fields.items()} if rule else {}
    content = json.dumps({**body, "n": N, **filled, **more})
    return await client.post(path, content=content, headers={"content-type": "application/json"})


def filled_in(value: Any, id: Any) -> Any:
    if isinstance(value, dict):
        return {name: filled_in(one, id) for name, one in value.items()}
    if isinstance(value, list):
        return [filled_in(one, id) for one in value]
    return id if value == "{}" else value


async def items(client: AsyncClient, route: str, rule: str | None = None, id: Any = "") -> list[Any]:
    response = await ask(client, route, rule, id)
    assert response.status_code == 200, response.text
    return [row["itemid"] for row in response.json()["recommendations"]]


@pytest.mark.parametrize("route", ROUTES)
async def test_every_rule_has_its_effect_on_every_route(client: AsyncClient, bundle: Bundle, route: str) -> None:
    plain = await items(client, route)
    assert len(plain) == N
    assert await items(client, route, "no rule") == plain
    without = await items(client, route, "exclude", plain[0])
    assert plain[0] not in without
    assert len(without) == N
    assert (await items(client, route, "boost", plain[-1]))[0] == plain[-1]
    pinned = await items(client, route, "pin", plain[-1])
    assert (pinned[1], len(pinned)) == (plain[-1], N)
    codes = {item: bundle.items.code(item) for item in bundle.items.values.to_pylist()}
    levels, leaf = bundle.tables.statistics.levels, bundle.tables.statistics.category
    for category in (1, 10):
        listed = await items(client, route, "only", category)
        assert len(listed) == N
        code = bundle.categories.code(category)
        assert all(code in levels[codes[item]] for item in listed)
    capped = [leaf[codes[item]] for item in await items(client, route, "cap")]
    known = [category for category in capped if category >= 0]
    assert len(set(known)) == len(known)


@pytest.mark.parametrize("route", ROUTES)
async def test_a_list_that_filters_empty_says_so(client: AsyncClient, route: str) -> None:
    empty = (await ask(client, route, "only", 999)).json()
    assert empty["recommendations"] == []
    assert empty["note"] == "no item of this version passes the filter only categories 999"
    assert "note" not in (await ask(client, route)).json()


@pytest.mark.parametrize("route", ROUTES)
async def test_a_filter_that_the_version_cannot_apply_is_400(client: AsyncClient, route: str) -> None:
    response = await ask(client, route, "colour")
    assert response.status_code == 400
    assert "no attribute 'colour'" in response.json()["detail"]


@pytest.mark.parametrize("route", ROUTES)
async def test_the_rules_file_holds_on_every_route(
    client: AsyncClient, store: FolderStore, tmp_path: Path, route: str
) -> None:
    plain = await items(client, route)
    path = tmp_path / "rules.yaml"
    path.write_text(f"rules:\n- {{name: gone, filter: without, where: {{items: [{plain[0]}]}}}}\n")
    service = service_of(store, rules=str(path))
    await service.following.start()
    await service.rules.update()
    async with http(service) as ruled:
        listed = await items(ruled, route)
        assert plain[0] not in listed
        assert len(listed) == N
        assert await items(ruled, route, "no file") == plain


@pytest.mark.parametrize("route", ["a session", "a user", "a context item"])
async def test_explanations_name_the_rules_that_moved_an_item(client: AsyncClient, route: str) -> None:
    last = (await items(client, route))[-1]
    explain = "true" if ROUTES[route][1] is None else True
    first, *others = (await ask(client, route, "boost", last, explain=explain)).json()["recommendations"]
    assert first["itemid"] == last
    assert first["explanation"]["rules"] == [f"boost items {last}"]
    assert first["explanation"]["sentence"]
    assert not any("rules" in other["explanation"] for other in others)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"exclude": 5}, "exclude: Input should be a valid list"),
        ({"exclude": [True]}, "exclude: true and false are not accepted here"),
        ({"exclude": ["\ud800"]}, "exclude.0: expected a text of whole characters"),
        ({"exclude": ["x"]}, "exclude 'x' does not fit"),
        ({"exclude": [1.5]}, "exclude.0: expected an id, a whole number or a text, found 1.5"),
        ({"only": [{"categories": ["x"]}]}, "only: category 'x' does not fit"),
        ({"bury": [{"factor": 2, "where": {"items": ["x"]}}]}, "bury: item 'x' does not fit"),
        ({"cap": [{"at_most": 1, "where": {"items": ["x"]}}]}, "cap: item 'x' does not fit"),
        ({"cap": [{"at_most": 1, "per": "colour"}]}, "cap per colour: this version has no attribute 'colour'"),
        (
            {"only": [{"attribute": "colour", "values": [None, "red"]}]},
            "only.0.values.0: expected a word or a number, found None",
        ),
        (
            {"only": [{"attribute": "colour", "values": ["\ud800"]}]},
            "only.0.values.0: expected a text of whole characters",
        ),
        ({"only": [{"categories": [1], "items": [2]}]}, "only.0: expected one of items, categories and attribute"),
        ({"only": [{"category": [1]}]}, "only.0.category"),
        ({"boost": [{"factor": 0.5, "where": {"items": [1]}}]}, "boost.0.factor: Input should be greater"),
        ({"cap": [{"at_most": "1", "per": "category"}]}, "cap.0.at_most: Input should be a valid integer"),
        ({"pin": [{"item": 1, "position": 0}]}, "pin.0.position"),
        ({"diversity": 2}, "diversity: Input should be less than or equal to 1"),
        ({"availability": "all"}, "availability: "),
        ({"exclude_sen": True}, "unknown field exclude_sen; did you mean exclude_seen?"),
    ],
)
@pytest.mark.parametrize("route", ["a session", "a cart"])
async def test_a_wrong_field_of_a_body_is_named(
    client: AsyncClient, route: str, fields: dict[str, Any], message: str
) -> None:
    response = await ask(client, route, **fields)
    assert response.status_code == 400
    assert message in response.json()["detail"]
    assert "function-" not in response.json()["detail"]


HUGE = 10**400
"""An integer beyond every float."""


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"n": HUGE}, "n: "),
        ({"exclude": [HUGE]}, "exclude '1000"),
        ({"only": [{"items": [-HUGE]}]}, "only: item '-1000"),
        ({"only": [{"categories": [HUGE]}]}, "only: category '1000"),
        ({"only": [{"attribute": "price", "between": [0, HUGE]}]}, "only.0.between.1: "),
        ({"only": [{"attribute": "price", "between": [-HUGE, None]}]}, "only.0.between.0: "),
        ({"only": [{"attribute": "colour", "values": [HUGE]}]}, "only: this version has no attribute 'colour'"),
        ({"boost": [{"factor": HUGE, "where": {"items": [1]}}]}, "boost.0.factor: "),
        ({"cap": [{"at_most": HUGE, "per": "category"}]}, "cap.0.at_most: "),
        ({"pin": [{"item": HUGE, "position": 1}]}, "pin '1000"),
        ({"pin": [{"item": 1, "position": HUGE}]}, "pin.0.position: "),
        ({"diversity": HUGE}, "diversity: "),
        ({"exclude_seen": HUGE}, "exclude_seen: "),
        ({"availability": HUGE}, "availability: "),
    ],
)
@pytest.mark.parametrize("route", ["a session", "a cart"])
async def test_a_huge_number_of_a_body_is_named(
    client: AsyncClient, route: str, fields: dict[str, Any], message: str
) -> None:
    path, body = ROUTES[route]
    response = await client.post(path, json={**(body or {}), **fields})
    assert response.status_code == 400
    assert response.json()["detail"].startswith(message)


@pytest.mark.parametrize("number", [str(HUGE), f"-{HUGE}", "1" * 5000, "1e400", "1e" + "9" * 400])
@pytest.mark.parametrize(
    "query",
    [
        *("n={}", "exclude={}", "exclude=[{}]", "only_categories={}", "between=price:0:{}", "between=price::{}"),
        *("boost=item:1:{}", "boost=item:{}:2", "max_per=category:{}", "pin=1:{}", "pin={}:1", "diversity={}"),
    ],
)
async def test_a_huge_number_of_a_query_is_named(client: AsyncClient, query: str, number: str) -> None:
    response = await client.get(f"/trending?{query.format(number)}")
    assert response.status_code == 400
    assert response.json()["detail"].startswith(query.partition("=")[0].removesuffix("_categories"))


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("boost=item:abc:2", "boost: item 'abc' does not fit"),
        ("bury=category:abc:2", "bury: category 'abc' does not fit"),
        ("boost=colour:red:2", "boost: this version has no attribute 'colour'"),
    ],
)
@pytest.mark.parametrize("route", ["a user", "similar items", "trending items", "new items"])
async def test_a_rule_of_a_query_that_does_not_fit_is_named(
    client: AsyncClient, route: str, query: str, message: str
) -> None:
    response = await client.get(f"{ROUTES[route][0]}?{query}")
    assert response.status_code == 400
    assert response.json()["detail"].startswith(message)


@pytest.mark.parametrize(
    ("twice", "message"),
    [
        ('"exclude": [1], "exclude": []', "body: exclude is given 2 times; expected one value"),
        ('"n": 5, "n": 5, "n": 5', "body: n is given 3 times"),
        ('"pin": [{"item": 1, "position": 1, "item": 2}]', "body: item is given 2 times"),
        ('"boost": [{"factor": 2, "where": {"items": [1], "items": [2]}}]', "body: items is given 2 times"),
        ('"x\\ud800": 1, "x\\ud800": 2', "body: 'x\\ud800' is given 2 times"),
    ],
)
@pytest.mark.parametrize("route", ["a session", "a cart"])
async def test_a_key_that_is_given_twice_is_named(client: AsyncClient, route: str, twice: str, message: str) -> None:
    path, body = ROUTES[route]
    content = f"{json.dumps(body)[:-1]}, {twice}}}"
    response = await client.post(path, content=content, headers={"content-type": "application/json"})
    assert response.status_code == 400
    assert response.json()["detail"].startswith(message)


async def test_seen_and_bought_items_of_a_session_are_left_out(client: AsyncClient) -> None:
    seen = {event["itemid"] for event in VISIT}
    body = {"events": [*VISIT, {"itemid": item_id(9), "event": "transaction"}], "n": 20}
    plain = await client.post("/recommend", json=body)
    assert seen & {row["itemid"] for row in plain.json()["recommendations"]}
    new = await client.post("/recommend", json=body | {"exclude_seen": True})
    assert not (seen | {item_id(9)}) & {row["itemid"] for row in new.json()["recommendations"]}
    unbought = {
        row["itemid"]
        for row in (await client.post("/recommend", json=body | {"exclude_purchased": True})).json()["recommendations"]
    }
    assert item_id(9) not in unbought
    assert seen & unbought
