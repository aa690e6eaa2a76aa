"""Sweeps with Ray Tune: trials share the examples, report while they boost, and outlive what dies."""

import hashlib
import logging
import math
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import optuna
import ray
from ray import tune
from ray.tune import TuneError
from ray.tune.experiment import Trial
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, TrialScheduler
from ray.tune.search import BasicVariantGenerator, ConcurrencyLimiter, SearchAlgorithm, Searcher
from ray.tune.search.optuna import OptunaSearch
from ray.util.metrics import Gauge

from recsys import console
from recsys.cluster import free_cpus, node_cpus, run_tasks
from recsys.config import TrainConfig, changed
from recsys.data.ingest import ShopData
from recsys.errors import ConfigError, ModelError, RecsysError, first_line, last_line
from recsys.evaluation.metrics import Difference, paired_difference
from recsys.storage.filesystem import File, file_at
from recsys.training.preparation import RankerInputs
from recsys.training.sweep.config import SweepConfig, axes, domain, n_points, start_point
from recsys.training.sweep.trial import NOTHING, RETRIES, Job, run_trial, start_preparer
from recsys.training.validation import fit, read_blend, served_by_user, training_set

START_SECONDS: Final = 60.0
"""In which the first trial has to start."""
FOLDER: Final = "trial_"
"""Of a trial, before its count."""
REDUCTION: Final = 3
"""Of so many trials asha lets one go on to so many times the trees."""
MOST_SAMPLES: Final = 100
"""Times the usual resamples for an interval far out."""


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
    """The end of a sweep.

    trials: in the order of their start
    lead: of the best over the settings that the sweep started from, on the validation window; None where it decides
    nothing
    config, prepared: what to go on with
    """

    sweep: SweepConfig
    trials: Sequence[TrialResult]
    best: TrialResult
    lead: Difference | None
    config: TrainConfig
    inputs: RankerInputs

    @property
    def taken(self) -> bool:
        """Whether the best trial's settings are those to go on with."""
        return self.lead is None or self.lead.low > 0


def search(
    shop: ShopData, inputs: RankerInputs, config: TrainConfig, sweep: SweepConfig, work: str | Path, *, resume: bool
) -> Swept:
    """Try settings on the validation window; the best are taken where they lead beyond chance, see SweepConfig.

    Trials and the searcher's state are kept under `work`, a folder or s3://bucket/prefix.
    resume: take up the unfinished sweep of the same data and settings, if there is one
    Raises ConfigError where the cluster lacks the CPUs, ModelError where no trial came to an end.
    """
    concurrency = _concurrency(config, sweep)
    preparer, shared = (start_preparer(), ray.put(shop)) if sweep.searches_data else (None, None)
    job = Job(config, sweep, inputs, preparer, shared)
    trainable = tune.with_resources(tune.with_parameters(run_trial, job=job), {"cpu": config.ranker.threads})
    _quieten()
    folder = file_at(f"{work}/sweeps").inside(_name(shop, config, sweep))
    if resume and tune.Tuner.can_restore(folder.path, folder.system):
        console.progress(f"taking up the sweep in {folder.address}")
        tuner = tune.Tuner.restore(
            folder.path,
            trainable,
            resume_unfinished=True,
            param_space=_space(sweep),
            storage_filesystem=folder.system,
        )
    else:
        if resume:
            console.progress("there is no sweep of these settings and data to take up: starting one")
        with suppress(FileNotFoundError):
            folder.system.delete_dir(folder.path)
        tuner = _new_tuner(trainable, config, sweep, folder, concurrency)
    try:
        results = tuner.fit()
    except (TuneError, RuntimeError) as error:  # the latter where Ray's memory monitor ended a trial
        if isinstance(error.__cause__, RecsysError):
            raise error.__cause__ from error
        raise ModelError(f"the sweep broke off, take it up with --resume: {first_line(error)}") from error
    found: Any = results
    in_order = sorted(found, key=lambda ended: _place(Path(ended.path).name))
    trials = [_result(number, ended, sweep.metric) for number, ended in enumerate(in_order, 1)]
    best = _best(trials)
    chosen = changed(config, best.settings)
    of_best = job.data(chosen)
    lead = None
    if sweep.beyond_chance and chosen != config:
        console.progress("compare the best settings with those that the sweep started from")
        judged = sum(trial.metric is not None for trial in trials)
        lead = _lead((config, inputs), (chosen, of_best), sweep.metric, judged)
    swept = Swept(sweep, trials, best, lead, chosen, of_best)
    return swept if swept.taken else replace(swept, config=config, inputs=inputs)


def _lead(
    start: tuple[TrainConfig, RankerInputs], best: tuple[TrainConfig, RankerInputs], metric: str, n_trials: int
) -> Difference | None:
    """Of the best settings over those that the sweep started from, user by user of the validation window.

    The interval is that of the best of `n_trials` (Bonferroni). None where the start cannot be fitted.
    """
    before, after = run_tasks(_by_user, "compare with the start of the sweep", [(*start, metric), (*best, metric)])
    try:
        values: np.ndarray = ray.get(before)
    except ModelError as error:
        why = first_line(getattr(error, "cause", error))  # Ray's own text begins with a stack trace
        console.progress(f"the settings that the sweep started from cannot be fitted: {why}")
        return None
    seed, n_samples, level = start[0].evaluation.resampling
    n_samples *= min(n_trials, MOST_SAMPLES)
    return paired_difference(ray.get(after), values, seed, n_samples, 1 - (1 - level) / n_trials)


