"""The rows of the session ranker: one function builds them for training and for serving."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from recsys.arrays import find, runs
from recsys.features.attributes import ItemAttributes, Met, interest, pair_features
from recsys.histories import Histories
from recsys.schema import DAY, UNKNOWN
from recsys.sessions.candidates import Ranked
from recsys.sessions.log import Steps
from recsys.sessions.settings import SOURCES
from recsys.sessions.tables import COUNTS, ItemFacts, SessionTables

SCORED = SOURCES[:3]
"""The sources whose scores are features."""
FEATURES: dict[str, str] = {
    **{f"{name}_score": f"score of the {name}, as a fraction of the session's best" for name in SCORED},
    **{f"{name}_rank": f"rank among the {name}" for name in SCORED},
    **{f"{name}_support": f"number of entries that the score of the {name} is added up from" for name in SCORED},
    "neighbours_level": "logarithm of the neighbours' score",
    "cosine_last": "cosine of the item's vector to the last item's",
    "cosine_session": "cosine of the item's vector to the weighted mean of the session",
    "n_sources": "number of sources that proposed the item",
    "session_steps": "steps of the session",
    "session_items": "distinct items of the session",
    "last_event": "type of the last event",
    "item_steps": "steps of the session on the item",
    "item_distance": "steps since the session's last one on the item",
    "item_event": "strongest type of the session's events on the item",
    "item_sessions": "logarithm of the number of sessions with the item",
    "item_recent": "the same of the recent sessions, half-life 7 days",
    "item_trend": "recent sessions with the item as a fraction of those of the month",
    "item_newest": "days since the newest session with the item",
    "item_oldest": "days since the first session with the item",
    "last_item_sessions": "logarithm of the number of sessions with the last item",
    "category_last": "whether the item has the last item's category",
    "category_session": "fraction of the session's weight in the item's category",
    "own_events": "events of the user on the item before the session",
    "own_days": "days since the newest of them",
    "own_category": "fraction of the user's events before the session in the item's category",
}
"""The features of every shop with their meaning, in the order of the columns."""
DECAY = 2.0


def feature_names(facts: ItemFacts) -> tuple[str, ...]:
    """The names of all features, in the order of their columns; those of the shop's attributes come last."""
    attributes = _attributes(facts)
    named = () if attributes is None else (*attributes.labels, *attributes.vectors)
    return (*FEATURES, *(f"number_{name}" for name in facts.number_names), *(f"attribute_{name}" for name in named))


def _attributes(facts: ItemFacts) -> ItemAttributes | None:
    return None if facts.statistics is None else facts.statistics.attributes


@dataclass(frozen=True)
class SessionBatch:
    """The sessions of a batch as the features read them.

    n_users: number of sessions; query: their distinct items
    sessions: with one event for each step
    known: the users' events before their sessions; None if no user of the batch is known
    """

    n_users: int
    query: Steps
    sessions: Histories
    known: Histories | None

    @cached_property
    def weights(self) -> np.ndarray:
        """The weight of each row of the query in means over the session, float64 (n,); the newest counts most."""
        return np.asarray(np.exp(-self.query.slot / DECAY) * self.query.weight)


def build_features(
    batch: SessionBatch, ranked: Ranked, tables: SessionTables, facts: ItemFacts, names: Sequence[str]
) -> np.ndarray:
    """The rows of the candidates, float32 (n, n_features), NaN where nothing is known; names: some `feature_names`."""
    columns = {
        **_source_columns(ranked, batch.n_users),
        **_vector_columns(batch, ranked, tables),
        **_session_columns(batch, ranked, tables),
        **_item_columns(ranked, tables),
        **_category_columns(batch, ranked, facts),
        **_own_columns(batch, ranked, facts),
        **_attribute_columns(batch, ranked, facts),
    }
    rows = np.full((len(ranked.users), len(names)), np.nan, np.float32)
    for column, name in enumerate(names):
        if name in columns:
            rows[:, column] = columns[name]
    return rows


