"""Times as they are written in files: numbers of a unit, or dates of a form, to milliseconds since 1970 UTC."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import polars as pl
import pyarrow as pa

from recsys.data.layout.dates import DATE_PATTERNS, ORDERS, DateForm, local_times, to_utc
from recsys.data.layout.ids import integers
from recsys.data.layout.settings import TimeUnit
from recsys.schema import DAY, LATEST

UNITS: Final[dict[TimeUnit, str]] = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
PER_SECOND: Final[dict[TimeUnit, int]] = {"s": 1, "ms": 1000, "us": 10**6, "ns": 10**9}
FIRST, LAST = 315_532_800, 4_102_444_800
"""The plausible times: 1980 to 2100, seconds since 1970. So the magnitude of a number tells its unit."""

NOT_POSITIVE: Final = "not positive"
TOO_EARLY: Final = "before 1980"
TOO_LATE: Final = "later than the run's clock plus a day"

Form = Literal["number", "pattern"] | DateForm
"""How times are written: as numbers of a unit, by a format of the settings, or as dates of a form."""


@dataclass(frozen=True, slots=True)
class TimeReading:
    """How the times of a table are read.

    form: see Form; unit: of numbers; pattern: the strptime format of the form "pattern"
    zone: the time zone of dates that name none
    any_age: whether numbers may lie before 1980, in a log whose stated unit makes most of its times so
    """

    form: Form = "number"
    unit: TimeUnit = "ms"
    zone: str = "UTC"
    pattern: str = ""
    any_age: bool = False

    @property
    def unit_setting(self) -> TimeUnit | None:
        """The value of `data.events.time_unit` that states this reading, None for dates."""
        return self.unit if self.form == "number" else None

    @property
    def format_setting(self) -> str | None:
        """The value of `data.events.time_format` that states this reading, None if there is none."""
        if self.form == "pattern":
            return self.pattern
        return next((text for text, form in ORDERS.items() if form == self.form), None)

    def __str__(self) -> str:
        if self.form == "number":
            return f"{UNITS[self.unit]} since 1970"
        written = f"format {self.pattern}" if self.form == "pattern" else DATE_PATTERNS[self.form].words
        return f"{written}, {self.zone} where no zone is given"


@dataclass(frozen=True, slots=True)
class Times:
    """Times in ms, int64 (n,), and the rows that have none: (where, bool (n,); the reason), the first reason counts."""

    values: np.ndarray
    faults: Sequence[tuple[np.ndarray, str]]


def read_times(texts: pa.Array, reading: TimeReading, now: int, *, beginning: bool = False) -> Times:
    """The times of a column.

    now: the clock of the run (ms); times more than a day later are faults
    beginning: take small whole numbers, such as 0, as they are: the row is valid from the beginning
    """
    numbers, spelled = integers(texts)
    values = numbers.fill_null(0).to_numpy()
    is_number = reading.form == "number"
    times = _read_numbers(texts, values, spelled, reading) if is_number else _read_dates(texts, reading)
    late = times.values > now + DAY
    faults = [*times.faults, (late, TOO_LATE)] if late.any() else list(times.faults)
    if not beginning:
        return Times(times.values, faults)
    early = spelled & (values >= 0) & (values < FIRST)
    return Times(np.where(early, values, times.values), [(where & ~early, reason) for where, reason in faults])


def unit_of(values: np.ndarray) -> np.ndarray:
    """The position in UNITS of the unit in which each number is a plausible time, -1 for none; int8 (n,)."""
    units = np.full(len(values), -1, np.int8)
    for position, scale in enumerate(PER_SECOND.values()):
        units[(values >= FIRST * scale) & (values < LAST * scale)] = position
    return units


def _read_numbers(texts: pa.Array, values: np.ndarray, spelled: np.ndarray, reading: TimeReading) -> Times:
    unit, scale = UNITS[reading.unit], PER_SECOND[reading.unit]
    low = 1 if reading.any_age else FIRST * scale
    high = min(LATEST * scale // 1000, 2**62)  # below the largest int64
    if spelled.all() and values.min(initial=low) >= low and values.max(initial=low) < LAST * scale:
        return Times(_as_ms(values, scale), [])
    known = spelled.copy()
    ms = _as_ms(np.clip(values, 0, high), scale)
    if not spelled.all():
        written = decimals(texts)
        known |= np.isfinite(written)
        decimal = known & ~spelled
        whole = np.clip(np.where(decimal, written, 0), -1, high)
        values = np.where(decimal, np.floor(whole).astype(np.int64), values)
        ms = np.where(decimal, np.rint(whole * (1000 / scale)).astype(np.int64), ms)
    units, own = unit_of(values), list(UNITS).index(reading.unit)
    faults = [(~known, f"not a number of {unit}"), (values <= 0, NOT_POSITIVE)]
    for position, name in enumerate(UNITS.values()):
        if position != own:
            faults.append((units == position, f"in {name}, where the others are in {unit}"))
    faults += [(values < low, TOO_EARLY), (values > high, TOO_LATE)]
    return Times(ms, [(where, reason) for where, reason in faults if where.any()])


def _as_ms(values: np.ndarray, scale: int) -> np.ndarray:
    return values * 1000 if scale == 1 else values // (scale // 1000) if scale > 1000 else values


def decimals(texts: pa.Array) -> np.ndarray:
    """The numbers that texts write as decimals, float64 (n,), NaN for other texts."""
    series = pl.Series(texts, dtype=pl.String).str.strip_chars()
    number = series.str.contains(r"^[+-]?[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?$")
    return series.set(~number.fill_null(False), None).cast(pl.Float64, strict=False).fill_null(np.nan).to_numpy()


def _read_dates(texts: pa.Array, reading: TimeReading) -> Times:
    """The times that dates state. Each distinct text is read once."""
    coded = texts.dictionary_encode()
    words = pl.Series(coded.dictionary, dtype=pl.String)
    local = local_times(words, reading.form, reading.pattern)
    ms, known = to_utc(local, reading.zone)
    index = coded.indices.to_numpy()
    if not len(words):
        return Times(np.zeros(0, np.int64), [])
    ms, known = ms[index], known[index]
    written = f"format {reading.pattern}" if reading.form == "pattern" else DATE_PATTERNS[reading.form].words
    faults = [
        (~known, f"not a date ({written})"),
        (known & (ms < FIRST * 1000), TOO_EARLY),
        (known & (ms >= LAST * 1000), TOO_LATE),
    ]
    return Times(ms, [(where, reason) for where, reason in faults if where.any()])
