"""Cuts in time."""

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from recsys.schema import DAY

Present = int | np.ndarray
"""The time as of which features are computed, ms: one for all users of a batch, or int64 (n_users,)."""


@dataclass(frozen=True, slots=True, order=True)
class Cut:
    """A time from which training looks back. An event at exactly this time counts as before the cut.

    age: whole days before the newest event; time: ms since 1970
    """

    age: int
    time: int

    @classmethod
    def at(cls, end: int, age: int) -> "Cut":
        """The cut `age` days before `end`, the time of the newest event in ms."""
        return cls(age, end - age * DAY)

    def plus(self, days: int) -> int:
        """The time some days after the cut, ms."""
        return self.time + days * DAY


def day(time: int) -> str:
    """The date of a time (ms since 1970), in UTC."""
    return datetime.fromtimestamp(time / 1000, UTC).strftime("%Y-%m-%d")
