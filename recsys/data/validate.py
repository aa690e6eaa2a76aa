"""Checks of rows: the usable ones with typed values, the others with a reason. Arrow and NumPy only."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys.data.availability import availability_of
from recsys.data.layout.ids import INEXACT, integers, plain_ids
from recsys.data.layout.keys import PREFIX, is_attribute
from recsys.data.layout.midnight import positions
from recsys.data.layout.rules import BEGINNING, EventRules, PropertyRules, TreeRules
from recsys.data.layout.times import read_times
from recsys.data.layout.types import IGNORED
from recsys.data.layout.where import rows_to_use
from recsys.data.readers.base import TEXT_LIMIT, BrokenLine, Chunk
from recsys.schema import (
    AVAILABLE,
    CATEGORY,
    EVENT,
    ITEM,
    PARENT,
    PROPERTY,
    TIME,
    TRANSACTION,
    UNKNOWN,
    USER,
    VALUE,
)

BLANK: Final = "blank"
NO_MEANING: Final = "no meaning in data.events.types"
NO_AVAILABILITY: Final = "neither an availability, such as 1, 0 and in stock, nor a number of pieces"

PIECE, ROW, ROWS, COLUMN, REASON, TEXT = "piece", "row", "rows", "column", "reason", "text"
FAULTS: Final = pa.schema(
    [
        (PIECE, pa.int32()),
        (ROW, pa.int64()),
        (COLUMN, pa.string()),
        (REASON, pa.string()),
        (TEXT, pa.string()),
    ]
)
"""A rejected row: number of the piece, position in the piece, column at fault, reason, and the text in that column.

The column has its name in the file. A broken line has a blank column, and its text is the line.
"""

WHERE: Final = "where"
WORD: Final = "word"
EVENT_ROWS: Final = pa.schema(
    [
        *FAULTS,
        (TIME, pa.int64()),
        (USER, pa.string()),
        (EVENT, pa.int8()),
        (ITEM, pa.string()),
        (TRANSACTION, pa.string()),
    ]
)
PROPERTY_ROWS: Final = pa.schema(
    [
        *FAULTS,
        (ROWS, pa.int64()),
        (TIME, pa.int64()),
        (ITEM, pa.string()),
        (PROPERTY, pa.string()),
        (VALUE, pa.string()),
    ]
)
"""EVENT_ROWS and PROPERTY_ROWS: usable rows have no column at fault, rejected rows have no values.

