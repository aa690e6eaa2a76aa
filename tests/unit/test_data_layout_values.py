"""Columns, words, ids, conditions, strays and dates without a time of day."""

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from recsys.data.layout.columns import alike, customary, plain
from recsys.data.layout.dates import local_times, to_utc
from recsys.data.layout.ids import changed_kinds, kind_of, plain_ids
from recsys.data.layout.midnight import ORDER, positions, spread
from recsys.data.layout.rules import Blanks
from recsys.data.layout.strays import count_times, is_dates, merge_times, usual_range
from recsys.data.layout.types import IGNORED, EventWords, words_of
from recsys.data.layout.where import parse_condition, rows_to_use, settled
from recsys.schema import CART, DAY, PURCHASE, TIME, UNKNOWN, USER, VIEW


@pytest.mark.parametrize(
    ("purpose", "names"),
    [
        ("user", ["user_id", "customer_id", "CustomerID", "household_id", "visitorid", "userId", "Customer ID"]),
        ("item", ["product_id", "item_id", "StockCode", "article_id", "movieId", "itemid", "ASIN"]),
        ("time", ["event_time", "timestamp", "InvoiceDate", "TRANSACTION_DT", "t_dat", "date", "created_at"]),
        ("event", ["event_type", "event", "behavior", "behavior_type", "action"]),
        ("order", ["InvoiceNo", "order_id", "transactionid", "basket_id", "Invoice"]),
    ],
)
def test_customary_names(purpose: str, names: list[str]) -> None:
    for name in names:
        assert customary(["other", name], purpose) == [name]
        assert customary(["other", f"context.{name}"], purpose) == [f"context.{name}"]


def test_the_most_telling_name_comes_first() -> None:
    assert customary(["date", "event_time", "created"], "time") == ["event_time", "created", "date"]
    assert customary(["user.id", "item.id"], "user") == ["user.id"]
    assert customary(["price", "brand"], "user") == []
    assert alike(["user_id", "userId", "customer"]) == ["user_id", "userId"]
    assert plain("Customer ID") == "customerid"


def test_words_of_types() -> None:
    words = words_of({"favourite": "view", "Rental": "transaction", "order": "ignore"})
    texts = pa.array(
        ["purchase", "cart", "favourite", "remove_from_cart", "rental", "order", "Page View", "odd", "cart"]
    )
    codes, counts = words.codes(texts)
    assert codes.tolist() == [PURCHASE, CART, VIEW, IGNORED, PURCHASE, IGNORED, VIEW, UNKNOWN, CART]
    assert counts == {
        "purchase": 1,
        "cart": 2,
        "favourite": 1,
        "remove_from_cart": 1,
        "rental": 1,
        "order": 1,
        "Page View": 1,
    }
    assert words_of("view") == EventWords(VIEW)
    assert words.codes(pa.array([], pa.string()))[0].tolist() == []


def test_whole_decimals_are_integers_and_inexact_floats_are_named() -> None:
    texts = ["123", "123.0", "123.00", "-5.0", "1.0E7", "1.5e+18", "9007199254740992.0", "1.5E18", "1e+05"]
    texts += ["2.5e3", "1.2E4", "2.5E6"]
    texts += ["007.0", "12e5", "a.b", "1.5", "+5", "340282366920938463463374607431768211455", " 5.0"]
    ids, inexact = plain_ids(pa.array(texts))
    assert ids.to_pylist() == [
        *("123", "123", "123", "-5", "10000000", "1.5e+18", "9007199254740992.0", "1.5E18", "100000"),
        *("2.5e3", "1.2E4", "2.5E6"),
        *("007.0", "12e5", "a.b", "1.5", "+5", "340282366920938463463374607431768211455", " 5.0"),
    ]
    assert np.flatnonzero(inexact).tolist() == [5, 6, 7]


def test_nulls_and_no_ids_stay() -> None:
    ids, inexact = plain_ids(pa.array([None, "1.0", None]))
    assert (ids.to_pylist(), inexact.tolist()) == ([None, "1", None], [False, False, False])
    assert plain_ids(pa.array([], pa.string()))[0].to_pylist() == []


def test_the_type_of_ids_is_stated_or_that_of_all() -> None:
    assert (kind_of(True, None), kind_of(False, None)) == ("int64", "string")
    assert (kind_of(True, "string"), kind_of(False, "int64")) == ("string", "int64")
    assert changed_kinds({"user": "int64", "item": "int64"}, {"user": "int64", "item": "int64"}) is None
    change = changed_kinds({"user": "int64", "item": "int64"}, {"user": "string", "item": "int64"})
    assert change == (
        "the ids of users are string, in the version in production they are int64; a type can be pinned by "
        "data.events.ids.user"
    )


