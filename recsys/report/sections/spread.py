"""Activity and popularity: the spread of the events over users and over items."""

from typing import TYPE_CHECKING, Final

import numpy as np
import ray

from recsys.cluster import run_tasks
from recsys.data.shop import UserPartition
from recsys.evaluation import curves
from recsys.report.drawing import BLUE, GREY, ORANGE, Picture, counted, percent, plain_axes, ticked
from recsys.report.inputs import DataInputs
from recsys.report.numbers import Line, line
from recsys.report.section import DATA, Section, SectionSpec, Table
from recsys.schema import Config

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Spread(Config):
    """The spread of the events over users or items, see `curves.Spread`.

    total: number of users or items; median: their median number of events
    top_tenth: fraction of the events that belong to the busiest tenth
    """

    total: int
    median: int
    top_tenth: float
    survival: Line
    concentration: Line


class Numbers(Config):
    """The spread over users, and over items."""

    users: Spread
    items: Spread


def collect(data: DataInputs) -> Numbers:
    calls = [(partition,) for partition in data.shop.partitions]
    parts: list[curves.Spread] = ray.get(run_tasks(count_events, "count events of users", calls))
    users = curves.Spread.from_counts(
        np.concatenate([part.sizes for part in parts]), np.concatenate([part.counts for part in parts])
    )
    return Numbers(users=_spread(users), items=_spread(curves.Spread.from_counts(data.events_by_item.sum(axis=1))))


def count_events(partition: UserPartition) -> curves.Spread:
    """The numbers of events of the users of a partition."""
    return curves.Spread.from_counts(partition.histories.lengths)


def _spread(spread: curves.Spread) -> Spread:
    return Spread(
        total=spread.total,
        median=spread.median(),
        top_tenth=spread.events_of_top(0.1),
        survival=line(spread.survival()),
        concentration=line(spread.concentration()),
    )


def section(numbers: Numbers) -> Section:
    users, items = numbers.users, numbers.items
    text = (
        f"The busiest tenth of the users has {percent(users.top_tenth)} of the events. The most popular tenth of the "
        f"items has {percent(items.top_tenth)}. Half of the users have at most {counted(users.median)} events, half "
        f"of the items at most {counted(items.median)}."
    )
    pictures = [
        Picture(
            "activity",
            "Fraction of the users, and of the items, with at least a number of events; both axes are logarithmic.",
            "A straight line means that no number of events is typical; a bend shows a typical number.",
            lambda figure: draw_activity(figure, users, items),
        ),
        Picture(
            "concentration",
            "Fraction of the events that the busiest users and the most popular items have.",
            "The further a curve is from the diagonal, the more the events are concentrated on a few users or items.",
            lambda figure: draw_concentration(figure, users, items),
        ),
    ]
    rows = [(name, part.total, part.median, part.top_tenth) for name, part in (("users", users), ("items", items))]
    table = Table("Spread of the events", ("of", "number", "median events", "fraction of the busiest tenth"), rows)
    return Section(text, pictures, [table])


def draw_activity(figure: "Figure", users: Spread, items: Spread) -> None:
    axes = figure.subplots()
    for name, spread, colour, dashes in (("users", users, BLUE, "-"), ("items", items, ORANGE, "--")):
        points = spread.survival
        marker = "o" if len(points.x) < 3 else ""
        axes.plot(points.x, points.y, color=colour, linestyle=dashes, label=name, marker=marker)
    axes.set(xscale="log", yscale="log", xlabel="events", ylabel="fraction with at least so many")
    axes.set_title("Activity of users, popularity of items")
    plain_axes(axes, counted, ticked)
    axes.legend()


def draw_concentration(figure: "Figure", users: Spread, items: Spread) -> None:
    axes = figure.subplots()
    for name, spread, colour, dashes in (("users", users, BLUE, "-"), ("items", items, ORANGE, "--")):
        axes.plot(spread.concentration.x, spread.concentration.y, color=colour, linestyle=dashes, label=name)
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=":", label="all equal")
    axes.set(xlabel="fraction of users or items, the busiest first", ylabel="fraction of the events", xlim=(0, 1))
    axes.set_ylim(0, 1.02)
    axes.set_title("Events of the busiest users and items")
    plain_axes(axes, ticked, ticked)
    axes.legend(loc="lower right")


SECTION: Final = SectionSpec(
    "spread", "Activity and popularity", DATA, Numbers, lambda run: collect(run.data), section, collect
)
