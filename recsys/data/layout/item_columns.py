"""The tables of items and the category tree: the purpose of their columns."""

from collections.abc import Sequence
from typing import Final

from recsys.data.layout.attributes import declared, detected
from recsys.data.layout.columns import customary, plain
from recsys.data.layout.model import PropertyTable, TreeTable
from recsys.data.layout.rules import Blanks, PropertyNames, PropertyRules, TreeRules, WideNames
from recsys.data.layout.settings import EventsConfig, ItemColumns, ItemsConfig
from recsys.data.layout.tables import TableHead
from recsys.data.layout.times import TimeReading
from recsys.data.layout.unclear import Unclear
from recsys.data.layout.votes import decide, votes_of
from recsys.schema import AVAILABLE, CATEGORY, ITEM, PARENT, PROPERTY, VALUE

VALID_FROM: Final = ("timestamp", "validfrom", "asof", "snapshotdate", "snapshottime")
"""Names of a column of an item table with the time from which a row is valid. Other times are facts about the item."""
USUAL: Final = {"item": ITEM, "property": PROPERTY, "value": VALUE, "category": CATEGORY, "parent": PARENT}
"""The name of a column in messages where an item table has none for a purpose."""


def long_table(
    head: TableHead, events: EventsConfig, items: ItemsConfig, kept: Sequence[str], otherwise: TimeReading | None
) -> PropertyTable:
    given = items.columns
    item, name, value = (
        _named(head, stated, purpose)
        for stated, purpose in ((given.item, "item"), (given.property, "property"), (given.value, "value"))
    )
    time = _stated(head, given.time) or next(iter(customary(head.names, "time")), None)
    words = head.head.rows[name].unique().to_pylist()
    spelled = {
        CATEGORY: given.category or _spelling(words, CATEGORY, "category"),
        AVAILABLE: given.available or _spelling(words, AVAILABLE, "available"),
    }
    attributes = declared(items.attributes or {})
    spelled = {key: spelling for key, spelling in spelled.items() if key in kept}
    rules = PropertyRules(
        names=PropertyNames(item, time, name, value),
        times=_property_times(head, time, events, otherwise),
        blanks=Blanks.create(events.blanks),
        spelled=spelled | {key: attribute.column for key, attribute in attributes.items()},
    )
    return PropertyTable(head.table.files, items.dialect, rules, attributes)


def wide_table(
    head: TableHead, events: EventsConfig, items: ItemsConfig, kept: Sequence[str], otherwise: TimeReading | None
) -> PropertyTable | None:
    """The table with a row for each item; None if it has neither a category, an availability nor an attribute."""
    given: ItemColumns = items.columns
    item = _named(head, given.item, "item")
    columns: dict[str, str] = {}
    for key, stated, purpose in ((CATEGORY, given.category, "category"), (AVAILABLE, given.available, "available")):
        name = _stated(head, stated) or next(iter(customary(head.readable, purpose)), None)
        if name is not None and key in kept:
            columns[key] = name
    time = _stated(head, given.time) or next((name for name in head.common if plain(name) in VALID_FROM), None)
    blanks = Blanks.create(events.blanks)
    if items.attributes is None:
        used = item, time, columns.get(AVAILABLE)
        attributes = detected(head, used, columns.get(CATEGORY), blanks)
    else:
        attributes = {key: one for key, one in declared(items.attributes).items() if one.column in head.names}
    columns |= {key: attribute.column for key, attribute in attributes.items()}
    if not columns:
        return None
    times = _property_times(head, time, events, otherwise)
    rules = PropertyRules(wide=WideNames(item, time, columns), times=times, blanks=blanks)
    return PropertyTable(head.table.files, items.dialect, rules, attributes)


def tree_table(head: TableHead, events: EventsConfig, items: ItemsConfig) -> TreeTable:
    """The category tree. Raises DataError if it lacks a column."""
    category, parent = (_named(head, None, purpose) for purpose in ("category", "parent"))
    return TreeTable(head.table.files, items.dialect, TreeRules(category, parent, Blanks.create(events.blanks)))


def _named(head: TableHead, given: str | None, purpose: str) -> str:
    """The column of an item table for a purpose that it needs."""
    name = _stated(head, given) or next(iter(customary(head.common, purpose)), None)
    return head.checked(name or given or USUAL[purpose], f"the {purpose}")


def _stated(head: TableHead, given: str | None) -> str | None:
    """The column that the settings give, if this table has it; the settings may mean another table."""
    return given if given in head.names else None


def check_given(heads: Sequence[TableHead], items: ItemsConfig, *, has_properties: bool) -> None:
    """Raise DataError if the settings give a column or an attribute that no item table has.

    heads: the item tables; without one the log of events, which may tell of its items
    has_properties: whether one has a row for each property; `category`, `available` and the attributes may then be
        names of properties
    """
    given = [(f"data.items.columns.{purpose}", name) for purpose, name in items.columns.model_dump().items() if name]
    given += [("data.items.attributes", name) for name in items.attributes or {}]
    properties = ("data.items.columns.category", "data.items.columns.available", "data.items.attributes")
    for use, name in given:
        is_property = has_properties and use in properties
        if not is_property and not any(name in head.names for head in heads):
            heads[0].checked(name, use)


def _property_times(
    head: TableHead, column: str | None, events: EventsConfig, otherwise: TimeReading | None
) -> TimeReading:
    """The reading of the times of an item table; otherwise: those of the events, for dates that leave it open."""
    if column is None:
        return TimeReading()
    votes = votes_of(head.head.rows, column, Blanks.create(events.blanks))
    own = EventsConfig(time_zone=events.time_zone)
    times = decide(votes, own, column)
    if isinstance(times, Unclear):
        return otherwise if otherwise is not None and votes.numeric_dates else TimeReading()
    return times


def _spelling(words: Sequence[str], usual: str, purpose: str) -> str:
    """The name of a property in the files; words: names of properties."""
    return usual if usual in words else next(iter(customary(words, purpose)), usual)
