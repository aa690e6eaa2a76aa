"""The routes over HTTP, in this process: the contract, bad input, faults, and the documentation."""

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import hypothesis
import numpy as np
import pytest
import schemathesis
from httpx import AsyncClient, Response
from hypothesis import strategies
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from recsys import __version__
from recsys.registry.bundle import Bundle
from recsys.registry.folder import FolderStore
from recsys.rules.request import RequestRules
from recsys.serving.api.create import create_api
from recsys.serving.api.rules import PARAMETERS
from recsys.serving.service import Service
from tests.support.bundles import odd_bundle, publish, retrained
from tests.support.services import FakeStages, cold_row, http, service_bundle, service_of, until
from tests.support.shop_data import DOT_IDS, ODD_IDS
from tests.support.soak import SOAK, scaled

pytestmark = pytest.mark.anyio

HUGE = "9" * 400
LONG = "x" * 50_000
ROUTES = [
    "/health",
    "/recommend/{user_id}",
    "/recommend",
    "/user/{user_id}/stats",
    "/user/stats",
    "/user/{user_id}/events",
    "/user/events",
    "/users/random",
    "/items/{item_id}/similar",
    "/items/similar",
    "/trending",
    "/new",
]
LISTS = ["/trending", "/new"]
POSTED = ["/basket"]
"""Routes that take a body."""
ITEM_ROUTES = ["/items/{item_id}/similar", "/items/similar"]
BY_PARAMETER = ["/recommend", "/user/stats", "/user/events"]
"""Routes that take the id of a user as a parameter."""
EVERY_PATH = [
    *("/", "/health", "/recommend/3", "/recommend?user_id=3", "/user/3/stats", "/user/stats?user_id=3"),
    *("/user/3/events", "/user/events?user_id=3", "/users/random", "/openapi.json", "/docs"),
    *("/docs/swagger-ui-bundle.js", "/docs/swagger-ui.css"),
    *("/items/500/similar", "/items/similar?item_id=500", "/trending", "/new"),
]


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return service_bundle()


@pytest.fixture(scope="module")
def odd_store(tmp_path_factory: pytest.TempPathFactory) -> FolderStore:
    store = FolderStore(tmp_path_factory.mktemp("odd"))
    publish(store, odd_bundle(), "v1")
    return store


@pytest.fixture(scope="module")
async def odd_client(odd_store: FolderStore) -> AsyncIterator[AsyncClient]:
    """Of the shop with text ids."""
    async with http(service_of(odd_store)) as client:
        yield client


@pytest.fixture
async def stages() -> FakeStages:
    return FakeStages()


