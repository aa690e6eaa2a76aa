"""The source `pairs`: items of the same sessions, in one symmetric table normalized by lift."""

from collections.abc import Mapping
from typing import Final

import numpy as np
from scipy import sparse

from recsys.arrays import rows_of
from recsys.retrieval.neighbours import Neighbours
from recsys.sessions.log import Steps
from recsys.sessions.proposals import Proposal, add_up
from recsys.sessions.settings import PairConfig
from recsys.specs import Arrays, ArraySpec, borders, codes

SPECS: Final[Mapping[str, ArraySpec]] = {
    "offsets": borders("items", "session pairs"),
    "items": codes("items", "session pairs", low=0),
    "scores": ArraySpec("f4", ("session pairs",)),
}


def count_pairs(steps: Steps, n_items: int, config: PairConfig) -> sparse.csr_array:
    """Decayed numbers of sessions with both items, symmetric, float64 (n_items, n_items); steps of distinct items."""
    total = sparse.csr_array((n_items, n_items))
    for apart in range(1, config.window + 1):
        together = steps.rows[apart:] == steps.rows[:-apart]
        if not together.any():
            break
        first, second = steps.items[:-apart][together], steps.items[apart:][together]
        weights = np.full(len(first), np.exp(-(apart - 1) / config.distance_decay))
        total = total + sparse.coo_array((weights, (first, second)), shape=(n_items, n_items)).tocsr()
    return (total + total.T).tocsr()


def normalized(counts: sparse.csr_array, sessions: np.ndarray, lift: float, shrinkage: float) -> sparse.csr_array:
    """Counts divided by (sessions of one item * sessions of the other) ** lift; sessions: int64 (n_items,)."""
    scale = sparse.diags_array((sessions + max(shrinkage, 1e-9)) ** -lift)
    return (scale @ counts @ scale).tocsr()


def best_of_rows(matrix: sparse.csr_array, limit: int) -> dict[str, np.ndarray]:
    """The `limit` largest entries of each row, best first, with the arrays of SPECS; ties go to the smaller item."""
    n_items = matrix.shape[0]
    rows = np.repeat(np.arange(n_items), np.diff(matrix.indptr))
    table = Neighbours.build(rows, matrix.indices, matrix.data, n_items, limit)
    return {**table.arrays(), "scores": table.scores.astype(np.float32)}


def propose_listed(table: Arrays, query: Steps, weights: np.ndarray, n_items: int) -> Proposal:
    """Items of the lists of each session's items, with the sums of their scores times weights.

    table: offsets, items and scores; query: items without a list propose nothing
    weights: float64 (n,), weight of each row of the query
    """
    entries, lengths = rows_of(query.items, table["offsets"])
    scores = np.repeat(weights, lengths) * table["scores"][entries]
    return add_up(np.repeat(query.rows, lengths), table["items"][entries], scores, n_items)
