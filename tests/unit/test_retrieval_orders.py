"""Items bought together: counts of orders, substitutes, and the table, against plain loops over tiny shops."""

from collections import Counter
from itertools import combinations

import numpy as np
import pyarrow as pa
import pytest

from recsys.data.shop import UserPartition
from recsys.histories import Histories
from recsys.retrieval.neighbours import Neighbours
from recsys.retrieval.orders import (
    BasketConfig,
    OrderCounts,
    add_order_counts,
    bought_together,
    count_orders,
    substitutes,
)
from recsys.retrieval.sources.covisitation import PairCounts
from recsys.schema import CART, DAY, PURCHASE, UNKNOWN, VIEW
from recsys.training.related import count_partition_orders

ALL = BasketConfig(min_count=1)
N_ITEMS = 6
NO_CATEGORY = np.full(N_ITEMS, UNKNOWN, np.int32)

Event = tuple[int, int, int, int, str]
"""User, item, type, time and the text of the order, "" without one."""


def shop(*events: Event) -> tuple[Histories, np.ndarray]:
    rows = sorted(events, key=lambda row: (row[0], row[3], row[1], row[2], row[4]))
    users, items, kinds, times, orders = (list(column) for column in zip(*rows, strict=True))
    names = sorted({(user, order) for user, order in zip(users, orders, strict=True) if order})
    codes = [names.index((u, o)) if o else UNKNOWN for u, o in zip(users, orders, strict=True)]
    histories = Histories.build(np.array(users), np.array(items), np.array(kinds), np.array(times), max(users) + 1)
    return histories, np.array(codes, np.int32)


def random_events(seed: int, n: int = 300) -> list[Event]:
    rng = np.random.default_rng(seed)
    return [
        (
            int(rng.integers(8)),
            int(rng.integers(N_ITEMS)),
            int(rng.choice([VIEW, CART, PURCHASE])),
            int(rng.integers(5 * DAY)),
            str(rng.choice(["", "a", "b", "c"])),
        )
        for _ in range(n)
    ]


def pairs(counts: PairCounts) -> dict[tuple[int, int], int]:
    return {
        divmod(key, N_ITEMS): count for key, count in zip(counts.keys.tolist(), counts.counts.tolist(), strict=True)
    }


def neighbours(table: Neighbours, item: int) -> dict[int, float]:
    rows = slice(table.offsets[item], table.offsets[item + 1])
    return dict(zip(table.items[rows].tolist(), table.scores[rows].tolist(), strict=True))


def groups_of_two(groups: dict[object, set[int]]) -> dict[tuple[int, int], int]:
    return dict(Counter(pair for items in groups.values() for pair in combinations(sorted(items), 2)))


