"""Sweeps with Ray Tune: trials share the examples, report while trees grow, and start again if a process dies."""

from dataclasses import replace
from typing import Any, Final

import numpy as np
import ray
from ray import tune
from ray.tune import TuneError

from recsys import console
from recsys.cluster import run_tasks
from recsys.config import TrainConfig, changed
from recsys.errors import ModelError, RecsysError, first_line
from recsys.evaluation.metrics import Difference, Resampling, paired_difference
from recsys.training.context import Context
from recsys.training.preparation import RankerInputs
from recsys.training.ranker import fit_smallest
from recsys.training.sweep.config import SweepConfig
from recsys.training.sweep.result import SweepResult, TrialResult, best_trial, trial_results
from recsys.training.sweep.trial import Job, run_trial, start_preparer
from recsys.training.sweep.tuner import make_tuner, trials_at_a_time
from recsys.training.validation import blended_metric_by_user, choose_blend, training_set

START_SECONDS: Final = 60.0
"""Time in which the first trial has to start."""
MOST_SAMPLES: Final = 100
"""Largest factor for the number of resamples; an interval of a higher level needs more of them."""


def search(context: Context, inputs: RankerInputs, sweep: SweepConfig, *, resume: bool) -> SweepResult:
    """The result of a search on the validation window, which starts from the context's settings.

    SweepConfig.beyond_chance decides when the best settings are adopted.

    Trials and the searcher's state are kept in the context's working folder.
    resume: continue the unfinished sweep of the same data and settings, if there is one
    Raises ConfigError if the cluster lacks the CPUs, ModelError if every trial failed.
    """
    with console.step(f"search {', '.join(sweep.search)}"):
        return _search(context, inputs, sweep, resume=resume)


def _search(context: Context, inputs: RankerInputs, sweep: SweepConfig, *, resume: bool) -> SweepResult:
    concurrency = trials_at_a_time(context.config, sweep)
    preparer, shop = (start_preparer(), ray.put(context.shop)) if sweep.searches_data else (None, None)
    job = Job(context.config, sweep, inputs, preparer, shop)
    trainable = tune.with_parameters(run_trial, job=job)
    tuner = make_tuner(context, sweep, trainable, concurrency, resume=resume, start_seconds=START_SECONDS)
    try:
        results: Any = tuner.fit()
    except (TuneError, RuntimeError) as error:  # RuntimeError if Ray's memory monitor ended a trial
        if isinstance(error.__cause__, RecsysError):
            raise error.__cause__ from error
        raise ModelError(f"the sweep stopped before its end, continue it with --resume: {first_line(error)}") from error
    trials = trial_results(results, sweep.metric)
    best = best_trial(trials, context.config.hybrid.tolerance)
    return _result(context, inputs, job, trials, best)


def _result(
    context: Context, inputs: RankerInputs, job: Job, trials: list[TrialResult], best: TrialResult
) -> SweepResult:
    """The result of the sweep; with `beyond_chance` the best trial is compared with the start of the sweep first."""
    sweep, chosen = job.sweep, changed(context.config, best.settings)
    lead, chosen_inputs = None, job.data(chosen)
    if sweep.beyond_chance and chosen != context.config:
        n_measured = sum(trial.metric is not None for trial in trials)
        lead = _lead((context.config, inputs), (chosen, chosen_inputs), sweep.metric, n_measured)
    result = SweepResult(sweep, trials, best, lead, context.with_config(chosen), chosen_inputs)
    return result if result.adopted else replace(result, context=context, inputs=inputs)


def _lead(
    start: tuple[TrainConfig, RankerInputs], best: tuple[TrainConfig, RankerInputs], metric: str, n_trials: int
) -> Difference | None:
    """The metric of the best settings minus that of the start, user by user of the validation window.

    The interval is widened for the best of `n_trials` (Bonferroni). None if training with the start's settings fails.
    """
    before, after = run_tasks(_by_user, "compare with the start of the sweep", [(*start, metric), (*best, metric)])
    try:
        values: np.ndarray = ray.get(before)
    except ModelError as error:
        why = first_line(getattr(error, "cause", error))  # Ray's own text begins with a stack trace
        console.progress(f"training with the settings at the start of the sweep failed: {why}")
        return None
    usual = start[0].evaluation.resampling
    samples, level = usual.samples * min(n_trials, MOST_SAMPLES), 1 - (1 - usual.level) / n_trials
    return paired_difference(ray.get(after), values, Resampling(usual.seed, samples, level))


def _by_user(config: TrainConfig, inputs: RankerInputs, metric: str) -> np.ndarray:
    """The metric of a trial with these settings for each user of the validation window, float64 (n_users,)."""
    validation = ray.get(inputs.validation)
    data = training_set(inputs.rows(inputs.plan.train), validation.rows, config.inference.features)
    fitted = fit_smallest(data, validation, config, work=None)
    blend, _ = choose_blend(validation, fitted.scores, config, metric)
    return blended_metric_by_user(validation, metric, fitted.scores, blend)