Columns = dict[str, np.ndarray]


def _source_columns(ranked: Ranked, n_users: int) -> Columns:
    columns: Columns = {}
    starts, run = runs(ranked.users)
    best = np.maximum.reduceat(ranked.scores[:, :3], starts) if len(starts) else np.zeros((0, 3), np.float32)
    relative = ranked.scores[:, :3] / np.maximum(best, 1e-30)[run]
    for column, name in enumerate(SCORED):
        columns[f"{name}_score"] = relative[:, column]
        columns[f"{name}_rank"] = ranked.ranks[:, column]
        columns[f"{name}_support"] = ranked.support[:, column]
    columns["neighbours_level"] = np.log(np.maximum(ranked.scores[:, 0], 1e-20))
    columns["n_sources"] = (ranked.scores > 0).sum(axis=1)
    return columns


def _vector_columns(batch: SessionBatch, ranked: Ranked, tables: SessionTables) -> Columns:
    rows, matrix, query = tables.vectors["rows"], tables.vectors["matrix"], batch.query
    if not len(matrix):
        return {}
    mine = rows[query.items]
    with_vector = mine != UNKNOWN
    vectors = np.where(with_vector[:, None], matrix[mine], 0)
    last = np.zeros((batch.n_users, matrix.shape[1]), np.float32)
    first = query.slot == 0
    last[query.rows[first]] = vectors[first]
    weights = batch.weights.astype(np.float32)
    means = np.zeros_like(last)
    starts, _ = runs(query.rows)
    if len(starts):
        means[query.rows[starts]] = np.add.reduceat(vectors * weights[:, None], starts)
    means /= np.maximum(np.sqrt(np.einsum("ij,ij->i", means, means)), 1e-12)[:, None]
    theirs = rows[ranked.items]
    candidates = matrix[theirs]
    columns: Columns = {}
    for name, ours in (("cosine_last", last), ("cosine_session", means)):
        missing = (theirs == UNKNOWN) | ~np.asarray(ours.any(axis=1))[ranked.users]
        columns[name] = np.where(missing, np.nan, np.einsum("ij,ij->i", candidates, ours[ranked.users]))
    return columns


def _session_columns(batch: SessionBatch, ranked: Ranked, tables: SessionTables) -> Columns:
    query, n_items = batch.query, tables.n_items
    keys = query.rows * n_items + query.items
    order = keys.argsort()
    row = find(keys[order], ranked.users * n_items + ranked.items)
    inside = row != UNKNOWN
    mine = order[row]
    lengths = batch.sessions.lengths
    distinct = np.bincount(query.rows, minlength=batch.n_users)
    first = query.slot == 0
    last_event, last_count = np.full((2, batch.n_users), np.nan)
    ends = batch.sessions.offsets[1:][lengths > 0] - 1
    last_event[lengths > 0] = batch.sessions.events[ends]
    last_count[query.rows[first]] = np.log1p(tables.counts[query.items[first], 0])
    users = ranked.users
    return {
        "session_steps": lengths[users],
        "session_items": distinct[users],
        "last_event": last_event[users],
        "item_steps": np.where(inside, query.count[mine], 0),
        "item_distance": np.where(inside, query.distance[mine], np.nan),
        "item_event": np.where(inside, query.strongest[mine], np.nan),
        "last_item_sessions": last_count[users],
    }


def _item_columns(ranked: Ranked, tables: SessionTables) -> Columns:
    counts = tables.counts[ranked.items]
    sessions, recent, month, newest, oldest = (counts[:, COUNTS.index(name)] for name in COUNTS)
    return {
        "item_sessions": np.log1p(sessions),
        "item_recent": np.log1p(recent),
        "item_trend": (recent + 0.1) / (month + 0.4),
        "item_newest": newest,
        "item_oldest": oldest,
    }


