"""The candidates of sessions: the best proposals of every source, one row for each (session, item)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from recsys.arrays import rank_within, runs
from recsys.histories import Histories
from recsys.sessions.log import Steps
from recsys.sessions.neighbours import Weights, propose
from recsys.sessions.pairs import propose_listed
from recsys.sessions.proposals import Proposal
from recsys.sessions.settings import SOURCES, SessionConfig
from recsys.sessions.tables import SessionTables

Admit = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Whether each pair may be proposed, bool (n,), from positions of requests, int64 (n,), and item codes, int64 (n,)."""
ALL: Final = 1 << 40
"""No limit."""


@dataclass(frozen=True, slots=True)
class Ranked:
    """The proposals of all sources, merged; one row for each (user, item), ascending.

    users, items: int64 (n,)
    scores, ranks, support: float32 (n, n_sources); scores and support are 0 and ranks NaN where a source does not
        propose the item
    """

    users: np.ndarray
    items: np.ndarray
    scores: np.ndarray
    ranks: np.ndarray
    support: np.ndarray


def proposals(
    tables: SessionTables, weights: Weights, query: Steps, known: Histories | None, config: SessionConfig
) -> list[Proposal]:
    """The proposals of every source but `popular`, in the order of SOURCES, with all their items."""
    n_items = tables.n_items
    listed = []
    for table, settings in ((tables.pairs, config.pairs), (tables.vectors, config.vectors)):
        near = query if query.slot.max(initial=0) < settings.last else query.where(query.slot < settings.last)
        listed.append(propose_listed(table, near, np.exp(-near.slot / settings.decay) * near.weight, n_items))
    return [
        propose(tables.index, weights, query, config.neighbours),
        *listed,
        _session_items(query),
        _own_items(known, config.own, n_items),
    ]


def _session_items(query: Steps) -> Proposal:
    """The items of the session itself, the last one first."""
    order = (query.rows * (1 << 32) + query.items).argsort()
    scores = 1.0 / (1.0 + query.slot[order])
    return Proposal(query.rows[order], query.items[order].astype(np.int64), scores, query.count[order].astype(float))


def _own_items(known: Histories | None, limit: int, n_items: int) -> Proposal:
    """The newest items of the history of each known user, the newest first."""
    none = np.zeros(0, np.int64)
    if known is None or not len(known.items) or not limit:
        return Proposal(none, none, np.zeros(0), np.zeros(0))
    keys = known.rows * n_items + known.items
    order = np.lexsort((np.arange(len(keys)), keys))
    starts, _ = runs(keys[order])
    ends = np.append(starts[1:], len(keys)) - 1
    newest = order[ends]  # the last event on each item; events of a user are in time order
    users = known.rows[newest]
    rank = rank_within(users, newest.astype(np.float64))
    kept = rank < limit
    counts = (ends - starts + 1)[kept].astype(np.float64)
    return Proposal(users[kept], known.items[newest][kept].astype(np.int64), 1.0 / (1.0 + rank[kept]), counts)


def merged(
    parts: Sequence[Proposal], tables: SessionTables, allowed: Admit, n_users: int, config: SessionConfig
) -> Ranked:
    """The best allowed proposals of each source, merged.

    A session with fewer than `config.popular` candidates is filled up with popular items.
    parts: the proposals of each source; allowed: whether each (user, item) may be proposed
    """
    listed = _allowed(_joined(parts), allowed)
    limits = np.array([*config.per_source, ALL, ALL, config.popular])
    ranked = _ranked(listed, limits, n_users, tables.n_items)
    counts = np.bincount(ranked.users, minlength=n_users)
    with_steps = np.bincount(parts[SOURCES.index("session")].users, minlength=n_users) > 0
    few = ((counts < config.popular) & with_steps).nonzero()[0]
    if not len(few):
        return ranked
    n_popular = len(tables.popular)
    scores = np.tile(1.0 / np.arange(1, n_popular + 1), len(few))
    items = np.tile(tables.popular.astype(np.int64), len(few))
    popular = Proposal(few.repeat(n_popular), items, scores, np.zeros(len(scores)))
    return _ranked(_allowed(_joined([*parts, popular]), allowed), limits, n_users, tables.n_items)


@dataclass(frozen=True, slots=True)
class _Listed:
    """The proposals of all sources, source after source; sources: int64 (n,)."""

    sources: np.ndarray
    proposal: Proposal


def _joined(parts: Sequence[Proposal]) -> _Listed:
    columns = (np.concatenate([getattr(part, name) for part in parts]) for name in Proposal.__slots__)
    return _Listed(np.arange(len(parts)).repeat([len(part.users) for part in parts]), Proposal(*columns))


def _allowed(listed: _Listed, allowed: Admit) -> _Listed:
    keep = allowed(listed.proposal.users, listed.proposal.items)
    return listed if keep.all() else _Listed(listed.sources[keep], listed.proposal.where(keep))


def _ranked(listed: _Listed, limits: np.ndarray, n_users: int, n_items: int) -> Ranked:
    """The best proposals of each source and user, up to the limit of the source, in one row for each (user, item)."""
    proposal, sources = listed.proposal, listed.sources
    ranks = rank_within(sources * n_users + proposal.users, proposal.scores)
    best = (ranks < limits[sources]).nonzero()[0]
    keys = proposal.users[best] * n_items + proposal.items[best]
    order = keys.argsort()
    best, keys = best[order], keys[order]
    starts, row = runs(keys)
    cells = row * len(SOURCES) + sources[best]
    columns = np.zeros((3, len(starts) * len(SOURCES)), np.float32)
    columns[1] = np.nan
    columns[0][cells], columns[1][cells], columns[2][cells] = proposal.scores[best], ranks[best], proposal.support[best]
    first = keys[starts]
    users = first // n_items
    return Ranked(users, first - users * n_items, *columns.reshape(3, len(starts), len(SOURCES)))
