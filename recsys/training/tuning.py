"""Sweeps with Ray Tune: trials share the examples, report while they boost, and outlive what dies."""

import hashlib
import logging
import math
import os
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import optuna
import pyarrow.fs as pafs
import ray
from ray import tune
from ray.tune import TuneError
from ray.tune.experiment import Trial
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, TrialScheduler
from ray.tune.search import BasicVariantGenerator, ConcurrencyLimiter, SearchAlgorithm, Searcher
from ray.tune.search.optuna import OptunaSearch
from ray.util.metrics import Gauge

from recsys import console
from recsys.config import TrainConfig, changed
from recsys.data.ingest import ShopData
from recsys.data.places import file_at
from recsys.errors import ConfigError, ModelError, RecsysError
from recsys.models.ranking import RankingData, TrainingSet
from recsys.training.choice import Validation, fit, read_blend, training_set
from recsys.training.plan import make_plan
from recsys.training.preparation import Prepared, TableRefs, prepare
from recsys.training.sweep import SweepConfig, axes, domain, start_point

KEPT: Final = 2
"""Prepared data sets that a sweep over their settings holds at a time."""
RETRIES: Final = 3
"""Times that a trial starts again after its process or node died."""
START_SECONDS: Final = 60.0
"""In which the first trial has to start."""
FOLDER: Final = "trial_"
NOTHING: Final = -1.0
"""The metric of a trial whose settings cannot be trained with."""
REDUCTION: Final = 3
"""Of so many trials asha lets one go on to so many times the trees."""


@dataclass(frozen=True, slots=True)
class TrialResult:
    """What a trial came to.

    status: finished, stopped (by the scheduler or the time budget) or failed
    metric: the last reported, None where there is none; trees, alpha, curve: of that report
    ended: when it reported last, seconds since 1970
    history: (trees, metric) of each report
    """

    number: int
    settings: Mapping[str, Any]
    status: str
    metric: float | None = None
    trees: int = 0
    alpha: float | None = None
    seconds: float = 0.0
    ended: float | None = None
    curve: Mapping[str, float] | None = None
    history: Sequence[tuple[int, float]] = ()
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Swept:
    """The end of a sweep: its trials in the order of their start, and the config and data of the best."""

    sweep: SweepConfig
    trials: Sequence[TrialResult]
    best: TrialResult
    config: TrainConfig
    prepared: Prepared


@dataclass(frozen=True, slots=True)
class _Job:
    """What every trial gets."""

    config: TrainConfig
    sweep: SweepConfig
    prepared: Prepared
    preparer: Any
    shop: "ray.ObjectRef[ShopData] | None"

    def data(self, config: TrainConfig) -> Prepared:
        """What the ranker learns from with these settings."""
        if self.preparer is None:
            return self.prepared
        # References, so that an actor that was restarted gets them as well.
        return ray.get(self.preparer.prepare.remote([self.shop], self.config, self.prepared, config))


def search(
    shop: ShopData, prepared: Prepared, config: TrainConfig, sweep: SweepConfig, work: str | Path, *, resume: bool
) -> Swept:
    """Try settings on the validation window. Trials and the searcher's state are kept under `work`, a folder
    or s3://bucket/prefix.

    resume: take up the unfinished sweep of the same data and settings, if there is one
    Raises ConfigError where the cluster lacks the CPUs, ModelError where no trial came to an end.
    """
    concurrency = _concurrency(config, sweep)
    folder, name = file_at(f"{work}/sweeps"), _name(shop, config, sweep)
    preparer, shared = (_preparer(), ray.put(shop)) if sweep.searches_data else (None, None)
    job = _Job(config, sweep, prepared, preparer, shared)
    trainable = tune.with_resources(tune.with_parameters(run_trial, job=job), {"cpu": config.ranker.threads})
    _quieten()
    path = f"{folder.path}/{name}"
    if resume and tune.Tuner.can_restore(path, folder.system):
        console.progress(f"taking up the sweep in {folder.address}/{name}")
        tuner = tune.Tuner.restore(
            path,
            trainable,
            resume_unfinished=True,
            param_space=_space(sweep),
            storage_filesystem=folder.system,
        )
    else:
        if resume:
            console.progress("there is no sweep of these settings and data to take up: starting one")
        _forget(folder.system, path)
        tuner = tune.Tuner(
            trainable,
            param_space=_space(sweep),
            tune_config=tune.TuneConfig(
                search_alg=_searcher(sweep, config, concurrency),
                scheduler=_scheduler(sweep, config),
                num_samples=1 if sweep.searcher == "grid" else sweep.trials,
                time_budget_s=None if sweep.minutes is None else sweep.minutes * 60,
                reuse_actors=True,
                trial_dirname_creator=_trial_folder,
            ),
            run_config=tune.RunConfig(
                name=name,
                storage_path=folder.path,
                storage_filesystem=folder.system,
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=RETRIES),
                callbacks=[_Progress(sweep, _count(sweep), config.ranker.threads)],
            ),
        )
    try:
        results = tuner.fit()
    except TuneError as error:
        if isinstance(error.__cause__, RecsysError):
            raise error.__cause__ from error
        raise ModelError(f"the sweep broke off, take it up with --resume: {error}") from error
    found: Any = results
    in_order = sorted(found, key=lambda ended: int(Path(ended.path).name.removeprefix(FOLDER)))
    trials = [_result(number, ended, sweep.metric) for number, ended in enumerate(in_order, 1)]
    best = _best(trials)
    chosen = changed(config, best.settings)
    return Swept(sweep, trials, best, chosen, job.data(chosen))


