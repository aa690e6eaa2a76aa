"""The report's part on the data."""

from recsys.report import figures_data as figures
from recsys.report.content import Data, Funnel
from recsys.report.drawing import TYPE_NAMES, Picture, counted, percent, several
from recsys.report.sections import Cell, Part, Section, Table
from recsys.schema import DAY


def part(data: Data) -> Part:
    return Part("The data", (_history(data), _funnel(data), _spread(data), _items(data), _input(data)))


def _history(data: Data) -> Section:
    days = (data.end - data.start) / DAY
    kinds = [name for name, count in data.events.items() if count]
    busiest = max(kinds, key=lambda name: max(data.daily.events[name]))
    peak = max(data.daily.events[busiest])
    mean = data.events[busiest] / max(days, 1)
    says = (
        f"Over {days:.0f} days the log counts {counted(sum(data.events.values()))} events. A day has "
        f"{counted(mean)} {TYPE_NAMES[busiest]} on average and {counted(peak)} on the busiest"
        f"{'' if data.daily.step == 1 else f' run of {data.daily.step} days'}; the shaded days at the end were held "
        "out to choose and to judge the model."
    )
    picture = Picture(
        "events-per-day",
        f"Events per day over {days:.0f} days, a panel for each type of event; validation and test window are shaded.",
        "Quiet days, growth and gaps of the log show here.",
        lambda figure: figures.events_per_day(figure, data.daily, data.windows),
        1.0 + 1.35 * len(kinds),
    )
    rows = [(TYPE_NAMES[name], data.events[name], data.events[name] / max(days, 1)) for name in kinds]
    return Section(
        "days", "Events over time", says, [picture], [Table("Events by type", ("type", "events", "a day"), rows)]
    )


def _funnel(data: Data) -> Section:
    users, pairs = data.funnel_users, data.funnel_pairs
    if len(pairs.steps) < 2:
        name = TYPE_NAMES[pairs.steps[0]]
        says = f"The log has {name} alone, so there is no way from the first look to the purchase to be seen."
        return Section("funnel", "From the first look to the purchase", says)
    last = TYPE_NAMES[pairs.steps[-1]]
    says = (
        f"{_through(users)} of the users with {TYPE_NAMES[pairs.steps[0]]} went all the way to {last}, and so did "
        f"{_through(pairs)} of their looks at an item. {_outside(pairs)}"
    )
    picture = Picture(
        "funnel",
        f"Users, and pairs of a user and an item, with {', '.join(TYPE_NAMES[step] for step in pairs.steps)}: how many "
        "have such an event, and how many of them also one of every step before.",
        "How many take each step, and how many of them took all the steps before it.",
        lambda figure: figures.funnel(figure, users, pairs),
        1.7 + 0.95 * len(pairs.steps),
    )
    rows = [
        (what, TYPE_NAMES[step], have, through)
        for what, found in (("users", users), ("pairs", pairs))
        for step, have, through in zip(found.steps, found.have, found.through, strict=True)
    ]
    table = Table("Funnel", ("of", "with", "how many", "with every step before"), rows)
    return Section("funnel", "From the first look to the purchase", says, [picture], [table])


def _through(funnel: Funnel) -> str:
    return percent(funnel.through[-1] / max(funnel.have[0], 1))


def _outside(pairs: Funnel) -> str:
    share = 1 - pairs.through[-1] / max(pairs.have[-1], 1)
    return f"{percent(share)} of the pairs at the last step lack an earlier one." if share > 0.001 else ""


def _spread(data: Data) -> Section:
    users, items = data.activity, data.popularity
    says = (
        f"The busiest tenth of the users makes {percent(users.top_tenth)} of the events, the most popular tenth of the "
        f"items takes {percent(items.top_tenth)}. Half of the users have at most {counted(users.median)} events, half "
        f"of the items at most {counted(items.median)}."
    )
    pictures = [
        Picture(
            "activity",
            "Share of users, and of items, that have a number of events or more; both axes are logarithmic.",
            "A straight line falls off without a typical size; a bend shows one.",
            lambda figure: figures.activity(figure, users, items),
        ),
        Picture(
            "concentration",
            "Share of the events that the busiest users and the most popular items make up.",
            "The further a curve bends away from the diagonal, the more a few make up.",
            lambda figure: figures.concentration(figure, users, items),
        ),
    ]
    rows = [(name, found.total, found.median, found.top_tenth) for name, found in (("users", users), ("items", items))]
    table = Table("Spread of the events", ("of", "how many", "median events", "share of the busiest tenth"), rows)
    return Section("spread", "Activity and popularity", says, pictures, [table])


def _items(data: Data) -> Section:
    known = {row.name: row for row in data.coverage}
    share = known["with a category"].items / max(data.items, 1) if "with a category" in known else 0.0
    pictures = [
        Picture(
            "coverage",
            "Shares of the items of which a category, availability or enough events are known, and their shares of the "
            "events.",
            "What is known of many items but of few events, or the other way round.",
            lambda figure: figures.coverage(figure, data.coverage, data.items),
            3.9,
        )
    ]
    tables = [Table("What is known of the items", ("items", "how many", "share of the events"),
                    [(row.name, row.items, row.events) for row in data.coverage])]  # fmt: skip
    if data.categories:
        top = data.categories[0]
        kind = max(top.shares, key=top.shares.__getitem__)
        says = (
            f"{percent(share)} of the {counted(data.items)} items have one of {counted(data.n_categories)} categories. "
            f"{top.name} has the most events, {percent(top.shares[kind])} of all {TYPE_NAMES[kind]}."
        )
        picture = Picture(
            "categories",
            f"The {len(data.categories)} categories with the most events, by their share of each type of event.",
            "A category whose share of the purchases exceeds its share of the views sells well.",
            lambda figure: figures.categories(figure, data.categories),
            1.2 + 0.28 * len(data.categories),
        )
        pictures = [picture, *pictures]
        kinds = list(top.shares)
        rows: list[list[Cell]] = [
            [row.name, row.items, *(row.shares[kind] for kind in kinds)] for row in data.categories
        ]
        columns = ("category", "items", *(f"share of {TYPE_NAMES[kind]}" for kind in kinds))
        tables = [Table("Categories with the most events", columns, rows), *tables]
    else:
        says = f"None of the {counted(data.items)} items has a category."
    return Section("items", "Items and categories", says, pictures, tables)


def _input(data: Data) -> Section:
    aside = sum(rows for name, rows in data.quality.items() if "set aside" in name)
    repeated = data.quality.get("repeated event rows dropped", 0)
    unusable = (
        f"{several(aside, 'row')} could not be used and went into quarantine" if aside else "Every row could be used"
    )
    twice = (
        f"{several(repeated, 'event row')} repeated another one and did not count" if repeated else "none came twice"
    )
    says = f"{unusable}; {twice}."
    rows = [(name, rows) for name, rows in data.quality.items()]
    return Section(
        "input", "Quality of the input", says, (), [Table("Rows by what became of them", ("rows", "how many"), rows)]
    )
