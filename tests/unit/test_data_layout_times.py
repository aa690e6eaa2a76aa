from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest

from recsys.config import TrainConfig, parse_config
from recsys.data.layout.settings import EventsConfig
from recsys.data.layout.times import TimeReading, read_times
from recsys.data.layout.unclear import Unclear
from recsys.data.layout.votes import Votes, count_votes, decide, is_open
from recsys.errors import ConfigError

NOW = 1_800_000_000_000
MS = 1_569_888_000_123


def reading_of(*texts: str, **settings: str) -> TimeReading | Unclear:
    return decide(count_votes(pa.array(texts)), EventsConfig(**settings), "when")


def iso(text: str, **settings: str) -> str:
    """The time of one text, read as its own form, as ISO 8601 with milliseconds."""
    reading = reading_of(text, **settings)
    assert isinstance(reading, TimeReading), reading
    times = read_times(pa.array([text]), reading, NOW)
    assert times.faults == []
    return datetime.fromtimestamp(times.values[0] / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3]


@pytest.mark.parametrize(
    ("text", "unit", "ms"),
    [
        ("1569888000", "s", 1_569_888_000_000),
        ("1569888000.123", "s", MS),
        ("1.569888000123E9", "s", MS),
        ("1569888000123", "ms", MS),
        ("1569888000123.0", "ms", MS),
        ("1569888000123456", "us", MS),
        ("1569888000123456789", "ns", MS),
    ],
)
def test_the_unit_of_numbers_is_their_magnitude(text: str, unit: str, ms: int) -> None:
    reading = reading_of(text, text)
    assert reading == TimeReading("number", unit)
    times = read_times(pa.array([text]), reading, NOW)
    assert (times.values.tolist(), times.faults) == ([ms], [])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2019-10-01 00:00:00 UTC", "2019-10-01T00:00:00.000"),
        ("2019-10-01T02:03:04.5+02:00", "2019-10-01T00:03:04.500"),
        ("2019-10-01T02:03:04,123456789Z", "2019-10-01T02:03:04.123"),
        ("2019-10-01T00:00-0530", "2019-10-01T05:30:00.000"),
        ("2019/10/01 07:05", "2019-10-01T07:05:00.000"),
        ("2019-10-01", "2019-10-01T00:00:00.000"),
        ("12/31/2010 8:26", "2010-12-31T08:26:00.000"),
        ("12/31/10 12:05:00 AM", "2010-12-31T00:05:00.000"),
        ("31.12.2010", "2010-12-31T00:00:00.000"),
        ("1.12.2010", "2010-12-01T00:00:00.000"),
        ("20101201", "2010-12-01T00:00:00.000"),
        ("20101201.0", "2010-12-01T00:00:00.000"),
        ("20101201T082600Z", "2010-12-01T08:26:00.000"),
        ("20101201082600", "2010-12-01T08:26:00.000"),
        ("01-Jan-2020", "2020-01-01T00:00:00.000"),
        ("Tue, 01 Oct 2019 00:00:00 GMT", "2019-10-01T00:00:00.000"),
        ("October 3, 2019 5:07 PM", "2019-10-03T17:07:00.000"),
    ],
)
def test_dates_of_common_forms(text: str, expected: str) -> None:
    assert iso(text) == expected


def test_a_time_zone_and_its_changes_of_the_clock() -> None:
    berlin = {"time_zone": "Europe/Berlin"}
    assert iso("2020-07-01", **berlin) == "2020-06-30T22:00:00.000"
    assert iso("2020-01-01T00:00:00Z", **berlin) == "2020-01-01T00:00:00.000"
    assert iso("2020-03-29 02:30:00", **berlin) == "2020-03-29T01:30:00.000"  # skipped: 2:30 by the clock before
    assert iso("2020-10-25 02:30:00", **berlin) == "2020-10-25T00:30:00.000"  # occurs twice: the earlier one
    assert iso("2021-10-03 02:15", time_zone="Australia/Lord_Howe") == "2021-10-02T15:45:00.000"  # by half an hour


