"""Precision and recall by the length of the list."""

from typing import TYPE_CHECKING, Final

import numpy as np

from recsys.evaluation import metrics
from recsys.report.drawing import Picture, legend_below, percent, style_of
from recsys.report.inputs import DEPTH, PUBLISHED, EvaluationInputs
from recsys.report.numbers import Floats, short
from recsys.report.section import QUALITY, Cell, Section, SectionSpec, Table
from recsys.schema import Config

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class AtK(Config):
    """Mean precision and recall of a system's first k items, for k of 1, 2, …"""

    precision: Floats
    recall: Floats


class Numbers(Config):
    """Curves by system."""

    systems: dict[str, AtK]


def collect(evaluation: EvaluationInputs) -> Numbers:
    return Numbers(systems={name: _at_k(evaluation, ranked) for name, ranked in evaluation.lists.items()})


def _at_k(evaluation: EvaluationInputs, ranked: np.ndarray) -> AtK:
    truth = evaluation.cases.truth
    hits = np.cumsum(metrics.hits(ranked, truth)[:, :DEPTH], axis=1)
    return AtK(
        precision=short(hits.mean(axis=0) / np.arange(1, hits.shape[1] + 1)),
        recall=short((hits / truth.sizes[:, None]).mean(axis=0)),
    )


def section(numbers: Numbers) -> Section:
    ours = numbers.systems[PUBLISHED]
    depth = len(ours.recall)
    text = (
        f"{percent(ours.precision[0])} of the items at rank 1 are chosen, and {percent(ours.precision[-1])} of the "
        f"first {depth} on average. The first {depth} contain {percent(ours.recall[-1])} of the items that a user "
        "chose."
    )
    captions = {
        "precision": "Fraction of the shown items that are chosen, by the number of shown items.",
        "recall": "Fraction of the chosen items that are shown; a list of k items cannot contain more than k.",
    }
    pictures = [
        Picture(
            f"{metric}-at-k",
            f"{metric.capitalize()} of the first k items for k from 1 to {depth}, by system.",
            caption,
            lambda figure, metric=metric: draw(figure, numbers, metric),  # type: ignore[misc]
            4.0,
        )
        for metric, caption in captions.items()
    ]
    ks = [k for k in (1, 5, 10, 20) if k <= depth]
    rows: list[tuple[Cell, ...]] = [
        (name, *(curves.precision[k - 1] for k in ks), *(curves.recall[k - 1] for k in ks))
        for name, curves in numbers.systems.items()
    ]
    columns = ("system", *(f"P@{k}" for k in ks), *(f"R@{k}" for k in ks))
    return Section(text, pictures, [Table("Precision and recall", columns, rows)])


def draw(figure: "Figure", numbers: Numbers, metric: str) -> None:
    """metric: precision or recall."""
    axes = figure.subplots()
    for name, curves in numbers.systems.items():
        values, style = getattr(curves, metric), style_of(name)
        ks = range(1, len(values) + 1)
        axes.plot(ks, values, color=style.colour, linestyle=style.dashes, marker=style.marker, markersize=4, label=name)
    axes.set_xticks([1, 5, 10, 15, 20])
    axes.set_ylim(bottom=0)
    axes.set(xlabel="k, items of the list", ylabel=f"{metric}@k")
    axes.set_title(f"{metric.capitalize()} of the first k")
    legend_below(axes, 2)


SECTION: Final = SectionSpec(
    "lists", "By length of the list", QUALITY, Numbers, lambda run: collect(run.evaluation), section
)
