"""Scores as a classifier of the candidates, pooled over users: curves, confusion matrix and distributions."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from recsys.evaluation import metrics
from recsys.evaluation.curves import Ranking
from recsys.evaluation.table import ranks_below
from recsys.report.drawing import BLUE, GREY, INK, ORANGE, Picture, percent, plain_axes, style_of, ticked
from recsys.report.inputs import PUBLISHED, EvaluationInputs
from recsys.report.numbers import Floats, Line, line, short
from recsys.report.section import QUALITY, Section, SectionSpec, Table
from recsys.schema import Config

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BINS: Final = 40
"""Bins of the distribution of scores."""


class Curves(Config):
    """A system's curves over the pooled candidates, with the area under each."""

    roc: Line
    roc_auc: float
    precision_recall: Line
    average_precision: float


class Confusion(Config):
    """Candidates by whether they reach the threshold and whether they were chosen.

    threshold: with the highest F1 on the validation window, which is `f1`
    missed: chosen items that were no candidates
    """

    threshold: float
    f1: float
    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int
    missed: int

    @property
    def positives(self) -> int:
        """Candidates at or above the threshold."""
        return self.true_positives + self.false_positives

    @property
    def hits(self) -> int:
        """Candidates that were chosen."""
        return self.true_positives + self.false_negatives

    @property
    def precision(self) -> float:
        return self.true_positives / max(self.positives, 1)

    @property
    def recall(self) -> float:
        return self.true_positives / max(self.hits, 1)


class Distribution(Config):
    """Fraction of the hits, and of the misses, with a score in each bin between `edges`."""

    edges: Floats
    hits: Floats
    misses: Floats


class Numbers(Config):
    """Curves by system; confusion and distribution are of the published system, None where they are undefined."""

    systems: dict[str, Curves]
    confusion: Confusion | None
    distribution: Distribution | None


def collect(evaluation: EvaluationInputs) -> Numbers:
    labels = evaluation.labels
    return Numbers(
        systems=curves(evaluation.scores, labels),
        confusion=confusion(evaluation),
        distribution=distribution(evaluation.scores[PUBLISHED], labels),
    )


def curves(scores: Mapping[str, np.ndarray], labels: np.ndarray) -> dict[str, Curves]:
    """Curves of each system over the same candidates, on which a missing score counts as the lowest.

    scores: float64 (n,), NaN where there is none; labels: bool (n,)
    """
    systems = {}
    for name, values in scores.items():
        if np.isnan(values).all():
            continue
        complete = ranks_below(values)
        ranking = Ranking.from_scores(labels, complete)
        roc, precision_recall = ranking.roc(), ranking.precision_recall()
        if roc is None or precision_recall is None:
            continue
        systems[name] = Curves(
            roc=line(roc),
            roc_auc=metrics.roc_auc(labels, complete),
            precision_recall=line(precision_recall),
            average_precision=metrics.average_precision(labels, complete),
        )
    return systems


def confusion(evaluation: EvaluationInputs) -> Confusion | None:
    """None where the validation or the test candidates hold no hit or no miss."""
    validation, selected, labels = evaluation.validation, evaluation.selected, evaluation.labels
    before, _, _ = selected.blend(selected.scores, validation.candidates.mf)
    best = Ranking.from_scores(validation.rows.labels > 0, before).best_f1()
    scores = evaluation.scores[PUBLISHED]
    if best is None or not len(scores):
        return None
    threshold, f1 = best
    positive = scores >= threshold
    return Confusion(
        threshold=threshold,
        f1=f1,
        true_positives=int((positive & labels).sum()),
        false_positives=int((positive & ~labels).sum()),
        false_negatives=int((~positive & labels).sum()),
        true_negatives=int((~positive & ~labels).sum()),
        missed=int(evaluation.cases.truth.sizes.sum()) - int(labels.sum()),
    )


def distribution(scores: np.ndarray, labels: np.ndarray) -> Distribution | None:
    """Scores of hits and misses in bins of equal width on a logarithmic scale.

    None without hits, without misses, or where all scores are equal. scores: float64 (n,) in [0, 1]; labels: bool (n,)
    """
    if not labels.any() or labels.all() or scores.max() <= scores.min():
        return None
    low = max(float(np.quantile(scores, 0.01)), 1e-9)
    edges = np.geomspace(min(low, float(scores.max()) / 2), float(scores.max()), BINS + 1)
    within = np.clip(scores, edges[0], edges[-1])
    hits, misses = (np.histogram(within[which], edges)[0] / which.sum() for which in (labels, ~labels))
    return Distribution(edges=short(edges), hits=short(hits), misses=short(misses))


def section(numbers: Numbers) -> Section:
    ours, matrix = numbers.systems.get(PUBLISHED), numbers.confusion
    if ours is None or matrix is None:
        return Section("The candidates of the test window are all hits or all misses.")
    total = matrix.positives + matrix.false_negatives + matrix.true_negatives
    text = (
        f"A random hit scores above a random miss in {percent(ours.roc_auc)} of the cases. The threshold "
        f"{matrix.threshold:.3g} has the best F1 on the validation window ({matrix.f1:.3f}). "
        f"{percent(matrix.positives / total)} of the test candidates reach it: {percent(matrix.precision)} of these "
        f"are hits, and they are {percent(matrix.recall)} of all hits."
    )
    return Section(text, _pictures(numbers, matrix), _tables(numbers, matrix))


