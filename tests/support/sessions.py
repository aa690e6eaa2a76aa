"""A log of sessions with a pattern that is easy to learn, and a session model trained on it; nothing here needs Ray."""

from functools import cache

import numpy as np

from recsys.arrays import offsets_of
from recsys.histories import Histories
from recsys.schema import DAY
from recsys.sessions.learning import as_model, calibrated, labelled_rows, train_ranker
from recsys.sessions.log import SessionLog
from recsys.sessions.model import SessionModel, SessionProposer
from recsys.sessions.prefixes import labelled
from recsys.sessions.settings import SessionConfig, SessionRankerConfig, VectorConfig
from recsys.sessions.tables import ItemFacts, fit_session_tables

N_ITEMS, CIRCLE = 60, 10
MINUTE = 60_000
CUT = 100 * DAY
"""The time of the cut: the log goes from day 0 to day 120."""


def circle_sessions(seed: int, n: int, start: int, end: int) -> SessionLog:
    """Sessions in which visitors step from an item to one of the next two of its circle of ten; times in ms."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(2, 7, n)
    first = rng.integers(0, N_ITEMS, n)
    circle = np.repeat(first // CIRCLE * CIRCLE, lengths)
    offsets = offsets_of(lengths)
    moves = rng.integers(1, 3, lengths.sum())
    walked = np.cumsum(moves)
    place = np.repeat(first, lengths) + walked - np.repeat(walked[offsets[:-1]], lengths)
    items = circle + place % CIRCLE
    begins = np.sort(rng.integers(start, end - 10 * MINUTE, n))
    times = np.repeat(begins, lengths) + (np.arange(lengths.sum()) - np.repeat(offsets[:-1], lengths)) * MINUTE
    sessions = Histories(offsets, items.astype(np.int32), np.zeros(len(items), np.int8), times)
    log = SessionLog(sessions, np.arange(n))
    return log.take(np.argsort(log.ends, kind="stable"))


def small_session_config() -> SessionConfig:
    ranker = SessionRankerConfig(max_trees=10, num_leaves=5, min_child_samples=5)
    return SessionConfig(ranker=ranker, vectors=VectorConfig(dimensions=8, per_item=10))


@cache
def circle_proposer() -> SessionProposer:
    """A proposer with tables of 400 sessions before the cut."""
    config = small_session_config()
    tables = fit_session_tables(circle_sessions(0, 400, 0, CUT), CUT, N_ITEMS, config)
    return SessionProposer(tables, ItemFacts.none(N_ITEMS), config)


@cache
def circle_model() -> SessionModel:
    """A session model whose ranker learned from 100 sessions after the cut."""
    proposer = circle_proposer()
    rows = labelled_rows(proposer, labelled(circle_sessions(1, 100, CUT, 110 * DAY)))
    ranker = train_ranker([rows], proposer.config, 0)
    return as_model(proposer, ranker, calibrated(rows, ranker))
