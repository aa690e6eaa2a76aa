"""Names, types and units that every module shares."""

from typing import Final, Literal

from pydantic import BaseModel, ConfigDict

TIME: Final = "timestamp"
USER: Final = "visitorid"
EVENT: Final = "event"
ITEM: Final = "itemid"
TRANSACTION: Final = "transactionid"
PROPERTY: Final = "property"
VALUE: Final = "value"
CATEGORY: Final = "categoryid"
PARENT: Final = "parentid"
AVAILABLE: Final = "available"
RANK: Final = "rank"
SCORE: Final = "score"
LGB_SCORE: Final = "lgb_score"
MF_SCORE: Final = "mf_score"

EventType = Literal["view", "addtocart", "transaction"]
EVENT_TYPES: Final[tuple[EventType, ...]] = ("view", "addtocart", "transaction")
"""An event's code (int8) is its position here."""
VIEW, CART, PURCHASE = range(3)

DAY: Final = 86_400_000
"""Milliseconds. Every time is an int64 of milliseconds since 1970, UTC."""

SOURCES: Final = ("own", "covisitation", "mf_neighbours", "recent", "popular", "category")
"""The candidate sources; a source's provenance bit is its position."""

UNKNOWN: Final = -1
"""The code of an id or category that is not known."""


class Config(BaseModel):
    """Base of all settings: immutable, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class EventWeights(Config):
    """How much an event of each type says about interest; a view is the unit."""

    view: float = 1.0
    addtocart: float = 3.0
    transaction: float = 5.0

    def by_code(self) -> tuple[float, ...]:
        return tuple(getattr(self, name) for name in EVENT_TYPES)
