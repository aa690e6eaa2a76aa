"""The source `neighbours`: items of similar earlier sessions (VSTAN: Garg et al. 2019; Ludewig and Jannach 2018).

An index lists the newest sessions of each item. A request reads the lists of its items, keeps the newest sessions,
weighs them by similarity and recency, and adds up the items of the most similar ones.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from recsys.arrays import offsets_of, positions, ragged_indices, rank_within, rows_of, runs
from recsys.sessions.log import Steps
from recsys.sessions.proposals import Proposal, add_up
from recsys.sessions.settings import NeighbourConfig
from recsys.specs import Arrays, ArraySpec, borders, codes

SLOTS: Final = 64
"""Upper bound of an item's slot in a session; a power of two."""
QUERY_SLOTS: Final = 16

SPECS: Final[Mapping[str, ArraySpec]] = {
    "listed_offsets": borders("items", "session listed"),
    "listed_sessions": codes("sessions", "session listed", low=0),
    "listed_slots": ArraySpec("i1", ("session listed",), 0, SLOTS - 1),
    "offsets": borders("sessions", "session steps", min_row=1),
    "items": codes("items", "session steps", low=0),
    "ages": ArraySpec("f4", ("sessions",)),
    "frequency": ArraySpec("f4", ("items",)),
}


def fit_index(ages: np.ndarray, steps: Steps, n_items: int, config: NeighbourConfig) -> dict[str, np.ndarray]:
    """The index of some sessions, with the arrays of SPECS.

    ages: float64 (n_sessions,), days since the end of each session, falling; steps: their distinct items
    """
    n_sessions = len(ages)
    lengths = np.bincount(steps.rows, minlength=n_sessions)
    users = np.bincount(steps.items, minlength=n_items)
    frequency = np.log(max(n_sessions, 1) / np.maximum(users, 1))
    usable = lengths[steps.rows] > 1
    rows, items, slots = steps.rows[usable], steps.items[usable], steps.slot[usable]
    order = np.lexsort((-rows, items))  # the newest session of an item first
    kept = order[positions(items[order]) < config.per_item]
    named, listed = np.unique(rows[kept], return_inverse=True)
    old_offsets = offsets_of(lengths)
    index, kept_lengths = rows_of(named, old_offsets)
    return {
        "listed_offsets": offsets_of(np.bincount(items[kept], minlength=n_items)),
        "listed_sessions": listed.astype(np.int32),
        "listed_slots": slots[kept].astype(np.int8),
        "offsets": offsets_of(kept_lengths),
        "items": steps.items[index].astype(np.int32),
        "ages": ages[named].astype(np.float32),
        "frequency": frequency.astype(np.float32),
    }


@dataclass(frozen=True, slots=True)
class Weights:
    """Weights of the neighbour kernel that do not depend on the request.

    sessions: float64 (n_sessions,), by age and length; idf: float64 (n_items,)
    query, last: float64 (QUERY_SLOTS,), by slot in the session
    distance: float64 (2 * SLOTS,), by a neighbour's slot minus the slot of the match, plus SLOTS
    """

    sessions: np.ndarray
    idf: np.ndarray
    query: np.ndarray
    last: np.ndarray
    distance: np.ndarray

    @classmethod
    def create(cls, table: Arrays, config: NeighbourConfig) -> "Weights":
        """The weights of an index."""
        lengths = np.diff(table["offsets"])
        slots = np.arange(SLOTS)
        apart = np.arange(-SLOTS, SLOTS)
        return cls(
            np.exp(-table["ages"].astype(np.float64) / config.recency_days) * lengths ** (-config.power / 2),
            table["frequency"].astype(np.float64) ** config.idf,
            np.exp(-slots[:QUERY_SLOTS] / config.query_decay),
            np.exp(-slots[:QUERY_SLOTS] / config.last_decay),
            np.exp(-np.abs(apart) / config.distance_decay) * np.where(apart > 0, config.before, 1.0),
        )


def propose(table: Arrays, weights: Weights, query: Steps, config: NeighbourConfig) -> Proposal:
    """The items of each session's neighbours, with the sessions' own items; query: see `distinct_steps`."""
    n_sessions = len(table["ages"])
    entries, lengths = rows_of(query.items, table["listed_offsets"])
    keys = (np.repeat(query.rows * n_sessions, lengths) + table["listed_sessions"][entries]) << 10
    keys += np.repeat(query.slot << 6, lengths)
    keys += table["listed_slots"][entries]
    keys.sort()
    pair = keys >> 10
    starts, run = runs(pair)
    ours = weights.query[query.slot] * query.weight * weights.idf[query.items]
    # The weight of (request, slot); slots of a request are consecutive rows of the query.
    first_rows = np.zeros(int(query.rows.max(initial=0)) + 1, np.int64)
    first_rows[query.rows[::-1]] = np.arange(len(query.rows))[::-1]
    requests = pair[starts] // n_sessions
    slots = (keys >> 6) & (QUERY_SLOTS - 1)
    similarity = np.bincount(run, ours[first_rows[requests][run] + slots], minlength=len(starts))
    sessions = pair[starts] - requests * n_sessions
    from_end = np.bincount(requests)[requests] - positions(requests)
    recent = (from_end <= config.recent).nonzero()[0]
    sessions, requests = sessions[recent], requests[recent]
    nearest = starts[recent]
    similarity = similarity[recent] ** config.power * weights.sessions[sessions] * weights.last[slots[nearest]]
    if np.bincount(requests, minlength=1).max() > config.neighbours:
        best = (rank_within(requests, similarity) < config.neighbours).nonzero()[0]
        sessions, requests, nearest, similarity = sessions[best], requests[best], nearest[best], similarity[best]
    match = keys[nearest] & (SLOTS - 1)
    offsets = table["offsets"]
    begins = offsets[sessions]
    sizes = offsets[sessions + 1] - begins
    rows = ragged_indices(begins, sizes)
    apart = rows - np.repeat(begins + match, sizes) + SLOTS
    items = table["items"][rows]
    scores = np.repeat(similarity, sizes) * weights.distance.take(apart, mode="clip") * weights.idf[items]
    return add_up(np.repeat(requests, sizes), items, scores, len(weights.idf))
