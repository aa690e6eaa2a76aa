"""What a peer sees, all events up to a cut, and what it is asked: the best items, known or new, for some users."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray
from scipy.sparse import csr_matrix

from recsys.arrays import belongs
from recsys.data.ingest import ShopData
from recsys.data.shop import UserPartition
from recsys.evaluation import metrics, protocol
from recsys.evaluation.metrics import Truth
from recsys.evaluation.protocol import TestCases
from recsys.histories import Histories
from recsys.ids import Ids
from recsys.schema import DAY, UNKNOWN, EventWeights
from recsys.timeline import Cut
from recsys.training.context import Context
from recsys.training.evaluation import MOST_SEEN
from recsys.training.systems import popular_items

ALL: Final = "all items"
NEW: Final = "new items"
"""The questions: rank the whole catalogue, or what the user has no event on."""

Lists = Mapping[str, np.ndarray]
"""Ranked lists of all test users by question, int32 (n_users, depth), padded with UNKNOWN."""

VALUES: Final = ("linear", "log", "decayed")
"""What a user's events on an item are worth: the sum of their weights, its ln(1 + sum), or a sum that fades."""


@dataclass(frozen=True, slots=True)
class Log:
    """Everything that all users did; user u of `histories` has the code u in `users`."""

    users: Ids
    histories: Histories
    n_items: int

    @classmethod
    def from_shop(cls, shop: ShopData) -> "Log":
        parts: list[UserPartition] = ray.get(list(shop.partitions))
        users = pa.concat_arrays([part.users for part in parts])
        order = pc.sort_indices(users).to_numpy()
        histories = Histories.concat([part.histories for part in parts]).take(order)
        return cls(Ids(users.take(pa.array(order))), histories, len(shop.items))


@dataclass(frozen=True, slots=True)
class Window:
    """A cut, what lies before it, and the users asked about.

    past: events of all users up to `now` (ms)
    rows: int64 (n_cases,), positions of the cases' users in `past`
    popular: int32 (n,), the items that fill lists up, more than a list holds
    half_life: days in which a decayed value falls to its half
    """

    past: Histories
    now: int
    cases: TestCases
    rows: np.ndarray
    popular: np.ndarray
    half_life: float
    n_items: int
    depth: int

    @classmethod
    def at(cls, context: Context, log: Log, cut: Cut, cases: TestCases, half_life: float) -> "Window":
        depth, now = context.config.evaluation.cutoffs[-1], cut.time
        popular = popular_items(context, cut, depth + MOST_SEEN)
        rows = log.users.encode(cases.users).astype(np.int64)
        return cls(log.histories.until(now), now, cases, rows, popular, half_life, log.n_items, depth)

    def event_weights(self) -> dict[str, np.ndarray]:
        """What each event of the past is worth, float32 (n_events,), by those VALUES that are sums."""
        linear = np.array(EventWeights().by_code(), np.float32)[self.past.events]
        fade = 0.5 ** ((self.now - self.past.times) / (self.half_life * DAY))
        return {"linear": linear, "decayed": linear * fade.astype(np.float32)}

    def matrix(self, values: str) -> csr_matrix:
        """Users by items, float32; values: one of VALUES."""
        weights = self.event_weights()["linear" if values == "log" else values]
        matrix = csr_matrix((weights, (self.past.rows, self.past.items)), (len(self.past), self.n_items))
        matrix.sum_duplicates()
        return matrix.log1p() if values == "log" else matrix

    def lists(self, ranked: np.ndarray, question: str) -> np.ndarray:
        """What a model ranked, without items known to the user where new ones are asked for, filled up by popularity.

        ranked: int (n_cases, any), UNKNOWN where there is nothing
        """
        filler = np.broadcast_to(self.popular, (len(ranked), len(self.popular)))
        joined = np.hstack([ranked.astype(np.int32), filler])
        keep = metrics.first_occurrences(joined)
        if question == NEW:
            seen, users = self.cases.histories, np.arange(len(ranked))[:, None]
            keep &= ~belongs(users, joined, seen.offsets, seen.items)
        return metrics.compact(joined, keep, self.depth)

    def popularity(self) -> Lists:
        nothing = np.full((len(self.cases), 0), UNKNOWN, np.int32)
        return {question: self.lists(nothing, question) for question in (ALL, NEW)}


@dataclass(frozen=True, slots=True)
class Question:
    """name: ALL or NEW; users: int64 (n,), positions of the test users who have a truth, which follows."""

    name: str
    users: np.ndarray
    truth: Truth

    def per_user(self, metric: str, lists: Lists) -> np.ndarray:
        """A metric such as `ndcg@10`, float64 (n,)."""
        return protocol.per_user(metric, lists[self.name][self.users], self.truth)

    def mean(self, metric: str, lists: Lists) -> float:
        """0 where nobody is asked about."""
        return float(self.per_user(metric, lists).mean()) if len(self.users) else 0.0


def questions(cases: TestCases) -> Sequence[Question]:
    left, stay = protocol.new_items_only(cases)
    return Question(ALL, np.arange(len(cases)), cases.truth), Question(NEW, stay, left.truth)