def _category_columns(batch: SessionBatch, ranked: Ranked, facts: ItemFacts) -> Columns:
    category, query = facts.category, batch.query
    if category.max(initial=UNKNOWN) == UNKNOWN:
        return {}
    last = np.full(batch.n_users, UNKNOWN)
    first = query.slot == 0
    last[query.rows[first]] = category[query.items[first]]
    theirs = category[ranked.items]
    fraction = _fractions(query.rows, category[query.items], batch.weights, ranked.users, theirs, batch.n_users)
    known = theirs != UNKNOWN
    return {
        "category_last": np.where(known & (last[ranked.users] != UNKNOWN), theirs == last[ranked.users], np.nan),
        "category_session": np.where(known, fraction, np.nan),
    }


def _fractions(
    rows: np.ndarray, groups: np.ndarray, weights: np.ndarray, users: np.ndarray, wanted: np.ndarray, n_users: int
) -> np.ndarray:
    """The fraction of each user's weight that lies in the wanted group, float64 (n,); 0 without weight."""
    width = int(max(groups.max(initial=0), wanted.max(initial=0))) + 2
    keys, inverse = np.unique(rows * width + groups + 1, return_inverse=True)
    sums = np.append(np.bincount(inverse, weights, len(keys)), 0.0)
    totals = np.bincount(rows, weights, n_users)
    return np.asarray(sums[find(keys, users * width + wanted + 1)] / np.maximum(totals[users], 1e-30))


def _own_columns(batch: SessionBatch, ranked: Ranked, facts: ItemFacts) -> Columns:
    known = batch.known
    if known is None or not len(known.items):
        return {}
    n_items = len(facts.category)
    rows, users = known.rows, ranked.users
    keys, inverse = np.unique(rows * n_items + known.items, return_inverse=True)
    newest = np.full(len(keys), np.iinfo(np.int64).min)
    np.maximum.at(newest, inverse, known.times)
    counts = np.bincount(inverse, minlength=len(keys))
    row = find(keys, users * n_items + ranked.items)
    with_history = (known.lengths > 0)[users]
    lengths, offsets = batch.sessions.lengths, batch.sessions.offsets
    now = np.zeros(batch.n_users, np.int64)
    now[lengths > 0] = batch.sessions.times[offsets[1:][lengths > 0] - 1]
    theirs = facts.category[ranked.items]
    ones = np.ones(len(rows))
    fraction = _fractions(rows, facts.category[known.items], ones, users, theirs, batch.n_users)
    met = row != UNKNOWN
    return {
        "own_events": np.where(with_history, np.where(met, counts[row], 0), np.nan),
        "own_days": np.where(met, (now[users] - newest[row]) / DAY, np.nan),
        "own_category": np.where(with_history & (theirs != UNKNOWN), fraction, np.nan),
    }


def _attribute_columns(batch: SessionBatch, ranked: Ranked, facts: ItemFacts) -> Columns:
    """Distances in numbers, and fractions and cosines of the other attributes."""
    query, n_users, weights = batch.query, batch.n_users, batch.weights
    columns: Columns = {}
    for column, name in enumerate(facts.number_names):
        numbers = facts.numbers[query.items, column]
        given = np.isfinite(numbers)
        totals = np.bincount(query.rows[given], weights[given], n_users)
        sums = np.bincount(query.rows[given], weights[given] * numbers[given], n_users)
        means = np.divide(sums, totals, out=np.full(n_users, np.nan), where=totals > 0)
        columns[f"number_{name}"] = facts.numbers[ranked.items, column] - means[ranked.users]
    attributes = _attributes(facts)
    if attributes is None:
        return columns
    totals = np.bincount(query.rows, weights, n_users)
    met = Met(query.rows, query.items, weights / np.maximum(totals[query.rows], 1e-30))
    others = pair_features(interest(met, n_users, attributes), totals > 0, attributes, ranked.users, ranked.items)
    names = (*attributes.labels, *attributes.vectors)
    return columns | {f"attribute_{name}": others[:, column] for column, name in enumerate(names)}
