"""Objects of a training run from which the sections collect their numbers, and arrays that several of them need."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np
import ray

from recsys.config import TrainConfig
from recsys.data.ingest import ShopData
from recsys.evaluation.protocol import TestCases
from recsys.models.rankers.registry import Ranker
from recsys.report.numbers import SystemRow, system_rows
from recsys.schema import EVENT_TYPES
from recsys.training.context import Context
from recsys.training.plan import Plan
from recsys.training.scoring import ScoredCandidates, labels_of
from recsys.training.systems import (
    HYBRID,
    POPULARITY,
    baseline_lists,
    baseline_scores,
    hybrid_lists,
    hybrid_scores,
)

if TYPE_CHECKING:  # tasks that draw figures import this module: Ray Train and Tune would cost them seconds
    from recsys.training.evaluation import ScoredWindow
    from recsys.training.preparation import RankerInputs
    from recsys.training.ranker import SelectedRanker
    from recsys.training.results import Evaluation
    from recsys.training.sessions import SessionOutcome
    from recsys.training.sweep.result import SweepResult
    from recsys.training.validation import Validation

SAMPLED_USERS: Final = 600
"""Users of the validation window whose candidates are scored again, at most."""
DEPTH: Final = 20
"""Items of a list, at least: the curves of precision and recall end there."""


@dataclass(frozen=True)
class DataInputs:
    """The data of a run."""

    context: Context

    @property
    def shop(self) -> ShopData:
        return self.context.shop

    @property
    def plan(self) -> Plan:
        return self.context.plan

    @property
    def config(self) -> TrainConfig:
        return self.context.config

    @property
    def event_types(self) -> list[str]:
        """Types with at least one event."""
        return [name for name, count in self.shop.event_counts.items() if count]

    @cached_property
    def events_by_item(self) -> np.ndarray:
        """Events of each item by type, int64 (n_items, n_types)."""
        daily, n_types = self.shop.daily, len(EVENT_TYPES)
        cells = np.bincount(daily.item * n_types + daily.event, daily.count, len(self.shop.items) * n_types)
        return cells.reshape(-1, n_types).astype(np.int64)


@dataclass(frozen=True)
class EvaluationInputs:
    """The test window of a run: users, their candidates with raw scores, and the metrics.

    selected, validation: of the ranker of all items
    """

    data: DataInputs
    window: "ScoredWindow"
    selected: "SelectedRanker"
    validation: "Validation"
    metrics: "Evaluation"

    @classmethod
    def create(
        cls,
        context: Context,
        inputs: "RankerInputs",
        selected: "SelectedRanker",
        window: "ScoredWindow",
        metrics: "Evaluation",
    ) -> "EvaluationInputs":
        """The objects of a run whose validation window lies in Ray's object store."""
        return cls(DataInputs(context), window, selected, ray.get(inputs.validation), metrics)

    @property
    def config(self) -> TrainConfig:
        return self.data.config

    @property
    def cases(self) -> TestCases:
        return self.window.cases

    @property
    def scored(self) -> ScoredCandidates:
        return self.window.scored

    @property
    def source_names(self) -> tuple[str, ...]:
        """Names of the candidate sources, in the order of the columns of `scored.source_scores`."""
        return self.config.inference.candidates.source_names

    @cached_property
    def table(self) -> tuple[SystemRow, ...]:
        """The metrics of every system over all, warm and cold users."""
        return system_rows(self.metrics.table)

    @property
    def best_personal(self) -> str:
        """The personal baseline with the highest NDCG@k."""
        return max(self.metrics.half_lives, key=self._ndcg)

    @property
    def best_baseline(self) -> str:
        """The system with the highest NDCG@k that is no part of the hybrid."""
        return max((POPULARITY, self.best_personal), key=self._ndcg)

    def _ndcg(self, system: str) -> float:
        return self.metrics.row(system).metrics[f"ndcg@{self.config.evaluation.k}"] or 0.0

    @cached_property
    def labels(self) -> np.ndarray:
        """Whether each candidate was chosen, bool (n,)."""
        return labels_of(self.scored, self.cases)

    @cached_property
    def hybrid_scores(self) -> dict[str, np.ndarray]:
        """Calibrated scores of the hybrid and its two parts, float64 (n,), NaN where there is none."""
        return hybrid_scores(self.scored, 0, self.window.blend)

    @cached_property
    def scores(self) -> dict[str, np.ndarray]:
        """Scores of the candidates by system, the baselines included, float64 (n,), NaN where there is none."""
        return self.hybrid_scores | baseline_scores(self.data.context, self.cases, self.scored, self._half_lives)

    @cached_property
    def lists(self) -> dict[str, np.ndarray]:
        """Ranked lists by system, int32 (n_users, depth), with a depth of at least DEPTH."""
        settings = self.config.evaluation
        depth = max(DEPTH, settings.cutoffs[-1])
        evaluation = settings.model_copy(update={"ks": (depth,)})
        deep = replace(self.data.context, config=self.config.model_copy(update={"evaluation": evaluation}))
        one_seed = replace(self.scored, lgb=self.scored.lgb[:1])
        [lists] = hybrid_lists(deep, self.cases, one_seed, self.window.blend)
        return dict(lists) | baseline_lists(deep, self.cases, self._half_lives)

    @property
    def _half_lives(self) -> dict[str, float]:
        """The best personal baseline alone."""
        return {self.best_personal: self.metrics.half_lives[self.best_personal]}


@dataclass(frozen=True, slots=True)
class RunInputs:
    """A training run, at its end.

    created: the run's clock, ms
    final: the published ranker, refitted on all events
    drift: largest change of a quantile of the calibrated scores by the refit
    discovery_alpha: weight of the factorization for items new to the user
    warnings: sentences about what makes the version less certain
    sweep: the search for settings, None without one
    sessions: the session model and its comparison, None if it was not tried
    """

    created: int
    evaluation: EvaluationInputs
    final: Ranker
    drift: float
    discovery_alpha: float
    sweep: "SweepResult | None" = None
    warnings: tuple[str, ...] = ()
    sessions: "SessionOutcome | None" = None

    @property
    def data(self) -> DataInputs:
        return self.evaluation.data

    @property
    def config(self) -> TrainConfig:
        return self.evaluation.config

    @property
    def validation(self) -> "Validation":
        return self.evaluation.validation

    @property
    def selected(self) -> "SelectedRanker":
        return self.evaluation.selected


PUBLISHED: Final = HYBRID
"""The system that a version serves."""


def sample_validation(validation: "Validation") -> tuple[np.ndarray, np.ndarray]:
    """At most SAMPLED_USERS users of the validation window, evenly spaced, and the rows of their candidates.

    Both are int64 (n,), positions in the validation's cases and in its rows.
    """
    step = -(-len(validation.cases) // SAMPLED_USERS)
    users = np.arange(0, len(validation.cases), step)
    return users, np.flatnonzero(validation.candidates.users % step == 0)
