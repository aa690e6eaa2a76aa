"""Conditions of rows to use: `Quantity > 0`, `Country = France`, `CustomerID is not blank`."""

import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import polars as pl
import pyarrow as pa

from recsys.data.attribute_values import DecimalSign, decimal_of, numbers_of

OPERATORS: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "!=": operator.ne,
    "==": operator.eq,
    "=": operator.eq,
    "<": operator.lt,
    ">": operator.gt,
}
EQUAL: Final = ("=", "==", "!=")
WHOLE: Final = re.compile(r"-?(0|[1-9]\d*)")
NUMBER: Final = re.compile(r"[+-]?(0|[1-9]\d*|(?=\.\d))(\.\d*)?([eE][+-]?\d{1,2})?")
"""WHOLE, NUMBER: values of conditions that are numbers. Digits after a leading zero are a code, so they are a text."""
BLANK: Final = re.compile(r"\s*(?P<column>.+?)\s+is\s+(?P<no>not\s+)?blank\s*", re.IGNORECASE | re.DOTALL)
COMPARISON: Final = re.compile(
    r"\s*(?P<column>[^<>=!]+?)\s*(?P<operator><=|>=|!=|==|=|<|>)\s*(?P<value>.+?)\s*", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition on one column.

    operator: a key of OPERATORS, "is blank" or "is not blank"
    value: the text to compare with; "" for conditions on blanks
    decimal: the sign of decimals in the column
    """

    column: str
    operator: str
    value: str = ""
    decimal: DecimalSign = "."

    def __str__(self) -> str:
        return f"{self.column} {self.operator} {self.value}".rstrip()


def parse_condition(text: str) -> Condition:
    """The condition that a text states. Raises ValueError for a text of another form."""
    if match := BLANK.fullmatch(text):
        return Condition(match["column"], "is not blank" if match["no"] else "is blank")
    if match := COMPARISON.fullmatch(text):
        value = match["value"]
        if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
            value = value[1:-1]
        return Condition(match["column"], match["operator"], value)
    raise ValueError(f"{text!r} is no condition; expected one such as Quantity > 0 or CustomerID is not blank")


def settled(condition: Condition, rows: pa.Table) -> Condition:
    """The condition with the name of its column in the file and the sign of decimals there, by the first rows.

    A condition may name a column without the blanks at its ends. One that the rows lack stays as it is.
    """
    names = rows.column_names
    same = [name for name in names if " ".join(name.split()) == " ".join(condition.column.split())]
    if condition.column not in names and len(same) == 1:
        condition = replace(condition, column=same[0])
    if condition.column not in names:
        return condition
    return replace(condition, decimal=decimal_of(rows[condition.column].combine_chunks()))


def rows_to_use(
    columns: pa.Table, conditions: Sequence[Condition], blank: Callable[[pa.Array], np.ndarray]
) -> np.ndarray:
    """Where all conditions hold, bool (n,). A blank value fulfils only `is blank` and `!=`.

    Values are compared as numbers where the condition's value is a number, else as texts. Whole numbers are compared
    digit by digit: `7` is not `007`, and an id of 19 digits is not the next one, as it would be in a float.
    columns: columns of texts, among them those of the conditions; blank: where texts mean a missing value, bool (n,)
    """
    good = np.ones(len(columns), bool)
    for condition in conditions:
        texts = columns[condition.column].combine_chunks()
        missing = blank(texts)
        if condition.operator in OPERATORS:
            holds = _compare(texts, condition)
            good &= np.where(missing, condition.operator == "!=", holds)
        else:
            good &= missing == (condition.operator == "is blank")
    return good


def _compare(texts: pa.Array, condition: Condition) -> np.ndarray:
    compare = OPERATORS[condition.operator]
    plain = pl.Series(texts, dtype=pl.String).str.strip_chars()
    value = condition.value.strip()
    number = value.replace(",", ".") if condition.decimal == "," else value
    if not NUMBER.fullmatch(number):
        return compare(plain, value).to_numpy()
    numbers = plain.cast(pl.Float64, strict=False)
    numbers = numbers.set((~numbers.is_finite()).fill_null(False), None)  # the texts `nan` and `inf` are no numbers
    if numbers.null_count() or condition.decimal == ",":
        read = pl.Series(numbers_of(texts, condition.decimal))  # such as 2,00 and $12
        numbers = read if condition.decimal == "," else numbers.fill_null(read)
    holds = compare(numbers, float(number)).fill_null(condition.operator == "!=")
    if WHOLE.fullmatch(number):
        if condition.operator in EQUAL:
            exact = compare(plain, number)
        elif abs(int(number)) < 2**63:
            exact = compare(plain.cast(pl.Int64, strict=False), int(number)).fill_null(holds)
        else:
            exact = holds
        holds = exact.zip_with(plain.str.contains(r"^-?\d+$"), holds)
    return holds.to_numpy()
