"""Candidate sources: the chosen items that each source proposes, and those that only this source proposes."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from recsys.report.drawing import BLUE, SKY, Picture, label_rows, legend_below, percent, plain_axes, ticked
from recsys.report.inputs import EvaluationInputs
from recsys.report.section import MODEL, Section, SectionSpec, Table
from recsys.schema import Config

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Source(Config):
    """A candidate source.

    fraction: fraction of the candidates that the source proposed
    recall: fraction of the chosen items that the source proposed; recall_alone: that only this source proposed
    """

    name: str
    fraction: float
    recall: float
    recall_alone: float


class Numbers(Config):
    """Candidates of the test window.

    per_user: mean number for a user; recall: fraction of the chosen items that are candidates
    with_mf: fraction of the candidates with a score of the factorization
    """

    per_user: float
    recall: float
    with_mf: float
    sources: tuple[Source, ...]


def collect(evaluation: EvaluationInputs) -> Numbers:
    candidates, mf = evaluation.metrics.candidates, evaluation.scored.mf
    return Numbers(
        per_user=candidates.per_user,
        recall=candidates.recall,
        with_mf=float(np.mean(~np.isnan(mf))) if len(mf) else 0.0,
        sources=tuple(
            Source(name=row.source, fraction=row.fraction, recall=row.recall, recall_alone=row.recall_alone)
            for row in candidates.sources
        ),
    )


def section(numbers: Numbers) -> Section:
    best = max(numbers.sources, key=lambda row: row.recall)
    text = (
        f"The candidates contain {percent(numbers.recall)} of the items chosen in the test window. The source "
        f"{best.name} proposes {percent(best.recall)} of them; {percent(best.recall_alone)} come from no other source. "
        "An item that no source proposes cannot be recommended."
    )
    picture = Picture(
        "sources",
        "By source: fraction of the candidates, fraction of the chosen items that the source proposes, and fraction "
        "that only this source proposes.",
        "Most candidates come from several sources.",
        lambda figure: draw(figure, numbers.sources),
        4.4,
    )
    rows = [(row.name, row.fraction, row.recall, row.recall_alone) for row in numbers.sources]
    table = Table("Candidate sources", ("source", "fraction", "recall", "recall alone"), rows)
    return Section(text, [picture], [table])


def draw(figure: "Figure", sources: Sequence[Source]) -> None:
    axes = figure.subplots()
    rows = label_rows(axes, [row.name for row in sources])
    for values, offset, colour, label in (
        ([row.fraction for row in sources], 0.27, "#cfd3da", "of the candidates"),
        ([row.recall for row in sources], 0.0, SKY, "of the chosen items: proposed"),
        ([row.recall_alone for row in sources], -0.27, BLUE, "of the chosen items: proposed by no other source"),
    ):
        heights = [row + offset for row in rows]
        axes.barh(heights, values, height=0.25, color=colour, label=label)
        for height, value in zip(heights, values, strict=True):
            axes.text(value, height, f" {percent(value)}", va="center", fontsize=8)
    axes.set_xlim(0, (max(max(row.fraction, row.recall) for row in sources) or 1) * 1.14)
    axes.set_title("Candidates and chosen items by source")
    plain_axes(axes, ticked)
    legend_below(axes, 2)


SECTION: Final = SectionSpec(
    "candidates", "Candidate sources", MODEL, Numbers, lambda run: collect(run.evaluation), section
)
