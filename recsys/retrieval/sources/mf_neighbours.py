"""Neighbours of an item in the space of item factors."""

from typing import ClassVar

import numpy as np
from pydantic import Field

from recsys.arrays import run_starts
from recsys.features.statistics import Statistics
from recsys.retrieval.neighbours import Neighbours, neighbour_origins, neighbour_specs, propose_neighbours
from recsys.retrieval.sources.base import Batch, Known, Scored, Source, SourceConfig
from recsys.schema import UNKNOWN
from recsys.specs import Arrays

BLOCK = 64
"""Query items in one matrix product; few enough that their scores stay in the processor's cache."""
MANY = 8
"""A block with more than this many times `per_item` entries for each query is cut to `per_item` entries at once."""
STEP = np.float32(2**-10)
"""An upper bound of the gap between two neighbouring float16 numbers in [0, 1]."""


class MFNeighboursConfig(SourceConfig):
    """Settings of the item-item table in the space of item factors."""

    weight: float = Field(2.0, ge=0)
    """See SourceConfig."""
    per_item: int = Field(20, ge=1, le=1000)
    """Neighbours kept for an item."""
    max_targets: int = Field(20_000, ge=1)
    """Number of items that can be neighbours: those with the most interactions. All pairs of 235,000 items would take
    twelve times as long, and items with few interactions are hardly ever chosen."""


class MFNeighbours(Source[MFNeighboursConfig]):
    """Items whose factors point the same way as those of the user's newest items."""

    name: ClassVar = "mf_neighbours"
    settings: ClassVar = MFNeighboursConfig
    specs: ClassVar = neighbour_specs("mf_neighbours")

    def fit(self, known: Known, counts: None, settings: MFNeighboursConfig) -> Arrays:
        return mf_neighbours(known.item_factors, known.factor_rows, known.users_per_item, settings).arrays()

    def propose(self, table: Arrays, batch: Batch, settings: MFNeighboursConfig) -> Scored:
        return propose_neighbours(table, batch.seeds, len(batch))

    def origins(
        self, table: Arrays, batch: Batch, statistics: Statistics, users: np.ndarray, items: np.ndarray
    ) -> np.ndarray:
        return neighbour_origins(table, batch.seeds, users, items)


def mf_neighbours(
    factors: np.ndarray,
    rows: np.ndarray,
    support: np.ndarray,
    config: MFNeighboursConfig,
    queries: np.ndarray | None = None,
) -> Neighbours:
    """For each item, the items with the highest cosine of their factors, among the items with the most interactions.

    factors: float32 (n_known, k); rows: int32 (n_items,), position of each item in `factors` or UNKNOWN
    support: int64 (n_items,), interactions of each item; they decide which items can be neighbours
    queries: int (n,), the items that get a list; None means all that have factors

    Only cosines above 0.001 count, and no item is its own neighbour. Scores are rounded to float16 before they are
    ranked, so the last bits of a matrix product do not matter. Ties go to the smaller item code.
    """
    known = np.flatnonzero(rows != UNKNOWN)
    queries = known if queries is None else np.unique(queries[rows[queries] != UNKNOWN])
    targets = np.sort(known[np.argsort(-support[known], kind="stable")[: config.max_targets]])
    column_of = np.full(len(rows), UNKNOWN, np.int64)
    column_of[targets] = np.arange(len(targets))
    right = np.ascontiguousarray(_unit(factors[rows[targets]]).T)
    parts = []
    for start in range(0, len(queries), BLOCK):
        block = queries[start : start + BLOCK]
        scores = _unit(factors[rows[block]]) @ right
        own = np.flatnonzero(column_of[block] != UNKNOWN)
        scores[own, column_of[block[own]]] = 0
        flat = np.flatnonzero(scores > _floor(scores, config.per_item)[:, None])
        row, column = np.divmod(flat, len(targets))
        best = scores.ravel()[flat].astype(np.float16)
        if len(flat) > MANY * config.per_item * len(block):
            row, column, best = _best(row, column, best, config.per_item)
        parts.append((block[row], targets[column], best))
    if not parts:
        parts.append((queries, queries, np.zeros(0, np.float16)))
    source, item, score = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return Neighbours.build(source, item, score, len(rows), config.per_item)


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Rows scaled to length one, float32; a zero row stays zero."""
    norms = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))
    return (vectors / np.where(norms > 0, norms, 1)[:, None]).astype(np.float32)


def _best(
    row: np.ndarray, column: np.ndarray, scores: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The `count` best entries of each row, as rows, columns and scores; ties go to the smaller column.

    Rows must ascend, scores must be positive float16. If all scores tie, every entry passes the floor: without this cut
    such entries would fill the memory block by block.
    """
    # Positive floats order as their bits do, so one number stands for score and column.
    keys = (np.int64(2**16) - scores.view(np.uint16)) << 32 | column
    borders = run_starts(row)
    parts = np.split(keys, borders[1:])
    kept = [part if len(part) <= count else np.partition(part, count)[:count] for part in parts]
    keys = np.concatenate(kept)
    bits = (2**16 - (keys >> 32)).astype(np.uint16)
    return np.repeat(row[borders], [len(part) for part in kept]), keys & (2**32 - 1), bits.view(np.float16)


def _floor(scores: np.ndarray, count: int) -> np.ndarray:
    """A bound for each row below its `count` best scores, at least STEP; float32 (n_rows,).

    Columns are split into groups. The count-th largest maximum of a group is at most the count-th best score, and cheap
    to compute. The bound lies STEP below it, so that scores that round to the same float16 pass together.
    """
    n_groups = 16 * count
    if scores.shape[1] < 2 * n_groups:
        return np.full(len(scores), STEP)
    width = scores.shape[1] // n_groups
    grouped = scores[:, : width * n_groups].reshape(len(scores), width, n_groups)
    bound = np.partition(grouped.max(axis=1), n_groups - count, axis=1)[:, n_groups - count]
    return np.maximum(bound - STEP, STEP)
