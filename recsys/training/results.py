"""The results of a training run, as metrics.json holds them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from recsys.data.shop import Quality
from recsys.evaluation.metrics import Difference
from recsys.evaluation.table import Row
from recsys.training.context import Context
from recsys.training.plan import Plan
from recsys.training.ranker import SelectedRanker, Size
from recsys.training.refit import FinalRankers

MODEL_NOTE: Final = (
    "metrics are of the model trained up to the test window; the published one is its refit on all events"
)


@dataclass(frozen=True, slots=True)
class SourceContribution:
    """A candidate source's part in the candidates of the test window.

    fraction: of the candidates that it proposed
    recall, recall_alone: fraction of the truth that it proposed, and that no other source proposed
    """

    source: str
    fraction: float
    recall: float
    recall_alone: float


@dataclass(frozen=True, slots=True)
class CandidateSummary:
    """The candidates of the test window; recall: fraction of the truth among them; per_user: mean number."""

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
    new_items: the same where only items new to the user count, as candidates and as truth
    leads: of the hybrid over every other system
    half_lives: days of each personal baseline, by its name
    """

    table: Sequence[Row]
    new_items: Sequence[Row]
    leads: Sequence[Lead]
    half_lives: Mapping[str, float]
    candidates: CandidateSummary

    def row(self, system: str, group: str = "all") -> Row:
        """The table's row of a system and a group; raises KeyError where there is none."""
        return {(row.system, row.group): row for row in self.table}[system, group]

    def lead_over(self, system: str) -> Difference:
        """The hybrid's lead over a system; raises KeyError where there is no such system."""
        return {lead.system: lead.difference for lead in self.leads}[system]

    def to_json(self) -> dict[str, Any]:
        """The part of metrics.json that the evaluation gives."""
        return {
            "table": [row.to_json() for row in self.table],
            "new_items": [row.to_json() for row in self.new_items],
            "differences": [lead.to_json() for lead in self.leads],
            "half_lives": dict(self.half_lives),
            "candidates": asdict(self.candidates),
        }


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """All that a run measured and chose.

    alpha_curve: NDCG@k on the validation window by alpha
    trees, leaves: of the selected ranker; sizes: those that were compared
    score_drift: see FinalRankers.drift
    importance: total gain of each feature's splits in the published ranker, best first
    """

    evaluation: Evaluation
    alpha: float
    alpha_curve: Mapping[float, float]
    trees: int
    leaves: int
    sizes: Sequence[Size]
    score_drift: float
    importance: Mapping[str, float]
    plan: Plan
    quality: Quality

    @classmethod
    def create(
        cls, context: Context, evaluation: Evaluation, selected: SelectedRanker, final: FinalRankers
    ) -> "TrainingResult":
        """The results of a run; selected: the ranker of all items."""
        return cls(
            evaluation=evaluation,
            alpha=selected.blend.alpha,
            alpha_curve=selected.curve,
            trees=selected.n_trees,
            leaves=selected.leaves,
            sizes=selected.sizes,
            score_drift=final.drift,
            importance=final.all_items.importance(),
            plan=context.plan,
            quality=context.shop.quality,
        )

    def to_json(self) -> dict[str, Any]:
        """The content of metrics.json."""
        return {
            **self.evaluation.to_json(),
            "model": MODEL_NOTE,
            "alpha": self.alpha,
            "alpha_curve": [{"alpha": alpha, "ndcg": ndcg} for alpha, ndcg in self.alpha_curve.items()],
            "trees": self.trees,
            "leaves": self.leaves,
            "sizes": [size._asdict() for size in self.sizes],
            "score_drift": self.score_drift,
            "importance": dict(self.importance),
            "plan": self.plan.to_json(),
            "quality": asdict(self.quality),
        }