def shape(value: Any) -> Any:
    """JSON with the types of its values instead of them; of a list its first element's."""
    if isinstance(value, dict):
        return {name: shape(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [shape(inner) for inner in value[:1]]
    return type(value).__name__


def assert_problem(response: Response, status: int) -> str:
    """An error of the contract; its text."""
    assert response.status_code == status
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert list(body) == ["detail"]
    assert isinstance(body["detail"], str)
    assert body["detail"]
    assert "Traceback" not in body["detail"]
    return body["detail"]


# The contract


async def test_recommendations_have_the_fields_of_the_contract(client: AsyncClient, bundle: Bundle) -> None:
    warm, cold = bundle.snapshot.users[0], bundle.snapshot.users[cold_row(bundle)]
    answer = await client.get(f"/recommend/{warm}?n=1")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    item = {"itemid": "int", "score": "float", "lgb_score": "float", "mf_score": "float"}
    fields = {
        "user_id": "int",
        "user_type": "str",
        "model_version": "str",
        "recommendations": [item],
        "total_candidates_scored": "int",
    }
    assert shape(answer.json()) == fields
    assert (answer.json()["user_id"], answer.json()["user_type"]) == (warm, "warm")
    item["mf_score"] = "NoneType"
    answer = await client.get(f"/recommend/{cold}?n=1")
    assert shape(answer.json()) == fields
    assert answer.json()["user_type"] == "cold"
    part = {"name": "str", "meaning": "str", "value": "float", "contribution": "float"}
    raw_score = {"features": [part], "other_features": "float", "bias": "float", "raw_score": "float"}
    explanation = {"sentence": "str", "because_of": "int", "position": "NoneType", **raw_score}
    item |= {"sources": ["str"], "category": "int", "explanation": explanation}
    assert shape((await client.get(f"/recommend/{cold}?n=1&explain=true")).json()) == fields


async def test_user_routes_have_the_fields_of_the_contract(client: AsyncClient, bundle: Bundle) -> None:
    user = bundle.snapshot.users[0]
    assert shape((await client.get(f"/user/{user}/stats")).json()) == {
        "user_id": "int",
        "user_type": "str",
        "total_events": "int",
        "purchases": "int",
        "conversion_rate": "float",
        "unique_items_viewed": "int",
        "unique_categories_viewed": "int",
        "first_seen": "str",
        "last_seen": "str",
    }
    assert shape((await client.get(f"/user/{user}/events")).json()) == {
        "user_id": "int",
        "events": [{"timestamp": "str", "event": "str", "itemid": "int", "category": "int"}],
    }
    assert len((await client.get(f"/user/{user}/events?limit=3")).json()["events"]) == 3
    for kind in ("warm", "cold"):
        found = (await client.get(f"/users/random?user_type={kind}")).json()
        assert shape(found) == {"user_id": "int", "user_type": "str"}
        assert found["user_type"] == kind


async def test_health_has_the_fields_of_the_contract(client: AsyncClient, bundle: Bundle) -> None:
    answer = await client.get("/health")
    assert answer.status_code == 200
    health = answer.json()
    assert health["model"].pop("created")
    assert health == {
        "status": "healthy",
        "service": "E-Commerce Recommendation API",
        "version": __version__,
        "mode": "Hybrid (LGB + MF with fold-in), graph",
        "model_version": "v1",
        "stats": {
            "total_events": 1,
            "unique_users": len(bundle.snapshot.users),
            "unique_items": len(bundle.items),
            "date_range": {"start": "2015-05-01 00:00:00.000000", "end": "2015-07-30 00:00:00.000000"},
        },
        "model": {
            "version": "v1",
            "features": len(bundle.manifest.features),
            "mf_users": 2,
            "mf_items": 3,
            "hybrid_alpha": 0.2,
            "discovery_alpha": 0.2,
            "not_learned": None,
            "metrics": {"ndcg@10 all": 0.5, "ndcg@10 cold": None},
        },
        "stages": {"ingress": [["v1"]]},
        "refused": None,
        "problem": None,
        "problem_since": None,
    }


async def test_health_has_alpha_for_both_objectives(bundle: Bundle, tmp_path: Path) -> None:
    own = bundle.manifest.blend.model_copy(update={"alpha": 0.35})
    manifest = bundle.manifest.model_copy(update={"discovery_blend": own})
    store = FolderStore(tmp_path)
    publish(store, replace(bundle, manifest=manifest, discovery_ranker=bundle.ranker), "v1")
    async with http(service_of(store)) as client:
        model = (await client.get("/health")).json()["model"]
    assert (model["hybrid_alpha"], model["discovery_alpha"]) == (0.2, 0.35)


async def test_the_page_comes_from_the_service_itself(client: AsyncClient) -> None:
    answer = await client.get("/")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")


# Input


@pytest.mark.parametrize(("n", "found"), [("", 5), ("?n=1", 1), ("?n=50", 20), ("?n=05", 5), ("?n=2&explain=true", 2)])
async def test_n_is_how_many_come_at_most(client: AsyncClient, bundle: Bundle, n: str, found: int) -> None:
    answer = (await client.get(f"/recommend/{bundle.snapshot.users[0]}{n}")).json()
    assert len(answer["recommendations"]) == min(found, answer["total_candidates_scored"])


NO_COUNTS = [
    *("0", "-1", "51", "abc", "1e9", "1000000000", HUGE, "1.5", "", "NaN", "%00", "٣٠٠"),
    *("5_0", "%2B5", "5.0", "%205", "5%20", "-0", "5%0A", "²"),
]


@pytest.mark.parametrize("value", NO_COUNTS)
async def test_another_n_is_refused_by_name(client: AsyncClient, bundle: Bundle, value: str) -> None:
    user = bundle.snapshot.users[0]
    assert assert_problem(await client.get(f"/recommend/{user}?n={value}"), 400).startswith("n: ")
    assert assert_problem(await client.get(f"/user/{user}/events?limit={value}"), 400).startswith("limit: ")


@pytest.mark.parametrize(
    "query",
    [
        "cold_start=perhaps",
        "explain=2",
        "explain=",
        "objective=new",
        "objective=",
        *(f"repeat_share={share}" for share in ("", "half", "nan", "-0.1", "1.1", "inf", "1_0", "0_1")),
        *(f"repeat_share={share}" for share in ("%2B.5", "%20.5", ".", "0x0", ".5%0A", "%D9%A0.%D9%A5")),
        *(f"cold_start={word}" for word in ("", "yes", "on", "t", "TRUE", "tRue", "2", "%20true", "01")),
        *(f"explain={word}" for word in ("no", "off", "n", "f")),
    ],
)
async def test_another_flag_is_refused_by_name(client: AsyncClient, bundle: Bundle, query: str) -> None:
    detail = assert_problem(await client.get(f"/recommend/{bundle.snapshot.users[0]}?{query}"), 400)
    assert detail.startswith(query.partition("=")[0])


@pytest.mark.timeout(10)
@pytest.mark.parametrize("value", ["1" * 60_000 + "x", "1" * 60_000, "1" * 30_000 + "." + "1" * 30_000 + "e"])
async def test_a_long_number_is_refused_in_no_time(client: AsyncClient, bundle: Bundle, value: str) -> None:
    for name in ("repeat_share", "n"):
        answer = await client.get(f"/recommend/{bundle.snapshot.users[0]}?{name}={value}")
        assert assert_problem(answer, 400).startswith(f"{name}: ")
        assert len(answer.content) < 300


@pytest.mark.parametrize("share", ["0", "1", ".5", "0.5", "1.", "5e-1", "5E-1", "-0.0", "00.50"])
async def test_plain_numbers_are_taken(client: AsyncClient, bundle: Bundle, share: str) -> None:
    assert (await client.get(f"/recommend/{bundle.snapshot.users[0]}?repeat_share={share}")).status_code == 200


@pytest.mark.parametrize(("word", "explained"), [("true", True), ("True", True), ("1", True), ("false", False)])
async def test_documented_words_are_taken(client: AsyncClient, bundle: Bundle, word: str, explained: bool) -> None:
    answer = (await client.get(f"/recommend/{bundle.snapshot.users[0]}?explain={word}")).json()
    assert ("sources" in answer["recommendations"][0]) is explained
    for parameter in (await client.get("/openapi.json")).json()["paths"]["/recommend"]["get"]["parameters"]:
        if parameter["schema"].get("type") == "boolean":
            assert f"`{word}`" in parameter["description"]


@pytest.mark.parametrize(
    ("query", "hint"),
    [
        ("cold_strt=true", "unknown parameter cold_strt; did you mean cold_start?"),
        ("Cold-Start=true", "unknown parameter Cold-Start; did you mean cold_start?"),
        ("N=5", "unknown parameter N; did you mean n?"),
        ("n=5&repeat=1", "unknown parameter repeat; did you mean repeat_share?"),
        ("repeat_cap=1", "unknown parameter repeat_cap; did you mean repeat_share?"),
        ("xyz=5", "unknown parameter xyz; expected one of: n, cold_start, explain, objective, repeat_share"),
        ("=5", "unknown parameter ''; expected one of: "),
        ("%0A", r"unknown parameter '\n'; expected one of: "),
        ("n", "n: "),
    ],
)
async def test_an_unknown_parameter_is_refused_with_the_nearest_one(
    client: AsyncClient, bundle: Bundle, query: str, hint: str
) -> None:
    detail = assert_problem(await client.get(f"/recommend/{bundle.snapshot.users[0]}?{query}"), 400)
    assert detail.startswith(hint)


@pytest.mark.parametrize("path", EVERY_PATH)
async def test_no_route_takes_an_unknown_parameter(client: AsyncClient, path: str) -> None:
    separator = "&" if "?" in path else "?"
    detail = assert_problem(await client.get(f"{path}{separator}{'m' * 5000}=1"), 400)
    assert detail.startswith(f"unknown parameter {'m' * 80}; ")
    assert len(detail) < 500


@pytest.mark.parametrize("query", ["n=1&n=2", "n=1&n=1", "n=1&explain=true&n=1"])
async def test_a_parameter_that_is_given_twice_is_refused(client: AsyncClient, bundle: Bundle, query: str) -> None:
    detail = assert_problem(await client.get(f"/recommend/{bundle.snapshot.users[0]}?{query}"), 400)
    assert detail == "parameter n is given 2 times; expected one value"


async def test_objectives_say_whether_items_are_new(client: AsyncClient, bundle: Bundle) -> None:
    user = bundle.snapshot.users[0]
    had = {bundle.items[item] for item in bundle.snapshot.take(np.array([0])).items.tolist()}
    found = {}
    for objective in ("all", "discover", "repeat"):
        answer = (await client.get(f"/recommend/{user}?n=10&objective={objective}")).json()
        found[objective] = {one["itemid"] for one in answer["recommendations"]}
        assert found[objective]
    assert not found["discover"] & had
    assert found["repeat"] <= had
    assert found["all"] == {
        one["itemid"] for one in (await client.get(f"/recommend/{user}?n=10")).json()["recommendations"]
    }


async def test_a_share_of_the_list_may_be_items_the_user_had(client: AsyncClient, bundle: Bundle) -> None:
    user = bundle.snapshot.users[0]
    had = {bundle.items[item] for item in bundle.snapshot.take(np.array([0])).items.tolist()}
    for share, at_most in ((0, 0), (0.3, 2), (1, 5)):
        answer = (await client.get(f"/recommend/{user}?n=5&repeat_share={share}")).json()
        found = [one["itemid"] for one in answer["recommendations"]]
        assert len(found) == 5
        assert len(had & set(found)) <= at_most
    assert answer == (await client.get(f"/recommend/{user}?n=5")).json()


async def test_another_user_type_is_refused_by_name(client: AsyncClient) -> None:
    assert "user_type" in assert_problem(await client.get("/users/random?user_type=hot"), 400)


NO_INTEGERS = (
    *(
        "",
        HUGE,
        "9223372036854775808",
        "007",
        " 3",
        "3 ",
        "+3",
        "3.0",
        "1_000",
        "0x10",
        "٣",
        "é",
        "NaN",
        "null",
        "true",
    ),
    *("\0", "3\0", "a/b", "/", "/3", "3/", "../3", "<script>", "x' OR 1=1; --", LONG, "%", "😀"),
    *("3\n", "\n3", "3\n/stats"),
)


@pytest.mark.parametrize("user", NO_INTEGERS)
async def test_an_id_of_another_type_is_refused(client: AsyncClient, user: str) -> None:
    name = quote(user, safe="")
    for path in (f"/recommend/{name}", f"/recommend/{name}?cold_start=true", f"/user/{name}/stats"):
        answer = await client.get(path)
        assert "of type int64" in assert_problem(answer, 400)
        assert len(answer.content) < 1000


@pytest.mark.parametrize("user", ["-1", "0", "9223372036854775807", "-9223372036854775808"])
async def test_an_unknown_user_is_not_found(client: AsyncClient, user: str) -> None:
    for path in ("/recommend/{}", "/user/{}/stats", "/user/{}/events"):
        assert f"user {user} not found" in assert_problem(await client.get(path.format(user)), 404)
    cold = (await client.get(f"/recommend/{user}?cold_start=true")).json()
    assert (cold["user_id"], cold["user_type"], len(cold["recommendations"])) == (int(user), "cold", 5)


@pytest.mark.parametrize("user", ODD_IDS)
async def test_a_text_is_an_id_whatever_it_looks_like(odd_client: AsyncClient, user: str) -> None:
    name = quote(user, safe="")
    for path in (f"/recommend/{name}?explain=true", f"/user/{name}/stats", f"/user/{name}/events"):
        answer = await odd_client.get(path)
        assert answer.status_code == 200
        assert answer.json()["user_id"] == user
    assert answer.json()["events"][0]["itemid"].endswith(" <b>'\"/é")


@pytest.mark.parametrize("user", [*ODD_IDS, *DOT_IDS])
async def test_an_id_may_be_a_parameter(odd_client: AsyncClient, user: str) -> None:
    for path in BY_PARAMETER:
        answer = await odd_client.get(f"{path}?user_id={quote(user, safe='')}")
        assert answer.status_code == 200
        assert answer.json()["user_id"] == user


async def test_both_ways_to_name_a_user_give_the_same_answer(client: AsyncClient, bundle: Bundle) -> None:
    user = bundle.snapshot.users[0]
    for in_path, as_parameter in (
        (f"/recommend/{user}?n=3&objective=discover", f"/recommend?n=3&objective=discover&user_id={user}"),
        (f"/user/{user}/stats", f"/user/stats?user_id={user}"),
        (f"/user/{user}/events?limit=3", f"/user/events?user_id={user}&limit=3"),
    ):
        assert (await client.get(in_path)).json() == (await client.get(as_parameter)).json()


@pytest.mark.parametrize("path", BY_PARAMETER)
async def test_a_route_by_parameter_needs_it(client: AsyncClient, path: str) -> None:
    assert assert_problem(await client.get(path), 400).startswith("user_id: ")
    assert "of type int64" in assert_problem(await client.get(f"{path}?user_id="), 400)
    assert "did you mean user_id?" in assert_problem(await client.get(f"{path}?userid=3"), 400)
    assert "user -7 not found" in assert_problem(await client.get(f"{path}?user_id=-7"), 404)


@pytest.mark.parametrize("user", ["nobody", "%ff", "%F0%9F", LONG, "%3Cb%3E", "a//b", "1%00"])
async def test_a_text_that_is_no_id_is_not_found(odd_client: AsyncClient, user: str) -> None:
    answer = await odd_client.get(f"/recommend/{user}")
    assert_problem(answer, 404)
    assert len(answer.content) < 1000
    assert (await odd_client.get(f"/recommend/{user}?cold_start=true")).json()["user_type"] == "cold"


async def test_an_empty_text_is_no_id(odd_client: AsyncClient) -> None:
    for path in ("/recommend/", "/recommend/?cold_start=true", "/user//stats", "/user//events"):
        assert "of type string" in assert_problem(await odd_client.get(path), 400)


@pytest.mark.parametrize("path", ["/nowhere", "/recommended", "/health/", "/user/3", "/users", "/" + LONG, "//"])
async def test_an_unknown_route_is_not_found(client: AsyncClient, path: str) -> None:
    assert_problem(await client.get("http://shop" + path), 404)


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"])
@pytest.mark.parametrize("path", ["/", "/health", "/recommend/3", "/user/3/stats", "/user/3/events", "/users/random"])
async def test_another_method_is_refused(client: AsyncClient, method: str, path: str) -> None:
    answer = await client.request(method, path)
    assert_problem(answer, 405)
    assert answer.headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize("path", [*EVERY_PATH, "/recommend/abc", "/recommend/3?n=0", "/user/-7/stats", "/nowhere"])
async def test_head_is_get_without_a_body(client: AsyncClient, path: str) -> None:
    named = {"X-Request-ID": "one"}
    get, head = await client.get(path, headers=named), await client.head(path, headers=named)
    assert head.status_code == get.status_code
    assert head.headers == get.headers
    assert int(head.headers["content-length"]) == len(get.content) > 0
    assert head.content == b""


# Headers


@pytest.mark.parametrize(
    "path", [*EVERY_PATH, "/recommend/abc", "/user/-7/stats", "/nowhere", "/recommend/3?n=0", "/health?x=1"]
)
async def test_a_browser_does_not_guess_the_type_of_an_answer(client: AsyncClient, path: str) -> None:
    assert (await client.get(path)).headers["x-content-type-options"] == "nosniff"
    assert (await client.post(path)).headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", ["/", "/docs"])
async def test_a_page_loads_nothing_from_elsewhere_and_is_framed_by_nobody(client: AsyncClient, path: str) -> None:
    answer = await client.get(path)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert policy["connect-src"] == "'self'"
    assert "'unsafe-inline'" not in policy["script-src"]
    assert "'sha256-" in policy["script-src"]
    assert not re.search(r"(?:src|href)=\"?(?:https?:)?//", answer.text)


# Faults and load


async def test_before_any_version_everything_is_unavailable(tmp_path: Path) -> None:
    async with http(service_of(FolderStore(tmp_path))) as client:
        for path in ("/health", "/recommend/3", "/user/3/stats", "/user/3/events", "/users/random"):
            answer = await client.get(path)
            assert "no version is loaded" in assert_problem(answer, 503)
            assert answer.headers["retry-after"] == "1"
        assert (await client.get("/", headers={"Range": "bytes=5-1"})).status_code == 200


async def test_an_unhealthy_service_tells_all_it_knows(store: FolderStore, stages: FakeStages) -> None:
    stages.stages = {"rank": [["v0"]]}
    async with http(service_of(store, stages)) as client:
        answer = await client.get("/health")
    assert answer.status_code == 503
    health = answer.json()
    assert (health["status"], health["detail"]) == ("unavailable", "version v1 is not held by all of: rank")
    assert health["stages"] == {"ingress": [["v1"]], "rank": [["v0"]]}


async def test_a_fault_is_a_500_that_tells_nothing_but_to_the_log(
    store: FolderStore, bundle: Bundle, stages: FakeStages, caplog: pytest.LogCaptureFixture
) -> None:
    stages.fault = ZeroDivisionError("secret")
    path = f"/recommend/{bundle.snapshot.users[0]}"
    async with http(service_of(store, stages)) as client:
        with caplog.at_level(logging.INFO, "recsys.serving.api"):
            answer = await client.get(path)
            assert assert_problem(answer, 500) == "internal server error"
            assert answer.headers["x-content-type-options"] == "nosniff"
        assert (await client.get(f"/user/{bundle.snapshot.users[0]}/stats")).status_code == 200
        stages.fault = None
        assert (await client.get(path)).status_code == 200
    by_message = {record.message: record for record in caplog.records if record.name.startswith("recsys.serving.api.")}
    assert "secret" in str(by_message["a request failed"].exc_info)
    assert (by_message["request"].path, by_message["request"].status) == (path, 500)  # type: ignore[attr-defined]


async def test_one_of_so_many_requests_is_logged(store: FolderStore, caplog: pytest.LogCaptureFixture) -> None:
    async with http(service_of(store), log_every=3) as client:
        with caplog.at_level(logging.INFO, "recsys.serving.api"):
            for number in range(7):
                await client.get(f"/recommend/{number}")
    paths = [record.path for record in caplog.records if record.message == "request"]  # type: ignore[attr-defined]
    assert paths == ["/recommend/2", "/recommend/5"]


async def test_too_many_at_once_and_too_slow_are_503_with_retry_after(
    store: FolderStore, bundle: Bundle, stages: FakeStages
) -> None:
    path = f"/recommend/{bundle.snapshot.users[0]}"
    stages.open.clear()
    async with http(service_of(store, stages, batches=1, max_batch=1, max_waiting=1, deadline_ms=500)) as client:
        under_way = asyncio.create_task(client.get(path))
        await until(lambda: stages.hanging)
        # Both find the stages busy; the one that comes second finds the only place taken.
        slow, turned_away = sorted(
            await asyncio.gather(client.get(path), client.get(path)), key=lambda answer: len(answer.json()["detail"])
        )
        assert assert_problem(slow, 503) == "no answer within 500 ms"
        assert assert_problem(turned_away, 503) == "1 requests are waiting already"
        assert_problem(await under_way, 503)
        assert slow.headers["retry-after"] == turned_away.headers["retry-after"] == "1"
        stages.open.set()
        assert (await client.get(path)).status_code == 200


async def test_a_client_that_goes_away_frees_its_place(store: FolderStore, bundle: Bundle, stages: FakeStages) -> None:
    path = f"/recommend/{bundle.snapshot.users[0]}"
    stages.open.clear()
    service = service_of(store, stages, batches=1, max_batch=1, max_waiting=1)
    async with http(service) as client:
        under_way = asyncio.create_task(client.get(path))
        await until(lambda: stages.hanging)
        for _ in range(3):
            gone = asyncio.create_task(client.get(path))
            await until(lambda: waiting(service) == 1)
            gone.cancel()
            await asyncio.wait([gone])
            assert waiting(service) == 0
        stages.open.set()
        assert (await under_way).status_code == 200
    assert len(stages.calls) == 1


def waiting(service: Service) -> int:
    return service.recommender.waiting


@pytest.mark.soak(20)
async def test_no_request_fails_or_mixes_versions_while_they_switch(tmp_path: Path, bundle: Bundle) -> None:
    store = FolderStore(tmp_path)
    publish(store, bundle, "v1")
    publish(store, retrained(bundle), "v2", promote=False)
    users = [bundle.snapshot.users[row] for row in range(5)]
    seen: dict[tuple[str, int], Any] = {}
    async with http(service_of(store, poll_seconds=0.005)) as client:
        for promoted in ("v2", "v1", "v2"):
            await asyncio.to_thread(store.promote, promoted)
            versions: set[str] = set()
            while versions != {promoted}:
                answers = await asyncio.gather(*(client.get(f"/recommend/{user}?n=20") for user in users))
                assert {answer.status_code for answer in answers} == {200}
                found = [answer.json() for answer in answers]
                versions = {one["model_version"] for one in found}
                for one in found:
                    assert one == seen.setdefault((one["model_version"], one["user_id"]), one)
    assert len(seen) == 2 * len(users)
    assert all(seen["v1", user]["recommendations"] != seen["v2", user]["recommendations"] for user in users)


# The documentation


async def test_the_documentation_lists_every_status_and_no_other(client: AsyncClient) -> None:
    schema = (await client.get("/openapi.json")).json()
    assert sorted(schema["paths"]) == sorted([*ROUTES, *POSTED])
    for path, found in schema["paths"].items():
        others = {"500", "503"} if path == "/health" else {"400", "404", "500", "503"}
        if path in POSTED:
            assert set(found["post"]["responses"]) == {"200", "400", "408", "413", "500", "503"}, path
        else:
            assert set(found["get"]["responses"]) == {"200"} | others, path
    assert '"openapi.json"' in (await client.get("/docs")).text


async def test_every_time_is_described_as_utc(client: AsyncClient) -> None:
    schemas = (await client.get("/openapi.json")).json()["components"]["schemas"]
    times = [
        (name, field)
        for name, model in schemas.items()
        for field, described in model["properties"].items()
        if any(re.match(r"20\d\d-", str(example)) for example in described.get("examples", ()))
    ]
    assert len(times) == 7
    for name, field in times:
        assert "UTC" in schemas[name]["properties"][field]["description"], (name, field)


async def test_every_parameter_and_field_has_an_example(client: AsyncClient) -> None:
    schema = (await client.get("/openapi.json")).json()
    for method in (method for found in schema["paths"].values() for method in found.values()):
        for parameter in method.get("parameters", ()):
            assert parameter["description"], parameter
            assert "example" in parameter or speaks_for_itself(parameter["schema"]), parameter
    for name, model in schema["components"]["schemas"].items():
        for field, described in model["properties"].items():
            assert speaks_for_itself(described), (name, field)


def speaks_for_itself(schema: dict[str, Any]) -> bool:
    """Has an example, or is one of a few values, or is described elsewhere."""
    inner = (schema.get("items", {}), *schema.get("anyOf", ()))
    return bool({"examples", "enum", "$ref"} & set(schema)) or any(map(speaks_for_itself, filter(None, inner)))


# Whatever the documentation permits, and what it forbids

FITTING = {"exclude_purchased", "exclude_seen", "availability", "diversity", "rules_file"}
"""Rules that fit every shop."""
UNFIT = {*RequestRules.model_fields} - FITTING
EXPLORE = hypothesis.settings(max_examples=scaled(20, 1000), derandomize=not SOAK, database=None, deadline=None)


@pytest.fixture(scope="module")
def schemas(store: FolderStore, odd_store: FolderStore) -> dict[str, Any]:
    """Of the services with integer and with text ids."""
    return {
        name: schemathesis.openapi.from_asgi("/openapi.json", create_api(service_of(shop), 100))
        for name, shop in (("integers", store), ("texts", odd_store))
    }


@pytest.mark.slow
@pytest.mark.parametrize("ids", ["integers", "texts"])
@pytest.mark.parametrize("path", ROUTES)
def test_what_the_documentation_permits_is_answered_as_it_says(
    schemas: dict[str, Any], bundle: Bundle, path: str, ids: str
) -> None:
    users = [str(bundle.snapshot.users[row]) for row in (0, 1, cold_row(bundle))] if ids == "integers" else ODD_IDS
    items = (bundle if ids == "integers" else odd_bundle()).items.values.to_pylist()[:3]
    name = "item_id" if path in ITEM_ROUTES else "user_id"
    by_parameter = path in (*BY_PARAMETER, "/items/similar")

    @EXPLORE
    @hypothesis.given(
        schemas[ids][path]["GET"].as_strategy(generation_mode=GenerationMode.POSITIVE),
        strategies.sampled_from((None, *(map(str, items) if path in ITEM_ROUTES else users))),
    )
    def conforms(case: schemathesis.Case, known: str | None) -> None:
        if known is not None and by_parameter:
            case.query = {**case.query, name: known}
        elif known is not None and f"{{{name}}}" in path:
            case.path_parameters = {name: known}
        # Other ids may not fit the shop, which may lack an attribute too, and the fuzzer's address leaves nothing of a
        # slash or after a question mark.
        fits = known is not None and (by_parameter or not {"/", "a+b&c=d?e#f"} & {known})
        if path in LISTS:
            fits = "category" not in (case.query or {})
        fits = fits and not ({"item_id"} | {*PARAMETERS} - FITTING) & {*(case.query or {})} - {name}
        case.call_and_validate(excluded_checks=[] if fits else [positive_data_acceptance])

    conforms()


@pytest.mark.slow
@pytest.mark.parametrize("ids", ["integers", "texts"])
def test_any_cart_that_the_documentation_permits_is_answered(schemas: dict[str, Any], ids: str) -> None:
    @EXPLORE
    @hypothesis.given(schemas[ids]["/basket"]["POST"].as_strategy(generation_mode=GenerationMode.POSITIVE))
    def conforms(case: schemathesis.Case) -> None:
        # Other ids may not fit the shop, and a rule may name an attribute that the shop lacks.
        fits = ids == "texts" and "" not in case.body["items"] and not UNFIT & {*case.body}
        case.call_and_validate(excluded_checks=[] if fits else [positive_data_acceptance])

    conforms()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "method"),
    [
        *((path, "GET") for path in ("/recommend/{user_id}", "/user/{user_id}/events", "/user/events")),
        *(
            (path, "GET")
            for path in ("/users/random", "/items/{item_id}/similar", "/items/similar", "/trending", "/new")
        ),
        ("/basket", "POST"),
    ],
)
def test_what_the_documentation_forbids_is_refused(schemas: dict[str, Any], path: str, method: str) -> None:
    @EXPLORE
    @hypothesis.given(schemas["texts"][path][method].as_strategy(generation_mode=GenerationMode.NEGATIVE))
    def conforms(case: schemathesis.Case) -> None:
        case.call_and_validate()

    conforms()
