"""Figures of how good the model is."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from recsys.report.content import Calibrated, Confusion, Distribution, Found, Group, Quality, Row
from recsys.report.drawing import (
    BLUE,
    GREY,
    INK,
    LOOKS,
    ORANGE,
    counted,
    intervals,
    legend_below,
    look_of,
    percent,
    plain_axes,
    ticked,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SCORE_LOOKS: Final = {
    "score": LOOKS["hybrid"],
    "lgb_score": LOOKS["ranker alone"],
    "mf_score": LOOKS["factorization alone"],
}


BEHIND: Final[Any] = {"facecolor": "white", "edgecolor": "none", "pad": 0.8}
"""Of a text that lies on a line."""


def shown(rows: Sequence[Row], metric: str, group: str = "all") -> list[Row]:
    """Rows of a group that have a figure, the sources left out."""
    kept = (row for row in rows if row["group"] == group and row.get(metric) is not None)
    return [row for row in kept if not str(row["system"]).startswith("source ")]


def _interval(row: Row, metric: str) -> tuple[float, float, float]:
    mean, low, high = (float(row[name] or 0) for name in (metric, f"{metric}_low", f"{metric}_high"))
    return mean, low, high


def systems(figure: "Figure", rows: Sequence[Row], metric: str, title: str) -> None:
    axes, found = figure.subplots(), shown(rows, metric)
    names = [str(row["system"]) for row in found]
    intervals(axes, names, [_interval(row, metric) for row in found], [look_of(name).colour for name in names])
    axes.set(xlabel=metric.replace("ndcg", "NDCG"))
    axes.set_title(title)


def differences(figure: "Figure", quality: Quality) -> None:
    axes = figure.subplots()
    rows = [row for row in quality.differences if not str(row["system"]).startswith("source ")]
    names = [str(row["system"]) for row in rows]
    for place, row in enumerate(rows[::-1]):
        mean, low, high = (float(row[name] or 0) for name in ("mean", "low", "high"))
        sure = low > 0 or high < 0
        axes.plot([low, high], [place, place], color=BLUE if sure else GREY, linewidth=3, solid_capstyle="round")
        axes.plot(mean, place, "o", color=BLUE if sure else GREY, markersize=8, markeredgecolor="white")
        axes.text(mean, place + 0.25, f"{mean:+.3f}", ha="center", fontsize=9, bbox=BEHIND)
    axes.axvline(0, color=INK, linewidth=1)
    axes.set_yticks(range(len(rows)), names[::-1])
    axes.set_ylim(-0.6, len(rows) - 0.3)
    axes.margins(x=0.1)
    axes.grid(visible=False, axis="y")
    axes.set(xlabel=f"NDCG@{quality.k} of the {quality.ours} minus that of …")
    axes.set_title(f"{quality.ours.capitalize()} minus the others")


def by_warmth(figure: "Figure", quality: Quality, names: Sequence[str]) -> None:
    metric = f"ndcg@{quality.k}"
    rows = [(group, {str(row["system"]): row for row in shown(quality.table, metric, group)})
            for group in ("all", "warm", "cold")]  # fmt: skip
    groups = [
        (f"{group}\n{counted(float(found[quality.ours]['users'] or 0))} users",
         {name: _interval(found[name], metric) for name in names if name in found})
        for group, found in rows if quality.ours in found
    ]  # fmt: skip
    _grouped(figure.subplots(), groups, f"NDCG@{quality.k}")
    figure.axes[0].set_title("Warm and cold users")
    legend_below(figure.axes[0], 2)


def by_activity(figure: "Figure", groups: Sequence[Group], k: int) -> None:
    bars = [
        (
            f"{_span(group)}\n{counted(group.users)} users",
            {name: (found.mean, found.low, found.high) for name, found in group.systems.items()},
        )
        for group in groups
    ]
    axes = figure.subplots()
    _grouped(axes, bars, f"NDCG@{k}")
    axes.set(xlabel="events in the history")
    axes.set_title("By the user's activity")
    legend_below(axes, 2)


def _span(group: Group) -> str:
    if group.high == 0:
        return "none"
    return str(group.low) if group.low == group.high else f"{counted(group.low)} to {counted(group.high)}"


def _grouped(axes: "Axes", groups: Sequence[tuple[str, dict[str, tuple[float, float, float]]]], label: str) -> None:
    """Bars with intervals side by side, by system, for each group."""
    names = list(dict.fromkeys(name for _, found in groups for name in found))
    width = 0.8 / max(len(names), 1)
    for at, name in enumerate(names):
        places = [number + (at - (len(names) - 1) / 2) * width for number, (_, found) in enumerate(groups)
                  if name in found]  # fmt: skip
        means, low, high = zip(*(found[name] for _, found in groups if name in found), strict=True)
        axes.bar(places, means, width * 0.9, color=look_of(name).colour, label=name)
        errors = [[max(m - b, 0) for m, b in zip(means, low, strict=True)],
                  [max(b - m, 0) for m, b in zip(means, high, strict=True)]]  # fmt: skip
        axes.errorbar(places, means, yerr=errors, fmt="none", ecolor=INK, elinewidth=1.1, capsize=2.5)
    axes.set_xticks(range(len(groups)), [name for name, _ in groups])
    axes.set_xlim(-0.6, max(len(groups), 2) - 0.4)
    axes.grid(visible=False, axis="x")
    axes.set_ylim(bottom=0)
    axes.set(ylabel=label)


def repeat_and_new(figure: "Figure", found: Sequence[Found], k: int, repeat_share: float) -> None:
    axes = figure.subplots()
    parts = [
        ("repeat", f"had before\n{percent(repeat_share)} of all"),
        ("new", f"new to the user\n{percent(1 - repeat_share)} of all"),
    ]
    parts = [(part, name) for part, name in parts if any(getattr(row, part) is not None for row in found)]
    width = 0.84 / len(found)
    for at, row in enumerate(found):
        colour = "#cfd3da" if at == 0 else look_of(row.system).colour
        for number, (part, _) in enumerate(parts):
            share, place = getattr(row, part) or 0.0, number + (at - (len(found) - 1) / 2) * width
            axes.bar(place, share, width * 0.9, color=colour, label=row.system if number == 0 else None)
            axes.text(place, share, percent(share), ha="center", va="bottom", fontsize=8)
    axes.set_xticks(range(len(parts)), [name for _, name in parts])
    axes.set_xlim(-0.6, max(len(parts), 2) - 0.4)
    axes.grid(visible=False, axis="x")
    axes.set(ylabel=f"share found in the first {k}")
    axes.set_title("What users went on to choose")
    plain_axes(axes, y=ticked)
    axes.margins(y=0.1)
    legend_below(axes, 2)


def at_k(figure: "Figure", quality: Quality, part: str) -> None:
    axes = figure.subplots()
    for name, curves in quality.at_k.items():
        values, look = getattr(curves, part), look_of(name)
        ks = range(1, len(values) + 1)
        axes.plot(ks, values, color=look.colour, linestyle=look.dashes, marker=look.marker, markersize=4, label=name)
    axes.set_xticks([1, 5, 10, 15, 20])
    axes.set_ylim(bottom=0)
    axes.set(xlabel="k, items of the list", ylabel=f"{part}@k")
    axes.set_title(f"{part.capitalize()} of the first k")
    legend_below(axes, 2)


def roc(figure: "Figure", quality: Quality) -> None:
    axes = figure.subplots()
    for name, found in quality.classified.items():
        look = look_of(name)
        label = f"{name}: {found.roc_auc:.3f}"
        axes.plot(found.roc.x, found.roc.y, color=look.colour, linestyle=look.dashes, label=label)
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=":", label="chance: 0.500")
    axes.set(xlabel="share of the misses let through", ylabel="share of the hits let through", xlim=(0, 1))
    axes.set_ylim(0, 1.02)
    axes.set_title("ROC, with the area under it")
    plain_axes(axes, ticked, ticked)
    axes.legend(loc="lower right")


def precision_recall(figure: "Figure", quality: Quality) -> None:
    axes = figure.subplots()
    highest = 0.0
    for name, found in quality.classified.items():
        look, line = look_of(name), found.precision_recall
        axes.plot(line.x, line.y, color=look.colour, linestyle=look.dashes,
                  label=f"{name}: {found.average_precision:.3f}")  # fmt: skip
        # The first few candidates leap between 0 and 1.
        highest = max(highest, *(y for x, y in zip(line.x, line.y, strict=True) if x >= 0.05), 0.0)
    matrix = quality.confusion
    if matrix is not None:
        chosen, hits = _sums(matrix)
        if chosen and hits:
            x, y = matrix.true_positives / hits, matrix.true_positives / chosen
            axes.plot(x, y, "*", color=INK, markersize=13, markeredgecolor="white", label="the chosen threshold")
            highest = max(highest, y)
    axes.set(xlabel="recall: share of the hits let through", ylabel="precision", xlim=(0, 1))
    axes.set_ylim(0, min(highest * 1.15, 1.02) or 1)
    axes.set_title("Precision and recall, with the average precision")
    plain_axes(axes, ticked, ticked)
    axes.legend(loc="upper right")


def _sums(matrix: Confusion) -> tuple[int, int]:
    """Candidates above the threshold, and hits."""
    return (
        matrix.true_positives + matrix.false_positives,
        matrix.true_positives + matrix.false_negatives,
    )


def confusion(figure: "Figure", matrix: Confusion) -> None:
    from matplotlib.colors import LinearSegmentedColormap  # noqa: PLC0415

    axes = figure.subplots()
    cells = [
        [matrix.true_positives, matrix.false_negatives],
        [matrix.false_positives, matrix.true_negatives],
    ]
    names = [["true positives", "false negatives"], ["false positives", "true negatives"]]
    shares = [[cell / max(sum(row), 1) for cell in row] for row in cells]
    tints: Any = LinearSegmentedColormap.from_list("tints", ["#dde2f7", BLUE])
    axes.imshow(shares, cmap=tints, vmin=0, vmax=1, aspect="auto")
    for row in range(2):
        for column in range(2):
            share = shares[row][column]
            text = f"{cells[row][column]:,}\n{percent(share)} of the row\n{names[row][column]}"
            axes.text(column, row, text, ha="center", va="center", color="white" if share > 0.55 else INK)
    axes.set_xticks([0, 1], ["at or above the threshold", "below"])
    axes.set_yticks([0, 1], ["chosen", "not chosen"])
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.grid(visible=False)
    axes.set_title(f"Candidates at the threshold {matrix.threshold:.3g}")


def calibration(figure: "Figure", found: dict[str, Calibrated]) -> None:
    axes = figure.subplots()
    everything: list[float] = []
    for name, bins in found.items():
        points = [(x, y) for x, y in zip(bins.predicted, bins.observed, strict=True) if x > 0 and y.mean > 0]
        if not points:
            continue
        look = SCORE_LOOKS[name]
        xs, ys = [x for x, _ in points], [y.mean for _, y in points]
        errors = [[y.mean - min(y.low, y.mean) for _, y in points], [max(y.high, y.mean) - y.mean for _, y in points]]
        axes.errorbar(xs, ys, yerr=errors, color=look.colour, linestyle=look.dashes, marker=look.marker, markersize=5,
                      linewidth=1.5, elinewidth=1, label=f"{name}: off by {percent(bins.error)}")  # fmt: skip
        everything += xs + ys
    if everything:
        ends = [min(everything) * 0.8, min(max(everything) * 1.25, 1)]
        axes.plot(ends, ends, color=GREY, linewidth=1, linestyle=":", label="as predicted")
    axes.set(xscale="log", yscale="log", xlabel="predicted: mean score of a bin", ylabel="observed: share of hits")
    axes.set_title("Calibration")
    plain_axes(axes, ticked, ticked)
    axes.legend(loc="upper left")


def distribution(figure: "Figure", found: Distribution, threshold: float | None) -> None:
    axes = figure.subplots()
    for name, values, colour, dashes in (("misses", found.misses, GREY, "-"), ("hits", found.hits, ORANGE, "-")):
        axes.stairs(values, found.edges, color=colour, fill=True, alpha=0.3)
        axes.stairs(values, found.edges, color=colour, linestyle=dashes, linewidth=1.8, label=name)
    if threshold is not None and found.edges[0] <= threshold <= found.edges[-1]:
        axes.axvline(threshold, color=INK, linewidth=1.2, linestyle="--", label="the chosen threshold")
    axes.set(xscale="log", xlabel="score", ylabel="share of the hits, of the misses")
    axes.set_ylim(bottom=0)
    axes.set_title("Scores of hits and of misses")
    plain_axes(axes, lambda value, _: f"{value:.3g}", ticked)
    axes.legend()
