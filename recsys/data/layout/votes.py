"""The unit or form of a column of times, decided from its values."""

from dataclasses import astuple, dataclass, replace
from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa

from recsys.data.layout.dates import DATE_PATTERNS, ORDERS, DateForm, local_times
from recsys.data.layout.ids import integers
from recsys.data.layout.rules import Blanks
from recsys.data.layout.settings import EventsConfig, TimeUnit
from recsys.data.layout.times import UNITS, TimeReading, decimals, unit_of
from recsys.data.layout.unclear import Unclear, listed

MIXED: Final = 0.01
"""Largest fraction of dates of the other order of day and month."""
FEWEST_DAYS: Final = 10
"""Different first numbers of dates such as 24/03/21 that tell days from years."""
DAYS_PER_YEAR: Final = 3
"""Least ratio of different days to different years."""


@dataclass(frozen=True, slots=True)
class Votes:
    """Numbers of values by their form.

    s, ms, us, ns: numbers that are plausible times in this unit; compact: numbers such as 20101201
    day_first, month_first: dates whose first or second number is above 12; either: both are 12 or less
    dotted: such dates with dots between their numbers, whatever their order
    unread: other values that are not blank
    short: dates such as 21-03-24 that may begin with the year; short_only: those of them without another reading
    firsts, thirds: the different first and third numbers of `short`
    """

    s: int = 0
    ms: int = 0
    us: int = 0
    ns: int = 0
    compact: int = 0
    ymd: int = 0
    day_first: int = 0
    month_first: int = 0
    either: int = 0
    dotted: int = 0
    day_name: int = 0
    name_day: int = 0
    unread: int = 0
    short: int = 0
    short_only: int = 0
    firsts: frozenset[int] = frozenset()
    thirds: frozenset[int] = frozenset()

    @property
    def read(self) -> bool:
        """Whether a value can be read as a time."""
        return any(astuple(replace(self, unread=0, dotted=0)))

    @property
    def numeric_dates(self) -> int:
        """The dates of three numbers of which the first is no year of four digits."""
        return self.day_first + self.month_first + self.either + self.short_only

    @property
    def may_begin_with_year(self) -> bool:
        """Whether the year may come first in dates of three numbers: hardly one excludes it, nor are they clearly days.

        A log has many days and few years.
        """
        days, years = len(self.firsts), len(self.thirds)
        clear = days >= FEWEST_DAYS and days >= DAYS_PER_YEAR * years and not self.short_only
        return 0 < self.short >= (1 - MIXED) * self.numeric_dates and not clear

    def __add__(self, other: "Votes") -> "Votes":
        parts = zip(astuple(self), astuple(other), strict=True)
        return Votes(*(mine | more if isinstance(mine, frozenset) else mine + more for mine, more in parts))


def count_votes(texts: pa.Array) -> Votes:
    """The votes of some values that are not blank; string (n,)."""
    series = pl.Series(texts, dtype=pl.String)
    if not len(series):
        return Votes()
    numbers, spelled = integers(series.to_arrow())
    floats = np.where(spelled, numbers.fill_null(0).to_numpy().astype(np.float64), decimals(series.to_arrow()))
    unit = unit_of(np.nan_to_num(floats, nan=-1.0))
    units = [int((unit == position).sum()) for position in range(len(UNITS))]
    rest = series.filter(pl.Series(unit < 0))
    counts: dict[str, int] = {}
    for form in ("compact", "ymd", "day name", "name day"):
        known = local_times(rest, form).known
        counts[form] = int(known.sum())
        rest = rest.filter(pl.Series(~known))
    day, month, short = (local_times(rest, form).known for form in ("dmy", "mdy", "yy"))
    years_first = rest.filter(pl.Series(short)).str.extract_groups(DATE_PATTERNS["yy"].regex).struct.unnest()
    firsts, thirds = (frozenset(years_first[name].unique().cast(pl.Int64)) for name in ("year", "day"))
    dotted = rest.str.contains(r"^\s*\d{1,2}\.").to_numpy() & (day | month)
    return Votes(
        s=units[0],
        ms=units[1],
        us=units[2],
        ns=units[3],
        compact=counts["compact"],
        ymd=counts["ymd"],
        day_first=int((day & ~month).sum()),
        month_first=int((month & ~day).sum()),
        either=int((day & month).sum()),
        dotted=int(dotted.sum()),
        day_name=counts["day name"],
        name_day=counts["name day"],
        unread=int((~day & ~month & ~short).sum()),
        short=int(short.sum()),
        short_only=int((short & ~day & ~month).sum()),
        firsts=firsts,
        thirds=thirds,
    )


