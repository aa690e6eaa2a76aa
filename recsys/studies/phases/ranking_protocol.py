"""The five phases under the benchmark protocol: all of them rank the same candidates of the same users."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import ray

from recsys import console
from recsys.config import TrainConfig
from recsys.evaluation.protocol import TestCases
from recsys.inference.stages import score_cold_start
from recsys.models.rankers.registry import Ranker
from recsys.models.rankers.rows import RankingData
from recsys.retrieval.generator import Candidates
from recsys.studies.phases.folds import cross_validate
from recsys.studies.phases.models import BoostedTrees, PhaseRows, TunedSettings, train_phases
from recsys.studies.phases.table import PhaseRow, ranking_table
from recsys.training.context import Context
from recsys.training.evaluation import score_cases
from recsys.training.plan import Plan
from recsys.training.preparation import RankerInputs, build_inputs
from recsys.training.ranker import SelectedRanker, select_by_attributes
from recsys.training.refit import refit
from recsys.training.scoring import ScoredCandidates, find_cases
from recsys.training.sweep.config import SweepConfig
from recsys.training.sweep.search import search
from recsys.training.validation import metric_of, new_metric_of, training_set


@dataclass(frozen=True, slots=True)
class RankingResult:
    """The phases on the test window.

    users, candidates: numbers, the same for all rows
    cross_validation: NDCG@k by phase and by the age of the cut, see `cross_validate`
    """

    users: int
    candidates: int
    plan: Plan
    table: list[PhaseRow]
    cross_validation: Mapping[str, Mapping[int, float]]

    def to_json(self) -> dict[str, Any]:
        """The result as one object."""
        return {
            "protocol": "ranking",
            "users": self.users,
            "candidates": self.candidates,
            "plan": self.plan.to_json(),
            "table": [row.to_json() for row in self.table],
            "cross_validation": {name: dict(values) for name, values in self.cross_validation.items()},
        }


def rank_phases(context: Context, sweep: SweepConfig | None) -> RankingResult:
    """Train the five phases and compare their lists on the test window.

    sweep: the search of the last phase, over settings of the ranker and the blend; None to choose alpha alone
    """
    inputs = build_inputs(context)
    plan = context.plan
    with console.step("score the test window"):
        cases, scored = test_candidates(context, inputs)
    tune = None if sweep is None else partial(tune_hybrid, context, inputs, sweep)
    phases = train_phases(
        phase_rows(context, inputs, cases, scored), partial(boost_trees, context, inputs), tune, context.config
    )
    with console.step("cross-validate over rolling cuts"):
        rows = {cut.age: data for cut, data in zip(plan.train, inputs.rows(plan.train), strict=True)}
        folds = cross_validate(rows, plan.horizon, phases, context.config.evaluation.k)
    valid_labels = ray.get(inputs.validation).rows.labels
    table = ranking_table(context, phases, cases, scored, valid_labels)
    return RankingResult(len(cases), len(scored.users), plan, table, folds)


def test_candidates(context: Context, inputs: RankerInputs) -> tuple[TestCases, ScoredCandidates]:
    """Users of the test window and their candidates with features, scored by the factorization alone."""
    cases = find_cases(context, context.plan.test, context.config.test_days)
    return cases, score_cases(context, inputs, cases, [], "all", keep_features=True)


def phase_rows(context: Context, inputs: RankerInputs, cases: TestCases, scored: ScoredCandidates) -> PhaseRows:
    """The rows that all phases share; cases, scored: see `test_candidates`."""
    plan, validation = inputs.plan, ray.get(inputs.validation)
    metric = f"ndcg@{context.config.evaluation.k}"
    return PhaseRows(
        train=inputs.rows(plan.train),
        valid=validation.rows,
        refit=inputs.rows((plan.validation, *plan.train)),
        valid_mf=validation.candidates.mf,
        test=scored.features,
        test_mf=scored.mf,
        measure=metric_of(validation, metric),
        measure_new=new_metric_of(validation, metric),
        adjust=lambda raw: cold_start_by_popularity(raw, cases, scored, context.config),
    )


def cold_start_by_popularity(
    raw: np.ndarray, cases: TestCases, scored: ScoredCandidates, config: TrainConfig
) -> np.ndarray:
    """The raw scores, but those of users without events by popularity, as every model is served."""
    candidates = Candidates.given(len(cases), scored.users, scored.items, scored.source_scores)
    return score_cold_start(raw, cases.histories, candidates, config.inference)


def boost_trees(context: Context, inputs: RankerInputs, config: TrainConfig) -> BoostedTrees:
    """Trees whose number the validation window chooses, as a training run does."""
    tuned = replace(context, config=config)
    return selected_trees(tuned, select_by_attributes(tuned, inputs))


def selected_trees(context: Context, selected: SelectedRanker) -> BoostedTrees:
    """Trees of a selected ranker."""
    config = context.config

    def train(parts: Sequence[RankingData]) -> Ranker:
        data = training_set(parts, None, config.inference.features, selected.left_out)
        return refit(context, data, selected, config.seed)

    return BoostedTrees(selected.n_trees, selected.scores, train)


def tune_hybrid(context: Context, inputs: RankerInputs, sweep: SweepConfig) -> TunedSettings:
    """The settings that a sweep with Ray Tune adopts."""
    result = search(context, inputs, sweep, resume=False)
    console.line(f"sweep: {result.outcome}")
    settings = dict(result.best.settings) if result.adopted else {}
    return TunedSettings(result.context.config, len(result.trials), settings, result.adopted)
