"""Lists of items by score: the last stage of every page that is not made for a user."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recsys.arrays import find, offsets_of, order_within, positions
from recsys.retrieval.restrictions import PairTest, first_allowed
from recsys.rules.programs import Programs
from recsys.schema import UNKNOWN


@dataclass(frozen=True, slots=True)
class ItemLists:
    """Ranked items of a batch of requests, request after request, best first.

    offsets: int64 (n_requests + 1,); items: int32 (n,), codes; scores: float64 (n,), on [0, 1]
    """

    offsets: np.ndarray
    items: np.ndarray
    scores: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @classmethod
    def concat(cls, parts: Sequence["ItemLists"]) -> "ItemLists":
        """The lists of all parts, part after part."""
        return cls(
            offsets_of(np.concatenate([np.diff(part.offsets) for part in parts])),
            np.concatenate([part.items for part in parts]),
            np.concatenate([part.scores for part in parts]),
        )


@dataclass(frozen=True, slots=True)
class Scores:
    """Scored items of a batch of requests; an item stands once for a request.

    requests: int64 (n,), positions below n_requests; items: int (n,), codes; scores: float64 (n,), not negative
    """

    requests: np.ndarray
    items: np.ndarray
    scores: np.ndarray
    n_requests: int


@dataclass(frozen=True, slots=True)
class Allowed:
    """The items that may be listed.

    items: bool (n_items,), for every request without rules
    forbidden: int64 (n,), ascending, request * n_items + item; pairs that may not be listed besides
    programs: the rules of the requests, which decide instead of `items`; None without rules
    """

    items: np.ndarray
    forbidden: np.ndarray
    programs: Programs | None = None

    def __call__(self, requests: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Whether each pair of a request and an item may be listed, bool (n,)."""
        allowed = self.items[items] if self.programs is None else self.programs.allows(requests, items)
        return np.asarray(allowed & (find(self.forbidden, requests * len(self.items) + items) == UNKNOWN))


def best_items(
    scored: Scores, n: int, allowed: PairTest, fill: np.ndarray, programs: Programs | None = None
) -> ItemLists:
    """The `n` best allowed items of each request; ties go to the smaller code.

    Where fewer have a score, the items of `fill` follow with score 0, so a list has n items while n are allowed.
    Filters act here: every item of every list passes `allowed`.
    A raw score s becomes s / (1 + s), which keeps the order.
    fill: int (n_fill,), distinct codes, the best first
    programs: the rules of the requests; then all items with a score are kept, for `arranged`
    """
    kept = (scored.scores > 0) & allowed(scored.requests, scored.items)
    requests, items, scores = scored.requests[kept], scored.items[kept], scored.scores[kept]
    order = order_within(requests, scores, items)
    requests, items, scores = requests[order], items[order], scores[order] / (1 + scores[order])
    if programs is None:
        top = positions(requests) < n
        requests, items, scores = requests[top], items[top], scores[top]
    counts = np.bincount(requests, minlength=scored.n_requests)
    more = [(requests, items, scores)]
    for request in np.flatnonzero(counts < n).tolist():  # few: most requests have enough scored items
        own = items[requests == request]
        extra = first_allowed(request, fill, n - len(own), allowed, own)
        more.append((np.full(len(extra), request), extra, np.zeros(len(extra))))
    requests, items, scores = (np.concatenate(columns) for columns in zip(*more, strict=True))
    order = np.argsort(requests, kind="stable")
    counts = np.bincount(requests, minlength=scored.n_requests)
    return ItemLists(offsets_of(counts), items[order].astype(np.int32), scores[order])
