"""Cuts in time and the windows between them."""

from dataclasses import dataclass

from recsys.schema import DAY


def cut(end: int, days: int) -> int:
    """The time `days` whole days before `end` (both ms); what happened at the cut itself lies before it."""
    return end - days * DAY


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
