"""The training job: raw files in, an evaluated and published version out."""

from dataclasses import asdict
from pathlib import Path

import ray

from recsys import console
from recsys.config import TrainConfig
from recsys.data.ingest import ingest
from recsys.data.sources import Source
from recsys.registry.store import Store
from recsys.report.build import collect_report, evaluation_numbers
from recsys.report.files import report_files
from recsys.report.inputs import DataInputs, EvaluationInputs, RunInputs
from recsys.report.sections.sweep import SECTION, sweep_files
from recsys.report.terminal import show_data, show_metrics, show_sweep
from recsys.training.distributed.launch import check_cpus
from recsys.training.evaluation import evaluate
from recsys.training.preparation import prepare
from recsys.training.publish import Model, publish
from recsys.training.ranker import fit_final, score_test_window, select_rankers
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
    inputs, swept = prepare(shop, config), None
    if sweep is not None:
        with console.step(f"search {', '.join(sweep.search)}"):
            swept = search(shop, inputs, config, sweep, work, resume=resume)
        show_sweep(swept)
        config, inputs = swept.config, swept.inputs
    plan, validation = inputs.plan, ray.get(inputs.validation)
    with console.step("choose trees, calibrations and alpha on the validation window"):
        selected, new = select_rankers(inputs, config, work)
    with console.step("evaluate on the test window"):
        cases, scored, scored_new = score_test_window(shop, inputs, selected, config, work, new=new)
        metrics = evaluate(shop, plan, cases, scored, selected.blend, validation.cases, scored_new, config)
    show_metrics(metrics, config)
    with console.step("refit on every event"):
        final, drift = fit_final(inputs, selected, config, work)
        discovery_final = None if new.selected is selected else fit_final(new.inputs, new.selected, config, work)[0]
    metrics |= {
        "model": "metrics are of the model trained up to the test window; the published one is its refit on all events",
        "alpha": selected.blend.alpha,
        "alpha_curve": [{"alpha": alpha, "ndcg": value} for alpha, value in selected.curve.items()],
        "trees": selected.n_trees,
        "leaves": selected.leaves,
        "sizes": [size._asdict() for size in selected.sizes],
        "score_drift": drift,
        "importance": final.importance(),
        "plan": asdict(plan),
        "quality": asdict(shop.quality),
    }
    with console.step("write the report"):
        data, numbers = DataInputs(shop, plan, config), evaluation_numbers(metrics)
        evaluation = EvaluationInputs(data, cases, scored, validation, selected, numbers)
        report = collect_report(RunInputs(now, evaluation, final, drift, swept))
        files = report_files(report, page=config.evaluation.page)
        if swept is not None:
            files |= sweep_files(swept, report.get(SECTION))
    with console.step("publish"):
        blends = selected.blend, new.selected.blend if discovery_final else None
        model = Model(ray.get(inputs.tables[0]), inputs.prerankers, final, discovery_final, *blends)
        return publish(shop, model, metrics, files, store, config)
