"""Neighbours of an item in the space of item factors."""

from typing import ClassVar

import numpy as np
from pydantic import Field

from recsys.arrays import run_starts
from recsys.retrieval.neighbours import Neighbours, neighbour_specs, propose_neighbours
from recsys.retrieval.sources.base import Batch, Known, Scored, Source, SourceConfig
from recsys.schema import UNKNOWN
from recsys.specs import Arrays

BLOCK = 64
"""Query items in one matrix product; few enough that their scores stay in the processor's cache."""
MANY = 8
"""Times the neighbours wanted, above which the survivors of a block are cut to size at once."""
STEP = np.float32(2**-10)
"""The widest step of float16 between 0 and 1."""


class MFNeighboursConfig(SourceConfig):
    """Settings of the item-item table in the space of item factors."""

    weight: float = Field(2.0, ge=0)
    """See SourceConfig."""
    per_item: int = Field(20, ge=1, le=1000)
    """Neighbours kept for an item."""
    max_targets: int = Field(20_000, ge=1)
    """Only this many items, those with the most interactions, can be neighbours. All pairs of 235,000 items
    would cost twelve times the work, and items far down the tail are hardly ever the right answer."""


class MFNeighbours(Source[MFNeighboursConfig]):
    """Items whose factors point the same way as those of the user's newest items."""

    name: ClassVar = "mf_neighbours"
    settings: ClassVar = MFNeighboursConfig
    specs: ClassVar = neighbour_specs("mf_neighbours")

    def fit(self, known: Known, counts: None, settings: MFNeighboursConfig) -> Arrays:
        return mf_neighbours(known.item_factors, known.factor_rows, known.users_per_item, settings).arrays()

    def propose(self, table: Arrays, batch: Batch, settings: MFNeighboursConfig) -> Scored:
        return propose_neighbours(table, batch.seeds, len(batch))


def mf_neighbours(
    factors: np.ndarray,
    rows: np.ndarray,
    support: np.ndarray,
    config: MFNeighboursConfig,
    queries: np.ndarray | None = None,
) -> Neighbours:
    """The items whose factors point the same way: exact top lists by cosine, among the most supported items.

    factors: float32 (n_known, k); rows: int32 (n_items,), position of each item in `factors` or UNKNOWN
    support: int64 (n_items,), interactions of each item, which choose the possible neighbours
    queries: int (n,), the items that get a list; None means all that have factors

    Only cosines above 0.001 count and no item is its own neighbour. Scores are float16 and ranked as such,
    ties by item code, so that the last bits of a matrix product decide nothing.
    """
    known = np.flatnonzero(rows != UNKNOWN)
    queries = known if queries is None else np.unique(queries[rows[queries] != UNKNOWN])
    targets = np.sort(known[np.argsort(-support[known], kind="stable")[: config.max_targets]])
    place = np.full(len(rows), UNKNOWN, np.int64)
    place[targets] = np.arange(len(targets))
    right = np.ascontiguousarray(_unit(factors[rows[targets]]).T)
    parts = []
    for start in range(0, len(queries), BLOCK):
        block = queries[start : start + BLOCK]
        scores = _unit(factors[rows[block]]) @ right
        own = np.flatnonzero(place[block] != UNKNOWN)
        scores[own, place[block[own]]] = 0
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
    """The `count` best entries of each row, ties by column; rows ascend, scores are positive float16.

    Where all scores tie every one of them passes the floor, and what is kept must not pile up over the blocks.
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
    """A bound per row that its `count` best scores exceed, or STEP where that is higher; float32 (n_rows,).

    Columns are dealt into groups; the count-th best of the group maxima cannot exceed the count-th best
    score, and is cheap to find. A step of margin lets scores that round to a tie survive together.
    """
    n_groups = 16 * count
    if scores.shape[1] < 2 * n_groups:
        return np.full(len(scores), STEP)
    width = scores.shape[1] // n_groups
    grouped = scores[:, : width * n_groups].reshape(len(scores), width, n_groups)
    bound = np.partition(grouped.max(axis=1), n_groups - count, axis=1)[:, n_groups - count]
    return np.maximum(bound - STEP, STEP)
