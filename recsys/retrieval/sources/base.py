"""The protocol of candidate sources: settings, a table fitted at a cut, and proposals from the table."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
from pydantic import Field

from recsys.arrays import order_within, runs
from recsys.features.profiles import Profiles
from recsys.features.statistics import Statistics
from recsys.histories import Histories
from recsys.schema import UNKNOWN, Config, EventType
from recsys.specs import Arrays, ArraySpec


class SourceConfig(Config):
    """Settings that every source has."""

    weight: float = Field(1.0, ge=0)
    """Position p of the source's list, counted from 1, has the value weight / p. The pre-ranker reads the sum of an
    item's values over all sources; without training data it reads nothing else. A source with weight 0 proposes
    nothing."""


Settings = TypeVar("Settings", bound=SourceConfig)


@dataclass(frozen=True, slots=True)
class Scored:
    """Scored items, user after user and best first for each user; at most one row for each (user, item).

    users: int64 (n,), positions in the batch; items: int32 (n,); scores: float64 (n,), higher is better
    history_rows: int64 (n,), row of each (user, item) in `Profiles.by_item`; None if the source did not look it up
    """

    users: np.ndarray
    items: np.ndarray
    scores: np.ndarray
    history_rows: np.ndarray | None = None


@dataclass(frozen=True, slots=True)
class Known:
    """The data that a source may be fitted on, all of them as of one cut.

    users_per_item: int64 (n_items,), users with an event on the item
    item_factors: float32 (n_known, k); factor_rows: int32 (n_items,), row of each item in `item_factors`, or UNKNOWN
    targets: the event types that count as success
    since: int64 (n_items,), time of the first record of an attribute of each item, ms; UNKNOWN for items without one;
        None if the shop gives no attributes
    """

    statistics: Statistics
    users_per_item: np.ndarray
    item_factors: np.ndarray
    factor_rows: np.ndarray
    targets: tuple[EventType, ...]
    since: np.ndarray | None = None


@dataclass(frozen=True)
class Batch:
    """The users who get proposals; n_seeds: number of a user's newest items whose neighbours are proposed."""

    profiles: Profiles
    n_seeds: int

    def __len__(self) -> int:
        return len(self.profiles)

    @cached_property
    def seeds(self) -> Scored:
        """The newest items of each user, in the order of `Profiles.by_item`; the score is the medium decayed weight."""
        by_item = self.profiles.by_item
        kept = (self.profiles.recency < self.n_seeds).nonzero()[0]
        return Scored(by_item.users[kept], by_item.things[kept].astype(np.int32), by_item.decayed[kept, 1], kept)


class Source(ABC, Generic[Settings]):
    """A candidate source without state: `fit` returns its table of named arrays, and `propose` takes the table.

    name: its name in settings, features, reports and versions
    settings: the class of its settings, with defaults
    specs: the arrays of its table
    has_feature: whether the source's score is a feature of the ranker
    needs_attributes: whether the source is used only in shops that give attributes of items
    """

    name: ClassVar[str]
    settings: ClassVar[type[SourceConfig]] = SourceConfig
    specs: ClassVar[Mapping[str, ArraySpec]] = {}
    has_feature: ClassVar[bool] = True
    needs_attributes: ClassVar[bool] = False

    def count(self, histories: Histories, n_items: int, now: int, settings: Settings) -> Any:
        """Counts over some users' events up to `now` (ms), which `merge` adds up; None if the source needs none."""
        return None

    def merge(self, counts: Sequence[Any]) -> Any:
        """The counts of all users from the counts of disjoint groups of users."""
        return None

    @abstractmethod
    def fit(self, known: Known, counts: Any, settings: Settings) -> Arrays:
        """The source's table, with the arrays of `specs`; counts: the result of `merge`."""

    @abstractmethod
    def propose(self, table: Arrays, batch: Batch, settings: Settings) -> Scored:
        """Proposals to a batch of users."""

    def origins(
        self, table: Arrays, batch: Batch, statistics: Statistics, users: np.ndarray, items: np.ndarray
    ) -> np.ndarray:
        """The item of the history with the largest part in the score of each (user, item) that the source proposed.

        Explanations name this item. It is given as a row of `Profiles.by_item`, int64 (n,), UNKNOWN where no item of
        the history plays a part.
        users: int64 (n,), positions in the batch; items: int32 (n,)
        """
        return np.full(len(users), UNKNOWN)

    def reserved(self, settings: Settings) -> float:
        """The fraction of a user's candidates that the best proposals of the source get, whatever the pre-ranker.

        It holds for objective DISCOVER. In lists of all items, where most events are on known items, it costs more than
        it gives.
        """
        return 0.0

    def cold_start_size(self, settings: Settings) -> int | None:
        """Length of the list for users without events, with scores 1 / position; None if there is no such list."""
        return None


def best_first(users: np.ndarray, items: np.ndarray, scores: np.ndarray) -> Scored:
    """The rows ordered by user, best first; ties go to the smaller item code."""
    order = order_within(users, scores, items)
    return Scored(users[order], items[order], scores[order])


def summed(users: np.ndarray, items: np.ndarray, scores: np.ndarray, n_items: int) -> Scored:
    """One row for each (user, item), in the order of `best_first`; scores are added up in the given order."""
    keys = users * n_items + items
    order = keys.argsort(kind="stable")
    starts, row = runs(keys[order])
    first = order[starts]
    return best_first(users[first], items[first], np.bincount(row, scores[order]))
