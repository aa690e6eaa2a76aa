"""Items and categories: the categories with the most events, and the properties that items have."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from recsys.report.drawing import (
    BLUE,
    INK,
    SKY,
    TYPE_COLOURS,
    TYPE_NAMES,
    Picture,
    counted,
    drawable,
    label_rows,
    legend_below,
    percent,
    plain_axes,
    ticked,
)
from recsys.report.inputs import DataInputs
from recsys.report.numbers import short
from recsys.report.section import DATA, Cell, Section, SectionSpec, Table
from recsys.schema import EVENT_TYPES, LATEST, PURCHASE, UNKNOWN, Config

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TOP_CATEGORIES: Final = 12
RECENT_DAYS: Final = 30
HAS_CATEGORY: Final = "with a category"
MARKERS: Final = {"view": "o", "addtocart": "s", "transaction": "D"}


class Category(Config):
    """A category's number of items, and its fraction of the events of each type."""

    name: str
    items: int
    fractions: dict[str, float]


class Coverage(Config):
    """The number of items with a property, and their fraction of all events."""

    name: str
    items: int
    events: float


class Numbers(Config):
    """Number of items, the largest of `n_categories` categories, and coverage by property."""

    items: int
    categories: tuple[Category, ...]
    n_categories: int
    coverage: tuple[Coverage, ...]


def collect(data: DataInputs) -> Numbers:
    return Numbers(
        items=len(data.shop.items),
        categories=top_categories(data),
        n_categories=len(data.shop.catalog.categories),
        coverage=coverage(data),
    )


def top_categories(data: DataInputs) -> tuple[Category, ...]:
    """The categories with the most events; an item counts for its newest category."""
    catalog, by_item, types = data.shop.catalog, data.events_by_item, data.event_types
    category = catalog.as_of(LATEST).category
    member = np.flatnonzero(category != UNKNOWN)
    if not len(member):
        return ()
    n = len(catalog.categories)
    codes = [EVENT_TYPES.index(name) for name in types]
    events = np.stack([np.bincount(category[member], by_item[member, code], n) for code in codes], axis=1)
    items = np.bincount(category[member], minlength=n)
    totals = np.maximum(by_item[:, codes].sum(axis=0), 1)
    order = np.argsort(-events.sum(axis=1), kind="stable")[:TOP_CATEGORIES]
    return tuple(
        Category(
            name=str(catalog.categories[int(code)]),
            items=int(items[code]),
            fractions=dict(zip(types, short(events[code] / totals), strict=True)),
        )
        for code in order
        if events[code].any()
    )


def coverage(data: DataInputs) -> tuple[Coverage, ...]:
    shop, by_item = data.shop, data.events_by_item
    state, daily, n = shop.catalog.as_of(LATEST), shop.daily, len(shop.items)
    events = by_item.sum(axis=1)
    properties = {
        HAS_CATEGORY: state.category != UNKNOWN,
        "with a known availability": np.bincount(shop.catalog.availability_log.items, minlength=n) > 0,
        "available at the end": state.available,
        f"with an event in the last {RECENT_DAYS} days": (
            np.bincount(daily.item[daily.age < RECENT_DAYS], minlength=n) > 0
        ),
        "ever bought": by_item[:, PURCHASE] > 0,
        "with five events or more": events >= 5,
    }
    total = max(int(events.sum()), 1)
    return tuple(
        Coverage(name=name, items=int(which.sum()), events=float(events[which].sum() / total))
        for name, which in properties.items()
    )


def section(numbers: Numbers) -> Section:
    pictures = [
        Picture(
            "coverage",
            "Fraction of the items with a category, an availability or enough events, and the fraction of the events "
            "on these items.",
            "Many items may have a property but few events, and few items may have many events.",
            lambda figure: draw_coverage(figure, numbers.coverage, numbers.items),
            3.9,
        )
    ]
    rows = [(row.name, row.items, row.events) for row in numbers.coverage]
    tables = [Table("Properties of the items", ("items", "number", "fraction of the events"), rows)]
    if numbers.categories:
        pictures = [_categories_picture(numbers.categories), *pictures]
        tables = [_categories_table(numbers.categories), *tables]
    return Section(_text(numbers), pictures, tables)


def _text(numbers: Numbers) -> str:
    if not numbers.categories:
        return f"None of the {counted(numbers.items)} items has a category."
    with_category = {row.name: row.items for row in numbers.coverage}.get(HAS_CATEGORY, 0)
    top = numbers.categories[0]
    kind = max(top.fractions, key=top.fractions.__getitem__)
    return (
        f"{percent(with_category / max(numbers.items, 1))} of the {counted(numbers.items)} items have one of "
        f"{counted(numbers.n_categories)} categories. {top.name} has the most events: "
        f"{percent(top.fractions[kind])} of all {TYPE_NAMES[kind]}."
    )


def _categories_picture(categories: Sequence[Category]) -> Picture:
    return Picture(
        "categories",
        f"The {len(categories)} categories with the most events, by their fraction of each type of event.",
        "A category with a larger fraction of the purchases than of the views sells well.",
        lambda figure: draw_categories(figure, categories),
        1.2 + 0.28 * len(categories),
    )


def _categories_table(categories: Sequence[Category]) -> Table:
    types = list(categories[0].fractions)
    columns = ("category", "items", *(f"fraction of {TYPE_NAMES[name]}" for name in types))
    rows: list[tuple[Cell, ...]] = [
        (row.name, row.items, *(row.fractions[name] for name in types)) for row in categories
    ]
    return Table("Categories with the most events", columns, rows)


def draw_categories(figure: "Figure", categories: Sequence[Category]) -> None:
    axes = figure.subplots()
    heights = label_rows(axes, [drawable(category.name) for category in categories])
    for height, category in zip(heights, categories, strict=True):
        longest = max(category.fractions.values())
        axes.plot([0, longest], [height, height], color="#cfd3da", linewidth=3, solid_capstyle="round", zorder=1)
    for name in categories[0].fractions:
        fractions = [category.fractions[name] for category in categories]
        axes.scatter(
            fractions, heights, s=46, color=TYPE_COLOURS[name], marker=MARKERS[name], label=TYPE_NAMES[name], zorder=2
        )
    axes.set_xlim(left=0)
    axes.set(xlabel="fraction of all events of the type")
    axes.set_title("Categories with the most events")
    plain_axes(axes, ticked)
    if len(categories[0].fractions) > 1:
        legend_below(axes)


def draw_coverage(figure: "Figure", rows: Sequence[Coverage], n_items: int) -> None:
    axes = figure.subplots()
    heights = label_rows(axes, [row.name for row in rows])
    of_items, of_events = [row.items / max(n_items, 1) for row in rows], [row.events for row in rows]
    for fractions, offset, colour, label in (
        (of_items, 0.19, BLUE, "of the items"),
        (of_events, -0.19, SKY, "of the events on them"),
    ):
        axes.barh([height + offset for height in heights], fractions, height=0.34, color=colour, label=label)
    for height, *fractions in zip(heights, of_items, of_events, strict=True):
        for fraction, offset in zip(fractions, (0.19, -0.19), strict=True):
            axes.text(fraction + 0.01, height + offset, percent(fraction), va="center", fontsize=8, color=INK)
    axes.set_xlim(0, 1.1)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1])
    axes.set_title("Properties of the items")
    plain_axes(axes, ticked)
    legend_below(axes, 2)


SECTION: Final = SectionSpec(
    "items", "Items and categories", DATA, Numbers, lambda run: collect(run.data), section, collect
)
