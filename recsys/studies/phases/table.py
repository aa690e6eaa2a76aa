"""The rows of the phases' tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from recsys.arrays import ranked_lists
from recsys.evaluation import protocol
from recsys.evaluation.diversity import different_categories
from recsys.evaluation.metrics import Difference, paired_difference
from recsys.evaluation.protocol import TestCases
from recsys.evaluation.table import Row, defined, summary, with_classification
from recsys.evaluation.thresholds import Decision, best_threshold, decide
from recsys.studies.phases.models import BlendDetails, LinearDetails, Phase
from recsys.training.context import Context
from recsys.training.scoring import ScoredCandidates, labels_of

BETTER: Final = "better"
WORSE: Final = "worse"
LEVEL: Final = "no difference"

Metrics = Mapping[str, float | None]
"""By name; None where undefined."""


@dataclass(frozen=True, slots=True)
class PhaseRow:
    """One phase on the test window.

    metrics: by name, and for some the bounds of the interval as NAME_low and NAME_high; None where undefined
    difference: of the protocol's headline metric from the row above, None in the first row
    decision: of the threshold with the best F1 on the validation window
    validation: the metric that choices maximized, on the validation window
    over_above, over_first: relative changes of metrics from the row above and from the first row, {} in the first row
    users, warm, cold: of the ranking protocol alone
    """

    phase: str
    metrics: Metrics
    difference: Difference | None
    decision: Decision
    validation: float
    details: LinearDetails | BlendDetails
    users: int | None = None
    warm: Row | None = None
    cold: Row | None = None
    over_above: Metrics | None = None
    over_first: Metrics | None = None

    @property
    def verdict(self) -> str | None:
        """BETTER, WORSE or LEVEL compared with the row above, None in the first row."""
        return None if self.difference is None else verdict(self.difference)

    def to_json(self) -> dict[str, Any]:
        """The row as one object; None where a number is undefined."""
        groups = {name: row.to_json() for name, row in (("warm", self.warm), ("cold", self.cold)) if row is not None}
        return {
            "phase": self.phase,
            **({} if self.users is None else {"users": self.users}),
            **self.metrics,
            "difference": self.difference and self.difference._asdict(),
            "verdict": self.verdict,
            "decision": {name: defined(value) for name, value in self.decision._asdict().items()},
            "validation": self.validation,
            "details": self.details.to_json(),
            **groups,
            "over_above": dict(self.over_above or {}),
            "over_first": dict(self.over_first or {}),
        }


def headline(k: int) -> tuple[str, ...]:
    """The columns of the ranking table: those of the reference, then further ones."""
    return "roc_auc", "average_precision", *(f"{n}@{k}" for n in ("precision", "recall", "ndcg", "mrr", "coverage"))


def ranking_table(
    context: Context,
    phases: Sequence[Phase],
    cases: TestCases,
    scored: ScoredCandidates,
    valid_labels: np.ndarray,
) -> list[PhaseRow]:
    """Every phase over the scored candidates of the users of the test window.

    valid_labels: bool or 0/1, of the rows on which thresholds are chosen
    """
    settings, labels = context.config.evaluation, labels_of(scored, cases)
    category = context.shop.catalog.as_of(context.plan.test.time).category
    rows: list[PhaseRow] = []
    above = None
    for phase in phases:
        lists = ranked_lists(scored.users, scored.items, phase.test, len(cases), settings.cutoffs[-1])
        groups = summary(phase.name, lists, cases.truth, scored.warm, n_items=len(context.shop.items), config=settings)
        everyone, warm, cold = with_classification(groups, {phase.name: phase.test}, labels, scored.users, scored.warm)
        ndcg = protocol.per_user(f"ndcg@{settings.k}", lists, cases.truth)
        diverse = different_categories(lists, category, settings.k)
        diversity = None if np.isnan(diverse).all() else float(np.nanmean(diverse))
        rows.append(
            PhaseRow(
                phase=phase.name,
                metrics={**everyone.metrics, f"diversity@{settings.k}": diversity},
                difference=None if above is None else paired_difference(ndcg, above, settings.resampling),
                decision=decision(phase, valid_labels, labels),
                validation=phase.metric,
                details=phase.details,
                users=everyone.users,
                warm=warm,
                cold=cold,
            )
        )
        above = ndcg
    return with_improvements(rows, headline(settings.k))


def verdict(difference: Difference) -> str:
    """BETTER or WORSE where the interval lies above or below zero, else LEVEL."""
    return BETTER if difference.low > 0 else WORSE if difference.high < 0 else LEVEL


def decision(phase: Phase, valid_labels: np.ndarray, test_labels: np.ndarray) -> Decision:
    """Precision, recall and F1 on the test rows by the threshold of the best F1 on the validation rows."""
    return decide(test_labels, phase.test, best_threshold(valid_labels, phase.valid))


def with_improvements(rows: Sequence[PhaseRow], names: Sequence[str]) -> list[PhaseRow]:
    """The rows with the relative changes of these metrics, None where a change is undefined."""
    first, *others = rows
    return [
        first,
        *(
            replace(
                row,
                over_above=relative(row.metrics, above.metrics, names),
                over_first=relative(row.metrics, first.metrics, names),
            )
            for above, row in zip(rows, others, strict=False)
        ),
    ]


def relative(metrics: Metrics, base: Metrics, names: Sequence[str]) -> Metrics:
    """The relative change of each metric from its base, None where one of the two is missing or the base is 0."""
    changes: dict[str, float | None] = {}
    for name in names:
        value, before = metrics[name], base[name]
        changes[name] = value / before - 1 if before and value is not None else None
    return changes
