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
from recsys.training.preparation import Prepared
from recsys.training.scoring import ScoredCandidates, find_cases, score_users
from recsys.training.validation import Choice, Validation, choose, served_by_user, training_set


@dataclass(frozen=True, slots=True)
class NewItems:
    """What the ranker that serves items new to the user learns from, and what was chosen for it.

    Where it is the ranker of all items, both are that one's.
    """

    prepared: Prepared
    choice: Choice


def choose_models(prepared: Prepared, config: TrainConfig, work: str | Path) -> tuple[Choice, NewItems]:
    """The choice for all items, and who ranks items that are new to the user.

    That is the ranker of all items where nothing could be learned of these alone, or where the lead of a ranker of
    their own on the validation window is within the paired interval: the first learned from more, and its trees were
    not chosen there.
    """
    choice = _choose(prepared, config, work)
    same = NewItems(prepared, choice)
    if prepared.discover is None:
        return choice, same
    console.progress("for items that are new to the user:")
    own, validation = _choose(prepared.discover, config, work), ray.get(prepared.discover.validation)
    every = replace(choice, scores=choice.ranker.predict(validation.rows.features))
    ours, others = _served(own, validation, config), _served(every, validation, config)
    lead = paired_difference(ours, others, *config.evaluation.resampling)
    told = f"lead over the ranker of all items there: {lead.mean:.4f} ({lead.low:.4f} to {lead.high:.4f})"
    console.progress(told if lead.low > 0 else f"{told}; that one serves these as well")
    return choice, NewItems(prepared.discover, own) if lead.low > 0 else same


def _served(choice: Choice, validation: Validation, config: TrainConfig) -> np.ndarray:
    """NDCG of each user of the validation window as the blend serves them, float64 (n_users,)."""
    return served_by_user(validation, f"ndcg@{config.evaluation.k}", choice.scores, choice.blend)


def _choose(prepared: Prepared, config: TrainConfig, work: str | Path) -> Choice:
    validation = ray.get(prepared.validation)
    data = training_set(prepared.rows(prepared.plan.train), validation)
    choice = choose(data, validation, config, work)
    size = f"{choice.n_trees} trees of {choice.leaves} leaves"
    console.progress(f"{size}, alpha {choice.blend.alpha}, validation NDCG {choice.metric:.4f}")
    return choice


def fit_final(prepared: Prepared, choice: Choice, config: TrainConfig, work: str | Path) -> tuple[Ranker, float]:
    """The ranker that is published, and how far its scores drifted."""
    data = training_set(prepared.rows(tuple(prepared.examples)), None)
    final = refit(data, choice, config, config.seed, work)
    return final, check_drift(final, choice, ray.get(prepared.validation), config)


def score_test_window(
    shop: ShopData,
    prepared: Prepared,
    choice: Choice,
    config: TrainConfig,
    work: str | Path,
    *,
    new: NewItems | None = None,
    n_new: int = 1,
) -> tuple[TestCases, ScoredCandidates, tuple[TestCases, ScoredCandidates, Blend] | None]:
    """Users of the test window and their candidates, scored by a ranker for each seed, trained up to the window.

    Last the same users' items that are new to them, candidates and truth, scored by `n_new` seeds, at most
    evaluation.seeds, of who ranks these, and its blend; None where nobody chose any, or `new` is None.
    """
    cases = find_cases(shop, prepared.plan.test, config.evaluation.test_days, config)
    rankers = _rankers(prepared, choice, config.evaluation.seeds, config, work)
    scored = score_cases(shop, prepared, cases, rankers, "all", config)
    some, _ = new_items_only(cases)
    if new is None or not len(some):
        return cases, scored, None
    same = new.choice is choice
    of_new = rankers[:n_new] if same else _rankers(new.prepared, new.choice, n_new, config, work)
    return cases, scored, (some, score_cases(shop, new.prepared, some, of_new, "discover", config), new.choice.blend)


def _rankers(prepared: Prepared, choice: Choice, n_seeds: int, config: TrainConfig, work: str | Path) -> list[Ranker]:
    """Trained up to the test window, a seed each."""
    plan = prepared.plan
    data = training_set(prepared.rows((plan.valid, *plan.train)), None)
    return [refit(data, choice, config, config.seed + i, work) for i in range(n_seeds)]


def score_cases(
    shop: ShopData,
    prepared: Prepared,
    cases: TestCases,
    rankers: Sequence[Ranker],
    objective: Objective,
    config: TrainConfig,
    *,
    keep_features: bool = False,
) -> ScoredCandidates:
    """Candidates of users of the test window, as of its cut, with the raw scores of each ranker."""
    age = prepared.plan.test
    now, tables = cut(shop.end, age), prepared.tables[age]
    settings = prepared.selectors, objective, config
    return score_users(cases.histories, tables, rankers, now, *settings, keep_features=keep_features)


def refit(data: TrainingSet, choice: Choice, config: TrainConfig, seed: int, work: str | Path) -> Ranker:
    """A ranker of the chosen size."""
    settings = config.ranker.model_copy(update={"seed": seed, "num_leaves": choice.leaves})
    return fit_ranker(data, settings, n_trees=choice.n_trees, work=work)


def check_drift(final: Ranker, choice: Choice, validation: Validation, config: TrainConfig) -> float:
    """How far the refit moved the calibrated scores; raises ModelError beyond the bound."""
    drift = score_drift(choice.blend.lgb, choice.scores, final.predict(validation.rows.features))
    if drift > config.hybrid.max_drift:
        raise ModelError(
            f"the refitted ranker's calibrated scores moved by {drift:.3f}, more than hybrid.max_drift = "
            f"{config.hybrid.max_drift}: the calibration would not hold"
        )
    return drift
