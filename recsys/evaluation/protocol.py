"""The benchmark protocol: one global time cut, test users drawn by id, metrics for warm and cold apart."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from recsys.arrays import belongs, offsets_of, ragged_indices
from recsys.errors import ConfigError, DataError
from recsys.evaluation import metrics
from recsys.evaluation.metrics import Truth
from recsys.histories import Histories
from recsys.schema import UNKNOWN, Config

SAMPLE_SEED: Final = 0
"""Part of the protocol, so that published figures are of the same users."""

BOOTSTRAP_SEED: Final = 0

Row = dict[str, str | int | float | None]
"""A line of the metrics table; None where a figure is undefined, since JSON has no nan."""

MAX_CUTOFF: Final = 1000
CutOff = Annotated[int, Field(ge=1, le=MAX_CUTOFF)]


class EvaluationConfig(Config):
    """How a trained recommender is judged on the newest events."""

    test_days: int = Field(14, ge=1, description="Length of the test window at the end of the data, in days.")
    k: CutOff = Field(10, description="Cut-off of the headline metrics.")
    ks: tuple[CutOff, ...] = Field((1, 5, 10, 20), description="Further cut-offs to report.")
    max_users: int = Field(5000, ge=1, description="Test users to draw where there are more.")
    bootstrap_samples: int = Field(1000, ge=100, description="Resamples of users behind an interval.")
    confidence: float = Field(0.95, gt=0, lt=1, description="Confidence level of the intervals.")
    seeds: int = Field(3, ge=1, description="Training runs with different seeds whose spread is reported.")
    page: bool = Field(True, description="Draw the report's page; its numbers are written in any case.")

    @property
    def resampling(self) -> tuple[int, int, float]:
        """Seed, number of resamples and level, as the intervals of `metrics` take them."""
        return BOOTSTRAP_SEED, self.bootstrap_samples, self.confidence

    @property
    def cutoffs(self) -> tuple[int, ...]:
        """Every k reported, ascending; the last is the depth that lists need."""
        return tuple(sorted({self.k, *self.ks}))


@dataclass(frozen=True, slots=True)
class TestCases:
    """Test users with what is known of them at the cut and what they did after it.

    users: Arrow array of ids (n_users,), ascending
    histories: events of each user at or before the cut
    truth: at least one item for each user
    warm: bool (n_users,)
    """

    users: pa.Array
    histories: Histories
    truth: Truth
    warm: np.ndarray

    def __len__(self) -> int:
        return len(self.users)

    def take(self, rows: np.ndarray) -> "TestCases":
        """Some of the users, in the order given; rows: int64 (n,), positions here."""
        lengths = self.truth.sizes[rows]
        index = ragged_indices(self.truth.offsets[rows], lengths)
        return TestCases(
            self.users.take(pa.array(rows)),
            self.histories.take(rows),
            Truth(offsets_of(lengths), self.truth.items[index]),
            self.warm[rows],
        )


def test_cases(
    users: pa.Array,
    histories: Histories,
    window_start: int,
    window_end: int,
    *,
    targets: Sequence[int],
    known_items: np.ndarray,
) -> TestCases:
    """The test users among `users` (one partition of them) for the window (window_start, window_end], ms.

    A test user has at least one event of a type in `targets` (event codes) in the window on a known item;
    the truth is the set of those items.
    known_items: bool (n_items,), items with an event of any type and any user at or before window_start.
    `warm` says that the user has any event before the cut; who knows which items have learned factors
    replaces it (`dataclasses.replace(cases, warm=…)`).
    """
    window = histories.between(window_start, window_end)
    window = window.where(np.isin(window.events, targets) & known_items[window.items])
    pairs = np.unique(window.rows * len(known_items) + window.items)
    rows, items = np.divmod(pairs, len(known_items))
    truth = Truth(offsets_of(np.bincount(rows, minlength=len(users))), items.astype(np.int32))
    history = histories.until(window_start)
    return TestCases(users, history, truth, history.lengths > 0).take(np.flatnonzero(truth.sizes))


def sample(cases: Sequence[TestCases], max_users: int) -> TestCases:
    """All partitions' test users by ascending id, or max_users of them drawn as the protocol says.

    Raises DataError where nobody is left to test on.
    """
    everyone = _concat([part for part in cases if len(part)])
    by_id = pc.sort_indices(everyone.users).to_numpy()
    if len(by_id) > max_users:
        drawn = np.random.default_rng(SAMPLE_SEED).choice(len(by_id), max_users, replace=False)
        by_id = by_id[np.sort(drawn)]
    return everyone.take(by_id)


def _concat(cases: Sequence[TestCases]) -> TestCases:
    if not cases:
        raise DataError(
            "no user has a target event on a known item in the test window; expected at least one: "
            "check targets and evaluation.test_days"
        )
    return TestCases(
        pa.concat_arrays([part.users for part in cases]),
        Histories.concat([part.histories for part in cases]),
        Truth(
            offsets_of(np.concatenate([part.truth.sizes for part in cases])),
            np.concatenate([part.truth.items for part in cases]),
        ),
        np.concatenate([part.warm for part in cases]),
    )


def new_items_only(cases: TestCases) -> tuple[TestCases, np.ndarray]:
    """The discovery variant: truth without items of the user's history, users left with none dropped.

    Also returns the positions in `cases` of the users who stay, int64 (n,). Their lists must leave out the
    items of their histories as well (`without_seen`).
    """
    rows = np.repeat(np.arange(len(cases), dtype=np.int64), cases.truth.sizes)
    history = cases.histories
    new = ~belongs(rows, cases.truth.items, history.offsets, history.items)
    sizes = np.bincount(rows[new], minlength=len(cases))
    stay = np.flatnonzero(sizes)
    truth = Truth(offsets_of(sizes), cases.truth.items[new])
    return replace(cases, truth=truth).take(stay), stay


def without_seen(ranked: np.ndarray, histories: Histories, k: int) -> np.ndarray:
    """The first k items of each list that are not in the user's history, int32 (n_users, k), padded."""
    rows = np.arange(len(ranked), dtype=np.int64)[:, None]
    new = ~belongs(rows, ranked, histories.offsets, histories.items) & (ranked != UNKNOWN)
    return metrics.compact(ranked, new, k)


