"""Sessions in requests: how events join the history, and POST /recommend and the context item over HTTP."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
import schemathesis
from httpx import AsyncClient, Response
from hypothesis import strategies
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance
from starlette.requests import Request
from starlette.types import Message

from recsys.data.layout.mapping import DataMapping
from recsys.histories import Histories
from recsys.inference.recommender import Recommender
from recsys.inference.session_events import NOW, EncodedSession, join
from recsys.registry.bundle import Bundle
from recsys.registry.folder import FolderStore
from recsys.rules.request import RequestRules
from recsys.schema import CART, PURCHASE, VIEW
from recsys.serving.api import bodies
from recsys.serving.api.bodies import MAX_BODY
from recsys.serving.api.create import create_api
from recsys.serving.api.sessions import AHEAD, MAX_EVENTS
from recsys.serving.errors import BadParameter
from recsys.serving.sessions import Session, SessionEncoder, SessionEvent
from tests.support.bundles import odd_bundle, publish, with_sessions
from tests.support.services import FakeStages, cold_row, http, service_bundle, service_of
from tests.support.shop_data import END
from tests.support.soak import SOAK, scaled

pytestmark = pytest.mark.anyio

WORDS = DataMapping(
    columns={"event": "action"},
    types={"Produktansicht": "view", "in den Korb": "addtocart", "Kauf": "transaction", "Abmeldung": "ignore"},
    times="milliseconds since 1970",
    ids={"user": "int64", "item": "int64"},
)


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    bundle = service_bundle()
    return replace(bundle, manifest=bundle.manifest.model_copy(update={"mapping": WORDS}))


def items_of(answer: Response) -> list[Any]:
    assert answer.status_code == 200, answer.text
    return [one["itemid"] for one in answer.json()["recommendations"]]


def problem(answer: Response, status: int = 400) -> str:
    assert answer.status_code == status, answer.text
    assert list(answer.json()) == ["detail"]
    return str(answer.json()["detail"])


# How a session joins the history


def encoded(*events: tuple[int, int, int]) -> EncodedSession:
    """A session of (item, event, time)."""
    columns = np.array(events, np.int64).reshape(-1, 3)
    return EncodedSession(columns[:, 0].astype(np.int32), columns[:, 1].astype(np.int8), columns[:, 2], 0)


def history(*events: tuple[int, int, int]) -> Histories:
    columns = np.array(events, np.int64).reshape(-1, 3)
    return Histories.build(np.zeros(len(events), np.int64), *columns.T, 1)


def listed(histories: Histories, row: int = 0) -> list[tuple[int, int, int]]:
    part = histories.take(np.array([row]))
    return list(zip(part.items.tolist(), part.events.tolist(), part.times.tolist(), strict=True))


async def test_a_session_comes_after_the_history() -> None:
    joined = join(history((5, VIEW, 10), (6, CART, 20)), {0: encoded((7, VIEW, 40), (8, VIEW, 30))}, 50)
    assert listed(joined.histories) == [(5, VIEW, 10), (6, CART, 20), (8, VIEW, 30), (7, VIEW, 40)]
    assert joined.in_session.tolist() == [False, False, True, True]
    assert joined.now == 50


async def test_an_event_counts_once_as_one_of_the_session() -> None:
    known = history((5, VIEW, 10), (5, VIEW, 10), (6, VIEW, 20), (7, VIEW, 20), (6, CART, 20))
    joined = join(known, {0: encoded((6, VIEW, 20), (6, VIEW, 20), (6, VIEW, 25))}, 50)
    own, visit = [(5, VIEW, 10), (5, VIEW, 10), (6, CART, 20), (7, VIEW, 20)], [(6, VIEW, 20), (6, VIEW, 25)]
    assert listed(joined.histories) == own + visit
    assert joined.in_session.tolist() == [False] * 4 + [True] * 2


async def test_events_of_now_keep_their_order_after_all_others() -> None:
    joined = join(history(), {0: encoded((9, VIEW, NOW), (3, VIEW, NOW), (5, VIEW, 70), (9, VIEW, NOW))}, 50)
    assert [item for item, _, _ in listed(joined.histories)] == [9, 3, 5, 9]
    assert joined.histories.times.tolist() == [68, 69, 70, 70]
    assert joined.now.tolist() == [70]


async def test_equal_times_keep_the_order_of_the_request() -> None:
    joined = join(history(), {0: encoded((9, VIEW, 40), (3, VIEW, 40), (5, PURCHASE, 40))}, 50)
    assert [item for item, _, _ in listed(joined.histories)] == [9, 3, 5]


async def test_a_later_session_has_a_present_of_its_own() -> None:
    three = Histories.concat([history((1, VIEW, 10)), history((2, VIEW, 10)), history()])
    joined = join(three, {1: encoded((7, VIEW, 90)), 2: encoded()}, 50)
    assert joined.now.tolist() == [50, 90, 50]
    assert [listed(joined.histories, row) for row in range(3)] == [
        [(1, VIEW, 10)],
        [(2, VIEW, 10), (7, VIEW, 90)],
        [],
    ]


async def test_the_words_of_the_shop_are_understood(bundle: Bundle) -> None:
    item = bundle.items[4]
    words = ["Produktansicht", " IN DEN KORB", "Kauf", "view", "addtocart", "transaction", "click", "Abmeldung"]
    found = SessionEncoder(bundle)(Session([SessionEvent(item, word) for word in words]))
    assert found.events.tolist() == [VIEW, CART, PURCHASE, VIEW, CART, PURCHASE, VIEW]
    assert found.items.tolist() == [4] * 7
    assert found.unknown_items == 0


async def test_a_log_without_a_column_of_types_has_the_customary_words(bundle: Bundle) -> None:
    mapping = WORDS.model_copy(update={"types": "transaction"})
    orders = replace(bundle, manifest=bundle.manifest.model_copy(update={"mapping": mapping}))
    found = SessionEncoder(orders)(Session([SessionEvent(bundle.items[4]), SessionEvent(bundle.items[4], "purchase")]))
    assert found.events.tolist() == [VIEW, PURCHASE]


# Over HTTP


async def test_a_session_has_the_fields_of_the_contract(client: AsyncClient, bundle: Bundle) -> None:
    item, user = bundle.items[0], bundle.snapshot.users[0]
    answer = await client.post("/recommend", json={"events": [{"itemid": item}]})
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    fields = ["user_id", "user_type", "model_version", "recommendations", "total_candidates_scored", "unknown_items"]
    assert list(body) == fields
    assert (body["user_id"], body["user_type"], body["unknown_items"]) == (None, "warm", 0)
    assert len(body["recommendations"]) == 5
    assert list(body["recommendations"][0]) == ["itemid", "score", "lgb_score", "mf_score"]
    for given in (user, str(user), -5):
        body = (await client.post("/recommend", json={"events": [{"itemid": item}], "user_id": given})).json()
        assert body["user_id"] == int(given)
    nulls = {"events": [{"itemid": item, "event": None, "timestamp": None}], "user_id": None, "repeat_share": None}
    answers = [await client.post("/recommend", json=body) for body in ({"events": [{"itemid": item}]}, nulls)]
    assert answers[0].json() == answers[1].json()
    answer = await client.post("/recommend", json={"events": [{"itemid": item}], "n": 1, "explain": True})
    assert {"sources", "category"} < set(answer.json()["recommendations"][0])


async def test_a_session_is_answered_as_a_history(client: AsyncClient, bundle: Bundle) -> None:
    """Of the same events, which are newer than the snapshot."""
    user, late = bundle.snapshot.users[3], END + 3_600_000
    events = [{"itemid": bundle.items[code], "event": "Kauf", "timestamp": late + code} for code in (7, 2, 9)]
    answer = await client.post("/recommend", json={"events": events[::-1], "user_id": user, "n": 9})
    known = bundle.snapshot.take(np.array([3]))
    whole = Histories(
        np.array([0, len(known.times) + 3]),
        np.append(known.items, np.int32([2, 7, 9])),
        np.append(known.events, np.int8([PURCHASE] * 3)),
        np.append(known.times, late + np.array([2, 7, 9])),
    )
    expected = Recommender.from_bundle(bundle)(whole, late + 9, 9)
    assert items_of(answer) == bundle.items.to_list(expected.items)
    assert [one["score"] for one in answer.json()["recommendations"]] == expected.scores.tolist()


async def test_events_of_the_snapshot_change_nothing(client: AsyncClient, bundle: Bundle) -> None:
    """Neither the newest ones of a user, sent again, nor a session without a known item."""
    user = bundle.snapshot.users[0]
    as_user = (await client.get(f"/recommend/{user}?n=20")).json()["recommendations"]
    known = bundle.snapshot.take(np.array([0])).latest(4)
    again = [
        {"itemid": bundle.items[item], "event": ("view", "addtocart", "transaction")[event], "timestamp": at}
        for item, event, at in zip(known.items.tolist(), known.events.tolist(), known.times.tolist(), strict=True)
    ]
    for events in (again, again * 3, [], [{"itemid": 10**9}, {"itemid": "no number"}]):
        answer = await client.post("/recommend", json={"events": events, "user_id": user, "n": 20})
        assert answer.json()["recommendations"] == as_user
    assert answer.json()["unknown_items"] == 2


async def test_without_a_known_item_a_visitor_gets_popular_items(client: AsyncClient) -> None:
    popular = (await client.get("/recommend/-5?cold_start=true")).json()["recommendations"]
    for body in ({"events": []}, {"events": [{"itemid": 10**9}]}, {"events": [], "user_id": -6, "cold_start": False}):
        answer = (await client.post("/recommend", json=body)).json()
        assert answer["recommendations"] == popular
        assert answer["user_type"] == "cold"
        assert answer["unknown_items"] == len(body["events"])  # type: ignore[arg-type]


async def test_times_are_milliseconds_or_dates(client: AsyncClient, bundle: Bundle) -> None:
    at = END + 86_400_123
    spoken = datetime.fromtimestamp(at / 1000, UTC)
    forms = [
        at,
        float(at),
        spoken.isoformat(),
        spoken.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        spoken.strftime("%Y-%m-%d %H:%M:%S.%f"),
    ]
    east = spoken.strftime("%Y-%m-%dT%H:%M:%S.%f").replace(f"T{spoken:%H}", f"T{spoken.hour + 2:02}") + "+02:00"
    events = [{"itemid": bundle.items[code], "timestamp": at - 86_400_000 * code} for code in (1, 2)]
    answers = [
        (
            await client.post("/recommend", json={"events": [*events, {"itemid": bundle.items[5], "timestamp": form}]})
        ).json()
        for form in (*forms, east)
    ]
    assert all(answer == answers[0] for answer in answers)


async def test_the_order_of_the_list_counts_where_no_time_is_given(client: AsyncClient, bundle: Bundle) -> None:
    events = [{"itemid": bundle.items[code]} for code in (3, 11, 25, 40)]
    late = [{**event, "timestamp": END - 3 + k} for k, event in enumerate(events)]
    found = [
        items_of(await client.post("/recommend", json={"events": one, "n": 20})) for one in (events, late, late[::-1])
    ]
    assert found[0] == found[1] == found[2]


async def test_objectives_hold_for_sessions(client: AsyncClient, bundle: Bundle) -> None:
    codes = [3, 11, 25, 40]
    events, had = [{"itemid": bundle.items[code]} for code in codes], {bundle.items[code] for code in codes}
    available = {bundle.items[c] for c in codes if bundle.tables.statistics.available[c]}
    asked: list[tuple[dict[str, Any], set[Any] | None]] = [
        ({"objective": "discover"}, set()),
        ({"objective": "repeat"}, available),
        ({"repeat_share": 0}, set()),
    ]
    for options, expected in asked:
        found = set(items_of(await client.post("/recommend", json={"events": events, "n": 10, **options})))
        assert found & had == expected
        assert bool(found - had) is (options.get("objective") != "repeat")


BAD: list[tuple[Any, str]] = [
    ([], "body: expected a JSON object"),
    (None, "body: "),
    ("text", "body: "),
    ({}, "events: "),
    ({"events": {}}, "events: "),
    ({"events": None}, "events: "),
    ({"events": [3]}, "events.0: expected a JSON object"),
    ({"events": [{}]}, "events.0.itemid: "),
    ({"events": [{"itemid": 1}, {"itemid": None}]}, "events.1.itemid: "),
    ({"events": [{"itemid": 1.5}]}, "events.0.itemid: "),
    ({"events": [{"itemid": True}]}, "events.0.itemid: "),
    ({"events": [{"itemid": [1]}]}, "events.0.itemid: "),
    ({"events": [{"itemid": "\ud800"}]}, "events.0.itemid: "),
    ({"events": [{"itemid": 1, "event": 3}]}, "events.0.event: "),
    (
        {"events": [{"itemid": 1}, {"itemid": 1, "event": "glance"}]},
        "events.1.event: 'glance' is no event of this shop",
    ),
    ({"events": [{"itemid": 1, "event": ""}]}, "events.0.event: "),
    ({"events": [{"itemid": 1, "event": "x" * 9999}]}, "events.0.event: "),
    ({"events": [{"itemid": 1, "time": END}]}, "events.0: unknown field time; did you mean timestamp?"),
    *(
        ({"events": [{"itemid": 1}, {"itemid": 1, "timestamp": value}]}, "events.1.timestamp: ")
        for value in (
            END // 1000,
            0,
            -1,
            10**30,
            10**400,
            -(10**400),
            True,
            [],
            "yesterday",
            "",
            "12",
            "2999-01-01",
            "0001-01-01",
            float("nan"),
        )
    ),
    ({"events": [], "user_id": 1.5}, "user_id: "),
    ({"events": [], "user_id": "abc"}, "user_id 'abc' does not fit"),
    ({"events": [], "user_id": ""}, "user_id '' does not fit"),
    ({"events": [], "n": 0}, "n: "),
    ({"events": [], "n": 51}, "n: "),
    ({"events": [], "n": "5"}, "n: "),
    ({"events": [], "n": True}, "n: "),
    ({"events": [], "objective": "new"}, "objective: "),
    ({"events": [], "repeat_share": 2}, "repeat_share: "),
    ({"events": [], "explain": "true"}, "explain: "),
    ({"events": [], "repeat_cap": 1}, "unknown field repeat_cap; did you mean repeat_share?"),
    ({"events": [{"itemid": 1}] * (MAX_EVENTS + 1)}, "events: "),
]


@pytest.mark.parametrize(("body", "message"), BAD)
async def test_what_is_wrong_is_named(client: AsyncClient, body: Any, message: str) -> None:
    content, headers = json.dumps(body).encode(), {"content-type": "application/json"}
    answer = await client.post("/recommend", content=content, headers=headers)
    assert problem(answer).startswith(message)
    assert len(answer.content) < 1000


@pytest.mark.parametrize(
    ("content", "kind", "status", "message"),
    [
        (b"{", "application/json", 400, "body: not JSON: "),
        (b"", "application/json", 400, "body: "),
        (b"\xff\xfe", "application/json; charset=utf-8", 400, ""),
        (b"[" * 100_000, "application/json", 400, "body: lists and objects are nested too deeply"),
        (b'{"a":' * 40_000, "application/json", 400, "body: lists and objects are nested too deeply"),
        (
            b'{"events": [], "n": ' + b"9" * 9999 + b"}",
            "application/json",
            400,
            "body: the integer at character 20 has 9,999 digits; expected at most 4,300",
        ),
        (b'\xef\xbb\xbf{"events": 3}', "application/json", 400, "events: Input should be a valid list"),
        (b'{"events": []}', "text/plain", 400, "content-type is text/plain; expected application/json"),
        (b'{"events": []}', "", 400, "content-type is ''; expected application/json"),
        (b"events=1", "application/x-www-form-urlencoded", 400, "content-type is "),
        (b'{"events": []' + b" " * MAX_BODY + b"}", "application/json", 413, "the body has more than 262,144 bytes"),
    ],
)
async def test_a_body_that_is_no_json_is_refused(
    client: AsyncClient, content: bytes, kind: str, status: int, message: str
) -> None:
    answer = await client.post("/recommend", content=content, headers={"content-type": kind} if kind else {})
    assert problem(answer, status).startswith(message)


async def test_a_body_without_a_declared_length_is_bounded_too(client: AsyncClient) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(1000):
            yield b" " * 4096

    answer = await client.post("/recommend", content=endless(), headers={"content-type": "application/json"})
    problem(answer, 413)


async def test_a_body_has_to_come_in_time(client: AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "BODY_SECONDS", 0.05)
    never = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield b"{"
        await never.wait()

    answer = await client.post("/recommend", content=slow(), headers={"content-type": "application/json"})
    assert problem(answer, 408) == "the body has not come within 0.05 s"


async def test_a_client_that_leaves_is_no_fault_of_the_service() -> None:
    parts = iter([{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}])

    async def receive() -> Message:
        return next(parts)

    headers = [(b"content-type", b"application/json")]
    with pytest.raises(BadParameter, match="the client left"):
        await bodies.with_json(Request({"type": "http", "headers": headers}, receive))


async def test_a_body_has_no_parameters_beside_it(client: AsyncClient) -> None:
    answer = await client.post("/recommend?n=3", json={"events": []})
    assert problem(answer) == "unknown parameter n; this route has no parameters"


async def test_other_methods_are_refused_with_those_of_all_routes(client: AsyncClient) -> None:
    answer = await client.put("/recommend")
    problem(answer, 405)
    assert answer.headers["allow"] == "GET, HEAD, POST"


async def test_the_clock_of_a_shop_may_be_ahead_a_little(client: AsyncClient, bundle: Bundle) -> None:
    def body(ahead: int) -> dict[str, Any]:
        return {"events": [{"itemid": bundle.items[1], "timestamp": int(time.time() * 1000) + ahead}]}

    assert (await client.post("/recommend", json=body(AHEAD // 2))).status_code == 200
    assert "later than now" in problem(await client.post("/recommend", json=body(3 * AHEAD)))


async def test_the_most_events_are_taken(client: AsyncClient, bundle: Bundle) -> None:
    events = [{"itemid": bundle.items[code % len(bundle.items)]} for code in range(MAX_EVENTS)]
    newest = bundle.manifest.inference["history"]["max_events"]
    found = [
        items_of(await client.post("/recommend", json={"events": some, "n": 20})) for some in (events, events[-newest:])
    ]
    assert found[0] == found[1]


async def test_a_context_item_is_a_view_of_now(client: AsyncClient, bundle: Bundle) -> None:
    user, item = bundle.snapshot.users[0], bundle.items[11]
    answer = await client.get(f"/recommend/{user}?item_id={item}&n=9")
    same = await client.post("/recommend", json={"events": [{"itemid": item}], "user_id": user, "n": 9})
    assert answer.json() == {name: value for name, value in same.json().items() if name != "unknown_items"}
    assert items_of(answer) != items_of(await client.get(f"/recommend/{user}?n=9"))
    by_parameter = await client.get(f"/recommend?user_id={user}&item_id={item}&n=9")
    assert by_parameter.json() == answer.json()
    stranger = (await client.get(f"/recommend/-5?item_id={bundle.items[0]}")).json()
    assert (stranger["user_id"], stranger["user_type"]) == (-5, "warm")


async def test_an_unknown_context_item_is_named(client: AsyncClient, bundle: Bundle) -> None:
    user = bundle.snapshot.users[0]
    assert problem(await client.get(f"/recommend/{user}?item_id=77"), 404) == "item 77 not found"
    for item in ("abc", "07", "", "9" * 400):
        detail = problem(await client.get(f"/recommend/{user}?item_id={item}"), 400)
        assert detail.startswith(f"item_id '{item[:80]}' does not fit")


async def test_ids_may_be_texts(tmp_path: Path) -> None:
    store, bundle = FolderStore(tmp_path), odd_bundle()
    publish(store, bundle, "v1")
    async with http(service_of(store)) as client:
        events = [{"itemid": bundle.items[3], "event": "addtocart"}, {"itemid": 7}, {"itemid": "nothing"}]
        body = (await client.post("/recommend", json={"events": events, "user_id": "007"})).json()
        assert (body["user_id"], body["user_type"], body["unknown_items"]) == ("007", "warm", 2)
        assert (await client.post("/recommend", json={"events": events, "user_id": 5})).json()["user_id"] == "5"
        assert problem(await client.get("/recommend/007?item_id=nothing"), 404) == "item nothing not found"


async def test_sessions_and_users_share_batches(store: FolderStore, bundle: Bundle) -> None:
    """A request that is wrong leaves the others of its batch alone, and all get what they get alone."""
    stages = FakeStages()
    items = [bundle.items[code] for code in range(6)]
    bodies: list[dict[str, Any]] = [
        {
            "events": [{"itemid": item, "timestamp": END + 1000 * k}],
            "user_id": bundle.snapshot.users[k] if k % 2 else None,
        }
        for k, item in enumerate(items)
    ]
    bodies.append({"events": [{"itemid": items[0], "event": "glance"}]})
    users = [bundle.snapshot.users[row] for row in (0, 1, cold_row(bundle))]
    async with http(service_of(store, stages, max_batch=32, batches=1)) as client:
        alone = [await client.post("/recommend", json=body) for body in bodies]
        alone += [await client.get(f"/recommend/{user}") for user in users]
        calls = len(stages.calls)
        together = await asyncio.gather(
            *(client.post("/recommend", json=body) for body in bodies),
            *(client.get(f"/recommend/{user}") for user in users),
        )
    assert max(call.users for call in stages.calls[calls:]) > 3
    assert [answer.status_code for answer in together] == [200] * 6 + [400] + [200] * 3
    assert [answer.json() for answer in together] == [answer.json() for answer in alone]


async def test_an_older_version_answers_sessions_too(tmp_path: Path, bundle: Bundle) -> None:
    store, stages = FolderStore(tmp_path), FakeStages()
    publish(store, bundle, "v1")
    async with http(service_of(store, stages, poll_seconds=0.005)) as client:
        body = {"events": [{"itemid": bundle.items[1]}]}
        assert (await client.post("/recommend", json=body)).json()["model_version"] == "v1"
        stages.lacks = {"v2"}
        publish(store, bundle, "v2")
        async with asyncio.timeout(60):
            while (await client.get("/health")).json()["model_version"] != "v2":
                await asyncio.sleep(0.002)
        assert (await client.post("/recommend", json=body)).json()["model_version"] == "v1"


# A version with a session model


@pytest.fixture(scope="module")
def modelled() -> Bundle:
    return with_sessions(service_bundle())


@pytest.fixture(scope="module")
def modelled_store(tmp_path_factory: pytest.TempPathFactory, modelled: Bundle) -> FolderStore:
    store = FolderStore(tmp_path_factory.mktemp("modelled"))
    publish(store, modelled, "v1")
    return store


@pytest.fixture(scope="module")
async def model_client(modelled_store: FolderStore) -> AsyncIterator[AsyncClient]:
    async with http(service_of(modelled_store)) as client:
        yield client


async def test_the_session_model_answers_sessions(model_client: AsyncClient, modelled: Bundle) -> None:
    model, codes = modelled.sessions, [3, 17, 8]
    assert model is not None
    events = [{"itemid": modelled.items[code], "timestamp": END + code} for code in sorted(codes)]
    answer = await model_client.post("/recommend", json={"events": events, "n": 10, "explain": True})
    listed = answer.json()["recommendations"]
    visit = Histories(np.array([0, 3]), np.sort(np.int32(codes)), np.zeros(3, np.int8), END + np.sort(np.int64(codes)))
    candidates = model.propose(visit)
    scores = model.calibrate(model.rank(candidates.features))
    order = np.lexsort((candidates.items, -scores))[:10]
    assert items_of(answer) == modelled.items.to_list(candidates.items[order])
    assert [one["score"] for one in listed] == [one["lgb_score"] for one in listed] == scores[order].tolist()
    assert {one["mf_score"] for one in listed} == {None}
    assert answer.json()["total_candidates_scored"] == len(candidates.items)
    sources = [set(one["sources"]) for one in listed]
    assert all(one and one <= set(model.source_names) for one in sources)
    assert any("session" in one for one in sources)


async def test_a_known_history_counts_beside_the_session(model_client: AsyncClient, modelled: Bundle) -> None:
    user = modelled.snapshot.users[2]
    body = {"events": [{"itemid": modelled.items[17]}], "n": 30, "explain": True}
    stranger = (await model_client.post("/recommend", json=body)).json()["recommendations"]
    known = (await model_client.post("/recommend", json={**body, "user_id": user})).json()["recommendations"]
    assert not any("own" in one["sources"] for one in stranger)
    own = {one["itemid"] for one in known if "own" in one["sources"]}
    assert own <= {modelled.items[item] for item in modelled.snapshot.take(np.array([2])).items.tolist()}
    assert own


async def test_without_an_event_on_a_known_item_the_main_path_answers(
    model_client: AsyncClient, client: AsyncClient, modelled: Bundle
) -> None:
    user = modelled.snapshot.users[0]
    for path in (f"/recommend/{user}", "/recommend/-5?cold_start=true"):
        assert (await model_client.get(path)).json() == (await client.get(path)).json()
    for body in ({"events": []}, {"events": [{"itemid": 10**9}]}, {"events": [], "user_id": user}):
        answers = [await one.post("/recommend", json=body) for one in (model_client, client)]
        assert answers[0].json() == answers[1].json()


async def test_objectives_hold_for_the_session_model(model_client: AsyncClient, modelled: Bundle) -> None:
    codes = [code for code in (3, 17, 8, 41) if modelled.tables.statistics.available[code]]
    had = {modelled.items[code] for code in codes}
    body = {"events": [{"itemid": item} for item in had], "n": 10}
    found = set(items_of(await model_client.post("/recommend", json=body)))
    new = set(items_of(await model_client.post("/recommend", json={**body, "objective": "discover"})))
    again = set(items_of(await model_client.post("/recommend", json={**body, "objective": "repeat"})))
    without = set(items_of(await model_client.post("/recommend", json={**body, "repeat_share": 0})))
    assert found & had
    assert new == without
    assert len(new) == 10
    assert not new & had
    assert again == had


@pytest.mark.parametrize("options", [{}, {"repeat_share": 0.3}, {"repeat_share": 0}, {"objective": "discover"}])
async def test_popular_items_fill_a_list_up_below_the_proposals(
    model_client: AsyncClient, modelled: Bundle, options: dict[str, Any]
) -> None:
    """And a rule that changes nothing changes nothing."""
    new = "objective" in options or options.get("repeat_share") == 0
    body = {"events": [{"itemid": modelled.items[17]}], "n": 50, "explain": True, **options}
    listed = (await model_client.post("/recommend", json=body)).json()["recommendations"]
    available = {modelled.items[code] for code in modelled.tables.statistics.available.nonzero()[0].tolist()}
    found = [one["itemid"] for one in listed]
    assert len(found) == len(set(found)) == min(50, len(available - ({modelled.items[17]} if new else set())))
    assert set(found) <= available
    proposed = [bool(one["sources"]) for one in listed]
    n_proposed = sum(proposed)
    assert 0 < n_proposed < len(found)
    assert proposed == [True] * n_proposed + [False] * (len(found) - n_proposed)
    scores = [one["score"] for one in listed]
    assert all(1 >= high > low >= 0 for high, low in zip(scores[n_proposed - 1 :], scores[n_proposed:], strict=False))
    assert scores == [one["lgb_score"] for one in listed] == sorted(scores, reverse=True)
    popularity = modelled.tables.statistics.item("item_popularity")
    category = modelled.tables.statistics.category
    filling = [modelled.items.code(item) for item in found[n_proposed:]]
    near = [category[code] == category[17] for code in filling]
    assert near == sorted(near, reverse=True)
    values = np.nan_to_num(popularity[filling])
    assert all((np.diff(values[np.equal(near, part)]) <= 0).all() for part in (True, False))
    for parts in (one["explanation"] for one in listed if "explanation" in one):
        total = parts["bias"] + parts["other_features"] + sum(one["contribution"] for one in parts["features"])
        assert total == pytest.approx(parts["raw_score"], abs=1e-6)
    assert "explanation" in listed[n_proposed]
    changing_nothing: tuple[dict[str, Any], ...] = (
        {"exclude": [10**9]},
        {"diversity": 0},
        {"cap": [{"at_most": 50, "per": "category"}]},
    )
    for rules in changing_nothing:
        same = (await model_client.post("/recommend", json={**body, **rules})).json()["recommendations"]
        assert [(one["itemid"], one["score"]) for one in same] == list(zip(found, scores, strict=True))
    short = await model_client.post("/recommend", json={**body, "n": n_proposed + 1})
    assert items_of(short) == found[: n_proposed + 1]


async def test_a_pin_from_the_history_holds_without_repeats(
    model_client: AsyncClient, client: AsyncClient, modelled: Bundle
) -> None:
    """On both paths."""
    user, code = next(
        (user, code)
        for row, user in enumerate([modelled.snapshot.users[row] for row in range(10)])
        for code in modelled.snapshot.take(np.array([row])).items.tolist()
        if modelled.tables.statistics.available[code]
    )
    item = modelled.items[code]
    pinned = await client.get(f"/recommend/{user}?n=5&repeat_share=0&pin={item}:1")
    assert items_of(pinned)[0] == item
    for share in (0, 0.01, 1):
        body = {"events": [{"itemid": item}], "n": 5, "repeat_share": share, "pin": [{"item": item, "position": 1}]}
        found = items_of(await model_client.post("/recommend", json=body))
        assert (found[0], len(set(found))) == (item, 5)


async def test_a_batch_of_users_and_sessions_has_the_answers_of_each_alone(
    modelled_store: FolderStore, modelled: Bundle
) -> None:
    stages = FakeStages()
    users = [modelled.snapshot.users[row] for row in range(5)]
    bodies: list[dict[str, Any]] = [
        {"events": [{"itemid": modelled.items[7 * k + 1]}, {"itemid": modelled.items[k]}], "user_id": user}
        for k, user in enumerate([*users, *[None] * 3])
    ]
    async with http(service_of(modelled_store, stages, batches=1)) as client:

        def asked() -> list[Any]:
            return [client.post("/recommend", json=body) for body in bodies] + [
                client.get(f"/recommend/{user}{query}")
                for user in users
                for query in ("", f"?item_id={modelled.items[3]}", "?objective=discover")
            ]

        alone = [await one for one in asked()]
        calls = len(stages.calls)
        together = await asyncio.gather(*asked())
    assert max(call.users for call in stages.calls[calls:]) > 5
    assert [answer.json() for answer in together] == [answer.json() for answer in alone]
    assert {answer.status_code for answer in together} == {200}


# Whatever the documentation permits, and what it forbids

UNFIT = {*RequestRules.model_fields} - {
    *("exclude_purchased", "exclude_seen", "availability", "diversity", "rules_file")
}
"""Rules that may not fit a shop."""
EXPLORE = hypothesis.settings(max_examples=scaled(30, 1000), derandomize=not SOAK, database=None, deadline=None)


@pytest.fixture(scope="module")
def schema(store: FolderStore) -> Any:
    return schemathesis.openapi.from_asgi("/openapi.json", create_api(service_of(store), 100))


@pytest.mark.slow
def test_what_the_documentation_permits_is_answered_as_it_says(schema: Any, bundle: Bundle) -> None:
    known = [bundle.items[code] for code in range(5)]

    @EXPLORE
    @hypothesis.given(
        schema["/recommend"]["POST"].as_strategy(generation_mode=GenerationMode.POSITIVE),
        strategies.lists(strategies.sampled_from(known), max_size=4),
    )
    def conforms(case: schemathesis.Case, items: list[int]) -> None:
        if items and isinstance(case.body, dict):
            case.body = {**case.body, "user_id": None, "events": [{"itemid": item} for item in items]}
        # Words, ids and times may not fit the shop, and a rule may name an attribute that it lacks.
        fits = items and not UNFIT & {*case.body}
        case.call_and_validate(excluded_checks=[] if fits else [positive_data_acceptance])

    conforms()


@pytest.mark.slow
def test_what_the_documentation_forbids_is_refused(schema: Any) -> None:
    @EXPLORE
    @hypothesis.given(schema["/recommend"]["POST"].as_strategy(generation_mode=GenerationMode.NEGATIVE))
    def conforms(case: schemathesis.Case) -> None:
        case.call_and_validate()

    conforms()
