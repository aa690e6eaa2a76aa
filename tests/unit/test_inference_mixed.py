"""Batches with and without sessions: which path answers, with which items, and independent of the rest of the batch."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from recsys.histories import Histories
from recsys.inference import mixed
from recsys.inference.options import BatchOptions
from recsys.inference.recommender import Recommendations, Recommender
from recsys.registry.bundle import Bundle
from recsys.schema import ALL, DAY, DISCOVER, PURCHASE, REPEAT
from tests.support.bundles import small_bundle
from tests.support.shop_data import END
from tests.support.toy_sessions import ToySessions

N = 8


@cache
def with_sessions(first: int = 0, *, exclude_purchased: bool = False) -> Bundle:
    """The small shop with a session model that knows the items from a code on."""
    bundle = small_bundle()
    retrieval = replace(bundle.tables.retrieval, exclude_purchased=exclude_purchased)
    tables = replace(bundle.tables, retrieval=retrieval)
    return replace(bundle, tables=tables, sessions=ToySessions(len(bundle.items), first))


def recommender(first: int = 0, *, exclude_purchased: bool = False) -> Recommender:
    return Recommender.from_bundle(with_sessions(first, exclude_purchased=exclude_purchased))


def session(items: list[int], events: list[int] | None = None) -> Histories:
    """One visit that ends at END, a minute for each event."""
    n = len(items)
    times = END - 60_000 * np.arange(n)[::-1]
    return Histories(np.array([0, n]), np.int32(items), np.int8(events or [0] * n), times.astype(np.int64))


def joined(parts: list[tuple[Histories, Histories]]) -> tuple[Histories, np.ndarray]:
    """One request of each pair of a history and a session, and which events are of sessions."""
    requests = [
        Histories(
            np.array([0, len(known.times) + len(visit.times)]),
            *(np.concatenate((getattr(known, name), getattr(visit, name))) for name in ("items", "events", "times")),
        )
        for known, visit in parts
    ]
    mask = [np.repeat([False, True], [len(known.times), len(visit.times)]) for known, visit in parts]
    return Histories.concat(requests), np.concatenate(mask)


NOTHING = session([])


def user(row: int) -> Histories:
    return small_bundle().snapshot.take(np.array([row]))


@pytest.fixture
def batch() -> tuple[Histories, np.ndarray]:
    """A visitor, a user without a visit, a user with one, nobody at all, and a visit that the model cannot use."""
    return joined(
        [
            (NOTHING, session([30, 31, 20])),
            (user(0), NOTHING),
            (user(1), session([40])),
            (NOTHING, NOTHING),
            (NOTHING, session([1])),
        ]
    )


def lists(found: Recommendations) -> list[list[int]]:
    return [part.tolist() for part in np.split(found.items, found.offsets[1:-1])]


def recommend(
    using: Recommender, histories: Histories, in_session: np.ndarray, objective: int = ALL, cap: float = np.nan
) -> Recommendations:
    n = len(histories)
    options = BatchOptions(N, np.full(n, objective, np.int8), np.full(n, cap), in_session=in_session)
    return mixed.recommend(using, histories, END, options)


def test_each_request_has_its_path(batch: tuple[Histories, np.ndarray]) -> None:
    histories, in_session = batch
    found = recommend(recommender(10), histories, in_session)
    main = recommender()(histories, END, N, np.zeros(5, np.int8))
    expected, own = lists(main), lists(found)
    assert [own[row] == expected[row] for row in range(5)] == [False, True, False, True, True]
    by_session = np.repeat([True, False, True, False, False], np.diff(found.offsets))
    assert np.isnan(found.mf_scores[by_session]).all()
    np.testing.assert_array_equal(found.scores[by_session], found.lgb_scores[by_session])
    n_main = len(with_sessions().manifest.sources)
    assert found.provenance.shape[1] == n_main + 2 == len(recommender().source_names)
    assert found.provenance[by_session, n_main].all()
    assert not found.provenance[by_session, :n_main].any()
    assert not found.provenance[~by_session, n_main:].any()
    known = found.provenance[:, -1][np.repeat([0, 0, 1, 0, 0], np.diff(found.offsets)) == 1]
    assert known.all()
    np.testing.assert_array_equal(found.warm, main.warm)


def test_the_last_event_counts_most(batch: tuple[Histories, np.ndarray]) -> None:
    found = lists(recommend(recommender(), *batch))
    assert found[0][:2] == [19, 21]


def test_a_request_does_not_depend_on_its_batch(batch: tuple[Histories, np.ndarray]) -> None:
    histories, in_session = batch
    together = lists(recommend(recommender(10), histories, in_session))
    for row in range(len(histories)):
        events = histories.rows == row
        alone = histories.take(np.array([row]))
        assert lists(recommend(recommender(10), alone, in_session[events])) == [together[row]]


def test_without_a_session_model_the_session_is_the_newest_part_of_the_history(
    batch: tuple[Histories, np.ndarray],
) -> None:
    using = Recommender.from_bundle(small_bundle())
    histories, in_session = batch
    assert lists(recommend(using, histories, in_session)) == lists(using(histories, END, N))


@pytest.mark.parametrize(("objective", "cap"), [(DISCOVER, np.nan), (REPEAT, np.nan), (ALL, 0.0)])
def test_objectives_and_caps_hold_for_sessions(objective: int, cap: float) -> None:
    histories, in_session = joined([(user(1), session([20, 21, 22])), (NOTHING, session([30, 31]))])
    found = recommend(recommender(), histories, in_session, objective, cap)
    assert np.isnan(found.mf_scores).all()
    had = [set(histories.items[histories.rows == row].tolist()) for row in range(2)]
    for row, items in enumerate(lists(found)):
        assert items
        assert {item in had[row] for item in items} == {objective == REPEAT}


def test_a_cap_moves_items_of_the_session_back() -> None:
    histories, in_session = joined([(NOTHING, session([20, 21, 22]))])
    had = [item in (20, 21, 22) for item in recommend(recommender(), histories, in_session).items.tolist()]
    capped = [item in (20, 21, 22) for item in recommend(recommender(), histories, in_session, cap=0.3).items.tolist()]
    assert sum(had[:3]) > 1
    assert sum(capped[:3]) <= 1


def test_what_was_bought_is_left_out_where_nobody_buys_again() -> None:
    histories, in_session = joined([(NOTHING, session([20, 21, 22], [0, PURCHASE, 0]))])
    assert 21 in recommend(recommender(), histories, in_session).items
    assert 21 not in recommend(recommender(exclude_purchased=True), histories, in_session).items


def test_each_request_has_its_present() -> None:
    """A visit after the end of the data ages its own history alone."""
    late = replace(session([20, 21]), times=np.array([END + 3 * DAY - 5, END + 3 * DAY]))
    histories, in_session = joined([(user(0), NOTHING), (user(1), late)])
    using = Recommender.from_bundle(small_bundle())
    options = BatchOptions(N, np.zeros(2, np.int8), in_session=in_session)
    now = np.array([END, END + 3 * DAY])
    together = mixed.recommend(using, histories, now, options)
    for row, present in enumerate(now.tolist()):
        alone = using(histories.take(np.array([row])), present, N)
        mine = slice(*together.offsets[row : row + 2])
        assert together.items[mine].tolist() == alone.items.tolist()
        assert together.scores[mine].tolist() == alone.scores.tolist()
