"""Settings that describe a shop's files: `data.events` and `data.items`. None stands for: found from the files."""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal, get_args
from zoneinfo import ZoneInfo

import polars as pl
from pydantic import AfterValidator, BeforeValidator, Field

from recsys.data.attributes import Kind
from recsys.data.layout.dates import ORDERS, local_times
from recsys.data.layout.where import parse_condition
from recsys.data.readers.dialect import Dialect
from recsys.ids import IdKind
from recsys.schema import EVENT_TYPES, Config, EventType

BLANKS: Final = (
    *("", "null", "nan", "none", "undefined", "\\N", "<NA>", "NA", "n/a", "#N/A", "NaT", "-", "(null)", "[null]"),
)
"""Texts that mean a missing value, in upper or lower case and with spaces around them."""

Meaning = Literal["view", "addtocart", "transaction", "ignore"]
TimeUnit = Literal["s", "ms", "us", "ns"]


def _texts(value: Any) -> Any:
    """The values of a list as texts: YAML reads `null` and `~` as nothing, and `1` as a number."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        return tuple("null" if each is None else str(each) for each in value)
    return value


def _one_or_more(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


def _text_keys(value: Any) -> Any:
    """The mapping with texts as keys: YAML reads the word `1` as a number."""
    return {str(key): meaning for key, meaning in value.items()} if isinstance(value, Mapping) else value


def _meanings(value: Any) -> Any:
    """One type, or the mapping of words to meanings with texts as keys."""
    meanings = get_args(Meaning)
    if not isinstance(value, Mapping):
        if value is not None and value not in EVENT_TYPES:
            raise ValueError(f"expected {' or '.join(EVENT_TYPES)}, or a mapping such as {{buy: transaction}}")
        return value
    for word, meaning in value.items():
        if meaning not in meanings:
            raise ValueError(f"{word}: {meaning}; expected {', '.join(meanings[:-1])} or {meanings[-1]} for each word")
    return _text_keys(value)


def _is_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError("expected the name of a time zone, such as Europe/Paris") from error
    return name


def _is_format(text: str | None) -> str | None:
    if text is not None and text.strip().lower() not in ORDERS:
        wanted = f"expected one of {', '.join(ORDERS)}, or a format with % such as %d.%m.%y %H:%M"
        if "%" not in text:
            raise ValueError(wanted)
        if re.search(r"%[-_0]?Z", text.replace("%%", "")):
            raise ValueError("names of zones, %Z, are not read; expected an offset such as +02:00, %z, or time_zone")
        try:
            local_times(pl.Series(["text"]), "pattern", text)
        except pl.exceptions.PolarsError as error:
            raise ValueError(f"{wanted}: {str(error).splitlines()[0]}") from error
    return text


def _are_conditions(texts: tuple[str, ...]) -> tuple[str, ...]:
    for text in texts:
        parse_condition(text)
    return texts


Globs = Annotated[tuple[str, ...], BeforeValidator(_one_or_more), BeforeValidator(_texts)]
Texts = Annotated[tuple[str, ...], BeforeValidator(_texts)]


class FileConfig(Dialect):
    """Settings that the tables of events and of items share."""

    files: Globs | None = None
    """Names of tables, or patterns of files inside the source: `*.csv` in any folder, `2024/*.csv` in this one. None:
    found by their names, else by their columns."""

    @property
    def dialect(self) -> Dialect:
        """The form of the rows of text files."""
        return Dialect(delimiter=self.delimiter, encoding=self.encoding, header=self.header)


class EventColumns(Config):
    """Names of the columns of events in the files. None: a customary name."""

    user: str | None = None
    """The user's id."""
    item: str | None = None
    """The item's id."""
    time: str | None = None
    """The time of the event."""
    event: str | None = None
    """The type of the event."""
    order: str | None = None
    """The id of the order that a purchase belongs to."""


class IdKinds(Config):
    """Types of the ids: `int64` or `string`. None: int64 if every id is a whole number, else string."""

    user: IdKind | None = None
    """The type of users' ids. Under `int64` a row with another id cannot be used."""
    item: IdKind | None = None
    """The type of items' ids. Under `int64` a row with another id cannot be used."""


class EventsConfig(FileConfig):
    """Settings of the log of events."""

    columns: EventColumns = EventColumns()
    types: Annotated[EventType | dict[str, Meaning] | None, BeforeValidator(_meanings)] = None
    """The meaning of each word in the column of types: `view`, `addtocart`, `transaction` or `ignore`. Customary words
    are known. One type instead of a mapping is that of every row."""
    time_zone: Annotated[str, AfterValidator(_is_zone)] = "UTC"
    """The time zone of dates that name none."""
    time_unit: TimeUnit | None = None
    """The unit of times that are numbers. None: found from the values."""
    time_format: Annotated[str | None, AfterValidator(_is_format)] = None
    """The order of dates, `day/month/year`, `month/day/year`, `year-month-day` or `yy/mm/dd`, or a format with `%` such
    as `%d.%m.%y %H:%M`. None: found from the values."""
    where: Annotated[
        tuple[str, ...], BeforeValidator(_one_or_more), BeforeValidator(_texts), AfterValidator(_are_conditions)
    ] = ()
    """Conditions of the rows to use, such as `Quantity > 0` or `CustomerID is not blank`; all must hold."""
    blanks: Texts = BLANKS
    """Texts that mean a missing value, in upper or lower case and with spaces around them."""
    ids: IdKinds = IdKinds()


class ItemColumns(Config):
    """Names of the columns of item tables in the files. None: a customary name."""

    item: str | None = None
    """The item's id."""
    time: str | None = None
    """The time from which a row is valid. A table without it is valid from the beginning."""
    category: str | None = None
    """The item's category. In a table of properties: the name of this property."""
    available: str | None = None
    """Whether the item can be bought. In a table of properties: the name of this property."""
    property: str | None = None
    """The name of a property, in a table with a row for each item, property and time."""
    value: str | None = None
    """The value of a property, in a table with a row for each item, property and time."""


class ItemsConfig(FileConfig):
    """Settings of the tables of items."""

    columns: ItemColumns = ItemColumns()
    attributes: Annotated[dict[str, Kind] | None, BeforeValidator(_text_keys)] = None
    """The kind of each attribute of items by its name in the files: `number`, `category`, `tags`, `text` (a title, or
    the address of an image) or `vector`. None: all columns of a table with a row for each item, by their values. Of a
    table of properties only the attributes named here are read. `{}`: no attributes."""
    max_attributes: int = Field(12, ge=0)
    """Largest number of attributes that have features; the first ones are taken."""
