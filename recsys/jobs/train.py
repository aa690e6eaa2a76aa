"""The training job: raw files in, an evaluated version out."""

from pathlib import Path

from recsys import console
from recsys.config import TrainConfig
from recsys.data.ingest import ingest
from recsys.data.sources import Source
from recsys.inference.probe import check_here
from recsys.registry.store import Store
from recsys.report.build import collect_report
from recsys.report.files import report_files
from recsys.report.inputs import EvaluationInputs, RunInputs
from recsys.report.sections.sweep import SECTION, sweep_files
from recsys.report.terminal import show_choices, show_data, show_evaluation, show_published
from recsys.training.context import Context
from recsys.training.distributed.launch import check_cpus
from recsys.training.evaluation import evaluate_rankers
from recsys.training.preparation import build_inputs
from recsys.training.publish import Model, publish
from recsys.training.ranker import select_rankers
from recsys.training.refit import refit_rankers
from recsys.training.results import TrainingResult
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
    promote: bool = True,
) -> str:
    """Train, evaluate, refit on every event and publish; returns the version.

    work: folder or s3://bucket/prefix of intermediate files, see Context; now: the run's clock, ms
    sweep: searched first, starting from `config`; resume: go on with the unfinished sweep of the same data and settings
    promote: whether the version is put into production
    Raises RecsysError; then nothing new is in production.
    """
    check_cpus(config.ranker)
    with console.step("read and check the data"):
        shop = ingest(source, config.data, now, f"{work}/quarantine.parquet")
    show_data(shop)

    context = Context.create(shop, config, work)
    inputs = build_inputs(context)
    swept = None if sweep is None else search(context, inputs, sweep, resume=resume)
    if swept is not None:
        context, inputs = swept.context, swept.inputs
    with console.step("select the rankers on the validation window"):
        selected = select_rankers(context, inputs)
    with console.step("evaluate on the test window"):
        window, evaluation = evaluate_rankers(context, inputs, selected)
    show_evaluation(evaluation, context.config.evaluation)
    show_choices(selected, swept, context.config)

    with console.step("refit on every event"):
        final = refit_rankers(context, inputs, selected)
    result = TrainingResult.create(context, evaluation, selected.all_items, final)

    with console.step("write the report"):
        evaluated = EvaluationInputs.create(context, inputs, selected.all_items, window, evaluation)
        files = report_of(RunInputs(now, evaluated, final.all_items, final.drift, swept))
    with console.step("publish"):
        version = publish(context, Model.create(inputs, selected, final), result, files, store)
    if promote:
        with console.step("promote"):
            store.promote(version, check_here)
    show_published(version, store, promoted=promote, page=context.config.evaluation.page)
    return version


def report_of(run: RunInputs) -> dict[str, str | bytes]:
    """The report, and the files of the sweep if there was one, by name."""
    report = collect_report(run)
    files = report_files(report, page=run.config.evaluation.page)
    return files if run.sweep is None else files | sweep_files(run.sweep, report.get(SECTION))
