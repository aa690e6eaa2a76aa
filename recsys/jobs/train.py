"""The training job: raw files in, an evaluated version out."""

from dataclasses import dataclass
from pathlib import Path

from recsys import console
from recsys.config import TrainConfig
from recsys.data.ingest import ShopData, ingest
from recsys.data.sources import Source
from recsys.errors import TooLittleData, reason_of
from recsys.inference.probe import check_here
from recsys.registry.store import Store
from recsys.registry.summary import Promotion, changed_ids, withheld
from recsys.report.build import collect_data_report, collect_report
from recsys.report.files import report_files
from recsys.report.inputs import DataInputs, EvaluationInputs, RunInputs
from recsys.report.model import Report
from recsys.report.sections.sweep import SECTION, sweep_files
from recsys.report.terminal import (
    show_choices,
    show_data,
    show_evaluation,
    show_from_log,
    show_published,
    show_sessions,
    show_unlearned,
)
from recsys.training.context import Context
from recsys.training.distributed.launch import check_cpus
from recsys.training.evaluation import ScoredWindow, evaluate_rankers
from recsys.training.from_log import from_log
from recsys.training.not_learned import build_unlearned
from recsys.training.preparation import build_inputs
from recsys.training.publish import Model, publish
from recsys.training.ranker import select_rankers
from recsys.training.refit import refit_rankers
from recsys.training.results import TrainingResult, UnlearnedResult
from recsys.training.sessions import train_sessions
from recsys.training.sweep.config import SweepConfig
from recsys.training.sweep.result import SweepResult
from recsys.training.sweep.search import search


@dataclass(frozen=True, slots=True)
class Trained:
    """The outcome of a training, which is published.

    sweep: the search for settings, if there was one
    window: the test window, scored by rankers that have not seen it; None if nothing was learned
    """

    context: Context
    model: Model
    result: TrainingResult | UnlearnedResult
    report: Report
    sweep: SweepResult | None = None
    window: ScoredWindow | None = None

    @property
    def files(self) -> dict[str, str | bytes]:
        """The report, and the files of the sweep if there was one, by name."""
        files = report_files(self.report, page=self.context.config.evaluation.page)
        return files if self.sweep is None else files | sweep_files(self.sweep, self.report.get(SECTION))


def run(
    source: Source,
    store: Store,
    config: TrainConfig,
    work: str | Path,
    now: int,
    sweep: SweepConfig | None = None,
    *,
    resume: bool = False,
    promote: Promotion = "auto",
) -> str:
    """Train, evaluate, refit on every event and publish; returns the version.

    If the data are too few to learn from, the version ranks by the weights of the candidate sources.

    work: folder or s3://bucket/prefix of intermediate files, see Context; now: the run's clock, ms
    config: windows and targets that it leaves open are chosen from the log
    sweep: a search for settings that runs first and starts from `config`
    resume: continue the unfinished sweep of the same data and settings
    promote: whether the version is put into production, see `withheld`
    Raises RecsysError; the version in production is then still the old one.
    """
    shop = read(source, config, work, now)
    if change := changed_ids(store, shop.mapping):
        console.paragraph(f"warning: {change}")
    trained = learn(shop, config, work, now, sweep, resume=resume)
    version = publish_trained(trained, store)
    reason = withheld(promote, store, trained.model.not_learned)
    if reason is None:
        with console.step("promote"):
            store.promote(version, check_here)
    show_published(version, store, withheld=reason, page=config.evaluation.page)
    return version


def read(source: Source, config: TrainConfig, work: str | Path, now: int) -> ShopData:
    """The checked data of a source; work, now: see `run`. Raises RecsysError."""
    check_cpus(config.ranker)
    with console.step("read and check the data"):
        shop = ingest(source, config.data, now, f"{work}/quarantine.parquet")
    show_data(shop)
    return shop


def learn(
    shop: ShopData, config: TrainConfig, work: str | Path, now: int, sweep: SweepConfig | None, *, resume: bool
) -> Trained:
    """A trained model, or one of the sources' weights alone if the data are too few; parameters: see `run`."""
    chosen = from_log(shop, config)
    show_from_log(chosen)
    try:
        return train(Context.create(shop, chosen.config, work), now, sweep, resume=resume)
    except TooLittleData as problem:
        context = Context.without_training(shop, chosen.config, work)
        return leave_untrained(context, now, reason_of(problem))


def publish_trained(trained: Trained, store: Store) -> str:
    """Publish a trained model with its report, without putting it into production; returns the version."""
    with console.step("publish"):
        return publish(trained.context, trained.model, trained.result, trained.files, store)


def train(context: Context, now: int, sweep: SweepConfig | None, *, resume: bool) -> Trained:
    """The rankers, evaluated and refitted on every event; raises TooLittleData if nothing can be learned.

    now, sweep, resume: see `run`
    """
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

    with console.step("train the session model"):
        sessions = train_sessions(context, inputs, selected)
    show_sessions(sessions)
    with console.step("refit on every event"):
        final = refit_rankers(context, inputs, selected)
    result = TrainingResult.create(context, evaluation, selected, final, sessions)
    for warning in result.warnings:
        console.paragraph(f"warning: {warning}")
    with console.step("write the report"):
        evaluated = EvaluationInputs.create(context, inputs, selected.all_items, window, evaluation)
        alpha = selected.discovery_alpha
        warnings = result.warnings
        report = collect_report(
            RunInputs(now, evaluated, final.all_items, final.drift, alpha, swept, warnings, sessions)
        )
    model = Model.create(context.config.ranker.backend, inputs, selected, final, sessions)
    return Trained(context, model, result, report, swept, window)


def leave_untrained(context: Context, now: int, reason: str) -> Trained:
    """A model of the sources' weights alone; now: see `run`; reason: why nothing could be learned."""
    show_unlearned(reason)
    with console.step("fit popularity and covisitation"):
        model, result = build_unlearned(context, reason)
    show_evaluation(result.evaluation, context.config.evaluation)
    return Trained(context, model, result, collect_data_report(now, DataInputs(context), reason))
