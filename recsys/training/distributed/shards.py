"""The rows of each worker of a distributed training, and how long a training waits for workers."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from recsys.errors import ModelError
from recsys.models.rankers.rows import RankingData

RESTARTS: Final = 3
"""Deaths of workers after which a training starts them again."""
WAIT_SECONDS: Final = 60.0
"""Time to wait for CPUs that other work uses."""


def deal(parts: Sequence[RankingData], n: int) -> list[list[RankingData]]:
    """The rows of each of `n` workers, as views: runs of whole query groups.

    Numbers of rows differ by at most the largest query group, and every worker gets at least one query group. Raises
    ModelError if there are fewer than `n` query groups.
    """
    sizes = np.concatenate([part.groups for part in parts])
    if len(sizes) < n:
        raise ModelError(f"{len(sizes)} query groups cannot be dealt out to ranker.num_workers={n}")
    ends = np.cumsum(sizes)
    even = np.searchsorted(ends, ends[-1] * np.arange(1, n) / n) + 1
    # at least one group for each worker
    borders = np.clip(np.maximum.accumulate(even - np.arange(1, n)), 0, len(sizes) - n) + np.arange(1, n)
    return [_between(parts, start, end) for start, end in zip([0, *borders], [*borders, len(sizes)], strict=True)]


def _between(parts: Sequence[RankingData], start: int, end: int) -> list[RankingData]:
    """The query groups from `start` up to `end`, counted through all parts."""
    pieces, before = [], 0
    for part in parts:
        first, last = np.clip([start - before, end - before], 0, len(part.groups))
        before += len(part.groups)
        if first < last:
            rows = slice(int(part.groups[:first].sum()), int(part.groups[:last].sum()))
            weights = None if part.weights is None else part.weights[rows]
            pieces.append(RankingData(part.features[rows], part.labels[rows], part.groups[first:last], weights))
    return pieces
