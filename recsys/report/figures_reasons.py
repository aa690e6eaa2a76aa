"""Figures of what the model goes by."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from recsys.report.content import Contributions, Importance, Loss, Point, Size, Source, Sweep
from recsys.report.drawing import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PLUM,
    SKY,
    SOFT,
    counted,
    drawable,
    intervals,
    legend_below,
    percent,
    plain_axes,
    rows_of,
    ticked,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TOP: Final = 18
"""Features of the figure of importance."""
LANES: Final = 41
"""Heights at which dots of one feature lie beside each other."""
STATUS: Final = {"finished": (BLUE, "o"), "stopped": (ORANGE, "s"), "failed": (GREY, "x")}


def importance(figure: "Figure", found: Sequence[Importance]) -> None:
    axes = figure.subplots()
    best = [row for row in found if row.gain > 0][:TOP]
    places = rows_of(axes, [row.name for row in best])
    axes.barh(places, [row.gain for row in best], color=BLUE, height=0.66)
    for place, row in zip(places, best, strict=True):
        axes.text(row.gain, place, f" {percent(row.gain)}, {row.group}", va="center", fontsize=8, color=SOFT)
    axes.set_xlim(0, max((row.gain for row in best), default=1) * 1.45)
    axes.set(xlabel="share of the gain of all splits")
    axes.set_title("Features by importance, with their group")
    plain_axes(axes, ticked)


def contributions(figure: "Figure", found: Sequence[Contributions]) -> None:
    """Dots as they are known from SHAP's summary: a candidate each, by what the feature added to its score."""
    from matplotlib.cm import ScalarMappable  # noqa: PLC0415
    from matplotlib.colors import LinearSegmentedColormap, Normalize  # noqa: PLC0415

    axes = figure.subplots()
    tints = LinearSegmentedColormap.from_list("low to high", [BLUE, "#c79ac2", ORANGE])
    places = rows_of(axes, [row.name for row in found])
    reach = max((abs(value) for row in found for value in row.values), default=1.0) or 1.0
    for place, row in zip(places, found, strict=True):
        known = np.array([at is not None for at in row.places])
        heights = place + _swarm(np.array(row.values), reach)
        colours = np.array([at or 0 for at in row.places])
        for chosen, settings in (
            (~known, {"color": "#c6c9ce"}),
            (known, {"c": colours[known], "cmap": tints, "vmin": 0, "vmax": 100}),
        ):
            axes.scatter(np.array(row.values)[chosen], heights[chosen], s=7, linewidths=0, rasterized=True, **settings)
    axes.axvline(0, color=SOFT, linewidth=0.8, zorder=0)
    axes.set(xlabel="added to the ranker's raw score of a candidate")
    axes.set_title("What features add to scores")
    bar = figure.colorbar(ScalarMappable(Normalize(0, 1), tints), ax=axes, fraction=0.03, pad=0.01, aspect=40)
    bar.set_ticks([0, 1], labels=["low", "high"])
    bar.set_label("value of the feature (grey: missing, or a category)", labelpad=-12)
    bar.outline.set_visible(False)


