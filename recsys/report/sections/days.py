"""Events over time: events per day by type, with the validation and the test window."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from recsys.report.drawing import SOFT, TYPE_COLOURS, TYPE_NAMES, Picture, counted, plain_axes
from recsys.report.inputs import DataInputs
from recsys.report.numbers import Floats, short
from recsys.report.section import DATA, Section, SectionSpec, Table
from recsys.schema import DAY, EVENT_TYPES, Config
from recsys.timeline import Cut

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_DAYS: Final = 400
"""Largest number of points in the figure. A longer log is averaged over whole weeks, since weekdays differ."""
SHADES: Final = ("#00000016", "#0000002b")
"""Colours of the validation and the test window."""


SHADED: Final = (
    "",
    " The shaded days at the end were kept apart: metrics come from this test window.",
    " The shaded days at the end were kept apart: settings were selected on the validation window, and metrics come "
    "from the test window.",
)
"""A sentence about the windows, by their number."""


class Window(Config):
    """The validation or the test window; start, end: ms."""

    name: str
    start: int
    end: int


class Daily(Config):
    """Events per day by type, as means over `step` days; the last of these spans ends with the log.

    starts: ms
    """

    step: int
    starts: tuple[int, ...]
    events: dict[str, Floats]


class Numbers(Config):
    """Events of a log; start, end: ms."""

    start: int
    end: int
    events: dict[str, int]
    windows: tuple[Window, ...]
    daily: Daily

    @property
    def days(self) -> float:
        return (self.end - self.start) / DAY


def collect(data: DataInputs) -> Numbers:
    shop = data.shop
    return Numbers(
        start=shop.start, end=shop.end, events=shop.event_counts, windows=windows(data), daily=daily_events(data)
    )


def windows(data: DataInputs) -> tuple[Window, ...]:
    """The validation and the test window; the first only if a ranker was trained, the second only inside the log."""
    plan = data.plan
    validation = (_window("validation", plan.validation, plan.horizon),) if plan.trains else ()
    test = (_window("test", plan.test, data.config.test_days),) if plan.test.time > data.shop.start else ()
    return *validation, *test


def _window(name: str, cut: Cut, days: int) -> Window:
    return Window(name=name, start=cut.time, end=cut.plus(days))


def daily_events(data: DataInputs) -> Daily:
    """Events per day of each type that occurs."""
    shop, daily = data.shop, data.shop.daily
    days = int(daily.age.max(initial=0)) + 1
    step = 1 if days <= MOST_DAYS else 7 * -(-days // (7 * MOST_DAYS))
    bins = -(-days // step)
    bin_of = bins - 1 - daily.age // step
    width = np.full(bins, float(step))
    width[0] = max((shop.end - shop.start) / DAY - (bins - 1) * step, 0)
    # The first bin is left out if it covers less than a day: its mean would be too uncertain.
    first = int(width[0] < 1 and bins > 2)
    by_type = {}
    for name in data.event_types:
        chosen = daily.event == EVENT_TYPES.index(name)
        sums = np.bincount(bin_of[chosen], daily.count[chosen], bins)
        by_type[name] = short((sums / np.maximum(width, 1))[first:])
    starts = shop.end - (np.arange(bins)[::-1] * step + step) * DAY
    starts[0] = shop.start
    return Daily(step=step, starts=tuple(starts[first:].tolist()), events=by_type)


def section(numbers: Numbers) -> Section:
    days, daily = numbers.days, numbers.daily
    types = [name for name, count in numbers.events.items() if count]
    busiest = max(types, key=lambda name: max(daily.events[name]))
    mean, peak = numbers.events[busiest] / max(days, 1), max(daily.events[busiest])
    busiest_days = "on the busiest day" if daily.step == 1 else f"a day in the busiest {daily.step} days"
    text = (
        f"The log has {counted(sum(numbers.events.values()))} events in {days:.0f} days. There are {counted(mean)} "
        f"{TYPE_NAMES[busiest]} a day on average, and {counted(peak)} {busiest_days}.{SHADED[len(numbers.windows)]}"
    )
    picture = Picture(
        "events-per-day",
        f"Events per day over {days:.0f} days, one panel for each type of event; the days kept apart are shaded.",
        "The figure shows quiet days, growth, and gaps in the log.",
        lambda figure: draw(figure, daily, numbers.windows),
        1.0 + 1.35 * len(types),
    )
    rows = [(TYPE_NAMES[name], numbers.events[name], numbers.events[name] / max(days, 1)) for name in types]
    return Section(text, [picture], [Table("Events by type", ("type", "events", "per day"), rows)])


def draw(figure: "Figure", daily: Daily, windows: tuple[Window, ...]) -> None:
    """Draw one panel for each type, since a shop has about a hundred views for each purchase."""
    from matplotlib import dates  # noqa: PLC0415 - see drawing.png

    half = daily.step * DAY // 2
    times = [_date(start + half) for start in daily.starts]
    panels = figure.subplots(len(daily.events), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (name, values) in zip(panels, daily.events.items(), strict=True):
        axes.fill_between(times, values, color=TYPE_COLOURS[name], alpha=0.25, linewidth=0)
        axes.plot(times, values, color=TYPE_COLOURS[name], linewidth=1.5, marker="" if len(times) > 2 else "o")
        axes.set_ylim(0, max(values) * 1.25 or 1)
        axes.set_title(f"{TYPE_NAMES[name].capitalize()} per day")
        plain_axes(axes, y=counted)
        for window, shade in zip(windows, SHADES, strict=False):
            axes.axvspan(_date(window.start), _date(window.end), color=shade, linewidth=0)
    names = ", ".join(window.name for window in windows)
    top = panels[0].get_xaxis_transform()
    end = _date(max((window.end for window in windows), default=daily.starts[-1]))
    panels[0].text(end, 0.98, names, transform=top, ha="right", va="top", fontsize=8, color=SOFT)
    library: Any = dates  # the module has no types
    locator = library.AutoDateLocator(minticks=3, maxticks=7)
    panels[-1].xaxis.set_major_locator(locator)
    panels[-1].xaxis.set_major_formatter(library.ConciseDateFormatter(locator))
    panels[-1].margins(x=0.01)


def _date(time: int) -> datetime:
    return datetime.fromtimestamp(time / 1000, UTC)


SECTION: Final = SectionSpec("days", "Events over time", DATA, Numbers, lambda run: collect(run.data), section, collect)
