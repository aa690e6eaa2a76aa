"""The blend: NDCG@k on the validation window by alpha."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from recsys.models.blend import AlphaCurves
from recsys.report.drawing import BLUE, ORANGE, Picture
from recsys.report.inputs import RunInputs
from recsys.report.section import MODEL, Section, SectionSpec, Table
from recsys.schema import Config

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class Point(Config):
    """A weight of the factorization, and metrics on the validation window.

    new_items: over the candidates that are new to their users; None if it was not measured
    """

    alpha: float
    metric: float
    new_items: float | None = None


class Numbers(Config):
    """The weights of the factorization.

    alpha: for all items; discovery_alpha: for items new to the user, None in reports from before this entry
    drift: largest change of a quantile of the calibrated scores by the refit; max_drift: its limit
    curve: of the ranker of all items
    """

    k: int
    alpha: float
    discovery_alpha: float | None = None
    drift: float
    max_drift: float | None = None
    curve: tuple[Point, ...]


def collect(run: RunInputs) -> Numbers:
    return Numbers(
        k=run.config.evaluation.k,
        alpha=run.selected.blend.alpha,
        discovery_alpha=run.discovery_alpha,
        drift=run.drift,
        max_drift=run.config.hybrid.max_drift,
        curve=points(run.selected.curves),
    )


def points(curves: AlphaCurves) -> tuple[Point, ...]:
    """The points of both curves, by alpha."""
    return tuple(
        Point(alpha=alpha, metric=metric, new_items=curves.discovery.get(alpha))
        for alpha, metric in curves.all_items.items()
    )


def section(numbers: Numbers) -> Section:
    name, metrics = f"NDCG@{numbers.k}", {point.alpha: point.metric for point in numbers.curve}
    alone = f" The ranker alone has {metrics[0.0]:.4f}." if 0.0 in metrics else ""
    discovery = ""
    if numbers.discovery_alpha is not None:
        discovery = f" For items new to the user, with objective discover, alpha is {numbers.discovery_alpha:g}."
    text = (
        f"With alpha {numbers.alpha:g} the blend has {name} {metrics.get(numbers.alpha, 0.0):.4f} on the validation "
        f"window.{alone}{discovery} The refit on all events changed the calibrated scores by {numbers.drift:.3f} at "
        f"most.{_warning(numbers)}"
    )
    pictures = [
        Picture(
            "alpha",
            f"{name} on the validation window by alpha, with the chosen alpha.",
            "0 is the ranker alone, 1 is the factorization for items with a score of it.",
            lambda figure: draw_alpha(figure.subplots(), numbers.curve, numbers.alpha, name),
        )
    ]
    columns, rows = ("alpha", name), [(point.alpha, point.metric) for point in numbers.curve]
    if all(point.new_items is None for point in numbers.curve):
        table = Table("By alpha", columns, rows)
    else:
        both = [(point.alpha, point.metric, point.new_items) for point in numbers.curve]
        table = Table("By alpha", (*columns, f"{name}, items new to the user"), both)
    return Section(text, pictures if len(rows) > 1 else [], [table])


def _warning(numbers: Numbers) -> str:
    if numbers.max_drift is None or numbers.drift <= numbers.max_drift:
        return ""
    return (
        f" This is more than hybrid.max_drift = {numbers.max_drift:g}, as in small shops: the calibrated scores of the "
        "published version are rough."
    )


def draw_alpha(axes: "Axes", curve: Sequence[Point], chosen: float | None, metric: str) -> None:
    axes.plot([point.alpha for point in curve], [point.metric for point in curve], color=BLUE, marker="o", markersize=5)
    if chosen is not None:
        axes.axvline(chosen, color=ORANGE, linestyle="--", linewidth=1.5, label=f"chosen: {chosen:g}")
        axes.legend()
    axes.set(xlabel="alpha, the weight of the factorization", ylabel=f"{metric} on the validation window")
    axes.set_title("The blend")
    axes.margins(y=0.15)


SECTION: Final = SectionSpec("blend", "The blend", MODEL, Numbers, collect, section)
