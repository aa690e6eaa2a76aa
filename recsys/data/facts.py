"""Facts about items in the rows of a log: the changes of their values. No Ray.

Of each day (of UTC) only the first and the last values of an item count; between, a value may change with every row.
They are the same whatever the order of the rows and the number of files.
"""

from collections.abc import Sequence
from typing import Final

import polars as pl
import pyarrow as pa

from recsys.data.layout.rules import PropertyRules
from recsys.data.layout.times import read_times
from recsys.data.readers.base import Chunk
from recsys.schema import DAY, ITEM, PROPERTY, TIME, VALUE

SINGLE: Final = "single"
"""Whether an item has one value at a time."""


def outer_rows(chunk: Chunk, rules: PropertyRules, now: int) -> Chunk:
    """The rows of a log that `changes_of_days` may need: the outer ones of those with the same columns filled."""
    wide = rules.wide
    if wide is None or wide.time is None:
        return chunk
    times = read_times(chunk.columns[wide.time].combine_chunks(), rules.times, now, beginning=True).values
    # The shop's names of columns are no names of a frame; Polars takes some of them as patterns.
    columns = [chunk.columns[name].combine_chunks() for name in (wide.item, *wide.properties.values())]
    filled = {str(place): rules.blanks.mask(column) for place, column in enumerate(columns)}
    outer = pl.DataFrame({ITEM: columns[0], TIME: times, **filled}).select(_is_outer([ITEM, *filled]))[TIME].to_numpy()
    return Chunk(chunk.columns.filter(pa.array(outer)), chunk.rows[outer], [])


def changes_of_days(rows: pa.Table) -> pa.Table:
    """The first and the last rows of each item, property and day, without those whose value is the one before.

    rows: all rows of these items; columns ITEM, TIME (ms), VALUE, and PROPERTY if they have different ones
    """
    keys = [name for name in (ITEM, PROPERTY) if name in rows.column_names]
    outer = pl.DataFrame(rows).filter(_is_outer(keys)).unique().sort(*keys, TIME, VALUE)
    # Of several values at one time `ChangeLog` takes one, so these stay.
    outer = outer.with_columns((pl.len().over(*keys, TIME) == 1).alias(SINGLE))
    value, single = pl.col(VALUE), pl.col(SINGLE)
    same = (value.eq_missing(value.shift()) & single & single.shift(fill_value=False)).over(keys)
    return outer.filter(~same).to_arrow().select(rows.column_names).cast(rows.schema)


def _is_outer(keys: Sequence[str]) -> pl.Expr:
    """Whether TIME is the first or the last of its day among the rows with the same keys; the result has its name."""
    time = pl.col(TIME)
    group = [*keys, time // DAY]
    return (time == time.min().over(group)) | (time == time.max().over(group))
