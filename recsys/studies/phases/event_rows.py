"""Logged events as rows: what was known strictly before each one, and whether it was of a target type."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import ray

from recsys.arrays import offsets_of, ragged_indices, runs
from recsys.cluster import run_tasks
from recsys.config import TrainConfig
from recsys.data.ingest import ShopData
from recsys.data.shop import UserPartition
from recsys.features.definitions import names_of
from recsys.features.profiles import build_profiles
from recsys.histories import Histories
from recsys.ids import hashes
from recsys.inference.stages import CandidateStage
from recsys.models.rankers.base import RankingData
from recsys.models.tables import Tables
from recsys.retrieval.generator import Candidates
from recsys.retrieval.preranker import NO_PRERANKERS
from recsys.timeline import cut
from recsys.training.preparation import TableRefs

SALT: Final = 4
"""Keeps this choice of users apart from others by hash."""
ROWS_AT_ONCE: Final = 200_000
"""Of histories, about: bounds the working memory."""
ROWS_OF_AN_EVENT: Final = 100
"""What an event counts for beside its history."""
TIME: Final = names_of("time")
"""Features that depend on the time of day or the weekday, and not on how long ago things were."""


@dataclass(frozen=True, slots=True)
class EventRows:
    """Events of some users, each user's of a segment together and in order.

    users: int64 (n,), the same number for all events of a user, and for no other user
    features: float32 (n, n_features); labels: int8 (n,); mf: float32 (n,), NaN where there is none
    """

    users: np.ndarray
    features: np.ndarray
    labels: np.ndarray
    mf: np.ndarray

    @property
    def data(self) -> RankingData:
        """To learn from, each user a query group."""
        starts = runs(self.users)[0]
        return RankingData(self.features, self.labels, np.diff(np.append(starts, len(self.users))))

    @classmethod
    def concat(cls, parts: Sequence["EventRows"]) -> "EventRows":
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in cls.__slots__))


@dataclass(frozen=True, slots=True)
class Segment:
    """Events in (start, end], ms, of users whose hash is at most `quota`, told by tables as of `age`."""

    age: int
    start: int
    end: int
    quota: float


def event_rows(shop: ShopData, tables: TableRefs, older: int, newer: int, cap: int, config: TrainConfig) -> EventRows:
    """Rows of events after the cut at the age `older` up to that at `newer`, at most `cap` unless one user has more.

    Users are taken whole, in the order of a hash of their ids. An event's tables are those of the newest cut before it.
    """
    window = cut(shop.end, older), cut(shop.end, newer)
    calls = [(partition, *window, config) for partition in shop.partitions]
    found = ray.get(run_tasks(users_between, "count events of users", calls))
    shares, counts = (np.concatenate([part[at] for part in found]) for at in range(2))
    order = np.argsort(shares, kind="stable")
    fitting = max(1, int(np.searchsorted(np.cumsum(counts[order]), cap, side="right")))
    quota = float(shares[order][:fitting].max(initial=-1.0))
    ages = [age for age in sorted(tables, reverse=True) if older >= age > newer]
    borders = [cut(shop.end, age) for age in (*ages, newer)]
    segments = [
        Segment(age, start, end, quota) for age, start, end in zip(ages, borders[:-1], borders[1:], strict=True)
    ]
    first = np.cumsum([0, *(part[2] for part in found)])[:-1].tolist()
    work = [
        (partition, tables[segment.age], segment, number, config)
        for segment in segments
        for partition, number in zip(shop.partitions, first, strict=True)
    ]
    return EventRows.concat(ray.get(run_tasks(segment_rows, "build rows of events", work)))


def users_between(
    partition: UserPartition, start: int, end: int, config: TrainConfig
) -> tuple[np.ndarray, np.ndarray, int]:
    """Hashes in [0, 1) and numbers of events of the users with an event in (start, end], and how many users there
    are at all.
    """
    counts = partition.histories.between(start, end).lengths
    some = counts > 0
    return _shares(partition, config)[some], counts[some], len(counts)


def _shares(partition: UserPartition, config: TrainConfig) -> np.ndarray:
    return np.asarray(hashes(partition.users, 2 * config.seed + SALT) / float(2**64))


def segment_rows(
    partition: UserPartition, tables: Tables, segment: Segment, first_user: int, config: TrainConfig
) -> EventRows:
    """The rows of a partition's events in a segment; its users count from `first_user`."""
    chosen = np.flatnonzero(_shares(partition, config) <= segment.quota)
    histories = partition.histories.take(chosen)
    events = np.flatnonzero((histories.times > segment.start) & (histories.times <= segment.end))
    features, mf = [np.zeros((0, len(config.inference.feature_names)), np.float32)], [np.zeros(0, np.float32)]
    for part in _batches(histories, events, config):
        block, scores = _known_before(histories, part, tables, config)
        features.append(block)
        mf.append(scores)
    labels = np.isin(histories.events[events], config.target_codes).astype(np.int8)
    users = first_user + chosen[histories.rows[events]]
    return EventRows(users, np.concatenate(features), labels, np.concatenate(mf))


def _pasts(histories: Histories, events: np.ndarray, config: TrainConfig) -> tuple[np.ndarray, np.ndarray]:
    """Where each event's past begins and how long it is: the user's newest events at earlier times; int64 (n,) each."""
    owners, times = histories.rows, histories.times
    new = np.ones(len(times), bool)
    new[1:] = (np.diff(owners) != 0) | (np.diff(times) != 0)
    moments, moment = new.nonzero()[0], new.cumsum() - 1
    ends, begins = moments[moment[events]], histories.offsets[owners[events]]
    lengths = np.minimum(ends - begins, config.inference.history.max_events)
    return ends - lengths, lengths


def _batches(histories: Histories, events: np.ndarray, config: TrainConfig) -> Iterator[np.ndarray]:
    """The events in runs of a bounded number of rows of history."""
    lengths = _pasts(histories, events, config)[1]
    batch = np.cumsum(lengths + ROWS_OF_AN_EVENT) // ROWS_AT_ONCE
    yield from np.split(events, np.flatnonzero(np.diff(batch)) + 1) if len(events) else []


def _known_before(
    histories: Histories, events: np.ndarray, tables: Tables, config: TrainConfig
) -> tuple[np.ndarray, np.ndarray]:
    """Features and factorization scores of events, each as if its user asked about its item just then.

    Every event is a user of its own whose past is shifted so that all share one `now`: features count from `now`,
    but for those of the group "time", which are of the past as it was. No candidate source is asked.
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