def summary(
    system: str,
    ranked: np.ndarray,
    truth: Truth,
    warm: np.ndarray,
    *,
    n_items: int,
    config: EvaluationConfig,
) -> list[Row]:
    """Metrics of one system over all, warm and cold users, one flat row a group.

    ranked: int32 (n_users, depth), depth at least the last of config.cutoffs unless a system has no more to
    show; warm: bool (n_users,); n_items: size of the catalogue.
    A row has `system`, `group` and `users`; for each cut-off ndcg@k, recall@k, precision@k, hit@k, mrr@k and
    coverage@k (of what the group is shown); and the bootstrap interval of the headline as ndcg@k_low and
    ndcg@k_high. The figures of a group without users are None.
    Raises DataError as `metrics.hits` does.
    """
    hit = metrics.hits(ranked, truth)
    columns = _columns(hit, truth.sizes, config.cutoffs)
    headline = f"ndcg@{config.k}"
    rows: list[Row] = []
    for group, members in _groups(warm):
        users = int(np.count_nonzero(members))
        row: Row = {"system": system, "group": group, "users": users}
        for name, values in columns.items():
            row[name] = float(values[members].mean()) if users else None
        for k in config.cutoffs:
            row[f"coverage@{k}"] = metrics.coverage(ranked[members], k, n_items) if users else None
        low, high = metrics.bootstrap_interval(columns[headline][members], *config.resampling)
        row[f"{headline}_low"], row[f"{headline}_high"] = (low, high) if users else (None, None)
        rows.append(row)
    return rows


