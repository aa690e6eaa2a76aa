"""Rules by which rows are read: names of the columns in the files, and the meaning of their values."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys.data.layout.keys import PREFIX
from recsys.data.layout.settings import BLANKS
from recsys.data.layout.times import TimeReading
from recsys.data.layout.types import EventWords
from recsys.data.layout.where import Condition
from recsys.schema import AVAILABLE, CATEGORY, EVENT, ITEM, PARENT, PROPERTY, TIME, TRANSACTION, USER, VALUE


@dataclass(frozen=True, slots=True)
class Blanks:
    """The texts that mean a missing value, in lower case without spaces around them."""

    words: tuple[str, ...] = tuple(word.lower() for word in BLANKS)

    @classmethod
    def create(cls, words: Sequence[str]) -> "Blanks":
        """The texts of a setting, and the empty text."""
        return cls(tuple(dict.fromkeys(("", *(word.strip().lower() for word in words)))))

    def __call__(self, texts: pa.Array) -> pa.Array:
        """True where a text means a missing value."""
        plain = pc.ascii_lower(pc.ascii_trim_whitespace(texts))
        return pc.is_in(plain, value_set=pa.array(self.words))

    def mask(self, texts: pa.Array) -> np.ndarray:
        """As `__call__`, bool (n,)."""
        return self(texts).to_numpy(zero_copy_only=False)


@dataclass(frozen=True, slots=True)
class EventNames:
    """Names of the columns of events in the files; None for a column that they lack."""

    user: str = USER
    item: str = ITEM
    time: str = TIME
    event: str | None = EVENT
    order: str | None = TRANSACTION

    @property
    def by_purpose(self) -> dict[str, str]:
        """The columns that the files have, by their purpose."""
        return {purpose: name for purpose, name in asdict(self).items() if name is not None}


@dataclass(frozen=True, slots=True)
class EventRules:
    """The rules by which rows of events are read."""

    names: EventNames = EventNames()
    times: TimeReading = field(default_factory=TimeReading)
    words: EventWords = field(default_factory=EventWords)
    where: tuple[Condition, ...] = ()
    blanks: Blanks = Blanks()

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns to read, each once."""
        names = self.names
        event = None if self.words.every is not None else names.event
        wanted = [names.time, names.user, event, names.item, names.order, *(each.column for each in self.where)]
        return tuple(dict.fromkeys(name for name in wanted if name is not None))

    @property
    def optional(self) -> tuple[str, ...]:
        """The columns that a file may lack."""
        needed = {self.names.time, self.names.user, self.names.item, *(each.column for each in self.where)}
        if self.words.every is None:
            needed.add(self.names.event or "")
        return tuple(name for name in self.columns if name not in needed)


@dataclass(frozen=True, slots=True)
class PropertyNames:
    """Names of the columns of item properties in the files, a row for each item, property and time.

    time: None for a table whose rows are valid from the beginning
    """

    item: str = ITEM
    time: str | None = TIME
    property: str = PROPERTY
    value: str = VALUE


@dataclass(frozen=True, slots=True)
class WideNames:
    """Names of the columns of a table with a row for each item.

    time: None for a table whose rows are valid from the beginning
    properties: the column of each property that the table has, by CATEGORY, AVAILABLE, and the keys of attributes
    """

    item: str
    time: str | None = None
    properties: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PropertyRules:
    """How rows of item properties are read.

    wide: for a table with a row for each item; then `names` is not used
    spelled: the name in the files of each property, by CATEGORY, AVAILABLE, and the keys of attributes
    """

    names: PropertyNames = PropertyNames()
    wide: WideNames | None = None
    times: TimeReading = field(default_factory=TimeReading)
    blanks: Blanks = Blanks()
    spelled: Mapping[str, str] = field(default_factory=lambda: {CATEGORY: CATEGORY, AVAILABLE: AVAILABLE})

    @property
    def purposes(self) -> dict[str, str]:
        """The purpose of each column that is read."""
        if self.wide is not None:
            given = {"item": self.wide.item, "time": self.wide.time}
            shown = {CATEGORY: "category", AVAILABLE: "available"}
            given |= {shown.get(key, key): name for key, name in self.wide.properties.items()}
        else:
            names = self.names
            given = {"item": names.item, "time": names.time, "property": names.property, "value": names.value}
        # A column may be a category and an attribute too. The category counts.
        by_rank = sorted(given.items(), key=lambda pair: not pair[0].startswith(PREFIX))
        return {name: purpose for purpose, name in by_rank if name is not None}

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns to read, each once."""
        if self.wide is not None:
            wanted = [self.wide.time, self.wide.item, *self.wide.properties.values()]
        else:
            wanted = [self.names.time, self.names.item, self.names.property, self.names.value]
        return tuple(dict.fromkeys(name for name in wanted if name is not None))

    @property
    def optional(self) -> tuple[str, ...]:
        """The columns that a file may lack: those of a table with a row for each item, but the item and the time."""
        wide = self.wide
        return () if wide is None else tuple(name for name in self.columns if name not in (wide.item, wide.time))


@dataclass(frozen=True, slots=True)
class TreeRules:
    """How rows of the category tree are read."""

    category: str = CATEGORY
    parent: str = PARENT
    blanks: Blanks = Blanks()

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns to read."""
        return self.category, self.parent

    @property
    def optional(self) -> tuple[str, ...]:
        """The columns that a file may lack."""
        return ()


BEGINNING: Final = "0"
"""The time of rows of a table without times: valid from the beginning."""
