"""The table of events: the purpose of its columns, the form of its times, the meaning of its words."""

from collections.abc import Mapping, Sequence
from typing import Final

import pyarrow as pa

from recsys.data.layout.columns import alike, customary, plain
from recsys.data.layout.ids import integers
from recsys.data.layout.model import EventTable
from recsys.data.layout.nested import CONVERT, is_nested, item_list
from recsys.data.layout.rules import Blanks, EventNames, EventRules
from recsys.data.layout.settings import EventsConfig
from recsys.data.layout.tables import NEEDED, TableHead
from recsys.data.layout.times import TimeReading
from recsys.data.layout.types import EventWords, in_context, words_of
from recsys.data.layout.unclear import Unclear, listed
from recsys.data.layout.votes import decide, is_open, votes_of
from recsys.data.layout.where import Condition, parse_condition, settled
from recsys.errors import DataError
from recsys.schema import PURCHASE, UNKNOWN, VIEW

KNOWN_WORDS: Final = 0.9
"""Least fraction of rows with a known word in a column of WEAK_NAMES that tells types of events."""
OFTEN_BLANK: Final = 0.05
HARDLY_BLANK: Final = 0.01
"""Fractions of blanks by which one column goes before another with a customary name."""
ALL_BLANK: Final = 0.999
"""As OFTEN_BLANK, of items: many events have no item, so blanks say little about the column."""
WEAK_NAMES: Final = ("type", "verb", "activity", "eventcategory")
"""Names of columns that may hold types of events or something else; see `columns.plain`."""


def event_table(
    head: TableHead, config: EventsConfig, item_tables: Sequence[TableHead] = ()
) -> tuple[EventTable | None, tuple[Unclear, ...], Mapping[str, str]]:
    """The table of events, None if a column that it needs is unknown; the points that are unclear; known columns.

    item_tables: tables of items. Of several columns with items' ids, the one that such a table has too is taken.
    """
    rows = head.head.rows
    unclear: list[Unclear] = []
    columns: dict[str, str | None] = {}
    for purpose in NEEDED:
        column = _needed(head, rows, config, purpose, item_tables)
        if isinstance(column, Unclear):
            unclear.append(column)
        else:
            columns[purpose] = column
    if len(unclear) > 1:
        unclear = _form(head) or unclear  # without names, no question about a column makes sense
    columns["order"] = _optional(head, config.columns.order, "order")
    conditions = _conditions(head, config)
    words = words_of(config.types)
    columns["event"] = None if words.every is not None else _event_column(head, rows, config, words)
    known = {purpose: name for purpose, name in columns.items() if name is not None}
    if unclear:
        return None, tuple(unclear), known
    names = EventNames(**columns)  # type: ignore[arg-type]
    _check_different(head, names)
    if names.event is None and words.every is None:
        words = EventWords(PURCHASE if names.order or customary(head.names, "amount") else VIEW)
    blanks = Blanks.create(config.blanks)
    if names.event is not None:
        words = in_context(words, rows[names.event].combine_chunks(), blanks.mask(rows[names.item].combine_chunks()))
    votes = votes_of(rows, names.time, blanks)
    undecided = is_open(votes) and config.time_format is None
    times = TimeReading() if undecided else decide(votes, config, names.time)
    open_points = (times,) if isinstance(times, Unclear) else ()
    rules = EventRules(names, TimeReading() if isinstance(times, Unclear) else times, words, conditions, blanks)
    return EventTable(head.table.files, config.dialect, head.names, rules, votes, undecided), open_points, known


def _check_different(head: TableHead, names: EventNames) -> None:
    """Raise DataError if one column has two of the purposes that events need."""
    needed = {purpose: name for purpose, name in names.by_purpose.items() if purpose in NEEDED}
    for name in needed.values():
        same = [other for other in needed if needed[other] == name]
        if len(same) > 1:
            file = head.table.files[0].address
            settings = " and ".join(f"data.events.columns.{other}" for other in same)
            raise DataError(f"{file}: column {name!r} is both {' and '.join(same)}; expected different {settings}")


