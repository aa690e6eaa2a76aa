"""Cuts in time."""

from datetime import UTC, datetime

from recsys.schema import DAY


def cut(end: int, days: int) -> int:
    """The time `days` whole days before `end` (both ms); what happened at the cut itself lies before it."""
    return end - days * DAY


def day(time: int) -> str:
    """The date of a time (ms since 1970), in UTC."""
    return datetime.fromtimestamp(time / 1000, UTC).strftime("%Y-%m-%d")
