"""The rows of the phases' tables: what every protocol reports of a phase."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from recsys.arrays import ranked_lists
from recsys.config import TrainConfig
from recsys.data.ingest import ShopData
from recsys.evaluation import metrics, protocol
from recsys.evaluation.diversity import different_categories
from recsys.evaluation.protocol import TestCases
from recsys.evaluation.thresholds import best_threshold, decide
from recsys.studies.phases.five import Phase
from recsys.timeline import cut
from recsys.training.evaluation import labels_of
from recsys.training.plan import Plan
from recsys.training.scoring import ScoredCandidates

Table = list[dict[str, Any]]
"""A dictionary for each phase, as JSON holds it: None where a figure is undefined."""
BETTER: Final = "better"
WORSE: Final = "worse"
LEVEL: Final = "no difference"


def headline(k: int) -> tuple[str, ...]:
    """The columns of the ranking table: the reference's, then ours."""
    return "roc_auc", "average_precision", *(f"{n}@{k}" for n in ("precision", "recall", "ndcg", "mrr", "coverage"))


def ranking_table(
    phases: Sequence[Phase],
    shop: ShopData,
    plan: Plan,
    cases: TestCases,
    found: ScoredCandidates,
    valid_labels: np.ndarray,
    config: TrainConfig,
) -> Table:
    """Every phase over the candidates `found` of the users of the test window.

    valid_labels: bool or 0/1, of the rows on which thresholds are chosen
    """
    settings, labels = config.evaluation, labels_of(found, cases)
    category = shop.catalog.as_of(cut(shop.end, plan.test)).category
    table: Table = []
    before = None
    for phase in phases:
        lists = ranked_lists(found.users, found.items, phase.test, len(cases), settings.cutoffs[-1])
        groups = protocol.summary(phase.name, lists, cases.truth, found.warm, n_items=len(shop.items), config=settings)
        everyone, warm, cold = protocol.with_classification(
            groups, {phase.name: phase.test}, labels, found.users, found.warm
        )
        ndcg = protocol.per_user(f"ndcg@{settings.k}", lists, cases.truth)
        diverse = different_categories(lists, category, settings.k)
        gap = None if before is None else difference(ndcg, before, config)
        table.append(
            {
                "phase": phase.name,
                **{name: value for name, value in everyone.items() if name not in ("system", "group")},
                f"diversity@{settings.k}": None if np.isnan(diverse).all() else float(np.nanmean(diverse)),
                "difference": gap,
                "verdict": None if gap is None else verdict(gap["low"], gap["high"]),
                "decision": decision(phase, valid_labels, labels),
                "validation": phase.metric,
                "details": dict(phase.details),
                "warm": warm,
                "cold": cold,
            }
        )
        before = ndcg
    return with_improvements(table, headline(settings.k))


def difference(values: np.ndarray, before: np.ndarray, config: TrainConfig) -> dict[str, float]:
    """Of a metric per user against the row above, with the paired bootstrap interval."""
    return metrics.paired_difference(values, before, *config.evaluation.resampling)._asdict()


def verdict(low: float, high: float) -> str:
    """Whether an interval of differences lies above or below zero."""
    return BETTER if low > 0 else WORSE if high < 0 else LEVEL


def decision(phase: Phase, valid_labels: np.ndarray, test_labels: np.ndarray) -> dict[str, float | None]:
    """What the threshold of the best F1 on the validation rows comes to on the test rows."""
    found = decide(test_labels, phase.test, best_threshold(valid_labels, phase.valid))
    return {name: protocol.defined(value) for name, value in found._asdict().items()}


def with_improvements(table: Table, names: Sequence[str]) -> Table:
    """The rows with `over_above` and `over_first`: relative changes of each metric, None where undefined."""
    return [
        {
            **row,
            "over_above": _relative(row, table[at - 1], names) if at else {},
            "over_first": _relative(row, table[0], names) if at else {},
        }
        for at, row in enumerate(table)
    ]


def _relative(row: Mapping[str, Any], base: Mapping[str, Any], names: Sequence[str]) -> dict[str, float | None]:
    return {name: row[name] / base[name] - 1 if base[name] and row[name] is not None else None for name in names}
