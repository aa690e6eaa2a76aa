"""cmfrec alone, with the item factors that the hybrid uses, over the whole catalogue."""

import numpy as np

from peers.windows import ALL, NEW, Lists, Window
from recsys.inference.stages import chunks
from recsys.models.factors import ItemFactors
from recsys.schema import UNKNOWN

CHUNK = 200
"""Users whose scores of every item are in memory at a time."""


def rank(factors: ItemFactors, window: Window) -> Lists:
    histories = window.cases.histories
    users, warm = factors.fold_in(histories)
    items = np.flatnonzero(factors.known)
    columns = factors.factors[factors.rows[items]].T
    at = np.full(window.n_items, UNKNOWN)
    at[items] = np.arange(len(items))
    found = {question: np.full((len(users), window.depth), UNKNOWN) for question in (ALL, NEW)}
    for chunk in chunks(histories, CHUNK):
        scores = users[chunk] @ columns
        found[ALL][chunk] = _best(scores, items, window.depth)
        seen = histories.take(chunk)
        there = factors.known[seen.items]
        scores[seen.rows[there], at[seen.items[there]]] = -np.inf
        found[NEW][chunk] = _best(scores, items, window.depth)
    return {name: window.lists(np.where(warm[:, None], ranked, UNKNOWN), name) for name, ranked in found.items()}


def _best(scores: np.ndarray, items: np.ndarray, depth: int) -> np.ndarray:
    """Items of the highest scores, best first and padded, int64 (n_users, depth)."""
    some = min(depth, len(items))
    top = np.argpartition(-scores, some - 1, axis=1)[:, :some]
    order = np.argsort(-np.take_along_axis(scores, top, axis=1), axis=1, kind="stable")
    best = items[np.take_along_axis(top, order, axis=1)]
    return np.pad(best, ((0, 0), (0, depth - some)), constant_values=UNKNOWN)
