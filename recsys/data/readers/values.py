"""Values of typed formats as the text that a CSV file would hold."""

import json
import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

EXACT: Final = {pa.float16(): 2.0**11, pa.float32(): 2.0**24, pa.float64(): 2.0**53}
"""Integers from here on may be rounded in a column of this type. They are written with an exponent, such as 1.5e+18."""

Test = Callable[[pa.DataType], bool]
_PLAIN: Final[tuple[Test, ...]] = (
    pa.types.is_integer,
    pa.types.is_floating,
    pa.types.is_decimal,
    pa.types.is_boolean,
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_string_view,
    pa.types.is_timestamp,
    pa.types.is_date,
    pa.types.is_time,
    pa.types.is_null,
)
_LISTS: Final[tuple[Test, ...]] = (
    pa.types.is_list,
    pa.types.is_large_list,
    pa.types.is_fixed_size_list,
    pa.types.is_list_view,
    pa.types.is_large_list_view,
)


def has_text(kind: pa.DataType) -> bool:
    """True if `as_text` takes columns of this type."""
    if pa.types.is_dictionary(kind):
        return has_text(kind.value_type)
    if pa.types.is_map(kind):
        return has_text(kind.key_type) and has_text(kind.item_type)
    if pa.types.is_struct(kind):
        return all(has_text(kind.field(child).type) for child in range(kind.num_fields))
    if _is_list(kind):
        return has_text(kind.value_type)
    return _is_uuid(kind) or any(test(kind) for test in _PLAIN)


def _is_list(kind: pa.DataType) -> bool:
    return any(test(kind) for test in _LISTS)


def _is_nested(kind: pa.DataType) -> bool:
    return _is_list(kind) or pa.types.is_map(kind) or pa.types.is_struct(kind)


def _is_uuid(kind: pa.DataType) -> bool:
    return isinstance(kind, pa.UuidType)


def as_text(column: pa.Array) -> pa.Array:
    """The column as a CSV file would hold it: string (n,), without nulls.

    A null is blank, true is 1, and a whole number has no decimals. A time is ISO 8601 text, with Z in a column with a
    time zone. A list or a struct is JSON, a map a list of pairs.
    """
    return pc.fill_null(_text(column), "")


def _text(column: pa.Array) -> pa.Array:
    """As `as_text`, with nulls."""
    for test, convert in _CONVERSIONS:
        if test(column.type):
            return convert(column)
    return column.cast(pa.string())


def _uuid_text(column: pa.Array) -> pa.Array:
    return pa.array([None if value is None else str(value) for value in column.to_pylist()], pa.string())


def _time_text(column: pa.Array) -> pa.Array:
    """ISO 8601 text, UTC with a Z if the type has a time zone."""
    zoned = column if column.type.tz is None else column.cast(pa.timestamp(column.type.unit, "UTC"))
    return pc.replace_substring(zoned.cast(pa.string()), " ", "T")


def _float_text(column: pa.Array) -> pa.Array:
    """Whole numbers as integers, since pandas turns integers into floats where some are missing; NaN is blank."""
    limit = EXACT[column.type]
    if pa.types.is_float16(column.type):
        column = column.cast(pa.float32())
    size = pc.abs(column)
    whole = pc.and_(pc.equal(pc.trunc(column), column), pc.less(size, limit))
    large = pc.and_(pc.greater_equal(size, limit), pc.is_finite(column))
    text = pc.if_else(pc.is_nan(column), "", column.cast(pa.string()))
    if pc.any(large).as_py():
        large = pc.fill_null(large, False)
        written = [np.format_float_scientific(value, trim="-") for value in column.filter(large).to_numpy()]
        text = pc.replace_with_mask(text, large, pa.array(written, pa.string()))
    number = pc.if_else(whole, column, 0).cast(pa.int64()).cast(pa.string())
    return pc.if_else(whole, number, text)


def _decimal_text(column: pa.Array) -> pa.Array:
    """Decimals without exponent; whole ones as integers."""
    if column.type.scale < 0:
        column = column.cast(pa.decimal256(76, 0))
    return pc.replace_substring_regex(column.cast(pa.string()), r"\.0+$", "")


def _nested_text(column: pa.Array) -> pa.Array:
    """Lists, maps and structs as JSON."""
    kind = column.type
    if pa.types.is_list(kind) and _is_number(kind.value_type) and not column.flatten().null_count:
        numbers = column.cast(pa.list_(pa.string()))
        return pc.binary_join_element_wise("[", pc.binary_join(numbers, ","), "]", "")
    values = column.to_pylist()
    return pa.array([None if value is None else json_text(value) for value in values], pa.string())


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_float32(kind) or pa.types.is_float64(kind)


_CONVERSIONS: Final[tuple[tuple[Test, Callable[[pa.Array], pa.Array]], ...]] = (
    (pa.types.is_dictionary, lambda column: _text(column.cast(column.type.value_type))),
    (_is_nested, _nested_text),
    (_is_uuid, _uuid_text),
    (pa.types.is_timestamp, _time_text),
    (pa.types.is_date64, lambda column: column.cast(pa.date32()).cast(pa.string())),
    (pa.types.is_boolean, lambda column: column.cast(pa.int8()).cast(pa.string())),
    (pa.types.is_decimal, _decimal_text),
    (pa.types.is_floating, _float_text),
)
"""The ways to text by type. Columns of other types are cast."""


def json_text(value: Any) -> str:
    """The value as JSON. Raises RecursionError if it is nested too deeply."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)


def value_text(value: Any) -> str:
    """A value of a JSON file as `as_text` would write it."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, float):
        return _number_text(value)
    return str(value) if isinstance(value, int) else json_text(value)


def _number_text(value: float) -> str:
    if math.isnan(value):
        return ""
    if abs(value) >= EXACT[pa.float64()] and math.isfinite(value):
        return np.format_float_scientific(value, trim="-")
    return str(int(value)) if value.is_integer() else repr(value)
