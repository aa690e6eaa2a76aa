"""Progress of a sweep: a line for each trial that ends, and gauges among Ray's metrics."""

import math
import time
from typing import Any

from ray import tune
from ray.tune.experiment import Trial
from ray.util.metrics import Gauge

from recsys import console
from recsys.cluster import free_cpus
from recsys.errors import ConfigError, last_line
from recsys.training.sweep.config import SweepConfig, n_trials
from recsys.training.sweep.result import problem_of


class Progress(tune.Callback):
    """Reports the trials as they end, and ends a sweep whose trials get no CPUs."""

    def __init__(self, sweep: SweepConfig, threads: int, start_seconds: float) -> None:
        """threads: CPUs of a trial; start_seconds: time in which the first trial has to start"""
        self._metric, self._total, self._minutes = sweep.metric, n_trials(sweep), sweep.minutes
        self._threads, self._start_seconds = threads, start_seconds
        self._ended, self._started = 0, math.nan
        self._first = 0 if sweep.searcher == "optuna" else 1  # Tune counts from 1 with optuna, else from 0

    def setup(self, stop: Any = None, num_samples: Any = None, total_num_samples: Any = None, **_: Any) -> None:
        self._started = time.monotonic()

    def on_step_begin(self, iteration: int, trials: list[Trial], **_: Any) -> None:
        """Raises ConfigError if no trial gets its CPUs in time."""
        waited = time.monotonic() - self._started
        if waited > self._start_seconds and trials and all(trial.status == Trial.PENDING for trial in trials):
            raise ConfigError(
                f"no trial could start within {self._start_seconds:.0f} s: each needs {self._threads} CPUs, "
                f"{free_cpus():g} of the cluster are free"
            )

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **_: Any) -> None:
        last, ended_trials = trial.last_result or {}, [*_ended(trials, but=trial), trial]
        if problem := problem_of(last, self._metric):
            self._report(ended_trials, trial, f"failed: {problem} ({_settings(trial)})")
        elif self._metric in last:
            ended = "" if last.get("final") else ", ended early"
            value, trees, alpha = last[self._metric], last["trees"], last["alpha"]
            self._report(ended_trials, trial, f"{self._metric} {value:.4f}, {trees} trees, alpha {alpha:g}{ended}")

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **_: Any) -> None:
        problem = last_line(trial.get_pickled_error())
        self._report(_ended(trials, but=trial), trial, f"failed: {problem} ({_settings(trial)})")

    def _report(self, trials: list[Trial], trial: Trial, outcome: str) -> None:
        """trials: those that have ended, without errors of their processes; trial: the last one"""
        self._ended += 1
        Gauge("recsys_sweep_trials", "Trials of the running sweep that have ended").set(self._ended)
        best = self._best(trials)
        if best is not None:
            Gauge("recsys_sweep_best", "Best validation metric of the running sweep").set(best)
        number = count_of(trial) + self._first
        so_far = "no trial has a metric yet" if best is None else f"best {best:.4f}"
        left = f"about {self._seconds_left():.0f} s left"
        console.progress(f"trial {number} of {self._total}: {outcome}; {so_far}, {left}")

    def _best(self, trials: list[Trial]) -> float | None:
        """The metric of the best of these trials, as `best_trial` finds it; None if none has a metric."""
        lasts = [trial.last_result or {} for trial in trials]
        measured = [last for last in lasts if self._metric in last and not problem_of(last, self._metric)]
        measured = [last for last in measured if last.get("final")] or measured
        return max((last[self._metric] for last in measured), default=None)

    def _seconds_left(self) -> float:
        spent = time.monotonic() - self._started
        left = spent / self._ended * max(self._total - self._ended, 0)
        if self._minutes is not None:
            left = min(left, self._minutes * 60 - spent)
        return max(left, 0.0)


def count_of(trial: Trial) -> int:
    """Tune's own count of a trial, which it keeps when it starts again."""
    return int(trial.experiment_tag.partition("_")[0])


def _ended(trials: list[Trial], but: Trial) -> list[Trial]:
    """The trials that have ended. Tune changes the status of the one that it reports only afterwards."""
    return [trial for trial in trials if trial.status == Trial.TERMINATED and trial is not but]


def _settings(trial: Trial) -> str:
    return ", ".join(
        f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in trial.config.items()
    )
