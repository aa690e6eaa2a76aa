"""The source `vectors`: a singular value decomposition of the normalized pairs, and each item's nearest items."""

from collections.abc import Mapping
from typing import Final

import numpy as np
from scipy import sparse

from recsys.arrays import offsets_of, positions
from recsys.schema import UNKNOWN
from recsys.sessions.settings import VectorConfig
from recsys.specs import ArraySpec, borders, codes

MOST_DIMENSIONS: Final = 512
SPECS: Final[Mapping[str, ArraySpec]] = {
    "rows": codes("session vectors", "items"),
    "matrix": ArraySpec(
        "f4",
        ("session vectors", "session dimensions"),
        largest={"session vectors": "items", "session dimensions": MOST_DIMENSIONS},
    ),
    "offsets": borders("items", "session neighbours"),
    "items": codes("items", "session neighbours", low=0),
    "scores": ArraySpec("f4", ("session neighbours",)),
}
AT_ONCE: Final = 512
"""Items whose neighbours are searched at a time."""
BLOCK: Final = 64


def fit_vectors(pairs: sparse.csr_array, sessions: np.ndarray, config: VectorConfig) -> dict[str, np.ndarray]:
    """The vectors of the items with the most sessions, and their nearest items, with the arrays of SPECS.

    pairs: see `normalized`; sessions: int64 (n_items,)
    """
    n_items = len(sessions)
    able = np.flatnonzero((sessions >= config.min_sessions) & (np.diff(pairs.indptr) > 0))
    if len(able) > config.max_items:
        able = np.sort(able[np.argsort(-sessions[able], kind="stable")[: config.max_items]])
    matrix = _decomposed(pairs[able][:, able], config.dimensions)
    rows = np.full(n_items, UNKNOWN, np.int32)
    rows[able] = np.arange(len(able))
    owners, others, cosines = _nearest(matrix, config.per_item)
    return {
        "rows": rows,
        "matrix": matrix,
        "offsets": offsets_of(np.bincount(able[owners], minlength=n_items)),
        "items": able[others].astype(np.int32),
        "scores": cosines.astype(np.float32),
    }


def _decomposed(pairs: sparse.csr_array, dimensions: int) -> np.ndarray:
    """Left singular vectors times the root of their values, rows of length one; float32 (n, at most `dimensions`).

    Halko, Martinsson and Tropp 2011, with three power iterations.
    """
    n = pairs.shape[0]
    k = max(min(dimensions, n // 4), min(n, 1))
    width = min(k + 10, n)
    basis = np.random.default_rng(0).standard_normal((n, width)).astype(np.float32)
    matrix = pairs.astype(np.float32)
    for _ in range(4):
        basis, _ = np.linalg.qr(matrix @ basis)
    small = basis.T @ (matrix @ basis)  # the matrix is symmetric
    values, inner = np.linalg.eigh((small + small.T) / 2)
    strongest = np.argsort(-np.abs(values), kind="stable")[:k]
    vectors = basis @ inner[:, strongest] * np.sqrt(np.abs(values[strongest]))
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.ascontiguousarray(vectors / np.maximum(norms, 1e-12), np.float32)


def _nearest(matrix: np.ndarray, limit: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each row the `limit` other rows with the largest positive cosine: row, other row and cosine, best first.

    The cosines of a row fall into blocks. As many block maxima as neighbours are wanted lie above a bound, so at least
    as many cosines do: this bound replaces a partial sort of all cosines.
    """
    n = len(matrix)
    padded = np.zeros((-(-max(n, 1) // BLOCK) * BLOCK, matrix.shape[1]), np.float32)
    padded[:n] = matrix
    rows, columns, values = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [np.zeros(0, np.float32)]
    for start in range(0, n, AT_ONCE):
        cosines = matrix[start : start + AT_ONCE] @ padded.T
        cosines[np.arange(len(cosines)), np.arange(start, start + len(cosines))] = -1.0
        maxima = cosines.reshape(len(cosines), -1, BLOCK).max(axis=2)
        kth = maxima.shape[1] - limit
        bound = np.partition(maxima, kth, axis=1)[:, kth] if kth > 0 else np.zeros(len(cosines), np.float32)
        row, column = (cosines >= np.maximum(bound, 1e-6)[:, None]).nonzero()
        value = cosines[row, column]
        order = np.lexsort((column, -value, row))
        order = order[positions(row[order]) < limit]
        rows.append(row[order] + start)
        columns.append(column[order])
        values.append(value[order])
    return np.concatenate(rows), np.concatenate(columns), np.concatenate(values)
