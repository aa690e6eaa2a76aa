"""Filters and rules of the lists that need no user."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from recsys.arrays import offsets_of, positions
from recsys.errors import RuleError
from recsys.histories import Histories
from recsys.inference.item_lists import ItemLists
from recsys.retrieval.restrictions import Further, PairTest, Pool
from recsys.rules.batch import BatchRules
from recsys.rules.book import RuleBook
from recsys.rules.programs import Programs

FLOOR: Final = 1e-9
"""The score of items that only fill a list up, where boosts need odds."""
STEP: Final = 1e-9
"""Part of a score that each position of a list costs, so that items with equal scores keep their order."""


def programs_of(book: RuleBook | None, rules: BatchRules | None, start: int, n_requests: int) -> Programs | None:
    """The programs of a part of a batch, `n_requests` from `start` on; None without rules.

    Raises RuleError, see `RuleBook.programs`.
    """
    if rules is None:
        return None
    if book is None:
        raise RuleError("these lists have no facts about their items, so they cannot apply rules")
    return book.programs(rules.take(np.arange(start, start + n_requests)), Histories.empty(n_requests))


@dataclass(frozen=True, slots=True)
class Demand:
    """The demands on the lists of some requests.

    permitted: whether a request may get an item: its filters, and what the list itself demands
    newest: int32 (n_requests,), the category whose popular items fill a list up first, or UNKNOWN
    """

    programs: Programs
    permitted: PairTest
    newest: np.ndarray


def arranged(pool: ItemLists, demand: Demand, scores: np.ndarray | None = None) -> ItemLists:
    """The lists that the rules make of longer ones, at most the n of each request; scores stay as they are.

    Pins, and where the items are too few the most popular ones, join them: with their score of `scores`, else 0.
    pool: permitted items, by falling score; scores: float64 (n_items,), NaN for none
    """
    programs = demand.programs
    users = np.arange(len(pool)).repeat(np.diff(pool.offsets))
    nothing = Further(np.zeros(0, np.int64), np.zeros(0, np.int32), demand.newest)
    more = programs.additions(Pool(users, pool.items, lambda: nothing, demand.permitted))
    extra = np.zeros(len(more.items)) if scores is None else np.nan_to_num(scores[more.items])
    users = np.concatenate([users, more.users])
    order = users.argsort(kind="stable")
    users = users[order]
    items = np.concatenate([pool.items, more.items])[order]
    listed = np.concatenate([pool.scores, extra])[order]
    best = programs.arrange(users, items, np.maximum(listed, FLOOR) * (1 - STEP * positions(users)))
    return ItemLists(offsets_of(best.lengths), items[best.rows].astype(np.int32), listed[best.rows])
