"""Files of sessions: a row for each event, with columns session and item, and event, time and user where given."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa

from recsys.arrays import offsets_of
from recsys.data.layout.columns import customary, plain
from recsys.data.layout.ids import integers, kind_of, plain_ids
from recsys.data.layout.rules import Blanks
from recsys.data.layout.settings import EventsConfig
from recsys.data.layout.times import TimeReading, read_times
from recsys.data.layout.votes import count_votes, decide
from recsys.errors import DataError
from recsys.histories import Histories
from recsys.ids import IdKind, Ids
from recsys.inference.files import read_frame
from recsys.inference.session_events import DEFAULT_EVENT, NOW, words_of_log
from recsys.registry.bundle import Bundle
from recsys.schema import EVENT_TYPES, UNKNOWN

SESSION: Final = "session"
SESSIONS: Final = ("session", "sessionid", "visit", "visitid")
"""Names of the column of sessions, see `columns.plain`."""
FIRST_ROW: Final = 2
"""The number of the first row after the header."""


@dataclass(frozen=True, slots=True)
class SessionFile:
    """The sessions of a file, in the order of their first rows.

    ids: int64 or string (n,); users: ids of the version's kind (n,), null where none is given; None without a column
    sessions: one row for each session, oldest event first; its times are NOW where the file has none
    unknown_items: number of events on items that the version does not have; they are passed over
    """

    ids: pa.Array
    kind: IdKind
    users: pa.Array | None
    sessions: Histories
    unknown_items: int


def read_sessions(path: Path, opened: Bundle) -> SessionFile:
    """The sessions of a CSV or Parquet file in the codes of a version. Raises DataError that names file and row."""
    frame = read_frame(path, "a CSV or Parquet file with columns session and item", parquet=path.suffix == ".parquet")
    columns = _columns(path, frame.columns)
    texts = {purpose: _texts(frame[name]) for purpose, name in columns.items()}
    blanks = Blanks()
    for purpose in ("session", "item"):
        _check(path, columns[purpose], texts[purpose], blanks.mask(texts[purpose]), "expected an id")
    ids = plain_ids(texts["session"])[0]
    coded = ids.dictionary_encode()
    owners, names = coded.indices.to_numpy(), coded.dictionary
    items = opened.items.encode(_ids(texts["item"], opened.items))
    events = _events(path, columns, texts, opened)
    times = _times(path, columns, texts, opened, blanks)
    used = (items != UNKNOWN) & (events >= 0)
    order = np.lexsort((times[used], owners[used]))
    sessions = Histories(
        offsets_of(np.bincount(owners[used], minlength=len(names))),
        *(column[used][order] for column in (items, events, times)),
    )
    numbers, spelled = integers(names)
    kind = kind_of(bool(spelled.all()), None)
    users = None if "user" not in texts else _users(texts["user"], owners, len(names), opened)
    unknown = int(np.count_nonzero(items == UNKNOWN))
    return SessionFile(numbers if kind == "int64" else names.cast(pa.string()), kind, users, sessions, unknown)


def _columns(path: Path, names: Sequence[str]) -> dict[str, str]:
    """The column of each purpose that the file has."""
    columns = {purpose: next(iter(customary(names, purpose)), None) for purpose in ("item", "event", "time", "user")}
    columns["session"] = next((name for alias in SESSIONS for name in names if plain(name) == alias), None)
    for purpose in ("session", "item"):
        if columns[purpose] is None:
            raise DataError(f"{path}: no column {purpose}; found {', '.join(names)}")
    return {purpose: name for purpose, name in columns.items() if name is not None}


def _texts(column: pl.Series) -> pa.Array:
    """The values of a column as texts, "" for null; times of Parquet as ms."""
    if column.dtype.is_temporal():
        column = column.cast(pl.Datetime("ms")).dt.epoch("ms")
    return column.cast(pl.String).fill_null("").to_arrow().cast(pa.string())


def _ids(texts: pa.Array, known: Ids) -> pa.Array:
    """The ids that texts spell, of the type of the known ones; null where a text spells none."""
    ids = plain_ids(texts)[0]
    if known.kind == "string":
        return ids
    numbers, spelled = integers(ids)
    return pl.Series(numbers).set(pl.Series(~spelled), None).to_arrow()


def _events(path: Path, columns: dict[str, str], texts: dict[str, pa.Array], opened: Bundle) -> np.ndarray:
    """The type of each event, int8 (n,), negative for actions that the shop ignores."""
    if "event" not in texts:
        return np.zeros(len(texts["item"]), np.int8)
    series = pl.Series(texts["event"])
    words = series.set(series.str.strip_chars() == "", DEFAULT_EVENT).to_arrow().cast(pa.string())
    codes, _ = words_of_log(opened.manifest).codes(words)
    _check(
        path, columns["event"], words, codes == UNKNOWN, f"expected one of {', '.join(EVENT_TYPES)}, or the log's words"
    )
    return codes


def _times(
    path: Path, columns: dict[str, str], texts: dict[str, pa.Array], opened: Bundle, blanks: Blanks
) -> np.ndarray:
    """The time of each event, int64 (n,) in ms, NOW where there is none."""
    times = np.full(len(texts["item"]), NOW, np.int64)
    if "time" not in texts:
        return times
    given = ~blanks.mask(texts["time"])
    column, rows = texts["time"].filter(pa.array(given)), given.nonzero()[0]
    mapping = opened.manifest.mapping
    zone = EventsConfig(time_zone="UTC" if mapping is None else mapping.time_zone)
    reading = decide(count_votes(column), zone, columns["time"])
    if not isinstance(reading, TimeReading):
        raise DataError(f"{path}: {reading.problem}")
    read = read_times(column, reading, int(time.time() * 1000))
    for faulty, reason in read.faults:
        wrong = np.zeros(len(times), bool)
        wrong[rows[faulty]] = True
        _check(path, columns["time"], texts["time"], wrong, reason)
    times[rows] = read.values
    return times


def _users(texts: pa.Array, owners: np.ndarray, n_sessions: int, opened: Bundle) -> pa.Array:
    """The user of each session: that of its first row."""
    first = np.zeros(n_sessions, np.int64)
    first[owners[::-1]] = np.arange(len(owners))[::-1]
    return _ids(texts.take(pa.array(first)), opened.snapshot.users)


def _check(path: Path, column: str, texts: pa.Array, wrong: np.ndarray, reason: str) -> None:
    """Raise DataError that names the first wrong row."""
    if wrong.any():
        row = int(wrong.argmax())
        raise DataError(f"{path}, row {row + FIRST_ROW}: {column} is {texts[row].as_py()!r}: {reason}")
