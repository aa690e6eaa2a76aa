"""The result of a sweep: its trials, the best of them, and whether its settings are adopted."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from recsys.errors import ModelError, last_line
from recsys.evaluation.metrics import Difference
from recsys.models.blend import AlphaCurves
from recsys.training.context import Context
from recsys.training.preparation import RankerInputs
from recsys.training.sweep.config import ALPHA, SweepConfig

FOLDER: Final = "trial_"
"""Name of a trial's folder, before its number."""
NEW_ITEMS: Final = "new_items"
"""Name in a trial's reports of the metric over the candidates that are new to their users."""
Status = Literal["finished", "stopped", "failed"]


@dataclass(frozen=True, slots=True)
class TrialResult:
    """One trial of a sweep.

    number: counts from 1
    settings: by `section.key`
    status: finished, stopped (by the scheduler or the time budget) or failed
    metric, trees, alpha: those of the last report; metric and alpha are None without a report
    curve: the metric by alpha of that report
    new_items: the metric of that report over the candidates that are new to their users; None if it was not measured
    ended: time of the last report, seconds since 1970
    history: (trees, metric) of each report
    error: one line, of a failed trial
    """

    number: int
    settings: Mapping[str, Any]
    status: Status
    metric: float | None = None
    trees: int = 0
    alpha: float | None = None
    seconds: float = 0.0
    ended: float | None = None
    curve: Mapping[str, float] | None = None
    history: Sequence[tuple[int, float]] = ()
    error: str | None = None
    new_items: float | None = None

    @property
    def settings_without_alpha(self) -> dict[str, Any]:
        """The settings but for the weight of the factorization."""
        return {key: value for key, value in self.settings.items() if key != ALPHA}


@dataclass(frozen=True, slots=True)
class SweepResult:
    """A finished sweep.

    trials: in the order of their start
    lead: lead of the best trial over the start of the sweep on the validation window; None if the best trial is adopted
    without a comparison
    context, inputs: those with which the run goes on
    """

    sweep: SweepConfig
    trials: Sequence[TrialResult]
    best: TrialResult
    lead: Difference | None
    context: Context
    inputs: RankerInputs

    @property
    def adopted(self) -> bool:
        """Whether the run goes on with the settings of the best trial."""
        return self.lead is None or self.lead.low > 0

    @property
    def outcome(self) -> str:
        """Whether the best trial is adopted, and why, in one sentence."""
        trial, lead = f"trial {self.best.number}", self.lead
        if lead is None:
            return f"{trial} is adopted, the best of {len(self.trials)}"
        bounds = f"{lead.mean:.4f} ({lead.low:.4f} to {lead.high:.4f})"
        if self.adopted:
            return f"{trial} is adopted: it leads the start of the sweep by {bounds}"
        return f"no trial is adopted: the lead of {trial}, {bounds}, may be chance"


def trial_results(results: Any, metric: str) -> list[TrialResult]:
    """The trials by number; results: Ray Tune's ResultGrid."""
    in_order = sorted(results, key=lambda result: trial_number(Path(result.path).name))
    return [_trial_result(number, result, metric) for number, result in enumerate(in_order, 1)]


def trial_number(folder: str) -> int:
    """Tune's number of a trial from its folder's name.

    A folder that a killed driver left behind keeps its name; the trial's new folder has an ending after the number.
    """
    return int(folder.removeprefix(FOLDER).partition("_")[0])


def _trial_result(number: int, result: Any, metric: str) -> TrialResult:
    last, reports = result.metrics or {}, result.metrics_dataframe
    error = problem_of(last, metric) or (last_line(result.error) if result.error else None)
    settings, seconds = dict(result.config or {}), float(last.get("time_total_s", 0))
    if error or metric not in last:
        return TrialResult(number, settings, "failed" if error else "stopped", seconds=seconds, error=error)
    reached = {} if reports is None else dict(zip(reports["trees"].tolist(), reports[metric].tolist(), strict=True))
    return TrialResult(
        number=number,
        settings=settings,
        status="finished" if last.get("final") else "stopped",
        metric=float(last[metric]),
        trees=int(last["trees"]),
        alpha=float(last["alpha"]),
        seconds=seconds,
        ended=float(last["timestamp"]),
        curve={key: float(value) for key, value in last["curve"].items()},
        history=sorted(reached.items()),
        new_items=last.get(NEW_ITEMS),
    )


def problem_of(last: Mapping[str, Any], metric: str) -> str | None:
    """Why the last report of a trial has no usable metric, one line; None if it has one, or no metric at all."""
    if error := last.get("error"):
        return " ".join(str(error).split())  # LightGBM's errors end with a line break
    value = last.get(metric, 0.0)
    return None if math.isfinite(value) else f"its {metric} is {value}"


def best_trial(trials: Sequence[TrialResult], tolerance: float) -> TrialResult:
    """The trial with the best metric; among equals the one with the fewest trees.

    If alpha is searched, the trials that differ from it in alpha alone are compared by `AlphaCurves.best`, as a
    training does with the weights of its grid. A stopped trial counts only if no trial finished, because its last
    report comes from a ranker whose size was not yet selected. Raises ModelError if no trial has a metric.
    tolerance: see HybridConfig
    """
    measured = [trial for trial in trials if trial.metric is not None]
    measured = [trial for trial in measured if trial.status == "finished"] or measured
    if not measured:
        why = next((trial.error for trial in trials if trial.error), "none reported in time")
        raise ModelError(f"all {len(trials)} trials of the sweep failed: {why}")
    best = max(measured, key=lambda trial: (trial.metric or 0.0, -trial.trees, -trial.number))
    return _with_best_alpha(best, measured, tolerance) if ALPHA in best.settings else best


def _with_best_alpha(best: TrialResult, measured: Sequence[TrialResult], tolerance: float) -> TrialResult:
    """The trial with the settings of `best` and the alpha that a training would select."""
    rivals = {
        float(trial.settings[ALPHA]): trial
        for trial in reversed(measured)  # of several trials with one alpha, the first one stays
        if trial.settings_without_alpha == best.settings_without_alpha
    }
    curve = {alpha: trial.metric or 0.0 for alpha, trial in rivals.items()}
    new_items = {alpha: trial.new_items for alpha, trial in rivals.items() if trial.new_items is not None}
    return rivals[AlphaCurves(curve, new_items).best(tolerance)]
