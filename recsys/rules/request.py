"""Filters and rules that one request may ask for."""

from math import isfinite
from typing import Annotated, Any, Final, Literal, get_args, get_origin

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from recsys.schema import Config

MOST_ITEMS: Final = 10_000
"""Items that a request may exclude."""
MOST_TARGETS: Final = 100
MOST_CAPS: Final = 16
"""Caps of a request, and caps of a file that an item falls under: with k of them, k * n items are ranked for a list."""
"""Filters, boosts, caps or pins of one kind in a request; values of one filter."""
MOST_VALUES: Final = 10_000
"""Items, categories or values of one target."""
LARGEST_FACTOR: Final = 1e6
"""Largest factor of a boost or burial."""
EXACT: Final = 2**53
"""From here on a float does not hold every integer."""


def _whole(value: Any) -> Any:
    """The integer for a number of JSON such as 8.0, which is one; any other value as it is."""
    if isinstance(value, float) and value.is_integer() and abs(value) < EXACT:
        return int(value)
    return value


def _encodable(text: str) -> str:
    """The text, if UTF-8 can write it; raises ValueError for halves of characters."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("expected a text of whole characters") from None
    return text


Text = Annotated[str, AfterValidator(_encodable)]


def _id(value: Any) -> Any:
    """The value, if it may be an id; raises ValueError. A union would report each of its members.

    JSON may write an integer as 8.0.
    """
    value = _whole(value)
    if isinstance(value, str):
        return _encodable(value)
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError(f"expected an id, a whole number or a text, found {value!r:.80}")
    return value


Id = Annotated[int | str, Field(union_mode="left_to_right"), BeforeValidator(_id)]
"""An item or a category, as in the shop's data."""


def _value(value: Any) -> Any:
    """The value, if it may be a word or a number; raises ValueError. A union would report each of its members."""
    if isinstance(value, str):
        return _encodable(value)
    finite = isinstance(value, int) or (isinstance(value, float) and isfinite(value))
    if isinstance(value, bool) or not finite:
        raise ValueError(f"expected a word or a number, found {value!r:.80}")
    return value


Value = Annotated[int | float | str, Field(union_mode="left_to_right"), BeforeValidator(_value)]
"""A value of an attribute."""

Factor = Annotated[float, Field(ge=1, le=LARGEST_FACTOR)]


