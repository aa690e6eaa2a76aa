"""Sessions of a cut and the prefixes of its window: no later event plays a part, and neither do the partitions."""

import numpy as np
import pyarrow as pa

from recsys.data.shop import UserPartition
from recsys.histories import Histories
from recsys.schema import DAY
from recsys.sessions.log import SessionLog
from recsys.sessions.tables import fit_session_tables
from recsys.timeline import Cut
from recsys.training.session_windows import (
    WindowPart,
    joined_sessions,
    joined_window,
    past_sessions,
    window_prefixes,
)
from tests.support.sessions import CUT, N_ITEMS, circle_sessions, small_session_config

GAP = 30
AT = Cut(10, CUT)
END = CUT + 10 * DAY


def shop(n_users: int = 80) -> UserPartition:
    """Users with sessions before and after the cut; some sessions go over it."""
    log = circle_sessions(0, 500, 0, CUT)
    after = circle_sessions(1, 200, CUT - 20 * 60_000, END)
    sessions = Histories.concat([log.sessions, after.sessions])
    users = np.random.default_rng(2).integers(0, n_users, len(sessions)).repeat(sessions.lengths)
    histories = Histories.build(users, sessions.items, sessions.events, sessions.times, n_users)
    return UserPartition(pa.array(np.arange(n_users) * 7 + 1000), histories)


def split(whole: UserPartition, n: int) -> list[UserPartition]:
    users = np.arange(len(whole.users))
    return [UserPartition(whole.users.take(pa.array(users[k::n])), whole.histories.take(users[k::n])) for k in range(n)]


def past(parts: list[UserPartition]) -> SessionLog:
    return joined_sessions([past_sessions(part, AT, GAP, 10_000, 0) for part in parts])


def window(parts: list[UserPartition], limit: int = 10_000) -> WindowPart:
    return joined_window([window_prefixes(part, AT, END, GAP, (limit, 50), 0) for part in parts], limit)


def bits(log: SessionLog) -> list[bytes]:
    sessions = log.sessions
    return [np.asarray(array, np.int64).tobytes() for array in (sessions.offsets, sessions.items, sessions.times)]


def test_tables_of_a_cut_do_not_see_what_comes_after_it() -> None:
    whole = shop()
    rng = np.random.default_rng(5)
    after = whole.histories.times > AT.time
    edited = Histories(
        whole.histories.offsets,
        np.where(after, rng.integers(0, N_ITEMS, len(after)), whole.histories.items).astype(np.int32),
        whole.histories.events,
        whole.histories.times,
    )
    deleted = whole.histories.where(~after)
    expected = fit_session_tables(past([whole]), AT.time, N_ITEMS, small_session_config()).arrays()
    for histories in (edited, deleted):
        log = past([UserPartition(whole.users, histories)])
        arrays = fit_session_tables(log, AT.time, N_ITEMS, small_session_config()).arrays()
        assert {name: array.tobytes() for name, array in arrays.items()} == {
            name: array.tobytes() for name, array in expected.items()
        }


def test_prefixes_lie_in_the_window_and_histories_before_the_cut() -> None:
    part = window([shop()])
    assert len(part.prefixes) > 100
    sessions = part.prefixes.sessions
    assert sessions.times.min() > AT.time
    assert sessions.times.max() <= END
    assert part.known.times.max() <= AT.time
    assert part.known.lengths.max() <= 50
    assert len(part.known) == len(sessions) == len(part.prefixes)


def test_a_session_that_goes_over_the_cut_has_no_prefix() -> None:
    times = CUT + np.array([-60_000, 60_000, 120_000, DAY, DAY + 1000])
    histories = Histories.build(np.zeros(5, np.int64), np.arange(5), np.zeros(5, np.int8), times, 1)
    part = window([UserPartition(pa.array([1]), histories)])
    assert part.prefixes.targets.tolist() == [4]


def test_what_comes_after_a_label_plays_no_part() -> None:
    whole = shop()
    early = whole.histories.until(END - 4 * DAY)
    all_rows, early_rows = window([whole]), window([UserPartition(whole.users, early)])
    pairs = [
        {
            (sessions.times[a:b].tobytes(), sessions.items[a:b].tobytes()): int(target)
            for a, b, target in zip(sessions.offsets[:-1], sessions.offsets[1:], rows.prefixes.targets, strict=True)
        }
        for rows in (all_rows, early_rows)
        for sessions in [rows.prefixes.sessions]
    ]
    assert pairs[1].items() <= pairs[0].items()


def test_partitions_play_no_part() -> None:
    whole = shop()
    assert bits(past([whole])) == bits(past(split(whole, 3)))
    one, three = window([whole], 50), window(split(whole, 3), 50)
    assert one.total == three.total > 50
    assert len(one.prefixes) == 50
    assert one.prefixes.targets.tolist() == three.prefixes.targets.tolist()
    assert one.prefixes.sessions.items.tolist() == three.prefixes.sessions.items.tolist()
    assert one.known.items.tolist() == three.known.items.tolist()


def test_only_the_newest_sessions_are_kept() -> None:
    log = past([shop()])
    newest = joined_sessions([past_sessions(shop(), AT, GAP, 10, 0)])
    assert newest.ends.tolist() == log.ends[-10:].tolist()