def _form(head: TableHead) -> list[Unclear]:
    """The unclear points about the form of a file whose first line does not look like a header."""
    file, names = head.table.files[0].address, head.names
    if len(names) == 1 and "::" in names[0]:
        names = tuple(names[0].split("::"))
        problem = f"{file}: the first line has :: between its columns"
        return [Unclear("data.events.delimiter", problem, ("::",)), *_no_header(file, names)]
    return _no_header(file, names)


def _no_header(file: str, names: Sequence[str]) -> list[Unclear]:
    if not integers(pa.array(names))[1].any():
        return []
    problem = f"{file}: the first line looks like a row, not like a header: {listed(names)}"
    return [Unclear("data.events.header", problem, tuple(f"column {place + 1}" for place in range(len(names))))]


def _needed(
    head: TableHead, rows: pa.Table, config: EventsConfig, purpose: str, item_tables: Sequence[TableHead]
) -> str | Unclear:
    """The column for a purpose that events need."""
    setting = f"data.events.columns.{purpose}"
    given: str | None = getattr(config.columns, purpose)
    if given is None:
        return _customary(head, rows, config, purpose, item_tables)
    if is_nested(rows[head.checked(given, setting)].combine_chunks()):
        file = head.table.files[0].address
        raise DataError(f"{file}: column {given!r} ({setting}) holds lists or objects, which are no ids; {CONVERT}")
    return given


def _customary(
    head: TableHead, rows: pa.Table, config: EventsConfig, purpose: str, item_tables: Sequence[TableHead]
) -> str | Unclear:
    """The column with a customary name for a purpose that events need."""
    setting, file = f"data.events.columns.{purpose}", head.table.files[0].address
    plain_columns = [name for name in head.names if not is_nested(rows[name].combine_chunks())]
    names = [name for name in head.common if name in plain_columns]
    names = customary(names, purpose) or customary(plain_columns, purpose)
    if not names and purpose == "item" and (inner := item_list(rows)) is not None:
        return Unclear("", f"{file}: no column for the item; {inner}")
    if not names:
        problem = f"{file}: no column for the {purpose} among {listed(head.names)}"
        return Unclear(setting, problem, tuple(plain_columns))
    blanks = Blanks.create(config.blanks)
    names = _filled_first(rows, names, blanks, ALL_BLANK if purpose == "item" else OFTEN_BLANK)
    if len(same := alike(names)) > 1:
        return Unclear(setting, f"{file}: several columns for the {purpose}: {listed(same)}", tuple(same))
    if purpose == "time":
        readable = [name for name in names if votes_of(rows, name, blanks).read]
        return (readable or names)[0]
    if purpose == "item":
        keys = {plain(name) for table in item_tables for name in customary(table.names, "item")[:1]}
        return next((name for name in names if plain(name) in keys), names[0])
    return names[0]


def _filled_first(rows: pa.Table, names: list[str], blanks: Blanks, often: float) -> list[str]:
    """The names; a column that is hardly ever blank in the first rows goes before a first one that often is."""
    blank = {name: blanks.mask(rows[name].combine_chunks()).mean() for name in names if len(rows)}
    if len(names) < 2 or not blank or blank[names[0]] < often:
        return names
    full = next((name for name in names if blank[name] <= HARDLY_BLANK), names[0])
    return [full, *(name for name in names if name != full)]


def _optional(head: TableHead, given: str | None, purpose: str) -> str | None:
    if given is not None:
        return head.checked(given, f"data.events.columns.{purpose}")
    return next(iter(customary(head.readable, purpose)), None)


def _event_column(head: TableHead, rows: pa.Table, config: EventsConfig, words: EventWords) -> str | None:
    """The column of types; one with a name that says little must hold known words."""
    column = _optional(head, config.columns.event, "event")
    if column is not None:
        return column
    for name in head.names:
        if plain(name) in WEAK_NAMES:
            codes, _ = words.codes(rows[name].combine_chunks())
            if len(codes) and (codes != UNKNOWN).mean() >= KNOWN_WORDS:
                return name
    return None


def _conditions(head: TableHead, config: EventsConfig) -> tuple[Condition, ...]:
    conditions = tuple(settled(parse_condition(text), head.head.rows) for text in config.where)
    for condition in conditions:
        head.checked(condition.column, f"data.events.where: {condition}")
    return conditions
