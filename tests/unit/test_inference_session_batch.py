"""Files of sessions: what is read from them, what is refused, and that their lists are those of the service."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from recsys.data.layout.mapping import DataMapping
from recsys.errors import DataError
from recsys.histories import Histories
from recsys.inference.recommender import Recommender
from recsys.inference.session_batch import recommend_to_sessions, session_table
from recsys.inference.session_events import NOW
from recsys.inference.session_files import SessionFile, read_sessions
from recsys.registry.bundle import Bundle
from recsys.schema import CART, PURCHASE, VIEW
from tests.support.bundles import odd_bundle, small_bundle
from tests.support.shop_data import END
from tests.support.toy_sessions import ToySessions

WORDS = DataMapping(
    columns={"event": "action"},
    types={"Kauf": "transaction", "Abmeldung": "ignore"},
    times="milliseconds since 1970",
    ids={"user": "int64", "item": "int64"},
)


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    bundle = small_bundle()
    return replace(bundle, manifest=bundle.manifest.model_copy(update={"mapping": WORDS}))


def write(folder: Path, *lines: str) -> Path:
    path = folder / "sessions.csv"
    path.write_text("\n".join([*lines, ""]))
    return path


def events(content: SessionFile) -> list[list[tuple[int, int, int]]]:
    sessions = content.sessions
    columns = (sessions.items.tolist(), sessions.events.tolist(), sessions.times.tolist())
    rows = list(zip(*columns, strict=True))
    return [rows[start:end] for start, end in zip(sessions.offsets, sessions.offsets[1:], strict=False)]


def test_events_are_grouped_by_session_in_order_of_time(tmp_path: Path, bundle: Bundle) -> None:
    a, b, c = (bundle.items[code] for code in (3, 4, 5))
    path = write(
        tmp_path,
        "Session ID,item,event,timestamp,visitorid",
        f"7,{a},view,{END + 2},{bundle.snapshot.users[2]}",
        f"9,{b},Kauf,{END + 1},",
        f"7,{c},,{END + 1},-5",
        f"7,{a},Abmeldung,{END + 3},-5",
        f"7,999999,view,{END + 3},-5",
        f"8,nothing,view,{END + 3},-5",
    )
    content = read_sessions(path, bundle)
    assert content.ids.to_pylist() == [7, 9, 8]
    assert events(content) == [[(5, VIEW, END + 1), (3, VIEW, END + 2)], [(4, PURCHASE, END + 1)], []]
    assert content.users is not None
    assert content.users.to_pylist() == [bundle.snapshot.users[2], None, -5]
    assert content.unknown_items == 2


def test_without_times_the_order_of_the_file_counts(tmp_path: Path, bundle: Bundle) -> None:
    a, b = bundle.items[8], bundle.items[2]
    content = read_sessions(write(tmp_path, "session,item", f"x,{a}", f"y,{b}", f"x,{b}", f"x,{a}.0"), bundle)
    assert content.ids.to_pylist() == ["x", "y"]
    assert events(content) == [[(8, VIEW, NOW), (2, VIEW, NOW), (8, VIEW, NOW)], [(2, VIEW, NOW)]]
    assert content.users is None


@pytest.mark.parametrize("form", ["ms", "s", "date", "parquet"])
def test_times_have_any_customary_form(tmp_path: Path, bundle: Bundle, form: str) -> None:
    at = END // 1000 * 1000
    item = bundle.items[1]
    if form == "parquet":
        path = tmp_path / "sessions.parquet"
        when = pl.Series("time", [at]).cast(pl.Datetime("ms"))
        pl.DataFrame([pl.Series("session", [1]), pl.Series("item", [item]), when]).write_parquet(path)
    else:
        spelled = {"ms": at, "s": at // 1000, "date": "2015-07-30T00:00:00Z"}[form]
        path = write(tmp_path, "session,item,time", f"1,{item},{spelled}")
    assert events(read_sessions(path, bundle)) == [[(1, VIEW, at)]]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["session,thing", "1,2"], "no column item; found session, thing"),
        (["visit_number,item", "1,2"], "no column session"),
        (["session,item", "1,2", ",2"], "row 3: session is '': expected an id"),
        (["session,item", "1,", "2,2"], "row 2: item is '': expected an id"),
        (["session,item,event", "1,500,view", "1,500,glance"], "row 3: event is 'glance': expected one of view"),
        (["session,item,time", f"1,500,{END}", "1,500,soon"], "row 3: time is 'soon': not a number of milliseconds"),
        (["session,item,time", f"1,500,{END}", "1,500,9999999999999"], "row 3: time is '9999999999999'"),
        (["session,item,time", "1,500,never"], "no value among 1 read so far is a time"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, bundle: Bundle, lines: list[str], message: str) -> None:
    path = write(tmp_path, *lines)
    with pytest.raises(DataError, match=re.escape(str(path)) + ".*" + re.escape(message)):
        read_sessions(path, bundle)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, bundle: Bundle) -> None:
    (tmp_path / "no.parquet").write_text("no")
    for path, message in (
        (tmp_path, "is a folder"),
        (tmp_path / "absent.csv", "No such file"),
        (tmp_path / "no.parquet", "not a Parquet file"),
    ):
        with pytest.raises(DataError, match=message):
            read_sessions(path, bundle)


def test_ids_may_be_texts(tmp_path: Path) -> None:
    bundle = odd_bundle()
    path = tmp_path / "sessions.parquet"
    pl.DataFrame({"session": ["a"], "item": [bundle.items[3]], "user": ["007"]}).write_parquet(path)
    content = read_sessions(path, bundle)
    assert events(content) == [[(3, VIEW, NOW)]]
    assert content.users is not None
    assert content.users.to_pylist() == ["007"]


@pytest.mark.parametrize("with_model", [False, True], ids=["main path", "session model"])
def test_lists_are_those_of_the_stages(tmp_path: Path, bundle: Bundle, with_model: bool) -> None:
    if with_model:
        bundle = replace(bundle, sessions=ToySessions(len(bundle.items)))
    user, items = bundle.snapshot.users[1], [bundle.items[code] for code in (20, 31, 22)]
    path = write(
        tmp_path,
        "session,item,event,time,user",
        f"first,{items[0]},addtocart,{END - 5},{user}",
        f"first,{items[1]},view,{END},",
        f"second,{items[2]},view,{END},",
        f"third,77,view,{END},",
    )
    recommender = Recommender.from_bundle(bundle)
    content = read_sessions(path, bundle)
    found = pl.DataFrame(recommend_to_sessions(session_table(content), bundle, recommender, 6))
    assert found.columns == ["session", "rank", "itemid", "score", "lgb_score", "mf_score"]
    listed: dict[Any, list[Any]] = {
        str(name): part["itemid"].to_list() for (name,), part in found.group_by("session", maintain_order=True)
    }
    assert list(listed) == ["first", "second", "third"]
    assert found["rank"].to_list() == [1, 2, 3, 4, 5, 6] * 3
    nobody = Histories(np.zeros(2, np.int64), np.zeros(0, np.int32), np.zeros(0, np.int8), np.zeros(0, np.int64))
    assert listed["third"] == bundle.items.to_list(recommender(nobody, END, 6).items)
    if with_model:
        assert [bundle.items.code(item) for item in listed["first"][:2]] == [30, 32]
        return
    known = bundle.snapshot.take(np.array([1]))
    whole = Histories(
        np.array([0, len(known.times) + 2]),
        np.append(known.items, np.int32([20, 31])),
        np.append(known.events, np.int8([CART, VIEW])),
        np.append(known.times, [END - 5, END]),
    )
    assert listed["first"] == bundle.items.to_list(recommender(whole, END, 6).items)
