"""The blend: NDCG@k on the validation window by alpha."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from recsys.report.drawing import BLUE, ORANGE, Picture
from recsys.report.inputs import RunInputs
from recsys.report.section import MODEL, Section, SectionSpec, Table
from recsys.schema import Config

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class Point(Config):
    """A weight of the factorization, and a metric on the validation window."""

    alpha: float
    metric: float


class Numbers(Config):
    """alpha: the selected weight; drift: largest change of a quantile of the calibrated scores by the refit."""

    k: int
    alpha: float
    drift: float
    curve: tuple[Point, ...]


def collect(run: RunInputs) -> Numbers:
    return Numbers(
        k=run.config.evaluation.k,
        alpha=run.selected.blend.alpha,
        drift=run.drift,
        curve=points(run.selected.curve),
    )


def points(curve: Mapping[float, float]) -> tuple[Point, ...]:
    """The points of a curve, the metric by alpha."""
    return tuple(Point(alpha=alpha, metric=metric) for alpha, metric in curve.items())


def section(numbers: Numbers) -> Section:
    name, metrics = f"NDCG@{numbers.k}", {point.alpha: point.metric for point in numbers.curve}
    alone = f" The ranker alone has {metrics[0.0]:.4f}." if 0.0 in metrics else ""
    text = (
        f"With alpha {numbers.alpha:g} the blend has {name} {metrics.get(numbers.alpha, 0.0):.4f} on the validation "
        f"window.{alone} The refit on all events changed the calibrated scores by {numbers.drift:.3f} at most."
    )
    picture = Picture(
        "alpha",
        f"{name} on the validation window by alpha, with the chosen alpha.",
        "0 is the ranker alone, 1 is the factorization for items with a score of it.",
        lambda figure: draw_alpha(figure.subplots(), numbers.curve, numbers.alpha, name),
    )
    rows = [(point.alpha, point.metric) for point in numbers.curve]
    return Section(text, [picture] if len(rows) > 1 else [], [Table("By alpha", ("alpha", name), rows)])


def draw_alpha(axes: "Axes", curve: Sequence[Point], chosen: float | None, metric: str) -> None:
    axes.plot([point.alpha for point in curve], [point.metric for point in curve], color=BLUE, marker="o", markersize=5)
    if chosen is not None:
        axes.axvline(chosen, color=ORANGE, linestyle="--", linewidth=1.5, label=f"chosen: {chosen:g}")
        axes.legend()
    axes.set(xlabel="alpha, the weight of the factorization", ylabel=f"{metric} on the validation window")
    axes.set_title("The blend")
    axes.margins(y=0.15)


SECTION: Final = SectionSpec("blend", "The blend", MODEL, Numbers, collect, section)
