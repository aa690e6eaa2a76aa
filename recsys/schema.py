"""Names, types and units that every module shares."""

from typing import Any, Final, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

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
"""Milliseconds in a day. Every time is an int64: milliseconds since 1970, UTC."""
LATEST: Final = 253_402_300_799_999
"""The largest time: the end of the year 9999."""

Objective = Literal["all", "discover", "repeat"]
OBJECTIVES: Final[tuple[Objective, ...]] = ("all", "discover", "repeat")
"""The items that a list may hold: all, only items new to the user (discovery), or only items that the user had before.
An objective's code is its position here."""
ALL, DISCOVER, REPEAT = range(3)

UNKNOWN: Final = -1
"""The code of an unknown id or category."""


class Config(BaseModel):
    """Base of all settings: immutable and with finite numbers; an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _as_written(cls, value: Any, info: ValidationInfo) -> Any:
        """The value, or the default of a section that is empty. Raises ValueError for true where a number belongs."""
        field = cls.model_fields[str(info.field_name)]
        kind = field.annotation
        if value is None and isinstance(kind, type) and issubclass(kind, Config) and not field.is_required():
            return field.get_default(call_default_factory=True)
        values = value if isinstance(value, list | tuple) else [value]
        if any(isinstance(item, bool) for item in values) and bool not in (kind, *get_args(kind)) and kind is not Any:
            raise ValueError("true and false are not accepted here")
        return value


class EventWeights(Config):
    """Weights of the event types as signs of interest."""

    view: float = Field(1.0, ge=0)
    """Weight of a view."""
    addtocart: float = Field(3.0, ge=0)
    """Weight of an add-to-cart."""
    transaction: float = Field(5.0, ge=0)
    """Weight of a purchase."""

    def by_code(self) -> tuple[float, ...]:
        """The weights, in the order of EVENT_TYPES."""
        return tuple(getattr(self, name) for name in EVENT_TYPES)