def run_trial(point: Mapping[str, Any], job: _Job) -> None:
    """One trial, in a process that Ray Tune started: reports to it."""
    metric = job.sweep.metric
    grown = 0

    def report(scores: Any, trees: int, *, final: bool) -> None:
        blend, curve = read_blend(validation, scores, config, metric)
        tune.report(
            {
                metric: curve[blend.alpha],
                "grown": grown,
                "trees": trees,
                "alpha": blend.alpha,
                "curve": {str(alpha): value for alpha, value in curve.items()},
                "final": final,
            }
        )

    def watch(trees: int, _: float, scores: Callable[[], Any]) -> None:
        nonlocal grown
        grown = trees
        if trees % job.sweep.report_every == 0:
            report(scores(), trees, final=False)

    try:
        config = changed(job.config, point)
        prepared = job.data(config)
        rows = tuple(prepared.examples[age] for age in prepared.plan.train)
        shared = _opened(rows, prepared.validation)
        validation = shared.validation
        key = config.model_copy(update={"hybrid": job.config.hybrid}).model_dump_json()
        if shared.fitted is None or shared.fitted.key != key:
            ranker = fit(shared.data, config, watch)
            shared.fitted = _Fitted(key, ranker.n_trees, ranker.predict(validation.rows.features))
        report(shared.fitted.scores, shared.fitted.n_trees, final=True)
    except RecsysError as error:  # of these settings: another try would come to the same
        tune.report({metric: NOTHING, "grown": grown, "trees": 0, "final": True, "error": str(error)})


@dataclass(slots=True)
class _Fitted:
    """What the last ranker came to, for trials that differ in alpha alone."""

    key: str
    n_trees: int
    scores: np.ndarray


@dataclass(slots=True)
class _Shared:
    """What the trials of a process share: rows that lie in Ray's object store, binned once."""

    data: TrainingSet
    validation: Validation
    fitted: _Fitted | None = None


@lru_cache(maxsize=1)
def _opened(rows: "tuple[ray.ObjectRef[RankingData], ...]", validation: "ray.ObjectRef[Validation]") -> _Shared:
    found = ray.get(validation)
    return _Shared(training_set(ray.get(list(rows)), found), found)


class _Preparer:
    """Prepares data for settings of the factorization and the examples, each combination once while it is in use."""

    def __init__(self) -> None:
        self._prepared: OrderedDict[str, Prepared] = OrderedDict()
        self._tables: OrderedDict[str, TableRefs] = OrderedDict()

    def prepare(
        self, shop: "list[ray.ObjectRef[ShopData]]", start: TrainConfig, there: Prepared, config: TrainConfig
    ) -> Prepared:
        """For `config`; `there` is what there is for the config `start`. shop: one reference to it"""
        if _data_key(config) == _data_key(start):
            return there
        found, key = ray.get(shop[0]), _data_key(config)
        if key not in self._prepared:
            ages = make_plan(found.start, found.end, config).tables
            tables_key, known = _tables_key(config, ages), _tables_key(start, there.plan.tables)
            tables = there.tables if tables_key == known else self._tables.get(tables_key)
            prepared = prepare(found, config, tables)
            _keep(self._tables, tables_key, prepared.tables)
            _keep(self._prepared, key, prepared)
        self._prepared.move_to_end(key)
        return self._prepared[key]