def votes_of(rows: pa.Table, column: str, blanks: Blanks) -> Votes:
    """The votes of a column; values that mean a missing one do not count."""
    texts = rows[column].combine_chunks()
    return count_votes(texts.filter(pa.array(~blanks.mask(texts))))


def is_open(votes: Votes) -> bool:
    """Whether more values could decide: so far there is none, or several orders of day, month and year are possible."""
    either = bool(votes.either) and not (votes.day_first or votes.month_first or votes.dotted)
    return votes == Votes() or either or (votes.may_begin_with_year and not votes.short_only)


def decide(votes: Votes, config: EventsConfig, column: str) -> TimeReading | Unclear:
    """The reading of the times of a column; column: its name in messages."""
    zone = config.time_zone
    if (stated := _stated(config, votes)) is not None:
        return stated
    by_form: dict[DateForm | TimeUnit, int] = {unit: getattr(votes, unit) for unit in UNITS}
    by_form |= {"compact": votes.compact, "ymd": votes.ymd, "day name": votes.day_name, "name day": votes.name_day}
    best = max(by_form, key=lambda form: by_form[form])
    if votes.numeric_dates > by_form[best]:
        return _day_or_month(votes, zone, column)
    if votes == Votes():
        return TimeReading(zone=zone)
    if not by_form[best]:
        return _unreadable(votes, column)
    if best in DATE_PATTERNS:
        return TimeReading(best, zone=zone)  # type: ignore[arg-type]
    return TimeReading("number", best, zone)  # type: ignore[arg-type]


def _stated(config: EventsConfig, votes: Votes) -> TimeReading | None:
    """The unit or form that the settings state."""
    if config.time_format is not None:
        order = ORDERS.get(config.time_format.strip().lower())
        pattern = config.time_format if order is None else ""
        return TimeReading(order or "pattern", zone=config.time_zone, pattern=pattern)
    if config.time_unit is not None:
        # A log that begins with 0 has any age. In others a number before 1980 is a fault, stated unit or not.
        numbers = votes.s + votes.ms + votes.us + votes.ns + votes.compact + votes.unread
        any_age = 2 * getattr(votes, config.time_unit) < numbers
        return TimeReading("number", config.time_unit, config.time_zone, any_age=any_age)
    return None


def _day_or_month(votes: Votes, zone: str, column: str) -> TimeReading | Unclear:
    choices = ("day/month/year", "month/day/year")
    if votes.may_begin_with_year:
        return _with_short_year(votes, zone, column)
    less, more = sorted((votes.day_first, votes.month_first))
    if less > MIXED * (less + more):
        problem = (
            f"column {column!r} mixes dates of day/month/year ({votes.day_first:,} that cannot be read otherwise) and "
            f"month/day/year ({votes.month_first:,})"
        )
        return Unclear("data.events.time_format", problem, choices)
    if more:
        return TimeReading("dmy" if votes.day_first > votes.month_first else "mdy", zone=zone)
    if votes.dotted:
        return TimeReading("dmy", zone=zone)
    problem = f"column {column!r}: every date can be read as {listed(choices).replace(', ', ' and as ')}"
    return Unclear("data.events.time_format", problem, choices)


def _with_short_year(votes: Votes, zone: str, column: str) -> TimeReading | Unclear:
    """The reading of dates such as 21-03-24 that may begin with the year."""
    few = MIXED * votes.numeric_dates
    if votes.short_only > few:
        return TimeReading("yy", zone=zone)
    orders = {"day/month/year": votes.month_first, "month/day/year": votes.day_first}
    choices = (*(order for order, against in orders.items() if against <= few), "yy/mm/dd")
    problem = f"column {column!r}: every date can be read as {listed(choices).replace(', ', ' and as ')}"
    return Unclear("data.events.time_format", problem, choices)


def _unreadable(votes: Votes, column: str) -> Unclear:
    return Unclear(
        "data.events.time_unit or data.events.time_format",
        f"column {column!r}: no value among {votes.unread:,} read so far is a time between 1980 and 2100; expected "
        "a unit, or a form such as %d.%m.%Y %H:%M",
        tuple(UNITS) + tuple(ORDERS),
    )
