"""The training run: raw files in, an evaluated and published version out."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import ray

from recsys import console
from recsys.config import TrainConfig
from recsys.data.ingest import ShopData
from recsys.errors import ModelError
from recsys.evaluation.metrics import paired_difference
from recsys.evaluation.protocol import TestCases, new_items_only
from recsys.models.blend import Blend, score_drift
from recsys.models.rankers.base import Ranker, TrainingSet
from recsys.schema import Objective
from recsys.timeline import cut
from recsys.training.distributed.launch import fit_ranker
from recsys.training.preparation import RankerInputs
from recsys.training.scoring import ScoredCandidates, find_cases, score_users
from recsys.training.validation import SelectedRanker, Validation, select_ranker, served_by_user, training_set


@dataclass(frozen=True, slots=True)
class DiscoveryRanker:
    """What the ranker that serves items new to the user learns from, and what was chosen for it.

    Where it is the ranker of all items, both are that one's.
    """

    inputs: RankerInputs
    selected: SelectedRanker


def select_rankers(
    inputs: RankerInputs, config: TrainConfig, work: str | Path
) -> tuple[SelectedRanker, DiscoveryRanker]:
    """The choice for all items, and who ranks items that are new to the user.

    That is the ranker of all items where nothing could be learned of these alone, or where the lead of a ranker of
    their own on the validation window is within the paired interval: the first learned from more, and its trees were
    not chosen there.
    """
    selected = _choose(inputs, config, work)
    same = DiscoveryRanker(inputs, selected)
    if inputs.discover is None:
        return selected, same
    console.progress("for items that are new to the user:")
    own, validation = _choose(inputs.discover, config, work), ray.get(inputs.discover.validation)
    every = replace(selected, scores=selected.ranker.predict(validation.rows.features))
    ours, others = _served(own, validation, config), _served(every, validation, config)
    lead = paired_difference(ours, others, *config.evaluation.resampling)
    told = f"lead over the ranker of all items there: {lead.mean:.4f} ({lead.low:.4f} to {lead.high:.4f})"
    console.progress(told if lead.low > 0 else f"{told}; that one serves these as well")
    return selected, DiscoveryRanker(inputs.discover, own) if lead.low > 0 else same


def _served(selected: SelectedRanker, validation: Validation, config: TrainConfig) -> np.ndarray:
    """NDCG of each user of the validation window as the blend serves them, float64 (n_users,)."""
    return served_by_user(validation, f"ndcg@{config.evaluation.k}", selected.scores, selected.blend)


def _choose(inputs: RankerInputs, config: TrainConfig, work: str | Path) -> SelectedRanker:
    validation = ray.get(inputs.validation)
    data = training_set(inputs.rows(inputs.plan.train), validation, config.inference.features)
    selected = select_ranker(data, validation, config, work)
    size = f"{selected.n_trees} trees of {selected.leaves} leaves"
    console.progress(f"{size}, alpha {selected.blend.alpha}, validation NDCG {selected.metric:.4f}")
    return selected


def fit_final(
    inputs: RankerInputs, selected: SelectedRanker, config: TrainConfig, work: str | Path
) -> tuple[Ranker, float]:
    """The ranker that is published, and how far its scores drifted."""
    data = training_set(inputs.rows(tuple(inputs.examples)), None, config.inference.features)
    final = refit(data, selected, config, config.seed, work)
    return final, check_drift(final, selected, ray.get(inputs.validation), config)


def score_test_window(
    shop: ShopData,
    inputs: RankerInputs,
    selected: SelectedRanker,
    config: TrainConfig,
    work: str | Path,
    *,
    new: DiscoveryRanker | None = None,
    n_new: int = 1,
) -> tuple[TestCases, ScoredCandidates, tuple[TestCases, ScoredCandidates, Blend] | None]:
    """Users of the test window and their candidates, scored by a ranker for each seed, trained up to the window.

    Last the same users' items that are new to them, candidates and truth, scored by `n_new` seeds, at most
    evaluation.seeds, of who ranks these, and its blend; None where nobody chose any, or `new` is None.
    """
    cases = find_cases(shop, inputs.plan.test, config.evaluation.test_days, config)
    rankers = _rankers(inputs, selected, config.evaluation.seeds, config, work)
    scored = score_cases(shop, inputs, cases, rankers, "all", config)
    some, _ = new_items_only(cases)
    if new is None or not len(some):
        return cases, scored, None
    same = new.selected is selected
    discovery_ranker = rankers[:n_new] if same else _rankers(new.inputs, new.selected, n_new, config, work)
    return (
        cases,
        scored,
        (some, score_cases(shop, new.inputs, some, discovery_ranker, "discover", config), new.selected.blend),
    )


def _rankers(
    inputs: RankerInputs, selected: SelectedRanker, n_seeds: int, config: TrainConfig, work: str | Path
) -> list[Ranker]:
    """Trained up to the test window, a seed each."""
    plan = inputs.plan
    data = training_set(inputs.rows((plan.valid, *plan.train)), None, config.inference.features)
    return [refit(data, selected, config, config.seed + i, work) for i in range(n_seeds)]


def score_cases(
    shop: ShopData,
    inputs: RankerInputs,
    cases: TestCases,
    rankers: Sequence[Ranker],
    objective: Objective,
    config: TrainConfig,
    *,
    keep_features: bool = False,
) -> ScoredCandidates:
    """Candidates of users of the test window, as of its cut, with the raw scores of each ranker."""
    age = inputs.plan.test
    now, tables = cut(shop.end, age), inputs.tables[age]
    settings = inputs.prerankers, objective, config
    return score_users(cases.histories, tables, rankers, now, *settings, keep_features=keep_features)


def refit(data: TrainingSet, selected: SelectedRanker, config: TrainConfig, seed: int, work: str | Path) -> Ranker:
    """A ranker of the chosen size."""
    settings = config.ranker.model_copy(update={"seed": seed, "num_leaves": selected.leaves})
    return fit_ranker(data, settings, n_trees=selected.n_trees, work=work)


def check_drift(final: Ranker, selected: SelectedRanker, validation: Validation, config: TrainConfig) -> float:
    """How far the refit moved the calibrated scores; raises ModelError beyond the bound."""
    drift = score_drift(selected.blend.lgb, selected.scores, final.predict(validation.rows.features))
    if drift > config.hybrid.max_drift:
        raise ModelError(
            f"the refitted ranker's calibrated scores moved by {drift:.3f}, more than hybrid.max_drift = "
            f"{config.hybrid.max_drift}: the calibration would not hold"
        )
    return drift
