"""The tables of the session model: fitted on sessions before a cut, stored in a version, opened again."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from recsys.features.statistics import Statistics
from recsys.schema import DAY
from recsys.sessions import neighbours, pairs, vectors
from recsys.sessions.log import SessionLog, Steps, distinct_steps, steps_of
from recsys.sessions.settings import SessionConfig
from recsys.specs import Arrays, ArraySpec

COUNTS: Final = ("sessions", "recent", "month", "newest", "oldest")
"""Columns of the counts of an item: sessions with it, the same decayed with half-lives of 7 and 28 days, and the days
since the newest and since the oldest of them."""
PREFIX: Final = "session"
PARTS: Final[Mapping[str, Mapping[str, ArraySpec]]] = {
    "index": neighbours.SPECS,
    "pairs": pairs.SPECS,
    "vectors": vectors.SPECS,
}


def session_arrays() -> dict[str, ArraySpec]:
    """The specs of the arrays that a version with a session model has, by name."""
    listed = {f"{PREFIX}_{part}_{name}": spec for part, specs in PARTS.items() for name, spec in specs.items()}
    return listed | {
        f"{PREFIX}_counts": ArraySpec("f4", ("items", len(COUNTS)), nan=True),
        f"{PREFIX}_popular": ArraySpec("i4", ("session popular",), 0, "items", largest={"session popular": "items"}),
    }


@dataclass(frozen=True, slots=True)
class SessionTables:
    """Tables of sessions before a cut, by part and name, see PARTS.

    counts: float32 (n_items, len(COUNTS)), NaN days for items without a session
    popular: int32 (n_popular,), items by falling decayed number of sessions
    """

    index: Arrays
    pairs: Arrays
    vectors: Arrays
    counts: np.ndarray
    popular: np.ndarray

    @property
    def n_items(self) -> int:
        return len(self.counts)

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays to store, by name."""
        listed = {f"{PREFIX}_{part}_{name}": array for part in PARTS for name, array in getattr(self, part).items()}
        return listed | {f"{PREFIX}_counts": self.counts, f"{PREFIX}_popular": self.popular}

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> "SessionTables":
        """The tables stored as `arrays` returns them."""
        parts = {part: {name: arrays[f"{PREFIX}_{part}_{name}"] for name in specs} for part, specs in PARTS.items()}
        return cls(**parts, counts=arrays[f"{PREFIX}_counts"], popular=arrays[f"{PREFIX}_popular"])


def fit_session_tables(log: SessionLog, end: int, n_items: int, config: SessionConfig) -> SessionTables:
    """The tables of some sessions.

    log: in the order of their ends, none of which is after `end` (ms)
    """
    if len(log) > config.max_sessions:
        log = log.take(np.arange(len(log) - config.max_sessions, len(log)))
    steps = distinct_steps(steps_of(log.sessions), n_items, config.weights.by_code(), config.max_steps)
    sessions = np.bincount(steps.items, minlength=n_items)
    counted = pairs.count_pairs(steps, n_items, config.pairs)
    lifted = pairs.normalized(counted, sessions, config.pairs.lift, config.pairs.shrinkage)
    cosines = pairs.normalized(counted, sessions, 0.5, config.pairs.shrinkage)
    counts = _counts(steps, (end - log.ends) / DAY, n_items)
    month = counts[:, COUNTS.index("month")]
    popular = np.argsort(-month, kind="stable")[: config.popular]
    return SessionTables(
        neighbours.fit_index((end - log.ends) / DAY, steps, n_items, config.neighbours),
        pairs.best_of_rows(lifted, config.pairs.per_item),
        vectors.fit_vectors(cosines, sessions, config.vectors),
        counts,
        popular[month[popular] > 0].astype(np.int32),
    )


def _counts(steps: Steps, ages: np.ndarray, n_items: int) -> np.ndarray:
    """See SessionTables.counts; ages: float64 (n_sessions,), days."""
    age = ages[steps.rows]
    newest, oldest = np.full(n_items, np.inf), np.full(n_items, -np.inf)
    np.minimum.at(newest, steps.items, age)
    np.maximum.at(oldest, steps.items, age)
    columns = (
        np.bincount(steps.items, minlength=n_items),
        np.bincount(steps.items, np.exp2(-age / 7), n_items),
        np.bincount(steps.items, np.exp2(-age / 28), n_items),
        np.where(np.isfinite(newest), newest, np.nan),
        np.where(np.isfinite(oldest), oldest, np.nan),
    )
    return np.stack(columns, axis=1).astype(np.float32)


@dataclass(frozen=True, slots=True)
class ItemFacts:
    """The catalog as the session model reads it.

    available: bool (n_items,); category: int32 (n_items,), codes or UNKNOWN
    statistics: with the attributes of items; None if there is no catalog
    numbers: float32 (n_items, n_numbers), each number in standard deviations from its category's mean
    number_names: the names of these attributes
    """

    available: np.ndarray
    category: np.ndarray
    statistics: Statistics | None
    numbers: np.ndarray
    number_names: tuple[str, ...]

    @classmethod
    def none(cls, n_items: int) -> "ItemFacts":
        """The facts of a log without a catalog."""
        return cls(np.ones(n_items, bool), np.full(n_items, -1, np.int32), None, np.zeros((n_items, 0)), ())

    @classmethod
    def create(cls, statistics: Statistics) -> "ItemFacts":
        """The facts in the statistics as of a cut."""
        suffix = "_vs_category"
        columns = [name for name in statistics.item_columns if name.endswith(suffix)]
        numbers = [statistics.item(name) for name in columns]
        names = tuple(name.removeprefix("attr_").removesuffix(suffix) for name in columns)
        matrix = np.stack(numbers, axis=1) if numbers else np.zeros((statistics.n_items, 0), np.float32)
        return cls(statistics.available, statistics.category, statistics, matrix, names)
