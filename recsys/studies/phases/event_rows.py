"""Logged events as rows: features from what was known strictly before each event, and whether it is a target event."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray

from recsys.arrays import offsets_of, ragged_indices, runs
from recsys.cluster import run_tasks
from recsys.config import TrainConfig
from recsys.data.shop import UserPartition
from recsys.features.definitions import names_of
from recsys.features.profiles import build_profiles
from recsys.histories import Histories
from recsys.ids import fractions
from recsys.inference.stages import CandidateStage
from recsys.models.rankers.rows import RankingData
from recsys.models.tables import Tables
from recsys.retrieval.generator import Candidates
from recsys.retrieval.preranker import NO_PRERANKERS
from recsys.timeline import Cut
from recsys.training.context import Context
from recsys.training.preparation import TableRefs
from recsys.training.windows import Window

ROWS_AT_ONCE: Final = 200_000
"""Rows of histories in memory at once, about."""
ROWS_OF_AN_EVENT: Final = 100
"""Rows that an event counts as, beside its history."""
TIME: Final = names_of("time")
"""Features of the time of day or the weekday of past events, and not of how long ago they were."""


@dataclass(frozen=True, slots=True)
class EventRows:
    """Events of some users; in each window the events of a user are together and in order.

    users: int64 (n,), one number for each user
    features: float32 (n, n_features); labels: int8 (n,); mf: float32 (n,), NaN where there is none
    """

    users: np.ndarray
    features: np.ndarray
    labels: np.ndarray
    mf: np.ndarray

    @property
    def data(self) -> RankingData:
        """The rows as a ranker's, with one query group for each user."""
        starts = runs(self.users)[0]
        return RankingData(self.features, self.labels, np.diff(np.append(starts, len(self.users))))

    @classmethod
    def concat(cls, parts: Sequence["EventRows"]) -> "EventRows":
        """The rows of all parts."""
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in cls.__slots__))

    def by_user(self, numbers: np.ndarray) -> "EventRows":
        """The rows with other numbers of the users, in their order; numbers: int64 (n_users,), by the number so far."""
        users = numbers[self.users]
        order = np.argsort(users, kind="stable")
        return EventRows(users[order], self.features[order], self.labels[order], self.mf[order])


def event_rows(context: Context, tables: TableRefs, older: Cut, newer: Cut, limit: int) -> EventRows:
    """Rows of the events after the older cut up to the newer one.

    Users keep all their events. Users are drawn by their ids while their events are at most `limit`; the first one is
    always in. Features of an event use the tables of the newest cut before it. Rows are ordered by window, then by user
    id, so that partitions do not matter.
    """
    shop, config = context.shop, context.config
    calls = [(partition, older.time, newer.time, config) for partition in shop.partitions]
    parts: list[UserCounts] = ray.get(run_tasks(users_between, "count events of users", calls))
    draws, counts = np.concatenate([part.draws for part in parts]), np.concatenate([part.counts for part in parts])
    order = np.argsort(draws, kind="stable")
    fitting = max(1, int(np.searchsorted(np.cumsum(counts[order]), limit, side="right")))
    quota = float(draws[order][:fitting].max(initial=-1.0))
    cuts = [cut for cut in sorted(tables, reverse=True) if older >= cut > newer]
    windows = [Window(cut, after.time, quota) for cut, after in pairwise([*cuts, newer])]
    first_users = np.cumsum([0, *(len(part.users) for part in parts)])[:-1].tolist()
    tasks = [
        (partition, tables[window.cut], window, first_user, config)
        for window in windows
        for partition, first_user in zip(shop.partitions, first_users, strict=True)
    ]
    rows: list[EventRows] = ray.get(run_tasks(window_rows, "build rows of events", tasks))
    numbers = pc.rank(pa.concat_arrays([part.users for part in parts])).to_numpy().astype(np.int64) - 1
    n = len(shop.partitions)
    in_windows = (EventRows.concat(rows[first : first + n]) for first in range(0, len(rows), n))
    return EventRows.concat([part.by_user(numbers) for part in in_windows])