@pytest.mark.parametrize(
    ("condition", "rows"),
    [
        ("Quantity > 0", [0, 4]),
        ("Quantity>=-2", [0, 1, 4]),
        ("Quantity = 3", [0]),
        ("Quantity == 3.0", [0]),
        ("Quantity != 3", [1, 2, 3, 4]),
        ("Quantity < 0", [1]),
        ("Quantity is blank", [2]),
        ("Quantity is not blank", [0, 1, 3, 4]),
        ("Country = UK", [0, 1]),
        ("Country != 'UK'", [2, 3, 4]),
        ("Country IS BLANK", [4]),
    ],
)
def test_conditions(condition: str, rows: list[int]) -> None:
    table = pa.table({"Quantity": ["3", "-2", "", "odd", "1e3"], "Country": ["UK", "UK", "France", "EIRE", "null"]})
    kept = rows_to_use(table, [parse_condition(condition)], Blanks.create(["null"]).mask)
    assert np.flatnonzero(kept).tolist() == rows


@pytest.mark.parametrize(
    ("condition", "rows"),
    [
        ("id != 1234567890123456781", [0, 2, 3, 4, 5]),
        ("id = 1234567890123456781", [1]),
        ("id > 1234567890123456780", [1]),
        ("id <= 1234567890123456780", [0, 2, 3, 4]),
        ("id != 7", [0, 1, 3, 5]),
        ("id = 007", [3]),
        ("id = 7.0", [2, 3, 4]),
        ("id < 7.5", [2, 3, 4]),
        ("id = nan", [5]),
        ("id != 12345678901234567890123", [0, 1, 2, 3, 4, 5]),
    ],
)
def test_whole_numbers_are_compared_digit_by_digit(condition: str, rows: list[int]) -> None:
    """Ids of 19 digits differ where floats do not, and 007 is another id than 7; 7.0 is the number 7."""
    table = pa.table({"id": ["1234567890123456780", "1234567890123456781", "7", "007", "7.0", "nan"]})
    kept = rows_to_use(table, [parse_condition(condition)], Blanks.create([]).mask)
    assert np.flatnonzero(kept).tolist() == rows


def test_a_condition_reads_decimals_as_the_column_writes_them() -> None:
    table = pa.table({"quantity": ["0,500", "1,5", "2", "1,250"], "price": ["1,500", "2.5", "3", "900"]})
    for text, rows in [("quantity > 1.2", [1, 2, 3]), ("quantity > 1,3", [1, 2]), ("price > 100", [0, 3])]:
        condition = settled(parse_condition(text), table)
        assert np.flatnonzero(rows_to_use(table, [condition], Blanks().mask)).tolist() == rows
        parts = [rows_to_use(table.slice(row, 1), [condition], Blanks().mask)[0] for row in range(4)]
        assert np.flatnonzero(parts).tolist() == rows  # the first rows decide, not each chunk


def test_a_condition_passes_over_blanks_around_names_and_texts() -> None:
    table = pa.table(
        {" user_id": ["1", ""], "Order\nStatus": [" cancelled", "paid"], "a": ["1", "2"], "a ": ["3", "4"]}
    )
    conditions = [
        "user_id is not blank",
        "Order Status !=  cancelled",
        "Order\nStatus = ' cancelled'",
        "a > 1",
        "a  > 3",
    ]
    settled_ones = [settled(parse_condition(text), table) for text in conditions]
    assert [one.column for one in settled_ones] == [" user_id", "Order\nStatus", "Order\nStatus", "a", "a"]
    kept = [rows_to_use(table, [one], Blanks().mask).tolist() for one in settled_ones]
    assert kept == [[True, False], [False, True], [True, False], [False, True], [False, False]]
    assert settled(parse_condition("b > 1"), table).column == "b"


def test_all_conditions_must_hold() -> None:
    table = pa.table({"a": ["1", "2"], "b c": ["x", "y"]})
    conditions = [parse_condition("a > 0"), parse_condition("b c = y")]
    assert rows_to_use(table, conditions, Blanks().mask).tolist() == [False, True]


def test_words_that_mean_a_missing_value() -> None:
    words = [
        "",
        " ",
        "NULL",
        "nan",
        "None",
        "undefined",
        "\\N",
        "<NA>",
        "n/a",
        "NA",
        "#N/A",
        "NaT",
        "-",
        "(null)",
        "[null]",
    ]
    assert Blanks().mask(pa.array(words)).all()
    assert not Blanks().mask(pa.array(["0", "--", "guest", "nab"])).any()
    assert Blanks.create(["Guest"]).mask(pa.array(["guest", "", "null"])).tolist() == [True, True, False]


