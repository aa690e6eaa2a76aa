"""Sessions are cut at pauses, events become steps, and prefixes get the next step as their label."""

from itertools import pairwise

import numpy as np
import pytest

from recsys.histories import Histories
from recsys.schema import CART, PURCHASE, VIEW
from recsys.sessions.log import SessionLog, cut_sessions, distinct_steps, steps_of
from recsys.sessions.prefixes import hit_rate, labelled, mrr, ndcg_by_prefix, target_ranks

MINUTE = 60_000


def history(*rows: tuple[int, int, int, int]) -> Histories:
    """Histories of rows (user, item, event, minute)."""
    users, items, events, minutes = np.array(rows).T
    return Histories.build(users, items, events, minutes * MINUTE, int(users.max()) + 1)


def lists(log: SessionLog) -> list[list[int]]:
    offsets = log.sessions.offsets
    return [log.sessions.items[a:b].tolist() for a, b in pairwise(offsets)]


def test_a_pause_and_another_user_start_a_session() -> None:
    histories = history((0, 1, VIEW, 0), (0, 2, VIEW, 30), (0, 3, VIEW, 61), (1, 4, VIEW, 40), (1, 5, VIEW, 50))
    log = cut_sessions(histories, 30)
    assert lists(log) == [[1, 2], [4, 5], [3]]  # in the order of their ends
    assert log.owners.tolist() == [0, 1, 0]
    assert (log.ends // MINUTE).tolist() == [30, 50, 61]


def test_nobody_has_no_session() -> None:
    log = cut_sessions(Histories.build(*(np.zeros(0, np.int64),) * 4, 3), 30)
    assert len(log) == 0
    assert len(labelled(log)) == 0


def test_another_event_on_the_same_item_continues_the_step() -> None:
    histories = history((0, 1, VIEW, 0), (0, 1, CART, 1), (0, 2, VIEW, 2), (0, 2, VIEW, 3), (0, 1, PURCHASE, 4))
    steps = steps_of(histories)
    assert steps.items.tolist() == [1, 2, 2, 1]
    assert steps.events.tolist() == [CART, VIEW, VIEW, PURCHASE]
    assert (steps.times // MINUTE).tolist() == [1, 2, 3, 4]


def test_distinct_steps_begin_with_the_last_item() -> None:
    histories = history((0, 1, VIEW, 0), (0, 2, CART, 1), (0, 1, VIEW, 2), (0, 3, VIEW, 3), (1, 9, VIEW, 0))
    steps = distinct_steps(histories, 10, (1.0, 2.0, 3.0), 2)
    assert steps.rows.tolist() == [0, 0, 1]
    assert steps.items.tolist() == [3, 1, 9]
    assert steps.distance.tolist() == [0, 1, 0]
    assert steps.count.tolist() == [1, 2, 1]
    every = distinct_steps(histories, 10, (1.0, 2.0, 3.0), 5)
    assert every.items.tolist() == [3, 1, 2, 9]
    assert every.weight.tolist() == [1.0, 1.0, 2.0, 1.0]
    assert every.strongest.tolist() == [VIEW, VIEW, CART, VIEW]


def test_every_step_after_the_first_is_a_label() -> None:
    histories = history((0, 1, VIEW, 0), (0, 1, CART, 1), (0, 2, VIEW, 2), (0, 2, VIEW, 3), (1, 7, VIEW, 0))
    prefixes = labelled(cut_sessions(histories, 30))
    assert prefixes.targets.tolist() == [2, 2]
    assert [prefixes.sessions.take(np.array([i])).items.tolist() for i in range(2)] == [[1, 1], [1, 1, 2]]
    assert prefixes.repeats.tolist() == [False, True]
    assert prefixes.owners.tolist() == [0, 0]


def test_the_lines_of_an_order_are_no_labels() -> None:
    order = history((0, 1, PURCHASE, 0), (0, 2, PURCHASE, 0), (0, 3, PURCHASE, 0))
    assert len(labelled(cut_sessions(order, 30))) == 0


def test_ranks_of_targets() -> None:
    users, items = np.array([0, 0, 0, 1]), np.array([5, 6, 7, 5])
    ranks = target_ranks(users, items, np.array([0.1, 0.3, 0.3, 1.0]), np.array([7, 9]))
    assert ranks.tolist() == [2.0, np.inf]
    assert hit_rate(ranks, 2) == 0.5
    assert mrr(ranks, 2) == 0.25
    assert ndcg_by_prefix(ranks, 2).tolist() == [pytest.approx(1 / np.log2(3)), 0.0]