def _pictures(numbers: Numbers, matrix: Confusion) -> list[Picture]:
    pictures = [
        Picture(
            "roc",
            "ROC curves of the systems over the pooled candidates, with the area under each.",
            "All candidates of all users are pooled; the baselines score the same candidates.",
            lambda figure: draw_roc(figure, numbers.systems),
        ),
        Picture(
            "precision-recall",
            "Precision against recall of the systems over the pooled candidates; a star marks the threshold.",
            "The star marks the threshold of the confusion matrix.",
            lambda figure: draw_precision_recall(figure, numbers.systems, matrix),
        ),
        Picture(
            "confusion",
            f"Confusion matrix: {matrix.true_positives:,} true and {matrix.false_positives:,} false positives, "
            f"{matrix.false_negatives:,} false and {matrix.true_negatives:,} true negatives.",
            f"{matrix.missed:,} more items were chosen that were no candidates.",
            lambda figure: draw_confusion(figure, matrix),
        ),
    ]
    scores = numbers.distribution
    if scores is not None:
        pictures.append(
            Picture(
                "score-distribution",
                "Distributions of the scores of hits and of misses on a logarithmic axis.",
                "The less the two overlap, the better a threshold separates them.",
                lambda figure: draw_distribution(figure, scores, matrix.threshold),
            )
        )
    return pictures


def _tables(numbers: Numbers, matrix: Confusion) -> list[Table]:
    areas = [(name, system.roc_auc, system.average_precision) for name, system in numbers.systems.items()]
    cells = [
        ("chosen", matrix.true_positives, matrix.false_negatives),
        ("not chosen", matrix.false_positives, matrix.true_negatives),
    ]
    return [
        Table("Areas over the pooled candidates", ("system", "ROC-AUC", "average precision"), areas),
        Table(f"Candidates at the threshold {matrix.threshold:.4g}", ("items", "at or above", "below"), cells),
    ]


def draw_roc(figure: "Figure", systems: Mapping[str, Curves]) -> None:
    axes = figure.subplots()
    for name, system in systems.items():
        style = style_of(name)
        label = f"{name}: {system.roc_auc:.3f}"
        axes.plot(system.roc.x, system.roc.y, color=style.colour, linestyle=style.dashes, label=label)
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=":", label="chance: 0.500")
    axes.set(xlabel="share of the misses let through", ylabel="share of the hits let through", xlim=(0, 1))
    axes.set_ylim(0, 1.02)
    axes.set_title("ROC, with the area under it")
    plain_axes(axes, ticked, ticked)
    axes.legend(loc="lower right")


def draw_precision_recall(figure: "Figure", systems: Mapping[str, Curves], matrix: Confusion) -> None:
    axes = figure.subplots()
    highest = 0.0
    for name, system in systems.items():
        style, points = style_of(name), system.precision_recall
        label = f"{name}: {system.average_precision:.3f}"
        axes.plot(points.x, points.y, color=style.colour, linestyle=style.dashes, label=label)
        # The precision of the first few candidates jumps between 0 and 1: it does not set the scale.
        highest = max(highest, *(y for x, y in zip(points.x, points.y, strict=True) if x >= 0.05), 0.0)
    if matrix.positives and matrix.hits:
        star: dict[str, Any] = {
            "color": INK,
            "markersize": 13,
            "markeredgecolor": "white",
            "label": "the chosen threshold",
        }
        axes.plot(matrix.recall, matrix.precision, "*", **star)
        highest = max(highest, matrix.precision)
    axes.set(xlabel="recall: share of the hits let through", ylabel="precision", xlim=(0, 1))
    axes.set_ylim(0, min(highest * 1.15, 1.02) or 1)
    axes.set_title("Precision and recall, with the average precision")
    plain_axes(axes, ticked, ticked)
    axes.legend(loc="upper right")


def draw_confusion(figure: "Figure", matrix: Confusion) -> None:
    from matplotlib.colors import LinearSegmentedColormap  # noqa: PLC0415 - see drawing.png

    axes = figure.subplots()
    cells = [
        [matrix.true_positives, matrix.false_negatives],
        [matrix.false_positives, matrix.true_negatives],
    ]
    names = [["true positives", "false negatives"], ["false positives", "true negatives"]]
    fractions = [[cell / max(sum(row), 1) for cell in row] for row in cells]
    tints: Any = LinearSegmentedColormap.from_list("tints", ["#dde2f7", BLUE])
    axes.imshow(fractions, cmap=tints, vmin=0, vmax=1, aspect="auto")
    for row in range(2):
        for column in range(2):
            fraction = fractions[row][column]
            text = f"{cells[row][column]:,}\n{percent(fraction)} of the row\n{names[row][column]}"
            axes.text(column, row, text, ha="center", va="center", color="white" if fraction > 0.55 else INK)
    axes.set_xticks([0, 1], ["at or above the threshold", "below"])
    axes.set_yticks([0, 1], ["chosen", "not chosen"])
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.grid(visible=False)
    axes.set_title(f"Candidates at the threshold {matrix.threshold:.3g}")


def draw_distribution(figure: "Figure", scores: Distribution, threshold: float | None) -> None:
    axes = figure.subplots()
    for name, values, colour in (("misses", scores.misses, GREY), ("hits", scores.hits, ORANGE)):
        axes.stairs(values, scores.edges, color=colour, fill=True, alpha=0.3)
        axes.stairs(values, scores.edges, color=colour, linestyle="-", linewidth=1.8, label=name)
    if threshold is not None and scores.edges[0] <= threshold <= scores.edges[-1]:
        axes.axvline(threshold, color=INK, linewidth=1.2, linestyle="--", label="the chosen threshold")
    axes.set(xscale="log", xlabel="score", ylabel="share of the hits, of the misses")
    axes.set_ylim(bottom=0)
    axes.set_title("Scores of hits and of misses")
    plain_axes(axes, lambda value, _: f"{value:.3g}", ticked)
    axes.legend()


SECTION: Final = SectionSpec(
    "classifier", "As a classifier of candidates", QUALITY, Numbers, lambda run: collect(run.evaluation), section
)