START = 1_600_000_000_000


def log_days(days: int, a_day: int = 100) -> np.ndarray:
    return START + (np.arange(days * a_day) * DAY) // a_day


@pytest.mark.parametrize(
    ("strays", "kept"),
    [
        ([START - 30 * DAY], False),
        ([START - 8 * DAY], False),  # a gap of more than a week, and more than a tenth of 60 days
        ([START - 5 * DAY], True),
        ([START - 30 * DAY] * 5, False),
        ([START - 30 * DAY] * 7, True),  # more than one in a thousand
        ([START - 400 * DAY, START - 30 * DAY], False),
    ],
)
def test_stray_events_before_and_after(strays: list[int], kept: bool) -> None:
    log = log_days(60)
    mirrored = 2 * START + log.max() - START - np.asarray(strays)
    for far, log_range in ((strays, (log.min(), log.max())), (mirrored.tolist(), (log.min(), log.max()))):
        times = np.concatenate([log, far])
        expected = (times.min(), times.max()) if kept else log_range
        assert usual_range(count_times(times)) == expected


def test_strays_at_both_ends_do_not_hide_each_other() -> None:
    log = log_days(100)
    times = np.concatenate([[1, START - 3000 * DAY], log, [START + 2000 * DAY]])
    assert usual_range(count_times(times)) == (log.min(), log.max())


def test_a_gap_must_be_a_tenth_of_the_span() -> None:
    log = log_days(400, 20)
    assert usual_range(count_times(np.append(log, log.max() + 30 * DAY))) == (log.min(), log.max() + 30 * DAY)
    assert usual_range(count_times(np.append(log, log.max() + 50 * DAY))) == (log.min(), log.max())


def test_days_of_parts_are_those_of_the_whole() -> None:
    times = np.random.default_rng(0).integers(START, START + 40 * DAY, 500)
    whole = count_times(times)
    merged = merge_times([count_times(part) for part in np.array_split(times, 7)] + [count_times(times[:0])])
    for name in ("first", "last", "count"):
        assert getattr(merged, name).tolist() == getattr(whole, name).tolist()


def test_days_tell_whether_a_log_has_dates() -> None:
    days = np.arange(18_400, 18_700) * DAY
    assert dated(days, "UTC")
    assert dated(days, "Europe/Berlin")
    assert not dated(np.append(days, days[0] + 1), "UTC")
    local = pl.datetime_range(
        pl.datetime(2020, 6, 1), pl.datetime(2020, 12, 1), "1d", time_zone="Europe/Berlin", eager=True
    )
    times = local.dt.epoch("ms").to_numpy()
    assert dated(times, "Europe/Berlin")
    assert not dated(times, "UTC")
    merged = merge_times([count_times(part, "Europe/Berlin") for part in np.array_split(times, 5)])
    assert is_dates(merged, *usual_range(merged))


def dated(times: np.ndarray, zone: str) -> bool:
    days = count_times(times, zone)
    return is_dates(days, *usual_range(days))


def test_a_stray_event_does_not_tell_whether_a_log_has_dates() -> None:
    days = np.arange(18_700, 18_728).repeat(60) * DAY
    assert dated(np.append(days, START - 8_000 * DAY + 36_000_000), "UTC")
    assert not dated(np.append(days, 18_720 * DAY + 36_000_000), "UTC")


@pytest.mark.parametrize("zone", ["America/Santiago", "America/Sao_Paulo", "America/Havana", "Pacific/Apia"])
def test_a_day_begins_later_where_clocks_are_set_forward_at_midnight(zone: str) -> None:
    dates = pl.date_range(pl.date(2000, 1, 1), pl.date(2024, 1, 1), "1d", eager=True).cast(pl.String)
    times, known = to_utc(local_times(dates, "ymd"), zone)
    assert known.all()
    assert dated(times, zone)
    assert not dated(times + 1, zone)


def test_rows_of_a_day_are_spread_in_the_order_of_the_files() -> None:
    order = positions(np.asarray([1, 0, 0, 0]), np.asarray([0, 5, 2, 9]))
    table = pl.DataFrame({TIME: [DAY] * 4, USER: [7, 7, 7, 8], "item": [3, 2, 1, 1], ORDER: order})
    rows, most = spread(table)
    assert rows.select(USER, "item", TIME).rows() == [(7, 1, DAY), (7, 2, DAY + 1), (7, 3, DAY + 2), (8, 1, DAY)]
    assert most == 2
    assert spread(table.clear())[1] == 0
