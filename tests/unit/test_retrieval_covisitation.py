import numpy as np
import pytest

from recsys.histories import Histories
from recsys.retrieval.sources.covisitation import (
    CovisitationConfig,
    PairCounts,
    covisitation,
    merge_counts,
    pair_counts,
)
from recsys.schema import DAY, VIEW

HOUR = DAY // 24
N = 10
CONFIG = CovisitationConfig(window_days=2, near_hours=1, near_weight=3, shrinkage=1, min_count=1)


def histories(*rows: tuple[int, int, float], n_users: int = 2) -> Histories:
    """Views from rows (user, item, hour)."""
    users, items, hours = np.array(rows).reshape(-1, 3).T
    times = (hours * HOUR).astype(np.int64)
    return Histories.build(users.astype(int), items.astype(int), np.full(len(rows), VIEW), times, n_users)


def counted(profiles: Histories, **settings: float) -> dict[tuple[int, int], int]:
    pairs = pair_counts(profiles, N, CONFIG.model_copy(update=settings))
    keys, counts = pairs.keys, pairs.counts
    assert keys.dtype == counts.dtype == np.int64
    assert (np.diff(keys) > 0).all()
    return {(int(key) // N, int(key) % N): int(count) for key, count in zip(keys, counts, strict=True)}


def test_pairs_known_answer() -> None:
    """1 and 2 in one visit of user 0 and a day apart at user 1; 3 comes too late for 1, not for 2."""
    profiles = histories((0, 2, 0), (0, 1, 1), (0, 3, 48), (1, 1, 0), (1, 2, 24), n_users=2)
    assert counted(profiles) == {(1, 2): 3 + 1, (1, 3): 1, (2, 3): 1}
    assert counted(profiles, window_days=47.5 / 24) == {(1, 2): 4, (1, 3): 1}


def test_the_newest_event_of_an_item_counts_once() -> None:
    profiles = histories((0, 1, 0), (0, 2, 0), (0, 1, 30), (0, 1, 31))
    assert counted(profiles) == {(1, 2): 1}


def test_users_do_not_mix() -> None:
    assert counted(histories((0, 1, 0), (1, 2, 0))) == {}


def test_the_newest_items_pair_up() -> None:
    profiles = histories((0, 1, 0), (0, 2, 1), (0, 3, 2), (0, 4, 2))
    assert counted(profiles, last_items=2) == {(3, 4): 3}
    assert set(counted(profiles, last_items=3)) == {(2, 3), (2, 4), (3, 4)}


@pytest.mark.parametrize("n_users", [0, 4])
def test_no_events_no_pairs(n_users: int) -> None:
    assert counted(histories(n_users=n_users)) == {}


def test_counts_of_parts_add_up_in_any_order() -> None:
    rng = np.random.default_rng(3)
    profiles = histories(*zip(*rng.integers(0, [[20], [N], [200]], (3, 400)), strict=True), n_users=20)
    whole = pair_counts(profiles, N, CONFIG)
    halves = [pair_counts(profiles.take(users), N, CONFIG) for users in (np.arange(12, 20), np.arange(12))]
    for parts in (halves, halves[::-1]):
        merged = merge_counts(parts)
        np.testing.assert_array_equal(whole.keys, merged.keys)
        np.testing.assert_array_equal(whole.counts, merged.counts)


def test_neighbours_known_answer() -> None:
    """0-1 count 4, 0-2 count 2, 1-2 count 1; users 4, 1, 9."""
    keys, counts = np.array([1, 2, 1 * 3 + 2]), np.array([4, 2, 1])
    table = covisitation(PairCounts(keys, counts), np.array([4, 1, 9]), CONFIG)
    assert table.offsets.tolist() == [0, 2, 4, 6]
    assert table.items.tolist() == [1, 2, 0, 2, 0, 1]
    np.testing.assert_allclose(table.scores, [4 / 3, 2 / 7, 4 / 3, 1 / 4, 2 / 7, 1 / 4], rtol=1e-6)


def test_rare_pairs_are_dropped_and_lists_cut() -> None:
    keys, counts = np.array([1, 2, 1 * 3 + 2]), np.array([4, 2, 1])
    settings = CONFIG.model_copy(update={"min_count": 2, "per_item": 1})
    table = covisitation(PairCounts(keys, counts), np.array([4, 1, 9]), settings)
    assert table.lengths.tolist() == [1, 1, 1]
    assert table.items.tolist() == [1, 0, 0]


def test_ties_go_to_the_smaller_code() -> None:
    keys = np.array([3, 1, 2])
    table = covisitation(PairCounts(keys, np.full(3, 2)), np.ones(5, int), CONFIG)
    assert table.items[:3].tolist() == [1, 2, 3]


def test_no_pairs_no_neighbours() -> None:
    none = np.zeros(0, np.int64)
    table = covisitation(PairCounts(none, none), np.zeros(3, int), CONFIG)
    assert table.offsets.tolist() == [0, 0, 0, 0]
