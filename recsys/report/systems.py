"""Systems side by side: rows of the metrics table as tables and as bars with intervals."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from recsys.report.drawing import INK, interval_bars, style_of
from recsys.report.numbers import SystemRow
from recsys.report.section import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Bounds = tuple[float, float, float]
"""A mean, and the low and high end of its interval."""


def row_of(rows: Sequence[SystemRow], system: str, group: str = "all") -> SystemRow:
    """The row of a system and a group of users."""
    return next(row for row in rows if (row.system, row.group) == (system, group))


def is_source(system: str) -> bool:
    """Whether a system is a single candidate source."""
    return system.startswith("source ")


def rows_to_draw(rows: Sequence[SystemRow], metric: str, group: str = "all") -> list[SystemRow]:
    """Rows of a group in which the metric is defined, without those of single candidate sources."""
    kept = (row for row in rows if row.group == group and row.metrics.get(metric) is not None)
    return [row for row in kept if not is_source(row.system)]


def metrics_table(caption: str, k: int, rows: Sequence[SystemRow], groups: Sequence[str]) -> Table:
    """The metrics at k of all systems for some groups of users."""
    names = [f"{name}@{k}" for name in ("ndcg", "recall", "precision", "hit", "mrr", "coverage")]
    names[1:1] = [f"ndcg@{k}_low", f"ndcg@{k}_high"]
    names += [name for name in (f"ndcg@{k}_seeds", "roc_auc", "average_precision") if name in rows[0].metrics]
    shown = {f"ndcg@{k}_low": "low", f"ndcg@{k}_high": "high", f"ndcg@{k}_seeds": "seeds (s.d.)", "roc_auc": "ROC-AUC"}
    columns = ("system", "group", "users", *(shown.get(name, name.replace("_", " ")) for name in names))
    chosen = [row for row in rows if row.group in groups]
    return Table(
        caption, columns, [(row.system, row.group, row.users, *(row.metrics[name] for name in names)) for row in chosen]
    )


def draw_systems(figure: "Figure", rows: Sequence[SystemRow], metric: str, title: str) -> None:
    """Draw a bar with its interval for each system."""
    axes, drawn = figure.subplots(), rows_to_draw(rows, metric)
    names = [row.system for row in drawn]
    interval_bars(axes, names, [row.bounds(metric) for row in drawn], [style_of(name).colour for name in names])
    axes.set(xlabel=metric.replace("ndcg", "NDCG"))
    axes.set_title(title)


def draw_groups(axes: "Axes", groups: Sequence[tuple[str, Mapping[str, Bounds]]], label: str) -> None:
    """Draw bars with intervals side by side, one for each system, in each group of users.

    groups: name, and metric by system
    """
    names = list(dict.fromkeys(name for _, systems in groups for name in systems))
    width = 0.8 / max(len(names), 1)
    for index, name in enumerate(names):
        offset = (index - (len(names) - 1) / 2) * width
        centres = [number + offset for number, (_, systems) in enumerate(groups) if name in systems]
        means, low, high = zip(*(systems[name] for _, systems in groups if name in systems), strict=True)
        axes.bar(centres, means, width * 0.9, color=style_of(name).colour, label=name)
        errors = [
            [max(mean - end, 0) for mean, end in zip(means, low, strict=True)],
            [max(end - mean, 0) for mean, end in zip(means, high, strict=True)],
        ]
        axes.errorbar(centres, means, yerr=errors, fmt="none", ecolor=INK, elinewidth=1.1, capsize=2.5)
    axes.set_xticks(range(len(groups)), [name for name, _ in groups])
    axes.set_xlim(-0.6, max(len(groups), 2) - 0.4)
    axes.grid(visible=False, axis="x")
    axes.set_ylim(bottom=0)
    axes.set(ylabel=label)
