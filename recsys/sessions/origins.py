"""The item of a session, or of the history before it, that each candidate follows from. Explanations name it."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from recsys.arrays import best_match, rows_of
from recsys.histories import Histories
from recsys.schema import UNKNOWN
from recsys.sessions.log import Steps
from recsys.sessions.settings import SOURCES, PairConfig, SessionConfig, VectorConfig
from recsys.sessions.tables import SessionTables
from recsys.specs import Arrays


@dataclass(frozen=True, slots=True)
class Origins:
    """The origin of each candidate.

    sources: int64 (n,), column of the source that explains the candidate, UNKNOWN if none proposed it
    items: int32 (n,), code of the item that the source followed, UNKNOWN if it followed none
    events: int64 (n,), strongest type of the events on that item, a position in EVENT_TYPES, or UNKNOWN
    """

    sources: np.ndarray
    items: np.ndarray
    events: np.ndarray


@dataclass(frozen=True, slots=True)
class Pairs:
    """Candidates: sessions, int64 (n,); items, int32 (n,); the sources that proposed them, bool (n, n_sources)."""

    users: np.ndarray
    items: np.ndarray
    provenance: np.ndarray


def origins(
    tables: SessionTables, query: Steps, known: Histories | None, pairs: Pairs, config: SessionConfig
) -> Origins:
    """The origins of some candidates; query, known: of their sessions, see `SessionProposer.propose`.

    The first of these sources that proposed the candidate explains it: the session itself, the pairs, the vectors, the
    neighbours, which all go back to the last item, and the history before the session.
    """
    n = len(pairs.users)
    sources = np.where(pairs.provenance.any(axis=1), pairs.provenance.argmax(axis=1), UNKNOWN)
    items, events = np.full(n, UNKNOWN, np.int32), np.full(n, UNKNOWN)
    keys = pairs.users * tables.n_items + pairs.items
    for source, rows, followed in _followed(tables, query, known, keys, config):
        column = SOURCES.index(source)
        chosen = pairs.provenance[:, column] & (rows != UNKNOWN) & (events == UNKNOWN)
        sources[chosen] = column
        items[chosen], events[chosen] = (part[rows[chosen]] for part in followed)
    return Origins(sources, items, events)


def _followed(
    tables: SessionTables, query: Steps, known: Histories | None, keys: np.ndarray, config: SessionConfig
) -> Iterator[tuple[str, np.ndarray, tuple[np.ndarray, np.ndarray]]]:
    """For each source its rows, int64 (n,), and the items and the types of events that the rows stand for."""
    n_items, steps = tables.n_items, (query.items, query.strongest)
    last = (query.slot == 0).nonzero()[0]
    yield "session", best_match(keys, query.rows * n_items + query.items, -query.slot), steps
    yield "pairs", _listed(tables.pairs, query, keys, n_items, config.pairs), steps
    yield "vectors", _listed(tables.vectors, query, keys, n_items, config.vectors), steps
    yield "neighbours", np.append(last, UNKNOWN)[best_match(keys // n_items, query.rows[last], last)], steps
    if known is not None and len(known.items):
        yield "own", best_match(keys, known.rows * n_items + known.items, known.events), (known.items, known.events)


def _listed(
    table: Arrays, query: Steps, keys: np.ndarray, n_items: int, settings: PairConfig | VectorConfig
) -> np.ndarray:
    """The row of the query with the largest part in the score of each candidate, see `propose_listed`."""
    near = (query.slot < settings.last).nonzero()[0]
    entries, lengths = rows_of(query.items[near], table["offsets"])
    row = near.repeat(lengths)
    parts = np.exp(-query.slot[row] / settings.decay) * query.weight[row] * table["scores"][entries]
    return np.append(row, UNKNOWN)[best_match(keys, query.rows[row] * n_items + table["items"][entries], parts)]
