"""The five phases under the benchmark protocol: one run that trains them all and publishes nothing."""

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import ray

from recsys import console
from recsys.config import TrainConfig
from recsys.data.ingest import ShopData
from recsys.evaluation.protocol import TestCases
from recsys.inference.stages import score_cold_start
from recsys.report.terminal import show_sweep
from recsys.retrieval.generator import Candidates
from recsys.studies.phases.five import Grown, Tuned, Windows, five_phases
from recsys.studies.phases.folds import cross_validate
from recsys.studies.phases.table import ranking_table
from recsys.training.preparation import RankerInputs, prepare
from recsys.training.ranker import refit, score_cases
from recsys.training.scoring import ScoredCandidates, find_cases
from recsys.training.sweep.config import SweepConfig
from recsys.training.sweep.search import search
from recsys.training.validation import SelectedRanker, Validation, metric_of, select_ranker, training_set


def rank_phases(shop: ShopData, config: TrainConfig, work: str | Path, sweep: SweepConfig | None) -> dict[str, Any]:
    """Everything the ranking protocol says of the five phases, as JSON.

    sweep: what the last phase searches, of the ranker and the blend; None for alpha alone
    """
    inputs = prepare(shop, config)
    plan, validation = inputs.plan, ray.get(inputs.validation)
    with console.step("score the test window"):
        cases, found = test_candidates(shop, inputs, config)
    windows = ranking_windows(inputs, cases, found, config)

    def grow(settings: TrainConfig) -> Grown:
        return grown(windows, validation, settings, work)

    tune = None if sweep is None else partial(tuned, shop, inputs, config, sweep, work)
    phases = five_phases(windows, grow, tune, config)
    with console.step("cross-validate over rolling cuts"):
        rows = dict(zip(plan.train, inputs.rows(plan.train), strict=True))
        folds = cross_validate(rows, plan.horizon, phases, config.evaluation.k)
    return {
        "protocol": "ranking",
        "users": len(cases),
        "candidates": len(found.users),
        "plan": asdict(plan),
        "table": ranking_table(phases, shop, plan, cases, found, validation.rows.labels, config),
        "cross_validation": folds,
    }


def test_candidates(shop: ShopData, inputs: RankerInputs, config: TrainConfig) -> tuple[TestCases, ScoredCandidates]:
    """Users of the test window and their candidates with features, scored by the factorization alone."""
    cases = find_cases(shop, inputs.plan.test, config.evaluation.test_days, config)
    return cases, score_cases(shop, inputs, cases, [], "all", config, keep_features=True)


def ranking_windows(inputs: RankerInputs, cases: TestCases, found: ScoredCandidates, config: TrainConfig) -> Windows:
    """The rows that all phases share; cases, found: of the test window, see `test_candidates`."""
    plan, validation = inputs.plan, ray.get(inputs.validation)
    return Windows(
        inputs.rows(plan.train),
        validation.rows,
        inputs.rows((plan.valid, *plan.train)),
        validation.candidates.mf,
        found.features,
        found.mf,
        metric_of(validation, f"ndcg@{config.evaluation.k}"),
        lambda raw: cold_start_by_popularity(raw, cases, found, config),
    )


def cold_start_by_popularity(
    raw: np.ndarray, cases: TestCases, found: ScoredCandidates, config: TrainConfig
) -> np.ndarray:
    """Raw scores with those of users without a history as every stage gives them, whatever the model."""
    candidates = Candidates.given(len(cases), found.users, found.items, found.sources)
    return score_cold_start(raw, cases.histories, candidates, config.inference)


def grown(windows: Windows, validation: Validation, config: TrainConfig, work: str | Path) -> Grown:
    """Trees that stop by the validation rows, as a training run grows them."""
    return grown_by(
        select_ranker(
            training_set(list(windows.train), validation, config.inference.features), validation, config, work
        ),
        config,
        work,
    )


def grown_by(selected: SelectedRanker, config: TrainConfig, work: str | Path) -> Grown:
    """Trees as they were chosen."""
    return Grown(
        selected.n_trees,
        selected.scores,
        lambda parts: refit(
            training_set(list(parts), None, config.inference.features), selected, config, config.seed, work
        ),
    )


def tuned(shop: ShopData, inputs: RankerInputs, config: TrainConfig, sweep: SweepConfig, work: str | Path) -> Tuned:
    """What a sweep with Ray Tune finds on the validation window."""
    swept = search(shop, inputs, config, sweep, work, resume=False)
    show_sweep(swept)
    settings = dict(swept.best.settings) if swept.taken else {}
    return Tuned(swept.config, {"trials": len(swept.trials), "settings": settings, "taken": swept.taken})
