"""The search for settings: trials, the importance of settings, and the files of a sweep."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from recsys.report.drawing import (
    BLUE,
    GREY,
    INK,
    ORANGE,
    SOFT,
    Picture,
    drawable,
    label_rows,
    percent,
    plain_axes,
    png,
    several,
    ticked,
)
from recsys.report.section import MODEL, Cell, Section, SectionSpec, Table
from recsys.report.sections.blend import Point, draw_alpha
from recsys.schema import Config

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from recsys.training.sweep.result import SweepResult, TrialResult

TABLE: Final = "sweep.json"
PICTURE: Final = "sweep.png"
MOST_TRIALS: Final = 200
"""Largest number of trials in a report."""
STATUS: Final = {"finished": (BLUE, "o"), "stopped": (ORANGE, "s"), "failed": (GREY, "x")}


class Trial(Config):
    """A trial; history: trees and metric of each of its reports."""

    number: int
    status: str
    metric: float | None
    trees: int
    alpha: float | None
    settings: dict[str, Any]
    history: tuple[tuple[int, float], ...]

    @property
    def rank(self) -> float:
        """The metric; below all others if the trial has none."""
        return -1.0 if self.metric is None else self.metric


class Numbers(Config):
    """A sweep.

    best: number of the best trial; curve: its metric by alpha
    outcome: one sentence on the adopted settings, with the reason
    importance: fraction of the metric's variance that each setting explains
    more: trials that are left out because there are more than MOST_TRIALS
    """

    metric: str
    best: int
    importance: dict[str, float]
    curve: tuple[Point, ...]
    outcome: str
    trials: tuple[Trial, ...]
    more: int = 0

    @property
    def best_trial(self) -> Trial:
        return next(trial for trial in self.trials if trial.number == self.best)

    @property
    def measured(self) -> list[tuple[Trial, float]]:
        """Trials with a metric, and this metric."""
        return [(trial, trial.metric) for trial in self.trials if trial.metric is not None]


def collect(sweep: "SweepResult") -> Numbers:
    from recsys.training.sweep.importance import setting_importance  # noqa: PLC0415 - tasks that draw need no optuna

    trials = [_trial(trial) for trial in sweep.trials]
    best = sorted(trials, key=lambda trial: trial.rank, reverse=True)[:MOST_TRIALS]
    curve = sorted((float(alpha), metric) for alpha, metric in (sweep.best.curve or {}).items())
    return Numbers(
        metric=sweep.sweep.metric,
        best=sweep.best.number,
        importance=setting_importance(sweep),
        curve=tuple(Point(alpha=alpha, metric=metric) for alpha, metric in curve),
        outcome=sweep.outcome,
        trials=tuple(sorted(best, key=lambda trial: trial.number)),
        more=len(trials) - len(best),
    )


def _trial(trial: "TrialResult") -> Trial:
    return Trial(
        number=trial.number,
        status=trial.status,
        metric=trial.metric,
        trees=trial.trees,
        alpha=trial.alpha,
        settings=dict(trial.settings),
        history=tuple((trees, metric) for trees, metric in trial.history),
    )


def sweep_files(sweep: "SweepResult", numbers: Numbers) -> dict[str, str | bytes]:
    """Files of a version: settings, all trials and importance as JSON, and all figures in one picture."""
    table = {
        "config": sweep.sweep.model_dump(mode="json"),
        "best": asdict(sweep.best),
        "lead": sweep.lead and sweep.lead._asdict(),
        "outcome": numbers.outcome,
        "adopted": sweep.adopted,
        "importance": numbers.importance,
        "trials": [asdict(trial) for trial in sweep.trials],
    }
    picture = Picture("sweep", "", "", lambda figure: draw_panels(figure, numbers), 8, 12)
    return {TABLE: json.dumps(table, indent=1, allow_nan=False), PICTURE: png(picture)}


def section(numbers: Numbers) -> Section:
    best = numbers.best_trial
    metric = "" if best.metric is None else f" ({best.metric:.4f})"
    trials = several(len(numbers.trials) + numbers.more, "trial")
    text = (
        f"Of {trials}, trial {numbers.best} has the best {numbers.metric} on the validation window{metric}; "
        f"{numbers.outcome}."
    )
    if any(value > best.rank for _, value in numbers.measured):
        text = (
            f"Of {trials}, trial {numbers.best} is the best on the validation window. Its {numbers.metric}{metric} is "
            "within hybrid.tolerance of the highest one. Among the alphas within the tolerance, its alpha is the best "
            f"one for items new to the user; {numbers.outcome}."
        )
    return Section(text, _pictures(numbers), [_table(numbers)])


def _pictures(numbers: Numbers) -> list[Picture]:
    metric = numbers.metric
    pictures = [
        Picture(
            "sweep-trials",
            f"{metric} of each trial of the sweep, and the best so far.",
            "Trials are in the order of their start.",
            lambda figure: draw_trials(figure.subplots(), numbers),
        )
    ]
    if any(trial.history for trial, _ in numbers.measured):
        pictures.append(
            Picture(
                "sweep-growth",
                f"{metric} of the trials by their number of trees so far.",
                "Each line shows what a trial reported during its training.",
                lambda figure: draw_growth(figure.subplots(), numbers),
            )
        )
    if numbers.importance:
        pictures.append(
            Picture(
                "sweep-settings",
                "Fraction of the variance of the metric between trials that each setting explains.",
                "Estimated by fANOVA over the trials. Settings with a large fraction are worth searching.",
                lambda figure: draw_settings(figure.subplots(), numbers.importance),
            )
        )
    if len(numbers.curve) > 1:
        pictures.append(
            Picture(
                "sweep-alpha",
                f"{metric} of the best trial by alpha.",
                "Another alpha needs no new training of the ranker.",
                lambda figure: draw_alpha(figure.subplots(), numbers.curve, numbers.best_trial.alpha, metric),
            )
        )
    return pictures


def _table(numbers: Numbers) -> Table:
    keys = list(numbers.best_trial.settings)
    rows = [
        (
            *(trial.number, trial.metric, trial.trees, trial.alpha, trial.status),
            *(_cell(trial.settings.get(key)) for key in keys),
        )
        for trial in sorted(numbers.trials, key=lambda trial: trial.rank, reverse=True)
    ]
    more = f"; {numbers.more} worse trials are left out" if numbers.more else ""
    return Table(f"Trials, best first{more}", ("trial", numbers.metric, "trees", "alpha", "status", *keys), rows)


def _cell(value: object) -> Cell:
    return value if isinstance(value, str | int | float | None) else str(value)


def draw_panels(figure: "Figure", numbers: Numbers) -> None:
    """Draw all figures of a sweep in one, which is a file of its own."""
    (over_trials, over_trees), (over_settings, over_alpha) = figure.subplots(2, 2)
    draw_trials(over_trials, numbers)
    draw_growth(over_trees, numbers)
    if numbers.importance:
        draw_settings(over_settings, numbers.importance)
    else:
        over_settings.set_title("Importance: too few trials")
        over_settings.axis("off")
    draw_alpha(over_alpha, numbers.curve, numbers.best_trial.alpha, numbers.metric)


def draw_trials(axes: "Axes", numbers: Numbers) -> None:
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415 - see drawing.png

    measured = numbers.measured
    for status, (colour, marker) in STATUS.items():
        points = [(trial.number, metric) for trial, metric in measured if trial.status == status]
        if points:
            axes.plot(*zip(*points, strict=True), marker, color=colour, label=status)
    if measured:
        best_so_far = np.maximum.accumulate([metric for _, metric in measured])
        started = [trial.number for trial, _ in measured]
        axes.step(started, best_so_far, where="post", color=SOFT, linewidth=1, label="best so far")
    for trial, metric in measured:
        if trial.number == numbers.best:
            axes.plot(trial.number, metric, "*", color=INK, markersize=14, markeredgecolor="white", label="best")
    axes.set(xlabel="trial", ylabel=f"{numbers.metric} on the validation window")
    axes.set_title("Trials of the sweep")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.margins(0.08)
    axes.legend()


def draw_growth(axes: "Axes", numbers: Numbers) -> None:
    grown: Sequence[Trial] = [trial for trial in numbers.trials if trial.history]
    for trial in grown:
        if trial.number != numbers.best:
            colour, _ = STATUS[trial.status]
            axes.plot(*zip(*trial.history, strict=True), color=colour, linewidth=0.8, alpha=0.7)
    for trial in grown:
        if trial.number == numbers.best:
            marker = "" if len(trial.history) > 1 else "o"
            axes.plot(*zip(*trial.history, strict=True), color=INK, linewidth=2.5, marker=marker, label="best")
            axes.legend(loc="lower right")
    axes.set(xlabel="trees", ylabel=f"{numbers.metric} on the validation window")
    axes.set_title("Metric of the trials by trees")


def draw_settings(axes: "Axes", importance: Mapping[str, float]) -> None:
    heights, fractions = label_rows(axes, [drawable(name) for name in importance]), list(importance.values())
    axes.barh(heights, fractions, color=BLUE, height=0.62)
    for height, fraction in zip(heights, fractions, strict=True):
        axes.text(fraction, height, f" {percent(fraction)}", va="center", fontsize=9)
    axes.set_xlim(0, (max(fractions) or 1) * 1.15)
    axes.set(xlabel="fraction of the variance between trials")
    axes.set_title("Importance of the settings")
    plain_axes(axes, ticked)


SECTION: Final = SectionSpec(
    "sweep", "The sweep", MODEL, Numbers, lambda run: None if run.sweep is None else collect(run.sweep), section
)