def _groups(warm: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """The groups of users in the order of the table: name and members, bool (n_users,)."""
    return [("all", np.ones(len(warm), np.bool_)), ("warm", warm), ("cold", ~warm)]


def with_classification(
    rows: Sequence[Row],
    scores: Mapping[str, np.ndarray],
    labels: np.ndarray,
    users: np.ndarray,
    warm: np.ndarray,
) -> list[Row]:
    """The rows with `roc_auc` and `average_precision` over the candidates of the group's users, pooled.

    All systems are judged on the same candidates: one without a score ranks below those that have one. None where
    a group's candidates are all hits or all misses, and for systems that `scores` lacks.
    scores: by system, float (n,), NaN where there is none; labels: bool (n,); users: int64 (n,), positions in
    `warm`, bool (n_users,)
    """
    members = {group: chosen[users] for group, chosen in _groups(warm)}
    completed: list[Row] = []
    for row in rows:
        figures: dict[str, float | None] = {"roc_auc": None, "average_precision": None}
        if row["system"] in scores:
            at = members[str(row["group"])]
            found = ranks_below(scores[str(row["system"])][at])
            figures = {
                "roc_auc": defined(metrics.roc_auc(labels[at], found)),
                "average_precision": defined(metrics.average_precision(labels[at], found)),
            }
        completed.append({**row, **figures})
    return completed


def ranks_below(scores: np.ndarray) -> np.ndarray:
    """The scores, with one below all of them where there is none."""
    missing = np.isnan(scores)
    lowest = float(np.min(scores, initial=0.0, where=~missing))
    return np.where(missing, lowest - 1, scores)


def defined(value: float) -> float | None:
    """None for nan, which JSON lacks."""
    return None if np.isnan(value) else value


PER_USER: Final[Mapping[str, Callable[[np.ndarray, np.ndarray, int], np.ndarray]]] = {
    "ndcg": metrics.ndcg,
    "recall": metrics.recall,
    "precision": lambda hit, _, k: metrics.precision(hit, k),
    "hit": lambda hit, _, k: metrics.hit_rate(hit, k),
    "mrr": lambda hit, _, k: metrics.mrr(hit, k),
}
"""Metrics of a user's list, by name: of hits, sizes of the truth, and k."""


def _columns(hit: np.ndarray, sizes: np.ndarray, cutoffs: Sequence[int]) -> dict[str, np.ndarray]:
    """Every metric at every cut-off, as `ndcg@10`; float64 (n_users,) each."""
    return {f"{name}@{k}": metric(hit, sizes, k) for k in cutoffs for name, metric in PER_USER.items()}


def per_user(metric: str, ranked: np.ndarray, truth: Truth) -> np.ndarray:
    """One metric such as `ndcg@10` of every user's list, float64 (n_users,).

    Raises ConfigError where there is no such metric, DataError as `metrics.hits` does.
    """
    name, k = _parsed(metric)
    return PER_USER[name](metrics.hits(ranked, truth), truth.sizes, k)


def cutoff_of(metric: str) -> int:
    """The k of a metric such as `ndcg@10`; raises ConfigError where there is no such metric."""
    return _parsed(metric)[1]


def _parsed(metric: str) -> tuple[str, int]:
    name, _, k = metric.partition("@")
    if name not in PER_USER or not k.isdecimal() or not 1 <= int(k) <= MAX_CUTOFF:
        names = ", ".join(f"{name}@K" for name in PER_USER)
        raise ConfigError(f"metric {metric!r}: expected one of {names} with K from 1 to {MAX_CUTOFF}")
    return name, int(k)


def with_seed_spread(runs: Sequence[Sequence[Row]], k: int) -> list[Row]:
    """The first run's rows with ndcg@k_seeds, the sample standard deviation of NDCG@k over the runs.

    runs: for each seed the rows of `summary` for the same systems and groups in the same order. None with
    fewer than two runs, or where the group has no users.
    """
    rows: list[Row] = []
    for same in zip(*runs, strict=True):
        figures = [float(row[f"ndcg@{k}"]) for row in same if row[f"ndcg@{k}"] is not None]
        spread = float(np.std(figures, ddof=1)) if len(figures) > 1 else None
        rows.append({**same[0], f"ndcg@{k}_seeds": spread})
    return rows
