from itertools import pairwise

import numpy as np
import pytest

from recsys.arrays import offsets_of, ragged_indices
from recsys.histories import Histories
from recsys.schema import CART, PURCHASE, VIEW

NONE = np.zeros(0, np.int64)


@pytest.fixture
def three() -> Histories:
    """User 0 has three events, user 1 none, user 2 two; given out of order."""
    return Histories.build(
        users=np.array([2, 0, 0, 2, 0]),
        items=np.array([5, 7, 6, 5, 6]),
        events=np.array([CART, VIEW, PURCHASE, VIEW, VIEW]),
        times=np.array([30, 20, 20, 30, 10]),
        n_users=3,
    )


def as_lists(histories: Histories) -> list[list[tuple[int, int, int]]]:
    """(time, item, event) by user."""
    rows = list(zip(histories.times.tolist(), histories.items.tolist(), histories.events.tolist(), strict=True))
    borders = histories.offsets.tolist()
    return [rows[start:end] for start, end in pairwise(borders)]


def test_ragged_indices_run_through_each_range() -> None:
    assert ragged_indices(np.array([4, 0, 9]), np.array([2, 0, 3])).tolist() == [4, 5, 9, 10, 11]


def test_ragged_indices_of_nothing() -> None:
    assert ragged_indices(NONE, NONE).tolist() == []
    assert ragged_indices(np.array([3]), np.array([0])).dtype == np.int64


def test_offsets_are_borders() -> None:
    assert offsets_of(np.array([2, 0, 3])).tolist() == [0, 2, 2, 5]
    assert offsets_of(NONE).tolist() == [0]


def test_build_orders_events_by_time_item_and_type(three: Histories) -> None:
    assert as_lists(three) == [
        [(10, 6, VIEW), (20, 6, PURCHASE), (20, 7, VIEW)],
        [],
        [(30, 5, VIEW), (30, 5, CART)],
    ]
    assert [array.dtype.name for array in (three.offsets, three.items, three.events, three.times)] == [
        "int64",
        "int32",
        "int8",
        "int64",
    ]


def test_build_does_not_depend_on_the_order_of_rows() -> None:
    rng = np.random.default_rng(0)
    columns = rng.integers(0, [[9], [5], [3], [7]], (4, 200))
    shuffled = columns[:, rng.permutation(200)]
    assert as_lists(Histories.build(*columns, n_users=9)) == as_lists(Histories.build(*shuffled, n_users=9))


def test_lengths_rows_and_counts(three: Histories) -> None:
    assert len(three) == 3
    assert three.lengths.tolist() == [3, 0, 2]
    assert three.rows.tolist() == [0, 0, 0, 2, 2]
    assert three.counts().tolist() == [[2, 0, 1], [0, 0, 0], [1, 1, 0]]


def test_until_includes_the_cut_and_between_excludes_its_start(three: Histories) -> None:
    assert as_lists(three.until(20)) == [as_lists(three)[0], [], []]
    assert as_lists(three.between(10, 20)) == [[(20, 6, PURCHASE), (20, 7, VIEW)], [], []]
    assert as_lists(three.until(9)) == [[], [], []]


def test_take_repeats_and_reorders_users(three: Histories) -> None:
    alone = as_lists(three)
    assert as_lists(three.take(np.array([2, 1, 0, 2]))) == [alone[2], alone[1], alone[0], alone[2]]
    assert as_lists(three.take(NONE)) == []


def test_latest_keeps_the_newest(three: Histories) -> None:
    assert as_lists(three.latest(2)) == [[(20, 6, PURCHASE), (20, 7, VIEW)], [], as_lists(three)[2]]
    assert as_lists(three.latest(10)) == as_lists(three)


def test_concat_puts_users_one_after_another(three: Histories) -> None:
    assert as_lists(Histories.concat([three, three.take(np.array([2]))])) == [*as_lists(three), as_lists(three)[2]]


def test_users_without_any_event() -> None:
    empty = Histories.build(NONE, NONE, NONE, NONE, n_users=2)
    assert as_lists(empty) == [[], []]
    assert as_lists(empty.until(5).latest(1).take(np.array([1]))) == [[]]
    assert empty.counts().tolist() == [[0, 0, 0], [0, 0, 0]]
    assert empty.rows.tolist() == []


def test_nobody() -> None:
    nobody = Histories.build(NONE, NONE, NONE, NONE, n_users=0)
    assert len(nobody) == 0
    assert nobody.counts().shape == (0, 3)