@dataclass(frozen=True, slots=True)
class UserCounts:
    """The users of a partition.

    users: ids of all users of the partition
    draws, counts: of the n users with an event in the window: fractions by which they are drawn, float64 (n,), and
    their events in the window, int64 (n,)
    """

    users: pa.Array
    draws: np.ndarray
    counts: np.ndarray


def users_between(partition: UserPartition, start: int, end: int, config: TrainConfig) -> UserCounts:
    """The users of a partition, with the events of each in (start, end], ms."""
    counts = partition.histories.between(start, end).lengths
    some = counts > 0
    return UserCounts(partition.users, fractions(partition.users, "event rows", config.seed)[some], counts[some])


def window_rows(
    partition: UserPartition, tables: Tables, window: Window, first_user: int, config: TrainConfig
) -> EventRows:
    """The rows of a partition's events in a window; users are numbered from `first_user`."""
    chosen = np.flatnonzero(fractions(partition.users, "event rows", config.seed) <= window.quota)
    histories = partition.histories.take(chosen)
    events = np.flatnonzero((histories.times > window.cut.time) & (histories.times <= window.end))
    features, mf = [np.zeros((0, len(config.inference.feature_names)), np.float32)], [np.zeros(0, np.float32)]
    for part in _batches(histories, events, config):
        block, scores = _known_before(histories, part, tables, config)
        features.append(block)
        mf.append(scores)
    labels = np.isin(histories.events[events], config.target_codes).astype(np.int8)
    users = first_user + chosen[histories.rows[events]]
    return EventRows(users, np.concatenate(features), labels, np.concatenate(mf))


def _pasts(histories: Histories, events: np.ndarray, config: TrainConfig) -> tuple[np.ndarray, np.ndarray]:
    """Start and length of each event's past in the histories: the user's newest events at earlier times; int64 (n,)."""
    owners, times = histories.rows, histories.times
    new = np.ones(len(times), bool)
    new[1:] = (np.diff(owners) != 0) | (np.diff(times) != 0)
    moments, moment = new.nonzero()[0], new.cumsum() - 1
    ends, begins = moments[moment[events]], histories.offsets[owners[events]]
    lengths = np.minimum(ends - begins, config.inference.history.max_events)
    return ends - lengths, lengths


def _batches(histories: Histories, events: np.ndarray, config: TrainConfig) -> Iterator[np.ndarray]:
    """The events in batches whose histories have a bounded number of rows together."""
    lengths = _pasts(histories, events, config)[1]
    batch = np.cumsum(lengths + ROWS_OF_AN_EVENT) // ROWS_AT_ONCE
    yield from np.split(events, np.flatnonzero(np.diff(batch)) + 1) if len(events) else []


def _known_before(
    histories: Histories, events: np.ndarray, tables: Tables, config: TrainConfig
) -> tuple[np.ndarray, np.ndarray]:
    """Features and factorization scores of events, each as of its own time.

    Every event becomes a user of its own. The pasts are shifted in time so that all events share one `now`, from which
    features count. Features of the group "time" are made from the times as they were. No candidate source is used.
    """
    starts, lengths = _pasts(histories, events, config)
    index, offsets = ragged_indices(starts, lengths), offsets_of(lengths)
    items, times = histories.items[events], histories.times[events]
    now = int(times.max())
    past = Histories(
        offsets,
        histories.items[index],
        histories.events[index],
        histories.times[index] + (now - times).repeat(lengths),
    )
    stage = CandidateStage(tables, NO_PRERANKERS, config.inference)
    not_proposed = np.full((len(events), len(config.inference.candidates.sources)), np.nan, np.float32)
    pairs = Candidates.given(len(events), np.arange(len(events)), items, not_proposed)
    profiles = build_profiles(past, tables.statistics, now, config.inference.interactions)
    features = stage.features(profiles, pairs)
    newest = (starts + lengths - 1)[lengths > 0]
    last = Histories(
        offsets_of((lengths > 0).astype(np.int64)),
        histories.items[newest],
        histories.events[newest],
        histories.times[newest],
    )
    then = build_profiles(last, tables.statistics, now, config.inference.interactions)
    time = [config.inference.feature_names.index(name) for name in TIME]
    features[:, time] = stage.features(then, pairs)[:, time]
    user_factors, _ = tables.factors.fold_in(past)
    return features, tables.factors.score(user_factors, pairs.users, pairs.items)