def _swarm(values: np.ndarray, reach: float) -> np.ndarray:
    """Heights within a row, (n,), so that dots of like values spread out; the denser, the wider."""
    column = np.round(values / reach * 60).astype(int)
    order = np.argsort(column, kind="stable")
    _, start, counts = np.unique(column[order], return_index=True, return_counts=True)
    position = np.empty(len(values), int)
    position[order] = np.arange(len(values)) - np.repeat(start, counts)
    size = np.empty(len(values), int)
    size[order] = np.repeat(counts, counts)
    # Alternately above and below the middle.
    offset = np.where(position % 2, 1, -1) * ((position + 1) // 2)
    return offset / np.maximum(size / 2, 12) * 0.36


def losses(figure: "Figure", found: Sequence[Loss], k: int, title: str) -> None:
    axes = figure.subplots()
    ordered = sorted(found, key=lambda row: -row.loss.mean)
    estimates = [(row.loss.mean, row.loss.low, row.loss.high) for row in ordered]
    intervals(axes, [row.name for row in ordered], estimates, [BLUE] * len(ordered), "{:+.4f}")
    axes.set(xlabel=f"NDCG@{k} lost on the validation window")
    axes.set_title(title)


def sources(figure: "Figure", found: Sequence[Source]) -> None:
    axes = figure.subplots()
    places = rows_of(axes, [row.name for row in found])
    kinds = (
        ("share", "of the candidates", "#cfd3da"),
        ("recall", "of what was chosen: found", SKY),
        ("alone", "of what was chosen: found by it alone", BLUE),
    )
    for at, (part, name, colour) in enumerate(kinds):
        values = [getattr(row, part) for row in found]
        heights = [place + (1 - at) * 0.27 for place in places]
        axes.barh(heights, values, height=0.25, color=colour, label=name)
        for height, value in zip(heights, values, strict=True):
            axes.text(value, height, f" {percent(value)}", va="center", fontsize=8)
    axes.set_xlim(0, (max(max(row.share, row.recall) for row in found) or 1) * 1.14)
    axes.set_title("Where candidates come from")
    plain_axes(axes, ticked)
    legend_below(axes, 2)


def alpha(axes: "Axes", curve: Sequence[Point], chosen: float | None, metric: str) -> None:
    axes.plot([point.alpha for point in curve], [point.metric for point in curve], color=BLUE, marker="o", markersize=5)
    if chosen is not None:
        axes.axvline(chosen, color=ORANGE, linestyle="--", linewidth=1.5, label=f"chosen: {chosen:g}")
        axes.legend()
    axes.set(xlabel="alpha, the weight of the factorization", ylabel=f"{metric} on the validation window")
    axes.set_title("The blend")
    axes.margins(y=0.15)


def sizes(axes: "Axes", found: Sequence[Size], trees: int, leaves: int, k: int) -> None:
    colours = [SKY, BLUE, ORANGE, GREEN, PLUM]
    by_leaves = sorted({size.leaves for size in found})
    for at, number in enumerate(by_leaves):
        line = sorted((size.trees * size.leaves, size.metric) for size in found if size.leaves == number)
        colour, marker = colours[at % len(colours)], "os^vDP"[at % 6]
        axes.plot(*zip(*line, strict=True), color=colour, marker=marker, markersize=5, label=f"{number} leaves")
    for size in found:
        if (size.trees, size.leaves) == (trees, leaves):
            axes.plot(trees * leaves, size.metric, "*", color=INK, markersize=14, markeredgecolor="white",
                      label=f"published: {trees} trees")  # fmt: skip
    axes.set(xlabel="trees times leaves", ylabel=f"NDCG@{k} on the validation window")
    axes.set_title("Size of the ranker")
    plain_axes(axes, counted)
    axes.legend()


def trials(axes: "Axes", sweep: Sweep) -> None:
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415

    for status, (colour, marker) in STATUS.items():
        points = [(t.number, t.metric) for t in sweep.trials if t.status == status and t.metric is not None]
        if points:
            axes.plot(*zip(*points, strict=True), marker, color=colour, label=status)
    judged = [(t.number, t.metric) for t in sweep.trials if t.metric is not None]
    if judged:
        numbers, found = zip(*judged, strict=True)
        axes.step(numbers, np.maximum.accumulate(found), where="post", color=SOFT, linewidth=1, label="best so far")
    for number, metric in [point for point in judged if point[0] == sweep.best]:
        axes.plot(number, metric, "*", color=INK, markersize=14, markeredgecolor="white", label="best")
    axes.set(xlabel="trial", ylabel=f"{sweep.metric} on the validation window")
    axes.set_title("Trials of the sweep")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.margins(0.08)
    axes.legend()


def growth(axes: "Axes", sweep: Sweep) -> None:
    for trial in sweep.trials:
        if trial.history and trial.number != sweep.best:
            colour, _ = STATUS[trial.status]
            axes.plot(*zip(*trial.history, strict=True), color=colour, linewidth=0.8, alpha=0.7)
    for trial in sweep.trials:
        if trial.history and trial.number == sweep.best:
            marker = "" if len(trial.history) > 1 else "o"
            axes.plot(*zip(*trial.history, strict=True), color=INK, linewidth=2.5, marker=marker, label="best")
            axes.legend(loc="lower right")
    axes.set(xlabel="trees", ylabel=f"{sweep.metric} on the validation window")
    axes.set_title("How trials grew")


def settings(axes: "Axes", importance: dict[str, float]) -> None:
    places = rows_of(axes, [drawable(name) for name in importance])
    axes.barh(places, list(importance.values()), color=BLUE, height=0.62)
    for place, share in zip(places, importance.values(), strict=True):
        axes.text(share, place, f" {percent(share)}", va="center", fontsize=9)
    axes.set_xlim(0, (max(importance.values()) or 1) * 1.15)
    axes.set(xlabel="share of the variance between trials")
    axes.set_title("Settings that mattered")
    plain_axes(axes, ticked)
