"""The rules of the shop's rules file, and for whom they hold."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Final, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field, ValidationInfo, field_validator, model_validator

from recsys.ids import hashes, mix
from recsys.rules.request import Factor, Target
from recsys.schema import DAY, LATEST, Config

ACTIONS: Final = ("filter", "boost", "bury", "pin", "cap", "diversity")
"""The actions of a rule; each rule has one of them."""


class Rule(Config):
    """One rule: a name, one action, its items, and when and for whom it holds."""

    name: str = Field(min_length=1, max_length=100)
    """A name, different for each rule. It decides which users are in `fraction`."""
    filter: Literal["only", "without"] | None = None
    """Only the items of `where`, or none of them."""
    boost: Factor | None = None
    """Multiply the odds of the items of `where` by this factor, 1 or more."""
    bury: Factor | None = None
    """Divide the odds of the items of `where` by this factor, 1 or more."""
    pin: int | None = Field(None, ge=1, le=1000)
    """The position, from 1, of the first item of `where`; further items follow."""
    cap: int | None = Field(None, ge=0, le=1000)
    """At most so many items: of `where`, or of each value of `per`."""
    diversity: float | None = Field(None, ge=0, le=1)
    """Weight of the difference from the items before."""
    where: Target | None = None
    """The items that the rule is about."""
    per: str | None = None
    """For `cap`: `category`, or the name of an attribute."""
    start: int | None = Field(None, alias="from")
    """ISO 8601; from then on the rule holds. A date begins at 00:00 UTC; a time without a zone is UTC."""
    until: int | None = None
    """ISO 8601; until then the rule holds. A date is included."""
    fraction: float = Field(1.0, gt=0, le=1)
    """The fraction of the users for whom the rule holds."""

    @field_validator("start", "until", mode="before")
    @classmethod
    def _time(cls, value: Any, info: ValidationInfo) -> int | None:
        return None if value is None else _milliseconds(value, end=info.field_name == "until")

    @model_validator(mode="after")
    def _complete(self) -> "Rule":
        given = [name for name in ACTIONS if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"expected one action of {', '.join(ACTIONS)}, found {' and '.join(given) or 'none'}")
        action = given[0]
        if action == "cap" and (self.per is None) == (self.where is None):
            raise ValueError("cap: expected either per or where")
        if action != "cap" and self.per is not None:
            raise ValueError("per belongs to cap")
        if action == "diversity" and self.where is not None:
            raise ValueError("diversity has no where: it holds for the whole list")
        if action not in ("cap", "diversity") and self.where is None:
            raise ValueError(f"{action}: expected where, the items that the rule is about")
        if action == "pin" and self.where is not None and self.where.items is None:
            raise ValueError("pin: expected items in where")
        if self.start is not None and self.until is not None and self.start >= self.until:
            raise ValueError("from is not before until")
        return self


def _milliseconds(value: Any, end: bool) -> int:
    """The time that a text spells, ms since 1970 UTC; end: a date stands for its end."""
    text = str(value)
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        expected = "a date or time as 2026-06-30 or 2026-06-30T18:00:00+02:00"
        raise ValueError(f"expected {expected}, not {text!r:.80}") from None
    moment = int((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * 1000)
    if not 0 <= moment <= LATEST:
        raise ValueError(f"{text} is out of range")
    return moment + DAY if end and len(text) <= len("2026-06-30") else moment


@dataclass(frozen=True)
class RulesFile:
    """The rules of a file, in its order.

    lines: the first line of each rule; digest: a hash of the text
    """

    rules: tuple[Rule, ...] = ()
    lines: tuple[int, ...] = ()
    digest: str = ""

    @cached_property
    def spans(self) -> np.ndarray:
        """First and last + 1 ms of each rule, int64 (n_rules, 2)."""
        spans = [(rule.start or 0, LATEST + 1 if rule.until is None else rule.until) for rule in self.rules]
        return np.array(spans, np.int64).reshape(-1, 2)

    @cached_property
    def fractions(self) -> np.ndarray:
        """The fraction of the users of each rule, float64 (n_rules,)."""
        return np.array([rule.fraction for rule in self.rules])

    @cached_property
    def salts(self) -> np.ndarray:
        """A number for each name, uint64 (n_rules,)."""
        names = pa.array([rule.name for rule in self.rules], pa.string())
        return hashes(names) if len(names) else np.zeros(0, np.uint64)

    def active(self, users: Sequence[int | str | None], now: int) -> np.ndarray:
        """Whether each rule holds for each user at `now` (ms), bool (n_users, n_rules).

        A user is in a rule's fraction by a hash of id and name, so the fraction of one rule says nothing about
        another. A request without a user is None: rules for a fraction do not hold.
        """
        current = (self.spans[:, 0] <= now) & (now < self.spans[:, 1])
        partial = np.flatnonzero(current & (self.fractions < 1))
        active = np.repeat(current[None], len(users), axis=0)
        if len(partial):
            known = np.array([user is not None for user in users], bool)
            active[:, partial] = False
            drawn = hashes(pa.array([user for user in users if user is not None]))[:, None] if known.any() else None
            if drawn is not None:
                inside = mixed(drawn, self.salts[partial]) < self.fractions[partial]
                active[np.ix_(known, partial)] = inside
        return active


def mixed(users: np.ndarray, salts: np.ndarray) -> np.ndarray:
    """A number in [0, 1) for each user and rule, float64 (n_users, n_rules).

    users: uint64 (n_users, 1), hashes of ids; salts: uint64 (n_rules,)
    """
    return np.asarray(mix(users ^ salts) / float(2**64))
