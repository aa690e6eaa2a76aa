"""Which rows are usable, and why the others are not. Arrow and NumPy only."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from recsys.data.reading import TEXT_LIMIT, Chunk
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
"""What stands for a missing value, in any case and with spaces around it."""

OTHER_KIND: Final = "not an integer like the others"

PIECE, ROW, ROWS, COLUMN, REASON, FOUND = "piece", "row", "rows", "column", "reason", "found"
FAULTS: Final = pa.schema(
    [
        (PIECE, pa.int32()),
        (ROW, pa.int64()),
        (COLUMN, pa.string()),
        (REASON, pa.string()),
        (FOUND, pa.string()),
    ]
)
"""A row set aside: where it is (piece, position there), which column is at fault, why, what it holds."""

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
"""Usable rows have no reason, the others no values; a row with neither item nor reason stands for `rows` rows
of properties that were not asked for."""


class Faults:
    """Collects what is wrong with the rows of a chunk; the first fault of a row is the one that counts."""

    def __init__(self, rows: np.ndarray, piece: np.ndarray | int) -> None:
        """rows: int64 (n,), positions in the piece; piece: int, or int32 (n,)"""
        self._rows = rows
        self._piece = np.broadcast_to(np.asarray(piece, np.int32), rows.shape)
        self._tables: list[pa.Table] = []
        self.usable = np.ones(len(rows), bool)

    def add(self, at_fault: np.ndarray, column: str, reason: str, texts: pa.Array) -> None:
        """at_fault: bool (n,); texts: (n,), what the rows hold in that column"""
        new = at_fault & self.usable
        if new.any():
            self.usable &= ~new
            found = pc.utf8_slice_codeunits(texts.filter(pa.array(new)), 0, TEXT_LIMIT)
            self._tables.append(
                _faults(self._piece[new], self._rows[new], [column] * len(found), [reason] * len(found), found)
            )

    def add_lines(self, piece: int, lines: Sequence[tuple[int, str, str]]) -> None:
        """Lines that are no row: (position, text, reason)."""
        if lines:
            rows, texts, reasons = zip(*lines, strict=True)
            self._tables.append(_faults([piece] * len(rows), rows, [""] * len(rows), reasons, texts))

    def table(self) -> pa.Table:
        return pa.concat_tables([FAULTS.empty_table(), *self._tables])


def check_events(chunk: Chunk, piece: int, now: int) -> pa.Table:
    """EVENT_ROWS of a chunk; times later than `now` (ms) plus a day are a fault."""
    texts = {name: chunk.columns[name].combine_chunks() for name in EVENT_COLUMNS}
    faults = Faults(chunk.rows, piece)
    times = _check_times(faults, texts[TIME], now)
    events = pc.index_in(texts[EVENT], value_set=pa.array(EVENT_TYPES))
    faults.add(_mask(events.is_null()), EVENT, f"none of {', '.join(EVENT_TYPES)}", texts[EVENT])
    for name in (USER, ITEM):
        faults.add(_mask(_blank(texts[name])), name, "blank", texts[name])
    values = {
        TIME: times,
        USER: texts[USER],
        EVENT: events.cast(pa.int8()),
        ITEM: texts[ITEM],
        TRANSACTION: pc.if_else(_blank(texts[TRANSACTION]), "", texts[TRANSACTION]),
    }
    faults.add_lines(piece, chunk.broken)
    return _rows(EVENT_ROWS, values, faults, chunk.rows, piece)


def check_properties(chunk: Chunk, piece: int, now: int, asked: Sequence[str]) -> pa.Table:
    """PROPERTY_ROWS of a chunk; only rows of the properties asked for are looked at."""
    wanted = pc.is_in(chunk.columns[PROPERTY], value_set=pa.array(asked)).combine_chunks()
    rows = chunk.rows[_mask(wanted)]
    kept = chunk.columns.filter(wanted)
    texts = {name: kept[name].combine_chunks() for name in PROPERTY_COLUMNS}
    faults = Faults(rows, piece)
    times = _check_times(faults, texts[TIME], now)
    faults.add(_mask(_blank(texts[ITEM])), ITEM, "blank", texts[ITEM])
    of_category = pc.equal(texts[PROPERTY], CATEGORY)
    faults.add(_mask(pc.and_(of_category, _blank(texts[VALUE]))), CATEGORY, "blank", texts[VALUE])
    flag = pc.is_in(texts[VALUE], value_set=pa.array(["0", "1"]))
    of_availability = pc.equal(texts[PROPERTY], AVAILABLE)
    faults.add(_mask(pc.and_not(of_availability, flag)), AVAILABLE, "neither 0 nor 1", texts[VALUE])
    faults.add_lines(piece, chunk.broken)
    values = {TIME: times, ITEM: texts[ITEM], PROPERTY: texts[PROPERTY], VALUE: texts[VALUE]}
    left_out = pa.table({ROWS: pa.array([len(chunk.rows) - len(rows)], pa.int64())})
    ones = pa.array(np.ones(len(rows), np.int64))
    table = _rows(PROPERTY_ROWS, {ROWS: ones, **values}, faults, rows, piece)
    return pa.concat_tables([table, left_out], promote_options="default").select(PROPERTY_ROWS.names)


def check_tree(chunk: Chunk, piece: int) -> tuple[pa.Table, pa.Table]:
    """Rows of the category tree (texts; a null parent marks a root), and faults."""
    faults = Faults(chunk.rows, piece)
    children, parents = (chunk.columns[name].combine_chunks() for name in TREE_COLUMNS)
    faults.add(_mask(_blank(children)), CATEGORY, "blank", children)
    faults.add_lines(piece, chunk.broken)
    parents = pc.if_else(_blank(parents), None, parents)
    table = pa.table([children, parents], names=list(TREE_COLUMNS)).filter(pa.array(faults.usable))
    return table, faults.table()


def integers(texts: pa.Array) -> tuple[pa.Array, np.ndarray]:
    """Texts as int64, and which of them spell one the way `str` does; bool (n,)."""
    series = pl.Series(texts, dtype=pl.String)
    numbers = series.cast(pl.Int64, strict=False)
    spelled = (numbers.cast(pl.String) == series).fill_null(False)
    return numbers.to_arrow(), spelled.to_numpy()


def as_ids(*texts: pa.Array) -> list[pa.Array]:
    """The columns as int64 where every text of them spells an integer, else as they are; nulls stay."""
    parsed = [integers(column) for column in texts]
    if all((ok | _mask(column.is_null())).all() for column, (_, ok) in zip(texts, parsed, strict=True)):
        return [numbers for numbers, _ in parsed]
    return list(texts)


def _check_times(faults: Faults, texts: pa.Array, now: int) -> pa.Array:
    numbers, spelled = integers(texts)
    faults.add(~spelled, TIME, "not an integer", texts)
    times = pc.fill_null(numbers, 0).to_numpy()
    faults.add(times <= 0, TIME, "not positive", texts)
    faults.add(times > now + DAY, TIME, "later than the run's clock plus a day", texts)
    return numbers


def _rows(schema: pa.Schema, values: dict[str, pa.Array], faults: Faults, rows: np.ndarray, piece: int) -> pa.Table:
    table = pa.table({PIECE: np.full(len(rows), piece, np.int32), ROW: rows, **values})
    if not faults.usable.all():
        table = table.filter(pa.array(faults.usable))
    return pa.concat_tables([schema.empty_table(), table, faults.table()], promote_options="default")


def _faults(
    piece: np.ndarray | list[int],
    rows: np.ndarray | Sequence[int],
    columns: Sequence[str],
    reasons: Sequence[str],
    found: pa.Array | Sequence[str],
) -> pa.Table:
    return pa.table([piece, rows, columns, reasons, found], schema=FAULTS)


def _blank(texts: pa.Array) -> pa.Array:
    plain = pc.ascii_lower(pc.ascii_trim_whitespace(texts))
    return pc.is_in(plain, value_set=pa.array(BLANKS))


def _mask(values: pa.Array) -> np.ndarray:
    return values.to_numpy(zero_copy_only=False)
