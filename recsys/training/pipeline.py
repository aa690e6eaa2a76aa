"""The training run: raw files in, an evaluated and published version out."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import ray

from recsys import console
from recsys.config import TrainConfig
from recsys.data.ingest import ShopData, ingest
from recsys.data.sources import Source
from recsys.data.split import cut
from recsys.errors import ModelError
from recsys.evaluation.protocol import TestCases, new_items_only
from recsys.models.hybrid import score_drift
from recsys.models.ranking import Ranker, TrainingSet
from recsys.registry.store import Store
from recsys.schema import Objective
from recsys.training.choice import Choice, Validation, choose, read_blend, training_set
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
    Raises RecsysError, with nothing published.
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
    plan, validation, discover = prepared.plan, ray.get(prepared.validation), None
    with console.step("choose trees, calibrations and alpha on the validation window"):
        choice = _choose(prepared, config, work)
        if prepared.discover is not None:
            discover = _choose_for_new(prepared.discover, choice, config, work)
    with console.step("evaluate on the test window"):
        cases, scored = score_test_window(shop, prepared, choice.n_trees, config, work)
        new = None
        if prepared.discover is not None and discover is not None:
            new = *score_new_items(shop, prepared.discover, discover.n_trees, config, work), discover.blend
        metrics = evaluate(shop, plan, cases, scored, choice.blend, validation.cases, new, config)
    show_metrics(metrics, config)
    with console.step("refit on every event"):
        final, drift = _final(prepared, choice, config, work)
        of_new = None
        if prepared.discover is not None and discover is not None:
            of_new, _ = _final(prepared.discover, discover, config, work)
    metrics |= {
        "model": "metrics are of the model trained up to the test window; the published one is its refit on all events",
        "alpha": choice.blend.alpha,
        "alpha_curve": [{"alpha": alpha, "ndcg": value} for alpha, value in choice.curve.items()],
        "trees": choice.n_trees,
        "score_drift": drift,
        "importance": final.importance(),
        "plan": asdict(plan),
        "quality": asdict(shop.quality),
    }
    with console.step("write the report"):
        found = find(shop, prepared, choice, cases, scored, metrics, files, config, now)
        files = {**files, **report_files(found, config)}
    with console.step("publish"):
        blends = choice.blend, discover.blend if discover else None
        model = Model(ray.get(prepared.tables[0]), prepared.selectors, final, of_new, *blends)
        return publish(shop, model, metrics, files, store, config)


def _choose(prepared: Prepared, config: TrainConfig, work: str | Path) -> Choice:
    validation = ray.get(prepared.validation)
    data = training_set(prepared.rows(prepared.plan.train), validation)
    choice = choose(data, validation, config, _report_trees, work)
    console.progress(f"{choice.n_trees} trees, alpha {choice.blend.alpha}, validation NDCG {choice.metric:.4f}")
    return choice


def _choose_for_new(prepared: Prepared, of_all: Choice, config: TrainConfig, work: str | Path) -> Choice | None:
    """None where the ranker of all items does as well: it learns from more."""
    console.progress("for items that are new to the user:")
    choice, validation = _choose(prepared, config, work), ray.get(prepared.validation)
    _, curve = read_blend(validation, of_all.ranker.predict(validation.rows.features), config)
    same = max(curve.values())
    console.progress(f"the ranker of all items has {same:.4f} there")
    return choice if choice.metric > same else None


def _final(prepared: Prepared, choice: Choice, config: TrainConfig, work: str | Path) -> tuple[Ranker, float]:
    """The ranker that is published, and how far its scores drifted."""
    data = training_set(prepared.rows(tuple(prepared.examples)), None)
    final = refit(data, choice.n_trees, config, config.seed, work)
    return final, check_drift(final, choice, ray.get(prepared.validation), config)


def _report_trees(trees: int, ndcg: float, _: object) -> None:
    if trees % 25 == 0:
        console.progress(f"{trees} trees, NDCG@10 of the validation candidates {ndcg:.4f}")


def score_test_window(
    shop: ShopData, prepared: Prepared, n_trees: int, config: TrainConfig, work: str | Path
) -> tuple[TestCases, ScoredCandidates]:
    """Users of the test window and their candidates, scored by a ranker for each seed, trained up to the window."""
    cases = find_cases(shop, prepared.plan.test, config.evaluation.test_days, config)
    rankers = _rankers(prepared, n_trees, config.evaluation.seeds, config, work)
    return cases, _scored(shop, prepared, cases, rankers, "all", config)


def score_new_items(
    shop: ShopData, prepared: Prepared, n_trees: int, config: TrainConfig, work: str | Path
) -> tuple[TestCases, ScoredCandidates]:
    """The same of items that are new to the user, candidates and truth, for one seed."""
    cases, _ = new_items_only(find_cases(shop, prepared.plan.test, config.evaluation.test_days, config))
    rankers = _rankers(prepared, n_trees, 1, config, work)
    return cases, _scored(shop, prepared, cases, rankers, "discover", config)


def _rankers(prepared: Prepared, n_trees: int, n_seeds: int, config: TrainConfig, work: str | Path) -> list[Ranker]:
    """Trained up to the test window, a seed each."""
    plan = prepared.plan
    data = training_set(prepared.rows((plan.valid, *plan.train)), None)
    return [refit(data, n_trees, config, config.seed + i, work) for i in range(n_seeds)]


def _scored(
    shop: ShopData,
    prepared: Prepared,
    cases: TestCases,
    rankers: Sequence[Ranker],
    objective: Objective,
    config: TrainConfig,
) -> ScoredCandidates:
    age = prepared.plan.test
    now, tables = cut(shop.end, age), prepared.tables[age]
    return score_users(cases.histories, tables, rankers, now, prepared.selectors, objective, config)


def refit(data: TrainingSet, n_trees: int, config: TrainConfig, seed: int, work: str | Path) -> Ranker:
    """A ranker of a fixed size."""
    return fit_ranker(data, config.ranker.model_copy(update={"seed": seed}), n_trees=n_trees, work=work)


def check_drift(final: Ranker, choice: Choice, validation: Validation, config: TrainConfig) -> float:
    """How far the refit moved the calibrated scores; raises ModelError beyond the bound."""
    drift = score_drift(choice.blend.lgb, choice.scores, final.predict(validation.rows.features))
    if drift > config.hybrid.max_drift:
        raise ModelError(
            f"the refitted ranker's calibrated scores moved by {drift:.3f}, more than hybrid.max_drift = "
            f"{config.hybrid.max_drift}: the calibration would not hold"
        )
    return drift
