"""The training run: raw files in, an evaluated and published version out."""

from dataclasses import asdict
from pathlib import Path

import ray

from recsys import console
from recsys.config import TrainConfig
from recsys.data.ingest import ShopData, ingest
from recsys.data.sources import Source
from recsys.data.split import cut
from recsys.errors import ModelError
from recsys.evaluation.protocol import TestCases
from recsys.models.hybrid import score_drift
from recsys.models.ranking import Ranker, TrainingSet
from recsys.registry.store import Store
from recsys.training.choice import Choice, Validation, choose, training_set
from recsys.training.findings.collect import find, report_files
from recsys.training.judge import evaluate
from recsys.training.preparation import Prepared, prepare
from recsys.training.printing import show_data, show_metrics, show_sweep
from recsys.training.publish import publish
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
    plan, validation = prepared.plan, ray.get(prepared.validation)
    with console.step("choose trees, calibrations and alpha on the validation window"):
        data = training_set(prepared.rows(plan.train), validation)
        choice = choose(data, validation, config, _report_trees, work)
        best = choice.curve[choice.blend.alpha]
        console.progress(f"{choice.n_trees} trees, alpha {choice.blend.alpha}, validation NDCG {best:.4f}")
    with console.step("evaluate on the test window"):
        cases, scored = score_test_window(shop, prepared, choice.n_trees, config, work)
        metrics = evaluate(shop, plan, cases, scored, choice.blend, validation.cases, config)
    show_metrics(metrics, config)
    with console.step("refit on every event"):
        data = training_set(prepared.rows(tuple(prepared.examples)), None)
        final = refit(data, choice.n_trees, config, config.seed, work)
        drift = check_drift(final, choice, validation, config)
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
        return publish(shop, ray.get(prepared.tables[0]), final, choice.blend, metrics, files, store, config)


def _report_trees(trees: int, ndcg: float, _: object) -> None:
    if trees % 25 == 0:
        console.progress(f"{trees} trees, NDCG@10 of the validation candidates {ndcg:.4f}")


def score_test_window(
    shop: ShopData, prepared: Prepared, n_trees: int, config: TrainConfig, work: str | Path
) -> tuple[TestCases, ScoredCandidates]:
    """Users of the test window and their candidates, scored by a ranker for each seed, trained up to the window."""
    plan = prepared.plan
    data = training_set(prepared.rows((plan.valid, *plan.train)), None)
    rankers = [refit(data, n_trees, config, config.seed + i, work) for i in range(config.evaluation.seeds)]
    cases = find_cases(shop, plan.test, config.evaluation.test_days, config)
    now = cut(shop.end, plan.test)
    return cases, score_users(cases.histories, prepared.tables[plan.test], rankers, now, config)


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
