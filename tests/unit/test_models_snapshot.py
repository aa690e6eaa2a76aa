import numpy as np
import pyarrow as pa
import pytest

from recsys.histories import Histories
from recsys.models.snapshot import HistoryConfig, Snapshot, assemble, snapshot_part
from recsys.schema import CART, PURCHASE, UNKNOWN, VIEW

CONFIG = HistoryConfig(max_events=2)
CATEGORY = np.array([0, 0, 1, UNKNOWN], np.int32)


def histories(*rows: tuple[int, int, int, int], n_users: int) -> Histories:
    """From rows (user, time, item, event)."""
    users, times, items, events = np.array(rows, np.int64).reshape(-1, 4).T
    return Histories.build(users, items, events, times, n_users)


@pytest.fixture
def snapshot() -> Snapshot:
    """Of two partitions whose ids interleave; b and d have more events than are kept."""
    first = histories((0, 5, 1, VIEW), (1, 1, 0, VIEW), (1, 2, 1, CART), (1, 3, 2, VIEW), (1, 4, 3, VIEW), n_users=2)
    second = histories(
        (0, 7, 3, PURCHASE), (0, 7, 3, VIEW), (1, 6, 2, VIEW), (1, 8, 2, PURCHASE), (1, 9, 2, VIEW), n_users=2
    )
    parts = [
        snapshot_part(pa.array(["a", "d"]), first, CATEGORY, CONFIG),
        snapshot_part(pa.array([], pa.string()), histories(n_users=0), CATEGORY, CONFIG),
        snapshot_part(pa.array(["b", "c"]), second.take(np.array([1, 0])), CATEGORY, CONFIG),
    ]
    return assemble(parts, "string")


def test_users_are_in_order_and_histories_capped(snapshot: Snapshot) -> None:
    assert snapshot.users.values.to_pylist() == ["a", "b", "c", "d"]
    assert snapshot.histories.lengths.tolist() == [1, 2, 2, 2]
    assert snapshot.histories.times.tolist() == [5, 8, 9, 7, 7, 3, 4]
    assert snapshot.histories.items.tolist() == [1, 2, 2, 3, 3, 2, 3]


def test_totals_of_the_cut_are_exact(snapshot: Snapshot) -> None:
    """Unknown categories do not count as one."""
    totals = snapshot.totals
    assert totals.rows.tolist() == [1, 3]
    assert totals.counts.tolist() == [[2, 0, 1], [3, 1, 0]]
    assert totals.first.tolist() == [6, 1]
    assert totals.items.tolist() == [1, 4]
    assert totals.categories.tolist() == [1, 2]


def test_unknown_users_have_an_empty_history(snapshot: Snapshot) -> None:
    rows = snapshot.rows(pa.array(["zz", "d", "", "a"]))
    assert rows.tolist() == [UNKNOWN, 3, UNKNOWN, 0]
    taken = snapshot.take(rows)
    assert taken.lengths.tolist() == [0, 2, 0, 1]
    assert taken.times.tolist() == [3, 4, 5]


def test_only_unknown_users(snapshot: Snapshot) -> None:
    assert snapshot.take(np.array([UNKNOWN, UNKNOWN])).lengths.tolist() == [0, 0]


def test_partitions_do_not_matter() -> None:
    rng = np.random.default_rng(0)
    rows = zip(*rng.integers(0, [[9], [50], [4], [3]], (4, 60)), strict=True)
    profiles, users = histories(*rows, n_users=9), pa.array(np.arange(9) * 5 - 20)
    whole = assemble([snapshot_part(users, profiles, CATEGORY, CONFIG)], "int64")
    apart = assemble(
        [
            snapshot_part(users.take(pa.array(p)), profiles.take(p), CATEGORY, CONFIG)
            for p in (np.arange(6, 9), np.arange(6))
        ],
        "int64",
    )
    assert apart.users.values.equals(whole.users.values)
    for name, array in whole.arrays().items():
        np.testing.assert_array_equal(apart.arrays()[name], array, err_msg=name)


def test_arrays_round_trip(snapshot: Snapshot) -> None:
    again = Snapshot.from_arrays(snapshot.users, snapshot.arrays())
    for name, array in snapshot.arrays().items():
        np.testing.assert_array_equal(again.arrays()[name], array, err_msg=name)
