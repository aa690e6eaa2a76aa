"""The results of a training run, as metrics.json holds them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from recsys.data.shop import Quality
from recsys.evaluation.metrics import Difference
from recsys.evaluation.table import Row
from recsys.models.blend import AlphaCurves
from recsys.training.context import Context
from recsys.training.plan import Plan
from recsys.training.ranker import SelectedRankers, Size
from recsys.training.refit import FinalRankers
from recsys.training.sessions import NOT_TRAINED, SessionOutcome

MODEL_NOTE: Final = (
    "metrics are of the model trained up to the test window; the published one is its refit on all events"
)


UNLEARNED_NOTE: Final = (
    "nothing was learned: metrics are of the sources' weights as of the test window; the published version knows all "
    "events"
)


@dataclass(frozen=True, slots=True)
class SourceContribution:
    """The contribution of a candidate source to the candidates of the test window.

    fraction: fraction of the candidates that the source proposed
    recall: fraction of the truth that the source proposed; recall_alone: that only this source proposed
    """

    source: str
    fraction: float
    recall: float
    recall_alone: float


@dataclass(frozen=True, slots=True)
class CandidateSummary:
    """The candidates of the test window; recall: fraction of the truth among them; per_user: mean number for a user."""

    recall: float
    per_user: float
    sources: Sequence[SourceContribution]


@dataclass(frozen=True, slots=True)
class Lead:
    """The hybrid's NDCG@k minus that of another system, paired by user."""

    system: str
    difference: Difference

    def to_json(self) -> dict[str, str | float]:
        """The lead as one flat object."""
        return {"system": self.system, **self.difference._asdict()}


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The evaluated model beside its parts and the baselines on the test window.

    table: every system over all, warm and cold users
    new_items: the same table for items new to the user only, both candidates and truth
    leads: leads of the hybrid over every other system
    half_lives: half-life in days of each personal baseline, by its name
    """

    table: Sequence[Row]
    new_items: Sequence[Row]
    leads: Sequence[Lead]
    half_lives: Mapping[str, float]
    candidates: CandidateSummary

    def row(self, system: str, group: str = "all") -> Row:
        """The table's row of a system and a group; raises KeyError if there is none."""
        return {(row.system, row.group): row for row in self.table}[system, group]

    def lead_over(self, system: str) -> Difference:
        """The hybrid's lead over a system; raises KeyError if there is no such system."""
        return {lead.system: lead.difference for lead in self.leads}[system]

    def to_json(self) -> dict[str, Any]:
        """The part of metrics.json that comes from the evaluation."""
        return {
            "table": [row.to_json() for row in self.table],
            "new_items": [row.to_json() for row in self.new_items],
            "differences": [lead.to_json() for lead in self.leads],
            "half_lives": dict(self.half_lives),
            "candidates": asdict(self.candidates),
        }


NOT_EVALUATED: Final = Evaluation((), (), (), {}, CandidateSummary(0.0, 0.0, ()))
"""The evaluation where no user can be tested."""


@dataclass(frozen=True, slots=True)
class UnlearnedResult:
    """The results of a run whose data were too few to learn from; reason: why."""

    evaluation: Evaluation
    reason: str
    plan: Plan
    quality: Quality

    def to_json(self) -> dict[str, Any]:
        """The content of metrics.json."""
        return {
            **self.evaluation.to_json(),
            "model": UNLEARNED_NOTE,
            "not_learned": self.reason,
            "plan": self.plan.to_json(),
            "quality": asdict(self.quality),
        }


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """All measurements and selections of a run.

    alpha, discovery_alpha: weight of the factorization for all items, and for items new to the user
    alpha_curves: NDCG@k on the validation window by alpha, of the ranker of all items
    trees, leaves: size of the selected ranker; sizes: all sizes that were compared
    score_drift: see FinalRankers.drift
    warnings: sentences about what makes the version less certain
    importance: total gain of each feature's splits in the published ranker, best first
    sessions: the comparison of the session model on the validation window
    """

    evaluation: Evaluation
    alpha: float
    discovery_alpha: float
    alpha_curves: AlphaCurves
    trees: int
    leaves: int
    sizes: Sequence[Size]
    score_drift: float
    importance: Mapping[str, float]
    plan: Plan
    quality: Quality
    warnings: tuple[str, ...] = ()
    sessions: SessionOutcome = NOT_TRAINED

    @classmethod
    def create(
        cls,
        context: Context,
        evaluation: Evaluation,
        selected: SelectedRankers,
        final: FinalRankers,
        sessions: SessionOutcome,
    ) -> "TrainingResult":
        """The results of a run."""
        all_items = selected.all_items
        return cls(
            evaluation=evaluation,
            alpha=all_items.blend.alpha,
            discovery_alpha=selected.discovery_alpha,
            alpha_curves=all_items.curves,
            trees=all_items.n_trees,
            leaves=all_items.leaves,
            sizes=all_items.sizes,
            score_drift=final.drift,
            importance=final.all_items.importance(),
            plan=context.plan,
            quality=context.shop.quality,
            warnings=final.warnings(context.config.hybrid.max_drift),
            sessions=sessions,
        )

    def to_json(self) -> dict[str, Any]:
        """The content of metrics.json."""
        return {
            **self.evaluation.to_json(),
            "model": MODEL_NOTE,
            "alpha": self.alpha,
            "discovery_alpha": self.discovery_alpha,
            "alpha_curve": [
                {"alpha": alpha, "ndcg": ndcg, "new_items_ndcg": self.alpha_curves.discovery.get(alpha)}
                for alpha, ndcg in self.alpha_curves.all_items.items()
            ],
            "trees": self.trees,
            "leaves": self.leaves,
            "sizes": [size._asdict() for size in self.sizes],
            "score_drift": self.score_drift,
            "warnings": list(self.warnings),
            "importance": dict(self.importance),
            "sessions": self.sessions.to_json(),
            "plan": self.plan.to_json(),
            "quality": asdict(self.quality),
        }