@pytest.mark.parametrize("seed", range(5))
def test_counts_are_those_of_plain_loops(seed: int) -> None:
    events = random_events(seed)
    category = np.array([0, 0, 1, 1, UNKNOWN, UNKNOWN], np.int32)
    bought: dict[object, set[int]] = {}
    viewed: dict[object, set[int]] = {}
    for user, item, kind, time, order in events:
        if kind == PURCHASE:
            bought.setdefault((user, order or time // DAY), set()).add(item)
        if kind == VIEW and category[item] != UNKNOWN:
            viewed.setdefault((user, time // DAY, category[item]), set()).add(item)
    counts = count_orders(*shop(*events), category, ALL)
    assert pairs(counts.bought) == groups_of_two(bought)
    assert pairs(counts.viewed) == groups_of_two(viewed)
    assert counts.orders.tolist() == [sum(item in items for items in bought.values()) for item in range(N_ITEMS)]


def test_an_order_goes_before_the_day() -> None:
    """Two orders of a day are apart, and one order over midnight is one."""
    events = [(0, 0, PURCHASE, 0, "a"), (0, 1, PURCHASE, 1, "b"), (0, 2, PURCHASE, DAY, "b")]
    assert pairs(count_orders(*shop(*events), NO_CATEGORY, ALL).bought) == {(1, 2): 1}
    histories, _ = shop(*events)
    assert pairs(count_orders(histories, None, NO_CATEGORY, ALL).bought) == {(0, 1): 1}


def test_two_users_with_the_same_text_have_two_orders() -> None:
    events = [(0, 0, PURCHASE, 0, "a"), (1, 1, PURCHASE, 0, "a")]
    assert pairs(count_orders(*shop(*events), NO_CATEGORY, ALL).bought) == {}


def test_carts_and_views_are_no_orders() -> None:
    events = [(0, 0, CART, 0, "a"), (0, 1, CART, 0, "a"), (0, 2, VIEW, 0, "a"), (0, 3, PURCHASE, 0, "a")]
    counts = count_orders(*shop(*events), NO_CATEGORY, ALL)
    assert pairs(counts.bought) == {}
    assert counts.orders.tolist() == [0, 0, 0, 1, 0, 0]


def test_an_item_counts_once_in_an_order() -> None:
    events = [(0, 0, PURCHASE, 0, "a"), (0, 0, PURCHASE, 1, "a"), (0, 1, PURCHASE, 2, "a")]
    assert pairs(count_orders(*shop(*events), NO_CATEGORY, ALL).bought) == {(0, 1): 1}


def test_a_large_order_makes_a_bounded_number_of_pairs() -> None:
    events = [(user, item, PURCHASE, 7, "a") for user in range(2) for item in range(N_ITEMS)]
    counts = count_orders(*shop(*events), NO_CATEGORY, BasketConfig(max_items=3))
    assert sum(pairs(counts.bought).values()) == 6  # three items of each order
    assert counts.orders.tolist() == [2] * N_ITEMS
    again = count_orders(*shop(*events[::-1]), NO_CATEGORY, BasketConfig(max_items=3))
    assert pairs(again.bought) == pairs(counts.bought)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_partitions_do_not_change_the_counts(n: int) -> None:
    histories, orders = shop(*random_events(3))
    category = np.array([0, 0, 0, 1, 1, UNKNOWN], np.int32)
    parts = []
    for part in np.array_split(np.arange(len(histories)), n):
        rows = np.isin(histories.rows, part)
        own = UserPartition(pa.array(part), histories.take(part), orders[rows])
        parts.append(count_partition_orders(own, category, 4 * DAY, ALL))
    counts = add_order_counts(parts)
    past = histories.times <= 4 * DAY
    expected = count_orders(histories.until(4 * DAY), orders[past], category, ALL)
    assert pairs(counts.bought) == pairs(expected.bought)
    assert pairs(counts.viewed) == pairs(expected.viewed)
    assert counts.orders.tolist() == expected.orders.tolist()


def test_events_after_the_cut_do_not_count() -> None:
    histories, orders = shop((0, 0, PURCHASE, 5, "a"), (0, 1, PURCHASE, 5, "a"), (0, 2, PURCHASE, 6, "a"))
    partition = UserPartition(pa.array([0]), histories, orders)
    assert pairs(count_partition_orders(partition, NO_CATEGORY, 5, ALL).bought) == {(0, 1): 1}


def test_nothing_bought() -> None:
    counts = count_orders(*shop((0, 0, VIEW, 0, "")), NO_CATEGORY, ALL)
    assert not len(counts.bought.keys)
    assert bought_together(counts, NO_CATEGORY, ALL).lengths.tolist() == [0] * N_ITEMS


def counts_of(bought: dict[tuple[int, int], int], viewed: dict[tuple[int, int], int], orders: list[int]) -> OrderCounts:
    def as_counts(numbers: dict[tuple[int, int], int]) -> PairCounts:
        keys = sorted(numbers)
        return PairCounts(
            np.array([low * N_ITEMS + high for low, high in keys], np.int64),
            np.array([numbers[key] for key in keys], np.int64),
        )

    return OrderCounts(as_counts(bought), as_counts(viewed), np.array(orders))


def test_scores_are_normalized_by_both_items() -> None:
    counts = counts_of({(0, 1): 4, (0, 2): 4}, {}, [16, 4, 100, 0, 0, 0])
    table = bought_together(counts, NO_CATEGORY, BasketConfig(cart_power=0.5, item_power=0.5, min_count=2))
    assert neighbours(table, 0) == pytest.approx({1: 4 / 8, 2: 4 / 40})
    assert neighbours(table, 1) == pytest.approx({0: 4 / 8})
    one_sided = bought_together(counts, NO_CATEGORY, BasketConfig(cart_power=1, item_power=0))
    assert neighbours(one_sided, 0) == pytest.approx({1: 4 / 16, 2: 4 / 16})
    assert neighbours(one_sided, 2) == pytest.approx({0: 4 / 100})


def test_rare_pairs_and_far_neighbours_are_dropped() -> None:
    counts = counts_of({(0, 1): 1, (0, 2): 2, (0, 3): 3}, {}, [9] * N_ITEMS)
    table = bought_together(counts, NO_CATEGORY, BasketConfig(min_count=2, per_item=1))
    assert list(neighbours(table, 0)) == [3]
    assert list(neighbours(table, 2)) == [0]


def test_substitutes_are_viewed_together_more_than_bought_together() -> None:
    category = np.array([0, 0, 0, 0, 1, 1], np.int32)
    viewed = {(0, 1): 3, (0, 2): 2, (0, 3): 1}
    counts = counts_of({(0, 1): 2, (0, 2): 2, (0, 4): 2}, viewed, [5, 2, 2, 0, 2, 0])
    table = bought_together(counts, category, ALL)
    assert set(neighbours(table, 0)) == {2, 4}
    alike = substitutes(counts, N_ITEMS)
    assert neighbours(alike, 0) == {1: 3.0}  # nobody bought item 3, so no basket proposes it
    assert neighbours(alike, 1) == {0: 3.0}
    assert neighbours(alike, 3) == {0: 1.0}
