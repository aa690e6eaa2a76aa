"""The mapping of a shop's files, as a version carries it."""

from pydantic import Field

from recsys.ids import IdKind
from recsys.schema import Config, EventType


class DataMapping(Config):
    """What the columns and words of a shop's files mean."""

    columns: dict[str, str]
    """The column of each purpose: user, item, time, event, order."""
    items: dict[str, str] = Field(default_factory=dict)
    """The column of each purpose in the tables of items."""
    types: EventType | dict[str, str]
    """The meaning of each word in the column of types, or the type of every row."""
    times: str
    """How times are written, in words."""
    time_unit: str | None = None
    """The unit of times that are numbers."""
    time_format: str | None = None
    """The form of times that are dates, if a setting can state it."""
    time_zone: str = "UTC"
    """The time zone of dates that name none."""
    dates: bool = False
    """Whether the log has dates without a time of day."""
    where: tuple[str, ...] = ()
    """Conditions of the rows that were used."""
    ids: dict[str, IdKind]
    """The types of the ids of user and item."""