def test_a_stated_form_is_taken() -> None:
    assert iso("1/2/2020", time_format="day/month/year") == "2020-02-01T00:00:00.000"
    assert iso("1/2/2020", time_format="month/day/year") == "2020-01-02T00:00:00.000"
    assert iso("01.02.20 17:20", time_format="%d.%m.%y %H:%M") == "2020-02-01T17:20:00.000"
    reading = reading_of("5", time_unit="s")
    assert read_times(pa.array(["5"]), reading, NOW).values.tolist() == [5000]


def test_a_stated_unit_reads_what_the_found_one_reads() -> None:
    texts = [*(str(1_600_000_000 + hour * 3600) for hour in range(1000)), *"56789"]
    assert reading_of(*texts, time_unit="s") == reading_of(*texts) == TimeReading("number", "s")
    assert reading_of(*map(str, range(1000)), time_unit="s") == TimeReading("number", "s", any_age=True)


@pytest.mark.parametrize(
    ("text", "pattern", "expected"),
    [
        ("2020-01-01T10:00:00+02:00", "%+", "2020-01-01T08:00:00.000"),
        ("2020-01-01 10:00 +0200", "%Y-%m-%d %H:%M %z", "2020-01-01T08:00:00.000"),
        ("2020-01-01 9:30", "%Y-%m-%d %-H:%M", "2020-01-01T09:30:00.000"),
        ("2020-01-01  9:30", "%Y-%m-%d %k:%M", "2020-01-01T09:30:00.000"),
        ("1577869200", "%s", "2020-01-01T09:00:00.000"),
        ("24.12.20", "%d.%m.%y", "2020-12-24T00:00:00.000"),
    ],
)
def test_a_format_keeps_the_time_of_day_and_the_offset(text: str, pattern: str, expected: str) -> None:
    assert iso(text, time_format=pattern) == expected
    if "T08" in expected or pattern == "%s":
        assert iso(text, time_format=pattern, time_zone="Asia/Tokyo") == expected


@pytest.mark.parametrize(
    "settings",
    [
        {"time_format": "european"},
        {"time_format": "%d %H"},
        {"time_format": "%Y-%m-%d %H:%M:%S %Z"},
        {"time_zone": "Mars"},
        {"where": ["Quantity"]},
    ],
)
def test_settings_that_cannot_be_meant_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=rf"data\.events\.{next(iter(settings))}"):
        parse_config(TrainConfig, {"data": {"events": settings}})


def test_day_and_month_are_told_by_any_value() -> None:
    either = ["1/2/2020", "3/4/2020"]
    assert is_open(count_votes(pa.array(either)))
    assert is_open(Votes())
    assert reading_of(*either, "13/1/2020") == TimeReading("dmy")
    assert reading_of(*either, "1/13/2020") == TimeReading("mdy")
    assert reading_of("1.2.2020") == TimeReading("dmy")


def test_day_and_month_that_stay_open_or_are_mixed_are_a_question() -> None:
    unclear = reading_of("1/2/2020", "3/4/2020")
    assert isinstance(unclear, Unclear)
    assert unclear.setting == "data.events.time_format"
    assert unclear.choices == ("day/month/year", "month/day/year")
    mixed = reading_of("13/2/2020", "3/14/2020")
    assert isinstance(mixed, Unclear)
    assert "mixes dates" in mixed.problem


