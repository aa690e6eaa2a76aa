"""The training run: raw files in, an evaluated and published version out."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import ray

from recsys import console
from recsys.config import TrainConfig
from recsys.data.ingest import ShopData, ingest
from recsys.data.sources import Source
from recsys.errors import ModelError
from recsys.evaluation.metrics import paired_difference
from recsys.evaluation.protocol import TestCases, new_items_only
from recsys.models.blend import Blend, score_drift
from recsys.models.rankers.base import Ranker, TrainingSet
from recsys.registry.store import Store
from recsys.schema import Objective
from recsys.timeline import cut
from recsys.training.choice import Choice, Validation, choose, served_by_user, training_set
from recsys.training.findings.collect import find, report_files
from recsys.training.judge import evaluate
from recsys.training.preparation import Prepared, prepare
from recsys.training.printing import show_data, show_metrics, show_sweep
from recsys.training.publish import Model, publish
from recsys.training.scoring import ScoredCandidates, find_cases, score_users
from recsys.training.sweep import SweepConfig
from recsys.training.sweep_report import sweep_files
from recsys.training.tuning import search
from recsys.training.workers import check_cpus, fit_ranker


def run(
    source: Source,
    store: Store,
    config: TrainConfig,
    work: str | Path,
    now: int,
    sweep: SweepConfig | None = None,
    *,
    resume: bool = False,
) -> str:
    """Train, evaluate, refit on everything, publish and promote; returns the version.

    work: folder or s3://bucket/prefix of the quarantine file, of sweeps and of what several workers read; now: the
    run's clock, ms
    sweep: what to search first, starting from `config`; resume: take up the sweep that was killed
    Raises RecsysError, with nothing new in production.
    """
    check_cpus(config.ranker)
    with console.step("read and check the data"):
        shop = ingest(source, config.data, now, f"{work}/quarantine.parquet")
    show_data(shop)
    prepared, files = prepare(shop, config), {}
    if sweep is not None:
        with console.step(f"search {', '.join(sweep.search)}"):
            swept = search(shop, prepared, config, sweep, work, resume=resume)
        show_sweep(swept)
        config, prepared, files = swept.config, swept.prepared, sweep_files(swept)
    plan, validation = prepared.plan, ray.get(prepared.validation)
    with console.step("choose trees, calibrations and alpha on the validation window"):
        choice, new = choose_models(prepared, config, work)
    with console.step("evaluate on the test window"):
        cases, scored, scored_new = score_test_window(shop, prepared, choice, config, work, new=new)
        metrics = evaluate(shop, plan, cases, scored, choice.blend, validation.cases, scored_new, config)
    show_metrics(metrics, config)
    with console.step("refit on every event"):
        final, drift = _final(prepared, choice, config, work)
        final_new = None if new.choice is choice else _final(new.prepared, new.choice, config, work)[0]
    metrics |= {
        "model": "metrics are of the model trained up to the test window; the published one is its refit on all events",
        "alpha": choice.blend.alpha,
        "alpha_curve": [{"alpha": alpha, "ndcg": value} for alpha, value in choice.curve.items()],
        "trees": choice.n_trees,
        "leaves": choice.leaves,
        "sizes": [size._asdict() for size in choice.sizes],
        "score_drift": drift,
        "importance": final.importance(),
        "plan": asdict(plan),
        "quality": asdict(shop.quality),
    }
    with console.step("write the report"):
        found = find(shop, prepared, choice, cases, scored, metrics, files, config, now)
        files = {**files, **report_files(found, config)}
    with console.step("publish"):
        blends = choice.blend, new.choice.blend if final_new else None
        model = Model(ray.get(prepared.tables[0]), prepared.selectors, final, final_new, *blends)
        return publish(shop, model, metrics, files, store, config)


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


def _final(prepared: Prepared, choice: Choice, config: TrainConfig, work: str | Path) -> tuple[Ranker, float]:
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
