"""Dates in the forms that people and databases write, to milliseconds since 1970. Polars and NumPy only."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import polars as pl

from recsys.schema import DAY

DateForm = Literal["ymd", "yy", "dmy", "mdy", "compact", "day name", "name day"]

CLOCK: Final = r"(?:[T ,]+(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:[.,](?P<part>\d{1,9})\d*)?)?"
CLOCK_END: Final = r"\s*(?P<half>[AaPp]\.?[Mm]\.?)?)?\s*(?P<zone>Z|z|UTC|GMT|[+-]\d{2}(?::?\d{2})?)?\s*$"
TAIL: Final = CLOCK + CLOCK_END
YEAR_FIRST: Final = r"^\s*(?P<year>\d{{{}}})[-/.](?P<month>\d{{1,2}})[-/.](?P<day>\d{{1,2}})"
TWO_FIRST: Final = r"^\s*(?P<{}>\d{{1,2}})[-/.](?P<{}>\d{{1,2}})[-/.](?P<year>\d{{4}}|\d{{2}})"
WEEKDAY: Final = r"^\s*(?:[A-Za-z]{3,9},?\s+)?"
COMPACT: Final = (
    r"^\s*(?P<year>(?:19|20)\d{2})(?P<month>\d{2})(?P<day>\d{2})"
    r"(?:[T ]?(?P<hour>\d{2})(?P<minute>\d{2})(?P<second>\d{2})?)?(?:\.0+)?(?P<zone>Z)?\s*$"
)
MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")


@dataclass(frozen=True, slots=True)
class DatePattern:
    """A form of dates: its regular expression, and its name in messages."""

    regex: str
    words: str


DATE_PATTERNS: Final[Mapping[str, DatePattern]] = {
    "ymd": DatePattern(YEAR_FIRST.format(4) + TAIL, "year-month-day"),
    "yy": DatePattern(YEAR_FIRST.format(2) + TAIL, "two digits of the year, month, day"),
    "dmy": DatePattern(TWO_FIRST.format("day", "month") + TAIL, "day/month/year"),
    "mdy": DatePattern(TWO_FIRST.format("month", "day") + TAIL, "month/day/year"),
    "compact": DatePattern(COMPACT, "yyyymmdd"),
    "day name": DatePattern(
        WEEKDAY + r"(?P<day>\d{1,2})[-\s/.]+(?P<name>[A-Za-z]{3,9})\.?[-\s/,.]+(?P<year>\d{4}|\d{2})" + TAIL,
        "day, name of the month, year",
    ),
    "name day": DatePattern(
        WEEKDAY + r"(?P<name>[A-Za-z]{3,9})\.?\s+(?P<day>\d{1,2}),?\s+(?P<year>\d{4})" + TAIL,
        "name of the month, day, year",
    ),
}
"""The forms of dates by their key. Between `dmy`, `mdy` and `yy` it is decided from all values of a column."""

ORDERS: Final[Mapping[str, DateForm]] = {
    "day/month/year": "dmy",
    "month/day/year": "mdy",
    "year-month-day": "ymd",
    "year/month/day": "ymd",
    "yy/mm/dd": "yy",
}
"""The texts of `data.events.time_format` that state an order."""


@dataclass(frozen=True, slots=True)
class LocalTimes:
    """Times of clocks.

    ms: int64 (n,), since 1970 of the clock; known: bool (n,), False where a text is no date of the form
    offset: int64 (n,), ms that the clock is ahead of UTC; zoned: bool (n,), whether the text states the offset
    """

    ms: np.ndarray
    known: np.ndarray
    offset: np.ndarray
    zoned: np.ndarray


def local_times(texts: pl.Series, form: str, pattern: str = "") -> LocalTimes:
    """The times that texts state; form: a key of DATE_PATTERNS, or "pattern" for the strptime format `pattern`."""
    if form == "pattern":
        return _by_pattern(texts.str.strip_chars(), pattern)
    fields = texts.str.extract_groups(DATE_PATTERNS[form].regex).struct.unnest()
    known = fields["year"].is_not_null().to_numpy()
    days, real = _days(fields, len(texts))
    clock, possible = _clock(fields, len(texts))
    offset, zoned = _offsets(fields, len(texts))
    return LocalTimes(days * DAY + clock, known & real & possible, offset, zoned)


def to_utc(local: LocalTimes, zone: str) -> tuple[np.ndarray, np.ndarray]:
    """The times in UTC (ms, int64 (n,)), and where they are known, bool (n,).

    A time that occurs twice when clocks are set back is the earlier one. A time that is skipped when clocks are set
    forward is read by the clock from before.
    """
    ms = local.ms - local.offset
    open_ends = local.known & ~local.zoned
    if zone == "UTC" or not open_ends.any():
        return ms, local.known
    clock = pl.Series(local.ms[open_ends]).cast(pl.Datetime("ms"))
    times = clock.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null").dt.epoch("ms")
    if times.null_count():
        # A day earlier, the clock was not set forward yet.
        earlier = clock.dt.offset_by("-1d").dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")
        times = times.fill_null(earlier.dt.epoch("ms") + DAY)
    ms[open_ends] = times.fill_null(0).to_numpy()
    known = local.known.copy()
    known[open_ends] &= times.is_not_null().to_numpy()
    return ms, known


def _numbers(fields: pl.DataFrame, name: str, n: int) -> np.ndarray:
    """A field as int64 (n,), 0 where it is missing."""
    if name not in fields.columns:
        return np.zeros(n, np.int64)
    return fields[name].cast(pl.Int64).fill_null(0).to_numpy()


def _days(fields: pl.DataFrame, n: int) -> tuple[np.ndarray, np.ndarray]:
    """The days since 1970, int64 (n,), and where the date exists, bool (n,)."""
    year, month, day = (_numbers(fields, name, n) for name in ("year", "month", "day"))
    if "name" in fields.columns:
        short = fields["name"].str.slice(0, 3).str.to_lowercase()
        names = short.replace_strict(dict(zip(MONTHS, range(1, 13), strict=True)), default=0, return_dtype=pl.Int64)
        month = names.fill_null(0).to_numpy()
    short_year = (fields["year"].str.len_chars() == 2).fill_null(False).to_numpy()
    year = year + short_year * np.where(year < 70, 2000, 1900)
    right = (month >= 1) & (month <= 12) & (day >= 1)
    months = ((year - 1970) * 12 + np.where(right, month, 1) - 1).astype("datetime64[M]")
    dates = months.astype("datetime64[D]") + np.where(right, day, 1) - 1
    return dates.astype(np.int64), right & (dates.astype("datetime64[M]") == months)


def _clock(fields: pl.DataFrame, n: int) -> tuple[np.ndarray, np.ndarray]:
    """The ms since midnight, int64 (n,), and where the time of day exists, bool (n,)."""
    hour, minute, second = (_numbers(fields, name, n) for name in ("hour", "minute", "second"))
    part = np.zeros(n, np.int64)
    if "part" in fields.columns:
        part = fields["part"].str.pad_end(3, "0").str.slice(0, 3).cast(pl.Int64).fill_null(0).to_numpy()
    possible = (hour < 24) & (minute < 60) & (second < 61)
    if "half" in fields.columns and fields["half"].null_count() < n:
        half = fields["half"].str.slice(0, 1).str.to_lowercase()
        given, after_noon = half.is_not_null().to_numpy(), (half == "p").fill_null(False).to_numpy()
        possible &= ~given | ((hour >= 1) & (hour <= 12))
        hour = np.where(given, hour % 12 + 12 * after_noon, hour)
    return ((hour * 60 + minute) * 60 + second) * 1000 + part, possible


def _offsets(fields: pl.DataFrame, n: int) -> tuple[np.ndarray, np.ndarray]:
    """The ms that each clock is ahead of UTC, int64 (n,), and whether the text states it, bool (n,)."""
    if "zone" not in fields.columns or fields["zone"].null_count() == n:
        return np.zeros(n, np.int64), np.zeros(n, bool)
    zone = fields["zone"]
    digits = zone.str.replace_all(r"[^0-9]", "").str.pad_end(4, "0").cast(pl.Int64).fill_null(0).to_numpy()
    sign = np.where(zone.str.starts_with("-").fill_null(False).to_numpy(), -1, 1)
    return sign * (digits // 100 * 60 + digits % 100) * 60_000, zone.is_not_null().to_numpy()


def _by_pattern(texts: pl.Series, pattern: str) -> LocalTimes:
    times = texts.str.to_datetime(pattern, time_unit="ms", strict=False)
    zoned = times.dtype != pl.Datetime("ms") or "%s" in pattern
    known = times.is_not_null().to_numpy()
    ms = times.dt.epoch("ms").fill_null(0).to_numpy().copy()
    n = len(texts)
    return LocalTimes(ms, known, np.zeros(n, np.int64), np.full(n, zoned))
