"""The training job: raw files in, an evaluated and published version out."""

from dataclasses import asdict
from pathlib import Path

import ray

from recsys import console
from recsys.config import TrainConfig
from recsys.data.ingest import ingest
from recsys.data.sources import Source
from recsys.registry.store import Store
from recsys.report.collect.collect import find, report_files
from recsys.report.sweep import sweep_files
from recsys.report.terminal import show_data, show_metrics, show_sweep
from recsys.training.distributed.launch import check_cpus
from recsys.training.evaluation import evaluate
from recsys.training.preparation import prepare
from recsys.training.publish import Model, publish
from recsys.training.ranker import choose_models, fit_final, score_test_window
from recsys.training.sweep.config import SweepConfig
from recsys.training.sweep.search import search


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
        final, drift = fit_final(prepared, choice, config, work)
        final_new = None if new.choice is choice else fit_final(new.prepared, new.choice, config, work)[0]
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
