"""Ids as they are written in files: whole decimals are integers, and floats that have lost digits are found."""

from collections.abc import Mapping
from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa

from recsys.ids import IdKind

EXACT: Final = 2**53
"""From here on a float64 does not hold every integer."""
INEXACT: Final = "an id that was stored as a float and has lost its last digits"
NO_INTEGER: Final = "not an integer, as data.events.ids requires"

WHOLE: Final = r"^(-?(?:0|[1-9][0-9]*))\.0+$"
"""A whole decimal such as 123.0; the group is the integer."""
EXPONENT: Final = r"^-?[0-9](?:\.[0-9]+)?[eE]\+[0-9]+$|^-?[0-9]\.[0-9]+E(?:[7-9]|[1-9][0-9]+)$"
"""A float as Python and spreadsheets write it, 1.5e+18, and as Java does from 1.0E7 on.

Ids such as 12e5, 2.5e3 and 1.2E4 do not match: no program writes an integer so.
"""


def integers(texts: pa.Array) -> tuple[pa.Array, np.ndarray]:
    """The texts as int64 (n,), and where a text is an integer exactly as `str` writes it, bool (n,)."""
    series = pl.Series(texts, dtype=pl.String)
    numbers = series.cast(pl.Int64, strict=False)
    spelled = (numbers.cast(pl.String) == series).fill_null(False)
    return numbers.to_arrow(), spelled.to_numpy()


def plain_ids(texts: pa.Array) -> tuple[pa.Array, np.ndarray]:
    """The ids with whole decimals as integers (123.0 is 123), and where an id is an inexact float, bool (n,).

    texts: string (n,); nulls stay nulls
    """
    inexact = np.zeros(len(texts), bool)
    content = texts.cast(pa.string()).buffers()[2]
    # Hardly any id has these characters, and the search in all ids at once takes no time.
    if content is None or not any(mark in content.to_pybytes() for mark in (b".", b"+")):
        return texts, inexact
    series = pl.Series(texts, dtype=pl.String)
    marked = (series.str.contains(".", literal=True) | series.str.contains("+", literal=True)).fill_null(False)
    rows = np.flatnonzero(marked.to_numpy())
    some = series.gather(rows)
    floats = some.str.contains(WHOLE) | some.str.contains(EXPONENT)
    numbers = some.set(~floats, None).cast(pl.Float64, strict=False)
    large = (numbers.abs() >= EXACT).fill_null(False)
    whole = floats & ~large & (numbers == numbers.floor()).fill_null(False)
    written = numbers.set(~whole, None).cast(pl.Int64).cast(pl.String)
    changed = pl.select(pl.when(whole).then(written).otherwise(some)).to_series()
    inexact[rows[large.to_numpy()]] = True
    return series.scatter(rows, changed).to_arrow().cast(pa.string()), inexact


def kind_of(all_integers: bool, pinned: IdKind | None) -> IdKind:
    """The type of an id column: the pinned one, else int64 if every usable id is an integer."""
    return pinned or ("int64" if all_integers else "string")


def changed_kinds(old: Mapping[str, str], new: Mapping[str, str]) -> str | None:
    """A sentence that names the ids whose type differs between two versions, None if there are none.

    old, new: the types by "user" and "item"
    """
    names = [name for name in new if name in old and old[name] != new[name]]
    if not names:
        return None
    changes = " and ".join(f"the ids of {name}s are {new[name]}" for name in names)
    before = " and ".join(f"{old[name]}" for name in names)
    pins = ", ".join(f"data.events.ids.{name}" for name in names)
    return f"{changes}, in the version in production they are {before}; a type can be pinned by {pins}"
