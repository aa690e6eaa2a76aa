"""The log of a sweep: the best that it shows is the metric of a trial that has ended."""

import math
from dataclasses import replace
from typing import Any

import pytest
from ray.tune import Result
from ray.tune.experiment import Trial

from recsys.errors import ModelError
from recsys.training.sweep.config import SweepConfig
from recsys.training.sweep.progress import Progress
from recsys.training.sweep.result import TrialResult, best_trial, trial_results

METRIC = "ndcg@10"


class Sweep:
    """A sweep whose trials report and end as a test chooses."""

    def __init__(self) -> None:
        sweep = SweepConfig(search={"ranker.num_leaves": (7, 15)}, searcher="random", trials=5)
        self.progress = Progress(sweep, 1, 60)
        self.progress.setup()
        self.trials: list[Trial] = []

    def start(self) -> Trial:
        trial = Trial("ranker", config={"ranker.num_leaves": 7}, stub=True, trial_id=str(len(self.trials)))
        trial.set_experiment_tag(f"{len(self.trials)}_trial")
        trial.set_status(Trial.RUNNING)
        self.trials.append(trial)
        return trial

    def report(self, trial: Trial, value: float, **more: Any) -> None:
        trial.update_last_result({METRIC: value, "trees": 20, "alpha": 0.2, "final": False} | more)
        self.progress.on_trial_result(0, self.trials, trial, trial.last_result)

    def complete(self, trial: Trial, value: float, **more: Any) -> None:
        self.report(trial, value, **({"final": True} | more))
        self.progress.on_trial_complete(0, self.trials, trial)
        trial.set_status(Trial.TERMINATED)


@pytest.fixture
def sweep() -> Sweep:
    return Sweep()


def best_in(line: str) -> str:
    """The part of a line that tells the best so far."""
    return line.partition("; ")[2].partition(",")[0]


def test_a_failed_trial_is_never_the_best(sweep: Sweep, capsys: pytest.CaptureFixture[str]) -> None:
    sweep.complete(sweep.start(), -1.0, error="LightGBM refuses\nthese settings\n")
    sweep.complete(sweep.start(), math.nan)
    sweep.complete(sweep.start(), math.inf)
    sweep.complete(sweep.start(), 0.25)
    lines = capsys.readouterr().err.splitlines()
    assert [best_in(line) for line in lines] == ["no trial has a metric yet"] * 3 + ["best 0.2500"]
    assert "failed: LightGBM refuses these settings (ranker.num_leaves 7)" in lines[0]
    assert "failed: its ndcg@10 is nan (ranker.num_leaves 7)" in lines[1]


def test_a_report_of_a_trial_that_goes_on_is_not_the_best(sweep: Sweep, capsys: pytest.CaptureFixture[str]) -> None:
    running, ending, dying = (sweep.start() for _ in range(3))
    sweep.report(running, 0.9)
    sweep.report(ending, 0.4)
    sweep.complete(ending, 0.3)
    sweep.report(dying, 0.8)
    dying.set_status(Trial.ERROR)
    sweep.progress.on_trial_error(0, sweep.trials, dying)
    assert [best_in(line) for line in capsys.readouterr().err.splitlines()] == ["best 0.3000"] * 2


def test_a_trial_that_was_stopped_counts_while_none_has_finished(
    sweep: Sweep, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep.complete(sweep.start(), 0.5, final=False)
    sweep.complete(sweep.start(), 0.4)
    assert [best_in(line) for line in capsys.readouterr().err.splitlines()] == ["best 0.5000", "best 0.4000"]


def test_a_metric_that_is_no_number_makes_a_failed_trial() -> None:
    def result(number: int, value: float) -> Result:
        metrics = {METRIC: value, "trees": 20, "alpha": 0.2, "final": True, "curve": {}, "timestamp": 1.0}
        return Result(metrics | {"config": {"ranker.num_leaves": 7}}, None, None, path=f"/sweep/trial_{number}")

    trials = trial_results([result(0, math.nan), result(1, 0.1)], METRIC)
    assert [(trial.status, trial.metric, trial.error) for trial in trials] == [
        ("failed", None, "its ndcg@10 is nan"),
        ("finished", 0.1, None),
    ]
    assert best_trial(trials, 0.005).number == 2
    with pytest.raises(ModelError, match="all 1 trials of the sweep failed: its ndcg@10 is nan"):
        best_trial(trials[:1], 0.005)


def alpha_trial(number: int, alpha: float, metric: float, new_items: float | None, leaves: int = 7) -> TrialResult:
    settings = {"hybrid.alpha": alpha, "ranker.num_leaves": leaves}
    return TrialResult(number, settings, "finished", metric, 20, alpha, new_items=new_items)


def test_a_search_for_alpha_follows_the_rule_of_a_training() -> None:
    """Of the alphas about as good as the best, the best one for new items; trials with other settings stay apart."""
    trials = [
        alpha_trial(1, 0.0, 0.3, 0.02),
        alpha_trial(2, 0.2, 0.2990, 0.04),
        alpha_trial(3, 0.3, 0.2989, 0.04),
        alpha_trial(4, 0.5, 0.25, 0.09),
        alpha_trial(5, 0.1, 0.2995, 0.09, leaves=15),
    ]
    assert best_trial(trials, 0.005).number == 2
    assert best_trial(trials, 0.0).number == 1
    unmeasured = [replace(trial, new_items=None) for trial in trials[::-1]]
    assert best_trial(unmeasured, 0.005).number == 1


def test_other_searches_take_the_best_metric() -> None:
    settings = {"ranker.num_leaves": 7}
    trials = [
        replace(alpha_trial(number, 0.1, metric, new_items), settings=settings)
        for number, metric, new_items in ((1, 0.2999, 0.9), (2, 0.3, 0.1))
    ]
    assert best_trial(trials, 0.005).number == 2