def word_of(value: float | str) -> str:
    """The text of a value: `7` for 7 and 7.0."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


class Documented(Config):
    """Base of what a body of a request may hold: its fields are described in the documentation of the API."""

    model_config = ConfigDict(strict=True, use_attribute_docstrings=True)

    @field_validator("*", mode="before")
    @classmethod
    def _from_json(cls, value: Any, info: ValidationInfo) -> Any:
        """The value as strict types know it: JSON has no tuples, and may write an integer as 8.0."""
        kind = cls.model_fields[str(info.field_name)].annotation
        if isinstance(value, list) and any(get_origin(part) is tuple for part in (kind, *get_args(kind))):
            return tuple(value)
        return _whole(value) if kind is int else value


class Target(Documented):
    """Some items: given ones, those of categories, or those with values of an attribute. Exactly one of the three.

    An item is in a category if its own category is this one or a descendant of it.
    """

    items: tuple[Id, ...] | None = Field(None, min_length=1, max_length=MOST_VALUES, examples=[[48030]])
    """Ids of items."""
    categories: tuple[Id, ...] | None = Field(None, min_length=1, max_length=MOST_VALUES, examples=[[12]])
    """Ids of categories; their descendants belong to them."""
    attribute: Text | None = Field(None, examples=["brand"])
    """The name of an attribute, with `values` or `between`."""
    values: tuple[Value, ...] | None = Field(None, min_length=1, max_length=MOST_VALUES, examples=[["Acme"]])
    """Values of the attribute as words, such as names of brands. One of them is enough."""
    between: tuple[float | None, float | None] | None = Field(None, examples=[[10, 50]])
    """Smallest and largest number, both included; null for no bound. Items without a number are outside."""

    @model_validator(mode="after")
    def _one(self) -> "Target":
        kinds = [name for name in ("items", "categories", "attribute") if getattr(self, name) is not None]
        if len(kinds) != 1:
            raise ValueError(f"expected one of items, categories and attribute, found {' and '.join(kinds) or 'none'}")
        parts = [name for name in ("values", "between") if getattr(self, name) is not None]
        if self.attribute is None and parts:
            raise ValueError(f"{parts[0]} needs an attribute")
        if self.attribute is not None and len(parts) != 1:
            raise ValueError(f"attribute {self.attribute}: expected either values or between")
        if self.between is not None:
            low, high = self.between
            if low is None and high is None:
                raise ValueError("between: expected at least one bound")
            if low is not None and high is not None and low > high:
                raise ValueError(f"between: the lower bound {low:g} is above the upper bound {high:g}")
        return self

    def __str__(self) -> str:
        """A short text, for messages."""
        if self.between is not None:
            low, high = ("" if bound is None else f"{bound:g}" for bound in self.between)
            return f"{self.attribute} {low}..{high}"
        kind = self.attribute or ("items" if self.items is not None else "categories")
        values = self.values or self.items or self.categories or ()
        shown = ", ".join(word_of(value)[:40] for value in values[:5])
        return f"{kind} {shown}{', …' if len(values) > 5 else ''}"


class Boost(Documented):
    """Items that move up or down: the odds of their score are multiplied, or for `bury` divided, by `factor`."""

    factor: Factor = Field(examples=[2])
    """What the odds are multiplied or divided by."""
    where: Target


class Cap(Documented):
    """At most so many items in a list: for each value of `per`, or of the items of `where`. Exactly one of the two."""

    at_most: int = Field(ge=0, le=1000, examples=[2])
    """The number of items."""
    per: Text | None = Field(None, examples=["category"])
    """`category`, or the name of an attribute with words as values. Items without a value are not counted."""
    where: Target | None = None
    """The items that count."""

    @model_validator(mode="after")
    def _one(self) -> "Cap":
        if (self.per is None) == (self.where is None):
            raise ValueError("expected either per or where")
        return self


class Pin(Documented):
    """An item at a position of the list, counted from 1."""

    item: Id = Field(examples=[48030])
    """The id of the item."""
    position: int = Field(ge=1, le=1000, examples=[1])
    """The position, from 1."""


class RequestRules(Documented):
    """Filters and rules of one request. Every filter must hold."""

    exclude_purchased: bool = Field(False, examples=[True])
    """Leave out what the user bought."""
    exclude_seen: bool = Field(False, examples=[True])
    """Leave out every item of the user's events."""
    exclude: tuple[Id, ...] = Field((), max_length=MOST_ITEMS, examples=[[48030]])
    """Items to leave out, for example those sold out this minute. Unknown ids are harmless."""
    only: tuple[Target, ...] = Field((), max_length=MOST_TARGETS)
    """Only these items; each entry must hold."""
    without: tuple[Target, ...] = Field((), max_length=MOST_TARGETS)
    """None of these items."""
    availability: Literal["available", "any"] = "available"
    """`any` also allows items that the version has as not available."""
    boost: tuple[Boost, ...] = Field((), max_length=MOST_TARGETS)
    """Items that move up."""
    bury: tuple[Boost, ...] = Field((), max_length=MOST_TARGETS)
    """Items that move down."""
    cap: tuple[Cap, ...] = Field((), max_length=MOST_CAPS)
    """Upper bounds of items of a kind in the list."""
    diversity: float | None = Field(None, ge=0, le=1, examples=[0.3])
    """Weight of the difference from the items before; 0 for none; without it, as the rules file has it."""
    pin: tuple[Pin, ...] = Field((), max_length=MOST_TARGETS)
    """Items at fixed positions."""
    rules_file: bool = Field(True, examples=[True])
    """Whether the rules of the service's file hold for this request."""


NO_RULES: Final = RequestRules()
"""A request without filters and rules."""