def _by_user(config: TrainConfig, inputs: RankerInputs, metric: str) -> np.ndarray:
    """What a trial of these settings comes to for each user of the validation window, float64 (n_users,)."""
    validation = ray.get(inputs.validation)
    found = fit(training_set(inputs.rows(inputs.plan.train), validation, config.inference.features), validation, config)
    blend, _ = read_blend(validation, found.scores, config, metric)
    return served_by_user(validation, metric, found.scores, blend)


def _new_tuner(trainable: Any, config: TrainConfig, sweep: SweepConfig, folder: File, concurrency: int) -> tune.Tuner:
    """folder: where trials and the searcher's state are kept"""
    return tune.Tuner(
        trainable,
        param_space=_space(sweep),
        tune_config=tune.TuneConfig(
            search_alg=_searcher(sweep, config, concurrency),
            scheduler=_scheduler(sweep),
            num_samples=1 if sweep.searcher == "grid" else sweep.trials,
            time_budget_s=None if sweep.minutes is None else sweep.minutes * 60,
            reuse_actors=True,
            trial_dirname_creator=_trial_folder,
        ),
        run_config=tune.RunConfig(
            name=folder.name,
            storage_path=folder.path.rpartition("/")[0],
            storage_filesystem=folder.system,
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=RETRIES),
            callbacks=[_Progress(sweep, _count(sweep), config.ranker.threads)],
        ),
    )


def _concurrency(config: TrainConfig, sweep: SweepConfig) -> int:
    """Trials at a time; raises ConfigError where the cluster lacks the CPUs."""
    threads, kept_free = config.ranker.threads, int(sweep.searches_data)
    nodes = node_cpus()
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
    """The same for the same data and settings of trials."""
    text = f"{shop.fingerprint} {config.model_dump_json()} {sweep.model_dump_json(exclude={'beyond_chance'})}"
    return f"sweep-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _space(sweep: SweepConfig) -> dict[str, Any]:
    if sweep.searcher == "grid":
        return {key: tune.grid_search(values) for key, values in axes(sweep).items()}
    return {key: domain(key, space) for key, space in sweep.search.items()}


def _count(sweep: SweepConfig) -> int:
    return n_points(sweep) if sweep.searcher == "grid" else sweep.trials


def _searcher(sweep: SweepConfig, config: TrainConfig, concurrency: int) -> Searcher | SearchAlgorithm:
    """Proposes the settings of the config first."""
    start = start_point(sweep, config)
    first = None if start is None or sweep.searcher == "grid" else [start]
    if sweep.searcher != "optuna":
        return BasicVariantGenerator(first, max_concurrent=concurrency, random_state=sweep.seed)
    startup = max(3, min(10, sweep.trials // 4))
    sampler = optuna.samplers.TPESampler(seed=sweep.seed, n_startup_trials=startup)
    proposing = OptunaSearch(metric=sweep.metric, mode="max", points_to_evaluate=first, sampler=sampler)
    return ConcurrencyLimiter(proposing, max_concurrent=concurrency)


def _scheduler(sweep: SweepConfig) -> TrialScheduler:
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
            raise ConfigError(
                f"no trial could start within {START_SECONDS:.0f} s: each asks for {self._threads} CPUs, "
                f"{free_cpus():g} of the cluster are free"
            )

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **_: Any
    ) -> None:
        value = result[self._metric]
        if value > self._best:
            self._best = value
            Gauge("recsys_sweep_best", "Best validation metric of the sweep under way").set(value)

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
        self._say(trial, f"failed: {last_line(trial.get_pickled_error())}")

    def _say(self, trial: Trial, what: str) -> None:
        self._ended += 1
        Gauge("recsys_sweep_trials", "Trials of the sweep under way that have ended").set(self._ended)
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


def _place(folder: str) -> int:
    """A trial's count, from its folder: a name that a killed driver left behind is given out again with an ending."""
    return int(folder.removeprefix(FOLDER).partition("_")[0])


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _result(number: int, found: Any, metric: str) -> TrialResult:
    last, reports = found.metrics or {}, found.metrics_dataframe
    error = last.get("error") or (last_line(found.error) if found.error else None)
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
    """The best metric, of equals the fewest trees; raises ModelError where there is none.

    A trial that was stopped counts only where none came to its end: it reported a ranker that was still to be cut to
    its size.
    """
    judged = [trial for trial in trials if trial.metric is not None]
    judged = [trial for trial in judged if trial.status == "finished"] or judged
    if not judged:
        why = next((trial.error for trial in trials if trial.error), "none reported in time")
        raise ModelError(f"all {len(trials)} trials of the sweep failed: {why}")
    return max(judged, key=lambda trial: (trial.metric or 0.0, -trial.trees, -trial.number))