A row of EVENT_ROWS with a column and no reason is a count, in ROW. The column WHERE counts the rows that the conditions
leave out, and WORD the rows of an event type, which is the text.
A row of PROPERTY_ROWS with neither item nor reason stands for `rows` rows of other properties. A null value of CATEGORY
is no category.
"""


class Faults:
    """Collects the rows that the checks reject, each with the reason of the first check that rejects it.

    A row of a wide table is checked once for each of its properties. A reason counts once for it.
    usable: bool (n,), False for rejected rows
    """

    def __init__(self, rows: np.ndarray, piece: np.ndarray | int) -> None:
        """rows: int64 (n,), positions in the piece; piece: its number, or int32 (n,) with one for each row"""
        self._rows = rows
        self._piece = np.broadcast_to(np.asarray(piece, np.int32), rows.shape)
        self._tables: list[pa.Table] = []
        self.usable = np.ones(len(rows), bool)

    def reject(self, bad: np.ndarray, column: str, reason: str, texts: pa.Array) -> None:
        """Reject the rows where `bad` (bool (n,)) is true; texts: string (n,), the values in the column."""
        new = bad & self.usable
        if new.any():
            self.usable &= ~new
            where = np.flatnonzero(new)
            _, first = np.unique(positions(self._piece[where], self._rows[where]), return_index=True)
            where = where[np.sort(first)]
            rejected = pc.utf8_slice_codeunits(texts.take(pa.array(where)), 0, TEXT_LIMIT)
            columns = [self._piece[where], self._rows[where], [column] * len(where), [reason] * len(where), rejected]
            self._tables.append(pa.table(columns, schema=FAULTS))

    def reject_lines(self, piece: int, lines: Sequence[BrokenLine]) -> None:
        """Reject lines that are no rows."""
        rows = [{PIECE: piece, ROW: line.row, COLUMN: "", REASON: line.reason, TEXT: line.text} for line in lines]
        self._tables.append(pa.Table.from_pylist(rows, schema=FAULTS))

    def table(self) -> pa.Table:
        """The rejected rows, FAULTS."""
        return pa.concat_tables([FAULTS.empty_table(), *self._tables])


def check_events(chunk: Chunk, piece: int, now: int, rules: EventRules) -> pa.Table:
    """EVENT_ROWS of a chunk.

    piece: the number of the chunk's piece; now: the clock of the run (ms); times more than a day later are rejected
    """
    names, blank = rules.names, rules.blanks
    columns, rows, codes, tallies = _used_events(chunk, rules)
    texts = {name: columns[name].combine_chunks() for name in rules.columns}
    faults = Faults(rows, piece)
    times = read_times(texts[names.time], rules.times, now)
    if times.faults:
        faults.reject(blank.mask(texts[names.time]), names.time, BLANK, texts[names.time])
    for where, reason in times.faults:
        faults.reject(where, names.time, reason, texts[names.time])
    if rules.words.every is None and names.event is not None:
        words = texts[names.event]
        faults.reject(blank.mask(words), names.event, BLANK, words)
        faults.reject(codes == UNKNOWN, names.event, NO_MEANING, words)
    ids = {}
    for key, name in ((USER, names.user), (ITEM, names.item)):
        faults.reject(blank.mask(texts[name]), name, BLANK, texts[name])
        ids[key], inexact = plain_ids(texts[name])
        faults.reject(inexact, name, INEXACT, texts[name])
    no_order = pa.repeat(pa.scalar(""), len(rows))
    orders = no_order if names.order is None else texts[names.order]
    values = {
        TIME: pa.array(times.values),
        USER: ids[USER],
        EVENT: pa.array(codes),
        ITEM: ids[ITEM],
        TRANSACTION: pc.if_else(blank(orders), "", orders),
    }
    faults.reject_lines(piece, chunk.broken)
    table = _rows(EVENT_ROWS, values, faults, rows, piece)
    counts = [{PIECE: piece, ROW: n, COLUMN: column, TEXT: text} for (column, text), n in tallies.items() if n]
    return pa.concat_tables([table, pa.Table.from_pylist(counts, schema=EVENT_ROWS)]) if counts else table


def _used_events(
    chunk: Chunk, rules: EventRules
) -> tuple[pa.Table, np.ndarray, np.ndarray, Mapping[tuple[str, str], int]]:
    """The rows that are not left out, their positions and types (int8), and counts by (column, text)."""
    columns, rows = chunk.columns, chunk.rows
    tallies: dict[tuple[str, str], int] = {}
    if rules.where:
        good = rows_to_use(columns, rules.where, rules.blanks.mask)
        tallies[WHERE, ""] = int((~good).sum())
        columns, rows = columns.filter(pa.array(good)), rows[good]
    if rules.words.every is not None or rules.names.event is None:
        return columns, rows, np.full(len(rows), rules.words.every, np.int8), tallies
    codes, words = rules.words.codes(columns[rules.names.event].combine_chunks())
    tallies |= {(WORD, word): n for word, n in words.items()}
    used = codes != IGNORED
    if used.all():
        return columns, rows, codes, tallies
    return columns.filter(pa.array(used)), rows[used], codes[used], tallies


def check_properties(chunk: Chunk, piece: int, now: int, rules: PropertyRules) -> pa.Table:
    """PROPERTY_ROWS of a chunk. Rows of other properties than those of the rules are counted, not checked.

    piece, now: as in `check_events`
    """
    kept, rows, others = _kept_properties(chunk, rules)
    texts = {name: kept[name].combine_chunks() for name in (TIME, ITEM, PROPERTY, VALUE)}
    columns = _property_columns(rules)
    faults = Faults(rows, piece)
    times = read_times(texts[TIME], rules.times, now, beginning=True)
    for where, reason in times.faults:
        faults.reject(where, columns[TIME], reason, texts[TIME])
    faults.reject(rules.blanks.mask(texts[ITEM]), columns[ITEM], BLANK, texts[ITEM])
    items, inexact = plain_ids(texts[ITEM])
    faults.reject(inexact, columns[ITEM], INEXACT, texts[ITEM])
    of_category, of_attribute = _mask(pc.equal(texts[PROPERTY], CATEGORY)), _mask(is_attribute(texts[PROPERTY]))
    values, inexact = plain_ids(texts[VALUE])
    faults.reject(of_category & inexact, CATEGORY, INEXACT, texts[VALUE])
    values = pc.if_else(pc.and_(pa.array(of_category), rules.blanks(values)), None, values)
    flag = ~of_category & ~of_attribute
    available = availability_of(pc.if_else(pa.array(flag), texts[VALUE], None))
    faults.reject(flag & _mask(available.is_null()), AVAILABLE, NO_AVAILABILITY, texts[VALUE])
    values = pc.if_else(pa.array(of_attribute), texts[VALUE], values)
    values = pc.if_else(pa.array(flag), pc.if_else(available, "1", "0"), values)
    faults.reject_lines(piece, chunk.broken)
    checked = {TIME: pa.array(times.values), ITEM: items, PROPERTY: texts[PROPERTY], VALUE: values}
    counted = pa.table({ROWS: pa.array([others], pa.int64())})
    ones = pa.array(np.ones(len(rows), np.int64))
    table = _rows(PROPERTY_ROWS, {ROWS: ones, **checked}, faults, rows, piece)
    return pa.concat_tables([table, counted], promote_options="default").select(PROPERTY_ROWS.names)


def _property_columns(rules: PropertyRules) -> dict[str, str]:
    """The names of the columns of times and items in the files."""
    names = rules.names if rules.wide is None else rules.wide
    return {TIME: names.time or TIME, ITEM: names.item}


def _kept_properties(chunk: Chunk, rules: PropertyRules) -> tuple[pa.Table, np.ndarray, int]:
    """Columns TIME, ITEM, PROPERTY, VALUE of the properties to read, their rows, and the number of other rows."""
    wide = rules.wide
    parts: list[pa.Table] = []
    rows: list[np.ndarray] = []
    time = rules.names.time if wide is None else wide.time
    columns = chunk.columns
    times = pa.repeat(pa.scalar(BEGINNING), len(columns)) if time is None else columns[time]
    if wide is None:
        names = rules.names
        wanted = [(key, _mask(pc.equal(columns[names.property], word))) for key, word in rules.spelled.items()]
        by_key = [(key, names.item, names.value, mask) for key, mask in wanted]
        if any(
            key.startswith(PREFIX) for key in rules.spelled
        ):  # a blank attribute is none, a blank category is a value
            given = ~rules.blanks.mask(columns[names.value].combine_chunks())
            by_key = [(*row[:3], row[3] & given if row[0].startswith(PREFIX) else row[3]) for row in by_key]
    else:
        by_key = [
            (key, wide.item, name, ~rules.blanks.mask(columns[name].combine_chunks()))
            for key, name in wide.properties.items()
        ]
    for key, item, value, mask in by_key:
        some = pa.array(mask)
        texts = [times, columns[item], pa.repeat(pa.scalar(key), len(columns)), columns[value]]
        parts.append(pa.table(texts, names=[TIME, ITEM, PROPERTY, VALUE]).filter(some))
        rows.append(chunk.rows[mask])
    schema = pa.schema([(name, pa.string()) for name in (TIME, ITEM, PROPERTY, VALUE)])
    kept = pa.concat_tables([schema.empty_table(), *parts])
    positions = np.concatenate([np.zeros(0, np.int64), *rows])
    others = len(chunk.rows) - len(kept) if wide is None else 0
    return kept, positions, others


def check_tree(chunk: Chunk, piece: int, rules: TreeRules) -> tuple[pa.Table, pa.Table]:
    """The rows of the category tree as texts, where a null parent marks a root; and the rejected rows, FAULTS."""
    faults = Faults(chunk.rows, piece)
    ids = []
    for name in rules.columns:
        texts = chunk.columns[name].combine_chunks()
        values, inexact = plain_ids(texts)
        faults.reject(inexact, name, INEXACT, texts)
        ids.append(pc.if_else(rules.blanks(values), None, values))
    children = chunk.columns[rules.category].combine_chunks()
    faults.reject(_mask(ids[0].is_null()), rules.category, BLANK, children)
    faults.reject_lines(piece, chunk.broken)
    table = pa.table(ids, names=[CATEGORY, PARENT]).filter(pa.array(faults.usable))
    return table, faults.table()


def as_ids(*texts: pa.Array) -> list[pa.Array]:
    """The columns as int64 if every text in all of them is an integer, else unchanged. Nulls stay nulls."""
    parsed = [integers(column) for column in texts]
    if all((ok | _mask(column.is_null())).all() for column, (_, ok) in zip(texts, parsed, strict=True)):
        return [numbers for numbers, _ in parsed]
    return list(texts)


def _rows(schema: pa.Schema, values: dict[str, pa.Array], faults: Faults, rows: np.ndarray, piece: int) -> pa.Table:
    """The usable rows with their values, then the rejected rows."""
    table = pa.table({PIECE: np.full(len(rows), piece, np.int32), ROW: rows, **values})
    if not faults.usable.all():
        table = table.filter(pa.array(faults.usable))
    return pa.concat_tables([schema.empty_table(), table, faults.table()], promote_options="default")


def _mask(values: pa.Array) -> np.ndarray:
    return values.to_numpy(zero_copy_only=False)
