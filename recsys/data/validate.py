"""Checks of rows: the usable ones with typed values, the others with a reason. Arrow and NumPy only."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from recsys.data.readers.base import TEXT_LIMIT, BrokenLine, Chunk
from recsys.schema import (
    AVAILABLE,
    CATEGORY,
    DAY,
    EVENT,
    EVENT_TYPES,
    ITEM,
    PARENT,
    PROPERTY,
    TIME,
    TRANSACTION,
    USER,
    VALUE,
)

EVENT_COLUMNS: Final = (TIME, USER, EVENT, ITEM, TRANSACTION)
PROPERTY_COLUMNS: Final = (TIME, ITEM, PROPERTY, VALUE)
TREE_COLUMNS: Final = (CATEGORY, PARENT)

BLANKS: Final = ("", "null", "nan", "none")
"""Texts that mean a missing value, in upper or lower case and with spaces around them."""

OTHER_KIND: Final = "not an integer like the others"

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

A broken line has a blank column, and its text is the line.
"""

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
"""EVENT_ROWS and PROPERTY_ROWS: usable rows have no reason, rejected rows have no values.

A row of PROPERTY_ROWS with neither item nor reason stands for `rows` rows of other properties.
"""


class Faults:
    """Collects the rows that the checks reject, each with the reason of the first check that rejects it.

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
        n = int(new.sum())
        if n:
            self.usable &= ~new
            rejected = pc.utf8_slice_codeunits(texts.filter(pa.array(new)), 0, TEXT_LIMIT)
            columns = [self._piece[new], self._rows[new], [column] * n, [reason] * n, rejected]
            self._tables.append(pa.table(columns, schema=FAULTS))

    def reject_lines(self, piece: int, lines: Sequence[BrokenLine]) -> None:
        """Reject lines that are no rows."""
        rows = [{PIECE: piece, ROW: line.row, COLUMN: "", REASON: line.reason, TEXT: line.text} for line in lines]
        self._tables.append(pa.Table.from_pylist(rows, schema=FAULTS))

    def table(self) -> pa.Table:
        """The rejected rows, FAULTS."""
        return pa.concat_tables([FAULTS.empty_table(), *self._tables])


def check_events(chunk: Chunk, piece: int, now: int) -> pa.Table:
    """EVENT_ROWS of a chunk.

    piece: the number of the chunk's piece; now: the clock of the run (ms); times more than a day later are rejected
    """
    texts = {name: chunk.columns[name].combine_chunks() for name in EVENT_COLUMNS}
    faults = Faults(chunk.rows, piece)
    times = _check_times(faults, texts[TIME], now)
    events = pc.index_in(texts[EVENT], value_set=pa.array(EVENT_TYPES))
    faults.reject(_mask(events.is_null()), EVENT, f"none of {', '.join(EVENT_TYPES)}", texts[EVENT])
    for name in (USER, ITEM):
        faults.reject(_mask(_blank(texts[name])), name, "blank", texts[name])
    values = {
        TIME: times,
        USER: texts[USER],
        EVENT: events.cast(pa.int8()),
        ITEM: texts[ITEM],
        TRANSACTION: pc.if_else(_blank(texts[TRANSACTION]), "", texts[TRANSACTION]),
    }
    faults.reject_lines(piece, chunk.broken)
    return _rows(EVENT_ROWS, values, faults, chunk.rows, piece)


def check_properties(chunk: Chunk, piece: int, now: int, properties: Sequence[str]) -> pa.Table:
    """PROPERTY_ROWS of a chunk. Rows of other properties than `properties` are counted, not checked.

    piece, now: as in `check_events`
    """
    wanted = pc.is_in(chunk.columns[PROPERTY], value_set=pa.array(properties)).combine_chunks()
    rows = chunk.rows[_mask(wanted)]
    kept = chunk.columns.filter(wanted)
    texts = {name: kept[name].combine_chunks() for name in PROPERTY_COLUMNS}
    faults = Faults(rows, piece)
    times = _check_times(faults, texts[TIME], now)
    faults.reject(_mask(_blank(texts[ITEM])), ITEM, "blank", texts[ITEM])
    of_category = pc.equal(texts[PROPERTY], CATEGORY)
    faults.reject(_mask(pc.and_(of_category, _blank(texts[VALUE]))), CATEGORY, "blank", texts[VALUE])
    flag = pc.is_in(texts[VALUE], value_set=pa.array(["0", "1"]))
    of_availability = pc.equal(texts[PROPERTY], AVAILABLE)
    faults.reject(_mask(pc.and_not(of_availability, flag)), AVAILABLE, "neither 0 nor 1", texts[VALUE])
    faults.reject_lines(piece, chunk.broken)
    values = {TIME: times, ITEM: texts[ITEM], PROPERTY: texts[PROPERTY], VALUE: texts[VALUE]}
    others = pa.table({ROWS: pa.array([len(chunk.rows) - len(rows)], pa.int64())})
    ones = pa.array(np.ones(len(rows), np.int64))
    table = _rows(PROPERTY_ROWS, {ROWS: ones, **values}, faults, rows, piece)
    return pa.concat_tables([table, others], promote_options="default").select(PROPERTY_ROWS.names)


def check_tree(chunk: Chunk, piece: int) -> tuple[pa.Table, pa.Table]:
    """The rows of the category tree as texts, where a null parent marks a root; and the rejected rows, FAULTS."""
    faults = Faults(chunk.rows, piece)
    children, parents = (chunk.columns[name].combine_chunks() for name in TREE_COLUMNS)
    faults.reject(_mask(_blank(children)), CATEGORY, "blank", children)
    faults.reject_lines(piece, chunk.broken)
    parents = pc.if_else(_blank(parents), None, parents)
    table = pa.table([children, parents], names=list(TREE_COLUMNS)).filter(pa.array(faults.usable))
    return table, faults.table()


def integers(texts: pa.Array) -> tuple[pa.Array, np.ndarray]:
    """The texts as int64 (n,), and where a text is an integer exactly as `str` writes it, bool (n,)."""
    series = pl.Series(texts, dtype=pl.String)
    numbers = series.cast(pl.Int64, strict=False)
    spelled = (numbers.cast(pl.String) == series).fill_null(False)
    return numbers.to_arrow(), spelled.to_numpy()


def as_ids(*texts: pa.Array) -> list[pa.Array]:
    """The columns as int64 if every text in all of them is an integer, else unchanged. Nulls stay nulls."""
    parsed = [integers(column) for column in texts]
    if all((ok | _mask(column.is_null())).all() for column, (_, ok) in zip(texts, parsed, strict=True)):
        return [numbers for numbers, _ in parsed]
    return list(texts)


def _check_times(faults: Faults, texts: pa.Array, now: int) -> pa.Array:
    """The times as int64; values of rejected rows mean nothing."""
    numbers, spelled = integers(texts)
    faults.reject(~spelled, TIME, "not an integer", texts)
    times = pc.fill_null(numbers, 0).to_numpy()
    faults.reject(times <= 0, TIME, "not positive", texts)
    faults.reject(times > now + DAY, TIME, "later than the run's clock plus a day", texts)
    return numbers


def _rows(schema: pa.Schema, values: dict[str, pa.Array], faults: Faults, rows: np.ndarray, piece: int) -> pa.Table:
    """The usable rows with their values, then the rejected rows."""
    table = pa.table({PIECE: np.full(len(rows), piece, np.int32), ROW: rows, **values})
    if not faults.usable.all():
        table = table.filter(pa.array(faults.usable))
    return pa.concat_tables([schema.empty_table(), table, faults.table()], promote_options="default")


def _blank(texts: pa.Array) -> pa.Array:
    """True where a text means a missing value."""
    plain = pc.ascii_lower(pc.ascii_trim_whitespace(texts))
    return pc.is_in(plain, value_set=pa.array(BLANKS))


def _mask(values: pa.Array) -> np.ndarray:
    return values.to_numpy(zero_copy_only=False)
