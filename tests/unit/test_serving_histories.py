"""Histories of users from another source than the snapshot: who exists, and what a slow source does to the others."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest

from recsys.errors import DataError
from recsys.histories import Histories
from recsys.inference.servable import Servable, open_servable
from recsys.models.snapshot import UserTotals
from recsys.registry.folder import FolderStore
from recsys.schema import EVENT_TYPES, PURCHASE, UNKNOWN, VIEW
from recsys.serving.histories import SnapshotHistories, UserHistories
from recsys.serving.user_ids import UserId
from tests.support.bundles import publish
from tests.support.services import http, service_bundle, service_of, until
from tests.support.shop_data import END

pytestmark = pytest.mark.anyio

LIVE = 999_999
"""A user without an event in the snapshot."""
MINUTE = 60_000

Event = tuple[int, int, int]
"""Item code, event code, ms."""


class LiveHistories(SnapshotHistories):
    """A toy store: events by user id beside those of the snapshot; `open` holds back those of the users in `slow`."""

    def __init__(self, events: Mapping[UserId, Sequence[Event]], slow: Sequence[UserId] = ()) -> None:
        self._events, self._slow = events, slow
        self.open = asyncio.Event()
        self.waiting = 0

    async def histories(self, servable: Servable, user_ids: Sequence[UserId]) -> UserHistories:
        await self._network(user_ids)
        known = await super().histories(servable, user_ids)
        rows = [(row, *event) for row, user in enumerate(user_ids) for event in self._events.get(user, ())]
        users, items, events, times = np.array(rows, np.int64).reshape(-1, 4).T
        old = known.histories
        merged = Histories.build(
            np.concatenate([old.rows, users]),
            np.concatenate([old.items, items]),
            np.concatenate([old.events, events]),
            np.concatenate([old.times, times]),
            len(user_ids),
        )
        newest = max([known.newest, *(time for events in self._events.values() for *_, time in events)])
        return UserHistories(merged, merged.lengths > 0, newest)

    async def totals(self, servable: Servable, user_id: UserId) -> UserTotals | None:
        await self._network([user_id])
        events = np.array(self._events.get(user_id, ()), np.int64).reshape(-1, 3)
        if not len(events):
            return await super().totals(servable, user_id)
        items, kinds, times = events.T
        categories = set(servable.bundle.tables.statistics.category[items].tolist()) - {UNKNOWN}
        counts = tuple(np.bincount(kinds, minlength=len(EVENT_TYPES)).tolist())
        return UserTotals(counts, int(times.min()), int(times.max()), len(set(items.tolist())), len(categories))

    async def random_users(self, servable: Servable, n: int) -> Sequence[UserId]:
        await self._network(self._slow)
        return list(self._events)[:n]

    async def _network(self, user_ids: Sequence[UserId]) -> None:
        await asyncio.sleep(0)
        if set(self._slow).intersection(user_ids):
            self.waiting += 1
            try:
                await self.open.wait()
            finally:
                self.waiting -= 1


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FolderStore:
    store = FolderStore(tmp_path_factory.mktemp("registry"))
    publish(store, service_bundle(), "v1")
    return store


@pytest.fixture(scope="module")
def servable(store: FolderStore) -> Servable:
    return open_servable(store.path("v1"))


@pytest.fixture
async def live(servable: Servable) -> LiveHistories:
    """Two items of LIVE: one has a factor."""
    [first, second] = np.flatnonzero(servable.bundle.tables.factors.known)[:2].tolist()
    return LiveHistories({LIVE: [(first, VIEW, END + MINUTE), (second, PURCHASE, END + 2 * MINUTE)]})


async def test_a_user_of_live_events_alone_exists_on_every_route(store: FolderStore, live: LiveHistories) -> None:
    async with http(service_of(store)) as client:
        for path in (f"/recommend/{LIVE}", f"/user/{LIVE}/stats", f"/user/{LIVE}/events"):
            assert (await client.get(path)).status_code == 404
    async with http(service_of(store, histories=live)) as client:
        recommended, stats, events = [
            await client.get(path) for path in (f"/recommend/{LIVE}", f"/user/{LIVE}/stats", f"/user/{LIVE}/events")
        ]
        assert [answer.status_code for answer in (recommended, stats, events)] == [200, 200, 200]
        assert (recommended.json()["user_type"], len(recommended.json()["recommendations"])) == ("warm", 5)
        assert [stats.json()[name] for name in ("user_type", "total_events", "purchases")] == ["warm", 2, 1]
        assert [event["event"] for event in events.json()["events"]] == ["transaction", "view"]
        assert (await client.get("/users/random")).json() == {"user_id": LIVE, "user_type": "warm"}
        assert (await client.get(f"/recommend/{LIVE - 1}")).status_code == 404
        assert (await client.get(f"/user/{LIVE - 1}/stats")).status_code == 404


async def test_live_events_count_in_the_next_request(
    store: FolderStore, servable: Servable, live: LiveHistories
) -> None:
    recommender = servable.recommender
    known = await live.histories(servable, [LIVE])
    expected = recommender(known.histories, END + 2 * MINUTE, 5)
    async with http(service_of(store, histories=live)) as client:
        answer = (await client.get(f"/recommend/{LIVE}")).json()
    items = [item["itemid"] for item in answer["recommendations"]]
    assert items == servable.bundle.items.decode(expected.items).to_pylist()
    assert [item["score"] for item in answer["recommendations"]] == expected.scores.tolist()


async def test_users_of_a_batch_who_do_not_exist_leave_the_others_alone(
    store: FolderStore, servable: Servable, live: LiveHistories
) -> None:
    user = servable.bundle.snapshot.users[0]
    paths = [f"/recommend/{one}" for one in (-5, LIVE, "x", user, -6, f"{-7}?cold_start=true")]
    async with http(service_of(store, histories=live)) as client:
        alone = [await client.get(path) for path in paths]
        together = await asyncio.gather(*(client.get(path) for path in paths))
    assert [answer.status_code for answer in alone] == [404, 200, 400, 200, 404, 200]
    assert [answer.content for answer in together] == [answer.content for answer in alone]


SLOW_PATHS = [f"/recommend/{LIVE}", f"/user/{LIVE}/stats", f"/user/{LIVE}/events", "/users/random"]


@pytest.fixture
async def slow() -> LiveHistories:
    return LiveHistories({LIVE: [(0, VIEW, END)]}, slow=[LIVE])


async def test_a_slow_source_delays_no_other_request(
    store: FolderStore, servable: Servable, slow: LiveHistories
) -> None:
    user = servable.bundle.snapshot.users[0]
    async with http(service_of(store, histories=slow)) as client:
        delayed = [asyncio.create_task(client.get(path)) for path in SLOW_PATHS]
        await until(lambda: slow.waiting == len(SLOW_PATHS))
        for path in (f"/recommend/{user}", f"/user/{user}/stats", f"/user/{user}/events", "/health"):
            assert (await client.get(path)).status_code == 200
        assert slow.waiting == len(SLOW_PATHS)
        slow.open.set()
        assert [answer.status_code for answer in await asyncio.gather(*delayed)] == [200] * len(SLOW_PATHS)


async def test_a_slow_source_has_until_the_deadline(store: FolderStore, slow: LiveHistories) -> None:
    async with http(service_of(store, histories=slow, deadline_ms=50)) as client:
        for path in SLOW_PATHS:
            answer = await client.get(path)
            assert (answer.status_code, answer.json()) == (503, {"detail": "no answer within 50 ms"})
            assert answer.headers["retry-after"] == "1"
        await until(lambda: slow.waiting == 0)


async def test_the_snapshot_answers_without_a_turn_of_the_event_loop(servable: Servable) -> None:
    users = servable.bundle.snapshot.users
    coroutine = SnapshotHistories().histories(servable, [users[3], -5, users[0]])
    with pytest.raises(StopIteration) as ended:  # it ended at its first step
        coroutine.send(None)
    found: UserHistories = ended.value.value
    assert found.exists.tolist() == [True, False, True]
    assert found.newest == END
    whole = servable.bundle.snapshot.histories
    np.testing.assert_array_equal(found.histories.lengths, [whole.lengths[3], 0, whole.lengths[0]])


async def test_users_are_drawn_from_the_snapshot(servable: Servable) -> None:
    everybody = servable.bundle.snapshot.users.values.to_pylist()
    for n in (3, len(everybody) + 5):
        drawn = await SnapshotHistories().random_users(servable, n)
        assert len(set(drawn)) == len(drawn) == min(n, len(everybody))
        assert set(drawn) <= set(everybody)


def test_histories_of_some_users_are_taken_in_order() -> None:
    everything = Histories.build(*np.array([[0, 1, 1, 2], [5, 6, 7, 8], [0, 0, 1, 2], [10, 20, 30, 40]]), 3)
    users = UserHistories(everything, np.array([True, False, True]), 40)
    taken = users.take([2, 0])
    assert (taken.histories.items.tolist(), taken.exists.tolist(), taken.newest) == ([8, 5], [True, True], 40)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"times": np.array([5, 3])}, "not in the order of their times"),
        ({"times": np.array([3, 50])}, "an event at 50 ms; expected none after newest, 9"),
        ({"items": np.array([0, 7], np.int32)}, "items from 0 to 7; expected 0 to 3"),
        ({"items": np.array([-1, 1], np.int32)}, "items from -1 to 1"),
        ({"events": np.array([0, 9], np.int8)}, "events from 0 to 9"),
        ({"offsets": np.array([0, 1, 2])}, "histories of 2 users"),
    ],
)
def test_histories_that_break_the_contract_are_no_answer(changes: dict[str, np.ndarray], reason: str) -> None:
    """They would give wrong recommendations."""
    whole = Histories(np.array([0, 2]), np.array([0, 1], np.int32), np.array([0, 1], np.int8), np.array([3, 5]))
    UserHistories(whole, np.array([True]), 9).check(1, 4)
    with pytest.raises(DataError, match=reason):
        UserHistories(replace(whole, **changes), np.array([True]), 9).check(1, 4)
