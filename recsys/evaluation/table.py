"""The rows of the metrics table: systems by groups of users."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from recsys.evaluation import metrics
from recsys.evaluation.metrics import Truth
from recsys.evaluation.protocol import PER_USER
from recsys.evaluation.settings import EvaluationConfig


@dataclass(frozen=True, slots=True)
class Row:
    """Metrics of one system over one group of users.

    group: all, warm (users with an event on an item that has a learned factor) or cold (the others)
    metrics: by name such as ndcg@10; None where a metric is undefined, since JSON has no nan
    """

    system: str
    group: str
    users: int
    metrics: Mapping[str, float | None]

    def with_metrics(self, metrics: Mapping[str, float | None]) -> "Row":
        """The row with further metrics after its own."""
        return replace(self, metrics={**self.metrics, **metrics})

    def to_json(self) -> dict[str, str | int | float | None]:
        """The row as one flat object."""
        return {"system": self.system, "group": self.group, "users": self.users, **self.metrics}


def summary(
    system: str,
    ranked: np.ndarray,
    truth: Truth,
    warm: np.ndarray,
    *,
    n_items: int,
    config: EvaluationConfig,
) -> list[Row]:
    """Metrics of one system over all, warm and cold users, one row a group.

    A row has ndcg@k, recall@k, precision@k, hit@k, mrr@k and coverage@k (of the items shown to the group) for each
    cut-off, and the bootstrap interval of the headline as ndcg@k_low and ndcg@k_high. The metrics of a group without
    users are None.
    ranked: int32 (n_users, depth), at least as deep as the last of config.cutoffs unless a system has no more items
    warm: bool (n_users,); n_items: size of the catalogue
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
    """The groups of users in the order of the table: names and members, bool (n_users,)."""
    return [("all", np.ones(len(warm), np.bool_)), ("warm", warm), ("cold", ~warm)]


def with_classification(
    rows: Sequence[Row],
    scores: Mapping[str, np.ndarray],
    labels: np.ndarray,
    users: np.ndarray,
    warm: np.ndarray,
) -> list[Row]:
    """The rows with `roc_auc` and `average_precision` over the pooled candidates of the group's users.

    All systems are compared on the same candidates: a candidate without a score ranks below the others. The two are
    None where a group's candidates are all hits or all misses, and for systems that `scores` lacks.
    scores: by system, float (n,), NaN where there is no score; labels: bool (n,)
    users: int64 (n,), positions in `warm`; warm: bool (n_users,)
    """
    members = {group: chosen[users] for group, chosen in _groups(warm)}
    completed: list[Row] = []
    for row in rows:
        areas: dict[str, float | None] = {"roc_auc": None, "average_precision": None}
        if row.system in scores:
            chosen = members[row.group]
            complete = ranks_below(scores[row.system][chosen])
            areas = {
                "roc_auc": defined(metrics.roc_auc(labels[chosen], complete)),
                "average_precision": defined(metrics.average_precision(labels[chosen], complete)),
            }
        completed.append(row.with_metrics(areas))
    return completed


def ranks_below(scores: np.ndarray) -> np.ndarray:
    """The scores, with a value below all of them where a score is missing."""
    missing = np.isnan(scores)
    lowest = float(np.min(scores, initial=0.0, where=~missing))
    return np.where(missing, lowest - 1, scores)


def defined(value: float) -> float | None:
    """The value, or None for nan, which JSON lacks."""
    return None if np.isnan(value) else value


def _columns(hit: np.ndarray, sizes: np.ndarray, cutoffs: Sequence[int]) -> dict[str, np.ndarray]:
    """Every metric at every cut-off by name such as ndcg@10; float64 (n_users,) each."""
    return {f"{name}@{k}": metric(hit, sizes, k) for k in cutoffs for name, metric in PER_USER.items()}


def with_seed_spread(runs: Sequence[Sequence[Row]], k: int) -> list[Row]:
    """The first run's rows with ndcg@k_seeds, the sample standard deviation of NDCG@k over the runs.

    It is None with fewer than two runs, and where the group has no users.
    runs: for each seed the rows of `summary`, of the same systems and groups in the same order
    """
    rows: list[Row] = []
    for same in zip(*runs, strict=True):
        values = [value for row in same if (value := row.metrics[f"ndcg@{k}"]) is not None]
        spread = float(np.std(values, ddof=1)) if len(values) > 1 else None
        rows.append(same[0].with_metrics({f"ndcg@{k}_seeds": spread}))
    return rows
