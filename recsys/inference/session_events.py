"""Events of sessions in codes, and how they join the histories of a batch."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from recsys.arrays import offsets_of
from recsys.data.layout.types import EventWords, words_of
from recsys.histories import Histories
from recsys.registry.manifest import Manifest
from recsys.schema import EVENT_TYPES, VIEW
from recsys.timeline import Present

NOW: Final = -1
"""The time of an event that names none."""
DEFAULT_EVENT: Final = EVENT_TYPES[VIEW]
"""The type of an event that names none."""


def words_of_log(manifest: Manifest) -> EventWords:
    """The meanings of the words in the log of a version: those of its mapping, beside the customary words."""
    mapping = manifest.mapping
    return words_of(None if mapping is None or isinstance(mapping.types, str) else mapping.types)


@dataclass(frozen=True, slots=True)
class EncodedSession:
    """The events of a session that a version understands, in the order of the request.

    items: int32 (n,), codes; events: int8 (n,), positions in EVENT_TYPES
    times: int64 (n,), ms, NOW for the present
    unknown_items: number of events on items that the version does not have
    """

    items: np.ndarray
    events: np.ndarray
    times: np.ndarray
    unknown_items: int


@dataclass(frozen=True, slots=True)
class JoinedHistories:
    """All events of a batch of requests.

    histories: snapshot and session; events of a session with equal times stay in the order of the request
    in_session: bool (n_events,), the events of sessions
    now: the present of the batch, or of each request if a session is newer
    """

    histories: Histories
    in_session: np.ndarray
    now: Present


def join(histories: Histories, sessions: Mapping[int, EncodedSession], now: int) -> JoinedHistories:
    """The histories with the events of the sessions; an event that both have counts once, as one of the session.

    sessions: by position of the request in `histories`; now: ms, not before any event of `histories`
    """
    placed = {row: _placed(session, now) for row, session in sessions.items() if len(session.items)}
    if not placed:
        return JoinedHistories(histories, np.zeros(len(histories.times), bool), now)
    added = [np.full(len(session.items), row) for row, session in placed.items()]
    rows = np.concatenate((histories.rows, *added))
    items, events, times = (
        np.concatenate((getattr(histories, name), *(getattr(session, name) for session in placed.values())))
        for name in ("items", "events", "times")
    )
    is_new = np.arange(len(rows)) >= len(histories.times)
    kept = ~_repeated(rows, items, events, times, is_new)
    rows, items, events, times, is_new = (column[kept] for column in (rows, items, events, times, is_new))
    order = np.lexsort((times, rows))  # stable: the snapshot's events, then those of the session in their order
    offsets = offsets_of(np.bincount(rows, minlength=len(histories)))
    merged = Histories(offsets, items[order], events[order], times[order])
    newest = np.full(len(histories), now)
    for row, session in placed.items():
        newest[row] = max(now, int(session.times.max()))
    return JoinedHistories(merged, is_new[order], newest if (newest > now).any() else now)


def _placed(session: EncodedSession, now: int) -> EncodedSession:
    """The session with a time for each event: the present is now, or the newest time given if that is later.

    Several events of the present become apart by 1 ms each, so that their order lasts.
    """
    missing = session.times == NOW
    if not missing.any():
        return session
    present = max(now, int(session.times.max()))
    times = session.times.copy()
    times[missing] = present - np.arange(np.count_nonzero(missing))[::-1]
    return replace(session, times=times)


def _repeated(
    rows: np.ndarray, items: np.ndarray, events: np.ndarray, times: np.ndarray, is_new: np.ndarray
) -> np.ndarray:
    """Whether a session has each event as well, or had it before, bool (n,). Histories alone keep what they repeat.

    rows: int64 (n,), positions of the requests; is_new: bool (n,), the events of sessions
    """
    repeated = np.zeros(len(rows), bool)
    first = int(times[is_new].min())
    late = (times >= first).nonzero()[0]
    order = late[np.lexsort((~is_new[late], times[late], events[late], items[late], rows[late]))]
    keys = np.stack([column[order].astype(np.int64) for column in (rows, items, events, times)])
    is_first = np.ones(len(order), bool)
    is_first[1:] = (keys[:, 1:] != keys[:, :-1]).any(axis=0)
    starts = is_first.nonzero()[0]
    with_session = np.repeat(is_new[order[starts]], np.diff(np.append(starts, len(order))))
    repeated[order] = with_session & ~is_first  # the first of equal events is the session's, if it has one
    return repeated
