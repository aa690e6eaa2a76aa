"""Figures of what the data are."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from recsys.report.content import CategoryShare, Coverage, Daily, Funnel, Spread, Window
from recsys.report.drawing import (
    BLUE,
    GREY,
    INK,
    ORANGE,
    SKY,
    SOFT,
    TYPE_COLOURS,
    TYPE_NAMES,
    counted,
    drawable,
    legend_below,
    percent,
    plain_axes,
    rows_of,
    ticked,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LETTER = 0.016
"""Width of a letter, as a share of an axis."""
MARKERS = {"view": "o", "addtocart": "s", "transaction": "D"}


def events_per_day(figure: "Figure", daily: Daily, windows: tuple[Window, ...]) -> None:
    """One panel for each type, since a shop has a hundred views to a purchase."""
    from matplotlib import dates  # noqa: PLC0415

    half = daily.step * 43_200_000
    times = [_date(start + half) for start in daily.starts]
    panels = figure.subplots(len(daily.events), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (name, values) in zip(panels, daily.events.items(), strict=True):
        axes.fill_between(times, values, color=TYPE_COLOURS[name], alpha=0.25, linewidth=0)
        axes.plot(times, values, color=TYPE_COLOURS[name], linewidth=1.5, marker="" if len(times) > 2 else "o")
        axes.set_ylim(0, max(values) * 1.25 or 1)
        axes.set_title(f"{TYPE_NAMES[name].capitalize()} per day")
        plain_axes(axes, y=counted)
        for window, shade in zip(windows, ("#00000016", "#0000002b"), strict=True):
            axes.axvspan(_date(window.start), _date(window.end), color=shade, linewidth=0)
    names = ", ".join(window.name for window in windows)
    place = panels[0].get_xaxis_transform()
    panels[0].text(_date(windows[-1].end), 0.98, names, transform=place, ha="right", va="top", fontsize=8, color=SOFT)
    library: Any = dates  # has no types
    locator = library.AutoDateLocator(minticks=3, maxticks=7)
    panels[-1].xaxis.set_major_locator(locator)
    panels[-1].xaxis.set_major_formatter(library.ConciseDateFormatter(locator))
    panels[-1].margins(x=0.01)


def _date(time: int) -> datetime:
    return datetime.fromtimestamp(time / 1000, UTC)


def funnel(figure: "Figure", users: Funnel, pairs: Funnel) -> None:
    panels = figure.subplots(2, 1)
    for axes, part, what in zip(panels, (users, pairs), ("Users", "Pairs of a user and an item"), strict=True):
        names = [f"with {TYPE_NAMES[step]}" for step in part.steps]
        places = rows_of(axes, names)
        axes.barh(places, part.have, color=SKY, height=0.62, label="with such an event")
        axes.barh(places, part.through, color=BLUE, height=0.62, label="and one of each step before")
        texts = [
            counted(have) if have == through else f"{counted(have)}, of which {counted(through)} step by step"
            for have, through in zip(part.have, part.through, strict=True)
        ]
        for place, have, text in zip(places, part.have, texts, strict=True):
            axes.text(have + 0.01 * max(part.have), place, text, va="center", fontsize=9)
        axes.set_title(what)
        axes.set_xlim(0, max(have / (0.98 - LETTER * len(text)) for have, text in zip(part.have, texts, strict=True)))
        plain_axes(axes, x=counted)
    if (users.have, pairs.have) != (users.through, pairs.through):
        legend_below(panels[0], 2)


def activity(figure: "Figure", users: Spread, items: Spread) -> None:
    axes = figure.subplots()
    for name, spread, colour, dashes in (("users", users, BLUE, "-"), ("items", items, ORANGE, "--")):
        line = spread.survival
        marker = "o" if len(line.x) < 3 else ""
        axes.plot(line.x, line.y, color=colour, linestyle=dashes, label=name, marker=marker)
    axes.set(xscale="log", yscale="log", xlabel="events", ylabel="share with so many or more")
    axes.set_title("Activity of users, popularity of items")
    plain_axes(axes, counted, ticked)
    axes.legend()


def concentration(figure: "Figure", users: Spread, items: Spread) -> None:
    axes = figure.subplots()
    for name, spread, colour, dashes in (("users", users, BLUE, "-"), ("items", items, ORANGE, "--")):
        axes.plot(spread.concentration.x, spread.concentration.y, color=colour, linestyle=dashes, label=name)
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=":", label="all alike")
    axes.set(xlabel="share of users or items, the busiest first", ylabel="share of the events", xlim=(0, 1))
    axes.set_ylim(0, 1.02)
    axes.set_title("How much the busiest make up")
    plain_axes(axes, ticked, ticked)
    axes.legend(loc="lower right")


def categories(figure: "Figure", found: tuple[CategoryShare, ...]) -> None:
    axes = figure.subplots()
    places = rows_of(axes, [drawable(category.name) for category in found])
    for place, category in zip(places, found, strict=True):
        shares = list(category.shares.values())
        axes.plot([0, max(shares)], [place, place], color="#cfd3da", linewidth=3, solid_capstyle="round", zorder=1)
    for name in found[0].shares:
        shares = [category.shares[name] for category in found]
        axes.scatter(
            shares, places, s=46, color=TYPE_COLOURS[name], marker=MARKERS[name], label=TYPE_NAMES[name], zorder=2
        )
    axes.set_xlim(left=0)
    axes.set(xlabel="share of all events of the type")
    axes.set_title("Categories with the most events")
    plain_axes(axes, ticked)
    if len(found[0].shares) > 1:
        legend_below(axes)


def coverage(figure: "Figure", found: tuple[Coverage, ...], n_items: int) -> None:
    axes = figure.subplots()
    places = rows_of(axes, [row.name for row in found])
    shares = [row.items / max(n_items, 1) for row in found]
    axes.barh([place + 0.19 for place in places], shares, height=0.34, color=BLUE, label="of the items")
    axes.barh([place - 0.19 for place in places], [row.events for row in found], height=0.34, color=SKY,
              label="of the events on them")  # fmt: skip
    for place, share, row in zip(places, shares, found, strict=True):
        axes.text(share + 0.01, place + 0.19, percent(share), va="center", fontsize=8, color=INK)
        axes.text(row.events + 0.01, place - 0.19, percent(row.events), va="center", fontsize=8, color=INK)
    axes.set_xlim(0, 1.1)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1])
    axes.set_title("What is known of the items")
    plain_axes(axes, ticked)
    legend_below(axes, 2)
