"""Cuts in time and the windows between them."""

from dataclasses import dataclass
from datetime import UTC, datetime

from recsys.schema import DAY


def cut(end: int, days: int) -> int:
    """The time `days` whole days before `end` (both ms); what happened at the cut itself lies before it."""
    return end - days * DAY


def day(time: int) -> str:
    """The date of a time (ms since 1970), in UTC."""
    return datetime.fromtimestamp(time / 1000, UTC).strftime("%Y-%m-%d")


@dataclass(frozen=True, slots=True)
class Window:
    """The times after `start` and at or before `end` (ms)."""

    start: int
    end: int

    @classmethod
    def before(cls, end: int, days: int) -> "Window":
        """The `days` days up to `end`."""
        return cls(cut(end, days), end)

    def __contains__(self, time: int) -> bool:
        return self.start < time <= self.end