def _keep(kept: OrderedDict[str, Any], key: str, value: Any) -> None:
    kept[key] = value
    kept.move_to_end(key)
    while len(kept) > KEPT:
        kept.popitem(last=False)


def _data_key(config: TrainConfig) -> str:
    """The settings that the ranker's rows depend on."""
    defaults = TrainConfig()
    return config.model_copy(update={"ranker": defaults.ranker, "hybrid": defaults.hybrid}).model_dump_json()


def _tables_key(config: TrainConfig, ages: Sequence[int]) -> str:
    """What the tables depend on."""
    return f"{_data_key(config.model_copy(update={'examples': TrainConfig().examples}))} {sorted(ages)}"


def _preparer() -> Any:
    actor: Any = ray.remote(_Preparer).options(num_cpus=0, max_restarts=RETRIES, max_task_retries=RETRIES)
    return actor.remote()


def _concurrency(config: TrainConfig, sweep: SweepConfig) -> int:
    """Trials at a time; raises ConfigError where the cluster lacks the CPUs."""
    threads, kept_free = config.ranker.threads, int(sweep.searches_data)
    nodes = [node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    if threads > max(nodes, default=0):
        raise ConfigError(f"a trial asks for {threads} CPUs (ranker.threads); the largest node has {max(nodes):g}")
    fitting = int((sum(nodes) - kept_free) // threads)
    wanted = sweep.concurrency or max(fitting, 1)
    if wanted > fitting:
        also = ", and one to prepare data with" if kept_free else ""
        raise ConfigError(
            f"{wanted} trials at a time (concurrency) ask for {threads} CPUs each (ranker.threads){also}; "
            f"the cluster has {sum(nodes):g}"
        )
    return wanted


def _quieten() -> None:
    """This module says how a sweep goes; and an interruption ends the run instead of publishing what there is."""
    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    os.environ |= {"RAY_AIR_NEW_OUTPUT": "0", "TUNE_DISABLE_SIGINT_HANDLER": "1"}


def _name(shop: ShopData, config: TrainConfig, sweep: SweepConfig) -> str:
    """The same for the same data and settings."""
    text = f"{shop.fingerprint} {config.model_dump_json()} {sweep.model_dump_json()}"
    return f"sweep-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _forget(system: pafs.FileSystem, path: str) -> None:
    with suppress(FileNotFoundError):
        system.delete_dir(path)


def _space(sweep: SweepConfig) -> dict[str, Any]:
    if sweep.searcher == "grid":
        return {key: tune.grid_search(values) for key, values in axes(sweep).items()}
    return {key: domain(key, space) for key, space in sweep.search.items()}


def _count(sweep: SweepConfig) -> int:
    return math.prod(map(len, axes(sweep).values())) if sweep.searcher == "grid" else sweep.trials


def _searcher(sweep: SweepConfig, config: TrainConfig, concurrency: int) -> Searcher | SearchAlgorithm:
    """Proposes the settings of the config first, so that a sweep never does worse on the validation window."""
    start = start_point(sweep, config)
    first = None if start is None or sweep.searcher == "grid" else [start]
    if sweep.searcher != "optuna":
        return BasicVariantGenerator(first, max_concurrent=concurrency, random_state=sweep.seed)
    startup = max(3, min(10, sweep.trials // 4))
    sampler = optuna.samplers.TPESampler(seed=sweep.seed, n_startup_trials=startup)
    proposing = OptunaSearch(metric=sweep.metric, mode="max", points_to_evaluate=first, sampler=sampler)
    return ConcurrencyLimiter(proposing, max_concurrent=concurrency)


def _scheduler(sweep: SweepConfig, config: TrainConfig) -> TrialScheduler:
    if sweep.scheduler == "none":
        return FIFOScheduler()  # type: ignore[no-untyped-call]
    return AsyncHyperBandScheduler(
        time_attr="grown",
        metric=sweep.metric,
        mode="max",
        max_t=10**9,  # the trial itself ends at ranker.max_trees
        grace_period=sweep.grace_trees,
        reduction_factor=REDUCTION,
    )


class _Progress(tune.Callback):
    """Says how the sweep goes, in the log and in Ray's metrics."""

    def __init__(self, sweep: SweepConfig, total: int, threads: int) -> None:
        self._metric, self._total, self._threads, self._minutes = sweep.metric, total, threads, sweep.minutes
        self._best, self._ended, self._started = NOTHING, 0, math.nan
        self._first = 0 if sweep.searcher == "optuna" else 1  # what Tune counts from, the other way round

    def setup(self, stop: Any = None, num_samples: Any = None, total_num_samples: Any = None, **_: Any) -> None:
        self._started = time.monotonic()

    def on_step_begin(self, iteration: int, trials: list[Trial], **_: Any) -> None:
        """Raises ConfigError where no trial finds CPUs."""
        waited = time.monotonic() - self._started
        if waited > START_SECONDS and trials and all(trial.status == Trial.PENDING for trial in trials):
            free = ray.available_resources().get("CPU", 0)  # type: ignore[no-untyped-call]
            raise ConfigError(
                f"no trial could start within {START_SECONDS:.0f} s: each asks for {self._threads} CPUs, "
                f"{free:g} of the cluster are free"
            )

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **_: Any
    ) -> None:
        value = result[self._metric]
        if value > self._best:
            self._best = value
            _gauge("recsys_sweep_best", "Best validation metric of the sweep under way").set(value)

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **_: Any) -> None:
        found = trial.last_result or {}
        if "error" in found:
            self._say(trial, f"failed: {found['error']}")
        elif self._metric in found:
            ended = "" if found.get("final") else ", ended early"
            self._say(
                trial,
                f"{self._metric} {found[self._metric]:.4f} with {found['trees']} trees, alpha {found['alpha']}{ended}",
            )

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **_: Any) -> None:
        self._say(trial, f"failed: {_last_line(trial.get_pickled_error())}")

    def _say(self, trial: Trial, what: str) -> None:
        self._ended += 1
        _gauge("recsys_sweep_trials", "Trials of the sweep under way that have ended").set(self._ended)
        settings = ", ".join(f"{key} {_short(value)}" for key, value in trial.config.items())
        console.progress(
            f"trial {_count_of(trial) + self._first} of {self._total}: {what} ({settings}); {self._outlook()}"
        )

    def _outlook(self) -> str:
        spent = time.monotonic() - self._started
        left = spent / self._ended * max(self._total - self._ended, 0)
        if self._minutes is not None:
            left = min(left, self._minutes * 60 - spent)
        return f"best {self._best:.4f}, about {max(left, 0):.0f} s left"


def _count_of(trial: Trial) -> int:
    """Tune's own count of trials, which lasts when a trial starts again."""
    return int(trial.experiment_tag.partition("_")[0])


def _trial_folder(trial: Trial) -> str:
    return f"{FOLDER}{_count_of(trial)}"


def _gauge(name: str, description: str) -> Gauge:
    return Gauge(name, description)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _last_line(problem: object) -> str:
    return (str(problem).strip().splitlines() or [type(problem).__name__])[-1]


def _result(number: int, found: Any, metric: str) -> TrialResult:
    last, reports = found.metrics or {}, found.metrics_dataframe
    error = last.get("error") or (_last_line(found.error) if found.error else None)
    settings = dict(found.config or {})
    seconds = float(last.get("time_total_s", 0))
    if error or metric not in last:
        return TrialResult(number, settings, "failed" if error else "stopped", seconds=seconds, error=error)
    reached = {} if reports is None else dict(zip(reports["trees"].tolist(), reports[metric].tolist(), strict=True))
    return TrialResult(
        number,
        settings,
        "finished" if last.get("final") else "stopped",
        float(last[metric]),
        int(last["trees"]),
        float(last["alpha"]),
        seconds,
        float(last["timestamp"]),
        {key: float(value) for key, value in last["curve"].items()},
        sorted(reached.items()),
    )


def _best(trials: Sequence[TrialResult]) -> TrialResult:
    """The best metric, of equals the fewest trees; raises ModelError where there is none."""
    judged = [trial for trial in trials if trial.metric is not None]
    if not judged:
        why = next((trial.error for trial in trials if trial.error), "none reported in time")
        raise ModelError(f"all {len(trials)} trials of the sweep failed: {why}")
    return max(judged, key=lambda trial: (trial.metric or 0.0, -trial.trees, -trial.number))