def test_a_year_of_two_digits_that_may_come_first_is_a_question() -> None:
    march = [f"21-03-{day:02d} 10:00" for day in range(1, 25)]
    assert is_open(count_votes(pa.array(march)))
    unclear = reading_of(*march)
    assert isinstance(unclear, Unclear)
    assert unclear.choices == ("day/month/year", "yy/mm/dd")
    assert iso(march[4], time_format="yy/mm/dd") == "2021-03-05T10:00:00.000"
    assert reading_of("21-03-05", "21-03-9") == TimeReading("yy")  # a year has no single digit
    assert reading_of("99-03-05", "00-01-31") == TimeReading("yy")
    either = reading_of("10/11/12")
    assert isinstance(either, Unclear)
    assert either.choices == ("day/month/year", "month/day/year", "yy/mm/dd")


def test_a_log_of_many_days_and_few_years_shows_where_the_year_stands() -> None:
    days = [f"{day:02d}/{month:02d}/21" for month in (1, 2, 3) for day in range(1, 29)]
    assert reading_of(*days) == TimeReading("dmy")
    parts = [count_votes(pa.array(days[start : start + 10])) for start in range(0, len(days), 10)]
    assert sum(parts, Votes()) == count_votes(pa.array(days))
    assert reading_of(*(f"{month:02d}/{day:02d}/21" for month in (1, 2) for day in range(1, 29))) == TimeReading("mdy")


def test_values_that_are_no_times_are_a_question() -> None:
    unclear = reading_of("5", "soon")
    assert isinstance(unclear, Unclear)
    assert "no value among 2" in unclear.problem


def test_votes_add_up() -> None:
    texts = ["1569888000", "1569888000123", "2019-10-01", "1/2/2020", "20101201", "1 Jan 2020", "x"]
    total = sum((count_votes(pa.array([text])) for text in texts), Votes())
    assert total == count_votes(pa.array(texts)) == Votes(1, 1, 0, 0, 1, 1, 0, 0, 1, 0, 1, 0, 1)
    assert count_votes(pa.array([], pa.string())) == Votes()


def test_rows_of_another_unit_are_named() -> None:
    texts = pa.array(["1569888000123", "1569888000", "0", "-1", "5", "soon", "", str(NOW + 2 * 86_400_000), "1.5"])
    times = read_times(texts, TimeReading(), NOW)
    reasons = {}
    for where, reason in times.faults:
        for row in np.flatnonzero(where):
            reasons.setdefault(int(row), reason)
    assert reasons == {
        1: "in seconds, where the others are in milliseconds",
        2: "not positive",
        3: "not positive",
        4: "before 1980",
        5: "not a number of milliseconds",
        6: "not a number of milliseconds",
        7: "later than the run's clock plus a day",
        8: "before 1980",
    }


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_numbers_of_any_size_end_in_a_time_or_a_reason(unit: str) -> None:
    texts = ["9223372036854775807", "-9223372036854775808", "1e300", "-1e300", "0.5", "99999999999999999999", "1e18"]
    for any_age in (False, True):
        times = read_times(pa.array(texts), TimeReading("number", unit, any_age=any_age), NOW)
        bad = np.logical_or.reduce([where for where, _ in times.faults])
        good = times.values[~bad]
        assert bad.sum() >= 6
        assert ((good > 0) & (good <= NOW + 86_400_000)).all()


def test_dates_that_do_not_exist_are_named() -> None:
    texts = pa.array(["2020-02-30", "2020-02-29", "0001-01-01", "9999-12-31", "2020-02-29 24:00"])
    times = read_times(texts, TimeReading("ymd"), NOW)
    reasons = {int(row): reason for where, reason in reversed(times.faults) for row in np.flatnonzero(where)}
    assert reasons == {
        0: "not a date (year-month-day)",
        2: "before 1980",
        3: "later than the run's clock plus a day",
        4: "not a date (year-month-day)",
    }


def test_a_property_is_valid_from_the_beginning_at_small_numbers() -> None:
    times = read_times(pa.array(["0", "1", "1569888000"]), TimeReading("number", "s"), NOW, beginning=True)
    assert times.values.tolist() == [0, 1, 1_569_888_000_000]
    assert not any(where.any() for where, _ in times.faults)
