"""A sweep in Ray Tune's terms: search space, searcher, scheduler, trials at a time, and the folder of its state."""

import hashlib
import logging
import os
from contextlib import suppress
from typing import Any, Final

import optuna
from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, TrialScheduler
from ray.tune.search import BasicVariantGenerator, ConcurrencyLimiter, SearchAlgorithm, Searcher
from ray.tune.search.optuna import OptunaSearch

from recsys import console
from recsys.cluster import node_cpus
from recsys.config import TrainConfig
from recsys.errors import ConfigError
from recsys.storage.filesystem import File, file_at
from recsys.training.context import Context
from recsys.training.sweep.config import SweepConfig, axes, domain, start_point
from recsys.training.sweep.progress import Progress, count_of
from recsys.training.sweep.result import FOLDER
from recsys.training.sweep.trial import RETRIES

REDUCTION: Final = 3
"""asha lets one in this many trials continue, up to this many times the trees."""


def make_tuner(
    context: Context, sweep: SweepConfig, trainable: Any, concurrency: int, *, resume: bool, start_seconds: float
) -> tune.Tuner:
    """A new tuner, or with `resume` the one of the unfinished sweep of the same data and settings, if there is one.

    trainable: a function of a point of the search space; concurrency: trials at a time
    start_seconds: time in which the first trial has to start
    """
    config = context.config
    _quieten()
    with_cpus = tune.with_resources(trainable, {"cpu": config.ranker.threads})
    folder = file_at(f"{context.work}/sweeps").inside(_name(context, sweep))
    if resume and tune.Tuner.can_restore(folder.path, folder.system):
        console.progress(f"resuming the sweep in {folder.address}")
        return tune.Tuner.restore(
            folder.path,
            with_cpus,
            resume_unfinished=True,
            param_space=_space(sweep),
            storage_filesystem=folder.system,
        )
    if resume:
        console.progress("no unfinished sweep of these settings and data: starting a new one")
    with suppress(FileNotFoundError):
        folder.system.delete_dir(folder.path)
    progress = Progress(sweep, config.ranker.threads, start_seconds)
    return tune.Tuner(
        with_cpus,
        param_space=_space(sweep),
        tune_config=tune.TuneConfig(
            search_alg=_searcher(sweep, config, concurrency),
            scheduler=_scheduler(sweep),
            num_samples=1 if sweep.searcher == "grid" else sweep.trials,
            time_budget_s=None if sweep.minutes is None else sweep.minutes * 60,
            reuse_actors=True,
            trial_dirname_creator=_trial_folder,
        ),
        run_config=_run_config(folder, progress),
    )


def _run_config(folder: File, progress: Progress) -> tune.RunConfig:
    """folder: of the trials and of the searcher's state"""
    return tune.RunConfig(
        name=folder.name,
        storage_path=folder.path.rpartition("/")[0],
        storage_filesystem=folder.system,
        verbose=0,
        failure_config=tune.FailureConfig(max_failures=RETRIES),
        callbacks=[progress],
    )


def trials_at_a_time(config: TrainConfig, sweep: SweepConfig) -> int:
    """The number that the sweep sets, or that the cluster has CPUs for; raises ConfigError if it lacks the CPUs."""
    threads, kept_free = config.ranker.threads, int(sweep.searches_data)
    nodes = node_cpus()
    if threads > max(nodes, default=0):
        raise ConfigError(f"a trial needs {threads} CPUs (ranker.threads); the largest node has {max(nodes):g}")
    fitting = int((sum(nodes) - kept_free) // threads)
    wanted = sweep.concurrency or max(fitting, 1)
    if wanted > fitting:
        also = ", and one to prepare data" if kept_free else ""
        raise ConfigError(
            f"{wanted} trials at a time (concurrency) need {threads} CPUs each (ranker.threads){also}; "
            f"the cluster has {sum(nodes):g}"
        )
    return wanted


def _quieten() -> None:
    """Silence Ray Tune and Optuna, since `Progress` reports; an interruption ends the run instead of publishing."""
    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    os.environ |= {"RAY_AIR_NEW_OUTPUT": "0", "TUNE_DISABLE_SIGINT_HANDLER": "1"}


def _name(context: Context, sweep: SweepConfig) -> str:
    """The sweep's name: the same for the same data and settings of trials."""
    settings = context.config.model_dump_json()
    text = f"{context.shop.fingerprint} {settings} {sweep.model_dump_json(exclude={'beyond_chance'})}"
    return f"sweep-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _space(sweep: SweepConfig) -> dict[str, Any]:
    if sweep.searcher == "grid":
        return {key: tune.grid_search(values) for key, values in axes(sweep).items()}
    return {key: domain(key, space) for key, space in sweep.search.items()}


def _searcher(sweep: SweepConfig, config: TrainConfig, concurrency: int) -> Searcher | SearchAlgorithm:
    """A searcher whose first trial has the settings of the config."""
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


def _trial_folder(trial: Trial) -> str:
    return f"{FOLDER}{count_of(trial)}"
