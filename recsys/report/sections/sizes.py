"""Size of the ranker: NDCG@k on the validation window by trees and leaves."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from recsys.report.drawing import BLUE, GREEN, INK, ORANGE, PLUM, SKY, Picture, counted, plain_axes
from recsys.report.inputs import RunInputs
from recsys.report.section import MODEL, Section, SectionSpec, Table
from recsys.schema import Config

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS: Final = (SKY, BLUE, ORANGE, GREEN, PLUM)
MARKERS: Final = "os^vDP"


class Size(Config):
    """A ranker's size, and NDCG@k on the validation window."""

    trees: int
    leaves: int
    metric: float


class Numbers(Config):
    """trees, leaves: of the published ranker; sizes: all that were compared, the published one included."""

    k: int
    trees: int
    leaves: int
    sizes: tuple[Size, ...]


def collect(run: RunInputs) -> Numbers | None:
    """None where no sizes were compared."""
    selected = run.selected
    if not selected.sizes:
        return None
    return Numbers(
        k=run.config.evaluation.k,
        trees=selected.n_trees,
        leaves=selected.leaves,
        sizes=tuple(Size(trees=size.trees, leaves=size.leaves, metric=size.metric) for size in selected.sizes),
    )


def section(numbers: Numbers) -> Section:
    best, name = max(numbers.sizes, key=lambda size: size.metric), f"NDCG@{numbers.k}"
    text = (
        f"Every tree makes a request slower. Of {len(numbers.sizes)} sizes, {best.trees} trees with {best.leaves} "
        f"leaves were the best on the validation window ({best.metric:.4f}). Published are {numbers.trees} trees with "
        f"{numbers.leaves} leaves."
    )
    picture = Picture(
        "sizes",
        f"{name} on the validation window by trees times leaves, a line for each number of leaves.",
        "The smallest ranker that is about as good as the best one is published.",
        lambda figure: draw(figure.subplots(), numbers.sizes, (numbers.trees, numbers.leaves), name),
    )
    rows = [(size.trees, size.leaves, size.metric) for size in numbers.sizes]
    return Section(text, [picture], [Table("By size", ("trees", "leaves", name), rows)])


def draw(axes: "Axes", sizes: Sequence[Size], published: tuple[int, int], metric: str) -> None:
    """published: trees and leaves."""
    for index, leaves in enumerate(sorted({size.leaves for size in sizes})):
        points = sorted((size.trees * leaves, size.metric) for size in sizes if size.leaves == leaves)
        colour, marker = COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)]
        axes.plot(*zip(*points, strict=True), color=colour, marker=marker, markersize=5, label=f"{leaves} leaves")
    star: dict[str, Any] = {
        "color": INK,
        "markersize": 14,
        "markeredgecolor": "white",
        "label": f"published: {published[0]} trees",
    }
    for size in sizes:
        if (size.trees, size.leaves) == published:
            axes.plot(size.trees * size.leaves, size.metric, "*", **star)
    axes.set(xlabel="trees times leaves", ylabel=f"{metric} on the validation window")
    axes.set_title("Size of the ranker")
    plain_axes(axes, counted)
    axes.legend()


SECTION: Final = SectionSpec("sizes", "Size of the ranker", MODEL, Numbers, collect, section)
