"""The benchmark protocol: one cut in time for all users, a draw of test users, and metrics by group of users."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys.arrays import belongs, offsets_of, ragged_indices
from recsys.errors import ConfigError, DataError
from recsys.evaluation import metrics
from recsys.evaluation.metrics import Truth
from recsys.evaluation.settings import MAX_CUTOFF, EvaluationConfig
from recsys.histories import Histories
from recsys.schema import UNKNOWN

SAMPLE_SEED: Final = 0
"""Seed of the draw of test users. It is part of the protocol: all published figures are measured on the same users."""


@dataclass(frozen=True, slots=True)
class TestCases:
    """Test users, their events up to the cut, and their truth after it.

    users: Arrow array of ids (n_users,)
    histories: events of each user at or before the cut
    truth: the items of each user that count as hits, at least one
    """

    users: pa.Array
    histories: Histories
    truth: Truth

    def __len__(self) -> int:
        return len(self.users)

    @property
    def has_history(self) -> np.ndarray:
        """Whether each user has an event at or before the cut, bool (n_users,)."""
        return np.asarray(self.histories.lengths > 0)

    def take(self, rows: np.ndarray) -> "TestCases":
        """The test cases of some users; rows: int64 (n,), positions of these users, in the order of the result."""
        lengths = self.truth.sizes[rows]
        index = ragged_indices(self.truth.offsets[rows], lengths)
        return TestCases(
            self.users.take(pa.array(rows)),
            self.histories.take(rows),
            Truth(offsets_of(lengths), self.truth.items[index]),
        )


@dataclass(frozen=True, slots=True)
class Row:
    """Metrics of one system over one group of users.

    group: all, warm (users with an event on an item with a learned factor) or cold (all other users)
    users: number of users in the group
    metrics: values by name, such as ndcg@10; None for an undefined metric, since JSON has no nan
    """

    system: str
    group: str
    users: int
    metrics: Mapping[str, float | None]

    def with_metrics(self, metrics: Mapping[str, float | None]) -> "Row":
        """The row with these metrics added at the end."""
        return replace(self, metrics={**self.metrics, **metrics})

    def to_json(self) -> dict[str, str | int | float | None]:
        """The row as one flat object."""
        return {"system": self.system, "group": self.group, "users": self.users, **self.metrics}


def test_cases(
    users: pa.Array,
    histories: Histories,
    window_start: int,
    window_end: int,
    *,
    targets: Sequence[int],
    known_items: np.ndarray,
) -> TestCases:
    """The test cases of one partition of users for the window (window_start, window_end], ms.

    A test user has at least one target event on a known item in the window. The user's truth is the set of these items.
    users: Arrow array of the partition's ids, in the order of `histories`; targets: event codes
    known_items: bool (n_items,), whether an item has an event of any user at or before window_start
    """
    window = histories.between(window_start, window_end)
    window = window.where(np.isin(window.events, targets) & known_items[window.items])
    pairs = np.unique(window.rows * len(known_items) + window.items)
    rows, items = np.divmod(pairs, len(known_items))
    truth = Truth(offsets_of(np.bincount(rows, minlength=len(users))), items.astype(np.int32))
    history = histories.until(window_start)
    return TestCases(users, history, truth).take(np.flatnonzero(truth.sizes))


def sample(cases: Sequence[TestCases], max_users: int) -> TestCases:
    """The test cases of all partitions, ordered by user id. More than `max_users` users are sampled.

    Raises DataError if there is no test user.
    """
    merged = _concat([part for part in cases if len(part)])
    by_id = pc.sort_indices(merged.users).to_numpy()
    if len(by_id) > max_users:
        drawn = np.random.default_rng(SAMPLE_SEED).choice(len(by_id), max_users, replace=False)
        by_id = by_id[np.sort(drawn)]
    return merged.take(by_id)


def _concat(cases: Sequence[TestCases]) -> TestCases:
    if not cases:
        raise DataError(
            "no user has a target event on a known item in the test window; expected at least one such user: "
            "check the settings targets and evaluation.test_days"
        )
    return TestCases(
        pa.concat_arrays([part.users for part in cases]),
        Histories.concat([part.histories for part in cases]),
        Truth(
            offsets_of(np.concatenate([part.truth.sizes for part in cases])),
            np.concatenate([part.truth.items for part in cases]),
        ),
    )


def new_items_only(cases: TestCases) -> tuple[TestCases, np.ndarray]:
    """Test cases of discovery, and the positions of their users in `cases`, int64 (n,).

    Items of the user's history are removed from the truth, and then users without truth. Ranked lists for these cases
    must not have items of the user's history either: see `without_seen`.
    """
    rows = np.repeat(np.arange(len(cases), dtype=np.int64), cases.truth.sizes)
    history = cases.histories
    new = ~belongs(rows, cases.truth.items, history.offsets, history.items)
    sizes = np.bincount(rows[new], minlength=len(cases))
    remaining = np.flatnonzero(sizes)
    truth = Truth(offsets_of(sizes), cases.truth.items[new])
    return replace(cases, truth=truth).take(remaining), remaining


def without_seen(ranked: np.ndarray, histories: Histories, k: int) -> np.ndarray:
    """The first k items of each list that are not in the user's history, int32 (n_users, k), padded with UNKNOWN.

    ranked: int32 (n_users, depth), padded with UNKNOWN
    """
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
    """Metrics of one system over all, warm and cold users, one row for each group.

    For each cut-off k, a row has ndcg@k, recall@k, precision@k, hit@k, mrr@k and coverage@k (by the group's lists).
    ndcg@k_low and ndcg@k_high are the bootstrap interval of NDCG at config.k. A group without users has only None.
    ranked: int32 (n_users, depth), padded with UNKNOWN; the depth is at least the largest cut-off
    warm: bool (n_users,); n_items: size of the catalog
    Raises DataError as `metrics.hits` does.
    """
    hit = metrics.hits(ranked, truth)
    columns = _columns(hit, truth.sizes, config.cutoffs)
    headline = f"ndcg@{config.k}"
    rows: list[Row] = []
    for group, members in _groups(warm):
        users = int(np.count_nonzero(members))
        means = {name: float(values[members].mean()) if users else None for name, values in columns.items()}
        coverage = {
            f"coverage@{k}": metrics.coverage(ranked[members], k, n_items) if users else None for k in config.cutoffs
        }
        low, high = metrics.bootstrap_interval(columns[headline][members], config.resampling)
        interval = {f"{headline}_low": defined(low), f"{headline}_high": defined(high)}
        rows.append(Row(system, group, users, {**means, **coverage, **interval}))
    return rows


def _groups(warm: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """Name and members, bool (n_users,), of each group of users, in the order of the table."""
    return [("all", np.ones(len(warm), np.bool_)), ("warm", warm), ("cold", ~warm)]


def with_classification(
    rows: Sequence[Row],
    scores: Mapping[str, np.ndarray],
    labels: np.ndarray,
    users: np.ndarray,
    warm: np.ndarray,
) -> list[Row]:
    """The rows with `roc_auc` and `average_precision` over the pooled candidates of each group's users.

    All systems are compared on the same candidates: candidates without a score rank below the others. Both metrics are
    None if the candidates of a group are all hits or all misses, and for systems without scores.
    scores: by system, float (n,), NaN for a missing score; labels: bool (n,)
    users: int64 (n,), positions in `warm`; warm: bool (n_users,)
    """
    in_group = {group: members[users] for group, members in _groups(warm)}
    completed: list[Row] = []
    for row in rows:
        areas: dict[str, float | None] = {"roc_auc": None, "average_precision": None}
        if row.system in scores:
            chosen = in_group[row.group]
            filled = ranks_below(scores[row.system][chosen])
            areas = {
                "roc_auc": defined(metrics.roc_auc(labels[chosen], filled)),
                "average_precision": defined(metrics.average_precision(labels[chosen], filled)),
            }
        completed.append(row.with_metrics(areas))
    return completed


def ranks_below(scores: np.ndarray) -> np.ndarray:
    """The scores, float (n,); missing ones (NaN) are replaced by a value below all others."""
    missing = np.isnan(scores)
    lowest = float(np.min(scores, initial=0.0, where=~missing))
    return np.where(missing, lowest - 1, scores)


def defined(value: float) -> float | None:
    """The value, or None for nan, since JSON has no nan."""
    return None if np.isnan(value) else value


PER_USER: Final[Mapping[str, Callable[[np.ndarray, np.ndarray, int], np.ndarray]]] = {
    "ndcg": metrics.ndcg,
    "recall": metrics.recall,
    "precision": lambda hit, _, k: metrics.precision(hit, k),
    "hit": lambda hit, _, k: metrics.hit_rate(hit, k),
    "mrr": lambda hit, _, k: metrics.mrr(hit, k),
}
"""Metrics per user by name: functions of the hits, the sizes of the truth, and k; see `metrics`."""


def _columns(hit: np.ndarray, sizes: np.ndarray, cutoffs: Sequence[int]) -> dict[str, np.ndarray]:
    """Every metric at every cut-off, float64 (n_users,) each, by names such as ndcg@10."""
    return {f"{name}@{k}": metric(hit, sizes, k) for k in cutoffs for name, metric in PER_USER.items()}


def per_user(metric: str, ranked: np.ndarray, truth: Truth) -> np.ndarray:
    """The values of one metric such as `ndcg@10`, float64 (n_users,).

    Raises ConfigError for an unknown metric, DataError as `metrics.hits` does.
    """
    name, k = _parsed(metric)
    return PER_USER[name](metrics.hits(ranked, truth), truth.sizes, k)


def cutoff_of(metric: str) -> int:
    """The k of a metric such as `ndcg@10`; raises ConfigError for an unknown metric."""
    return _parsed(metric)[1]


def _parsed(metric: str) -> tuple[str, int]:
    """The name and the k of a metric such as `ndcg@10`."""
    name, _, k = metric.partition("@")
    if name not in PER_USER or not k.isdecimal() or not 1 <= int(k) <= MAX_CUTOFF:
        names = ", ".join(f"{name}@K" for name in PER_USER)
        raise ConfigError(f"metric {metric!r}: expected one of {names} with K from 1 to {MAX_CUTOFF}")
    return name, int(k)


def with_seed_spread(runs: Sequence[Sequence[Row]], k: int) -> list[Row]:
    """The rows of the first run with ndcg@k_seeds: the sample standard deviation of NDCG@k over the runs.

    It is None with fewer than two runs, and for a group without users.
    runs: for each seed the rows of `summary`, with the same systems and groups in the same order
    """
    rows: list[Row] = []
    for rows_by_run in zip(*runs, strict=True):
        values = [value for row in rows_by_run if (value := row.metrics[f"ndcg@{k}"]) is not None]
        spread = float(np.std(values, ddof=1)) if len(values) > 1 else None
        rows.append(rows_by_run[0].with_metrics({f"ndcg@{k}_seeds": spread}))
    return rows
