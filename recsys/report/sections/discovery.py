"""Repeats and discoveries: chosen items that were in the user's history, and chosen items that were not."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from recsys.arrays import belongs
from recsys.evaluation import metrics
from recsys.report.drawing import Picture, legend_below, percent, plain_axes, style_of, ticked
from recsys.report.inputs import PUBLISHED, EvaluationInputs
from recsys.report.numbers import SystemRow, system_rows
from recsys.report.section import QUALITY, Section, SectionSpec, Table
from recsys.report.systems import draw_systems, metrics_table, rows_to_draw
from recsys.schema import Config

if TYPE_CHECKING:
    from matplotlib.figure import Figure


ALL_CANDIDATES: Final = "all candidates"
Pairs = tuple[np.ndarray, np.ndarray]
"""Users, int64 (n,), positions in the cases, and items, int32 (n,)."""


class Recall(Config):
    """Fraction of the repeated, and of the new chosen items that a system lists, pooled over users.

    None where no such item was chosen.
    """

    system: str
    repeat: float | None
    new: float | None


class Numbers(Config):
    """Recall of repeats and of new items.

    repeat_fraction: of the chosen items, those in the user's history
    recall: of the first k items of each system; the first entry is of all candidates, the upper bound
    table: metrics over items that are new to the user
    """

    k: int
    repeat_fraction: float
    recall: tuple[Recall, ...]
    table: tuple[SystemRow, ...]


def collect(evaluation: EvaluationInputs) -> Numbers:
    cases, k = evaluation.cases, evaluation.config.evaluation.k
    chosen = np.repeat(np.arange(len(cases)), cases.truth.sizes), cases.truth.items
    hits = _hits(evaluation, k)
    repeated, *by_system = _in_history(evaluation, [chosen, *hits.values()])
    totals = int(repeated.sum()), int((~repeated).sum())
    return Numbers(
        k=k,
        repeat_fraction=float(repeated.mean()),
        recall=tuple(
            Recall(
                system=name,
                repeat=float(seen.sum() / totals[0]) if totals[0] else None,
                new=float((~seen).sum() / totals[1]) if totals[1] else None,
            )
            for name, seen in zip(hits, by_system, strict=True)
        ),
        table=system_rows(evaluation.metrics.new_items),
    )


def _hits(evaluation: EvaluationInputs, k: int) -> dict[str, Pairs]:
    """The chosen items among all candidates, and among the first k items of each system."""
    scored, labels = evaluation.scored, evaluation.labels
    hits = {ALL_CANDIDATES: (scored.users[labels], scored.items[labels])}
    for name, ranked in evaluation.lists.items():
        users, ranks = np.nonzero(metrics.hits(ranked[:, :k], evaluation.cases.truth))
        hits[name] = users, ranked[users, ranks]
    return hits


def _in_history(evaluation: EvaluationInputs, parts: Sequence[Pairs]) -> list[np.ndarray]:
    """For each part, whether its items are in the histories of their users, bool (n,).

    One look-up for all parts, since it sorts the histories.
    """
    histories = evaluation.cases.histories
    users, items = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    seen = belongs(users, items, histories.offsets, histories.items)
    return np.split(seen, np.cumsum([len(items) for _, items in parts])[:-1])


def section(numbers: Numbers) -> Section:
    metric, k = f"ndcg@{numbers.k}", numbers.k
    ours = next(row for row in numbers.recall if row.system == PUBLISHED)
    text = (
        f"{percent(numbers.repeat_fraction)} of the items chosen in the test window were in the user's history. The "
        f"first {k} items of the {PUBLISHED} contain {_percent(ours.repeat)} of these, and {_percent(ours.new)} of the "
        "items that were new to the user."
    )
    pictures = [
        Picture(
            "repeat-and-new",
            f"Fraction of the chosen items that are among the first {k}, for items in the user's history and for new "
            "items, by system. All candidates are the upper bound.",
            "Grey bars show the candidates: no ranking of them can reach more.",
            lambda figure: draw_recall(figure, numbers),
            4.0,
        )
    ]
    if rows_to_draw(numbers.table, metric):
        pictures.append(
            Picture(
                "new-items",
                f"NDCG@{k} over items new to the user, by system, with intervals.",
                "Items of the user's history are removed from the candidates and from the chosen items.",
                lambda figure: draw_systems(figure, numbers.table, metric, "Only items new to the user"),
            )
        )
    rows = [(row.system, row.repeat, row.new) for row in numbers.recall]
    tables = [Table(f"Share of the chosen items found in the first {k}", ("system", "had before", "new"), rows)]
    if numbers.table:
        tables.append(metrics_table("Only items new to the user", k, numbers.table, ("all", "warm", "cold")))
    return Section(text, pictures, tables)


def _percent(fraction: float | None) -> str:
    return "none" if fraction is None else percent(fraction)


def draw_recall(figure: "Figure", numbers: Numbers) -> None:
    rows, axes = numbers.recall, figure.subplots()
    everything: Sequence[tuple[str, list[float | None]]] = (
        (f"had before\n{percent(numbers.repeat_fraction)} of all", [row.repeat for row in rows]),
        (f"new to the user\n{percent(1 - numbers.repeat_fraction)} of all", [row.new for row in rows]),
    )
    groups = [(name, values) for name, values in everything if any(value is not None for value in values)]
    width = 0.84 / len(rows)
    for index, row in enumerate(rows):
        colour = "#cfd3da" if index == 0 else style_of(row.system).colour
        for number, (_, values) in enumerate(groups):
            fraction, centre = values[index] or 0.0, number + (index - (len(rows) - 1) / 2) * width
            axes.bar(centre, fraction, width * 0.9, color=colour, label=row.system if number == 0 else None)
            axes.text(centre, fraction, percent(fraction), ha="center", va="bottom", fontsize=8)
    axes.set_xticks(range(len(groups)), [name for name, _ in groups])
    axes.set_xlim(-0.6, max(len(groups), 2) - 0.4)
    axes.grid(visible=False, axis="x")
    axes.set(ylabel=f"share found in the first {numbers.k}")
    axes.set_title("What users went on to choose")
    plain_axes(axes, y=ticked)
    axes.margins(y=0.1)
    legend_below(axes, 2)


SECTION: Final = SectionSpec(
    "discovery", "Repeats and discoveries", QUALITY, Numbers, lambda run: collect(run.evaluation), section
)
