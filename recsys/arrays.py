"""Helpers over NumPy arrays: runs of equal keys, ragged rows, order and rank within groups."""

import numpy as np

from recsys.schema import UNKNOWN


def ragged_indices(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """All integers of the first range [start, start + length), then those of the second, and so on; int64 (total,).

    starts, lengths: int64 (n_ranges,)
    """
    ends = lengths.cumsum()
    shifts = (starts - ends + lengths).repeat(lengths)
    return np.arange(len(shifts)) + shifts


def rows_of(owners: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows of some owners, owner after owner, and the number of rows of each; both int64.

    Owner i has the rows offsets[i]:offsets[i + 1]. The running time does not grow with the number of all
    owners, since a request needs one user of millions.
    """
    starts = offsets[owners]
    lengths = offsets[np.add(owners, 1)] - starts
    return ragged_indices(starts, lengths), lengths


def offsets_of(lengths: np.ndarray) -> np.ndarray:
    """The borders of consecutive segments with these lengths, from 0; int64 (n + 1,)."""
    offsets = np.zeros(len(lengths) + 1, np.int64)
    lengths.cumsum(out=offsets[1:])
    return offsets


def run_starts(keys: np.ndarray) -> np.ndarray:
    """The position of the first row of each run of equal neighbours; int64 (n_runs,)."""
    return runs(keys)[0]


def runs(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Runs of equal neighbours: the first row of each run, int64 (n_runs,), and the run of each row, int64 (n,)."""
    new = np.ones(len(keys), bool)
    np.not_equal(keys[1:], keys[:-1], out=new[1:])
    return new.nonzero()[0], new.cumsum() - 1


def find(ascending: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The position of each wanted value, int64 (n_wanted,), UNKNOWN for absent values.

    ascending: distinct values in ascending order
    """
    if not len(ascending):
        return np.full(len(wanted), UNKNOWN)
    position = np.minimum(np.searchsorted(ascending, wanted), len(ascending) - 1)
    return np.where(ascending[position] == wanted, position, UNKNOWN)


def best_match(wanted: np.ndarray, keys: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """For each wanted key the position of the row with this key and the highest score, int64 (n_wanted,).

    UNKNOWN where no row has the key; of equal scores the first row counts.
    wanted: int64 (n_wanted,); keys: int64 (n,); scores: float (n,)
    """
    distinct, owner = np.unique(wanted, return_inverse=True)
    place = find(distinct, keys)
    rows = (place != UNKNOWN).nonzero()[0]
    order = rows[np.lexsort((-scores[rows], place[rows]))]
    best = np.full(len(distinct), UNKNOWN)
    first = order[run_starts(place[order])]
    best[place[first]] = first
    return best[owner]


def sums_within(groups: np.ndarray, values: np.ndarray, n_groups: int) -> np.ndarray:
    """The column sums of each group, float64 (n_groups, n_columns). Rows are added in the given order.

    groups: int (n,) in [0, n_groups); values: float64 (n, n_columns)
    """
    n_columns = values.shape[1]
    cells = groups[:, None] * n_columns + np.arange(n_columns)
    return np.bincount(cells.ravel(), values.ravel(), n_groups * n_columns).reshape(n_groups, n_columns)


def order_within(users: np.ndarray, score: np.ndarray, tie: np.ndarray | None = None) -> np.ndarray:
    """The positions of the rows ordered by user, then by falling score, then by rising `tie`; int64 (n,).

    Without `tie`, rows of equal score keep their order.
    """
    order = (-score).argsort(kind="stable") if tie is None else np.lexsort((tie, -score))
    owners = users[order]
    if owners.max(initial=0) < 1 << 16:
        owners = owners.astype(np.uint16)  # NumPy sorts 16-bit integers in linear time
    return order[owners.argsort(kind="stable")]


def rank_within(users: np.ndarray, score: np.ndarray, tie: np.ndarray | None = None) -> np.ndarray:
    """The rank of each row among the rows of its user, in the order of `order_within`; int64 (n,), 0 is the best."""
    order = order_within(users, score, tie)
    rank = np.empty(len(users), np.int64)
    rank[order] = positions(users[order])
    return rank


def positions(keys: np.ndarray) -> np.ndarray:
    """The position of each row in its run of equal keys, from 0; int64 (n,)."""
    starts, run = runs(keys)
    return np.arange(len(keys)) - starts[run]


def belongs(users: np.ndarray, items: np.ndarray, offsets: np.ndarray, owned: np.ndarray) -> np.ndarray:
    """Whether the user owns the item, bool of the shape of `items`; False for UNKNOWN.

    users: int64 positions in `offsets`; the shape broadcasts to the shape of `items`
    items: int32 codes
    offsets, owned: user u owns owned[offsets[u]:offsets[u + 1]], int32 codes in any order
    """
    span = 1 + max(int(items.max(initial=0)), int(owned.max(initial=0)))
    owners = np.repeat(np.arange(len(offsets) - 1, dtype=np.int64), np.diff(offsets))
    return (items != UNKNOWN) & np.isin(users * span + items, owners * span + owned)


def ranked_lists(users: np.ndarray, items: np.ndarray, scores: np.ndarray, n_users: int, depth: int) -> np.ndarray:
    """The items of each user by falling score, at most `depth`; int32 (n_users, depth), padded with UNKNOWN.

    Of items with equal scores the smaller code comes first.
    users: int (n,), positions below n_users; items: int32 (n,); scores: float (n,)
    """
    lists = np.full((n_users, depth), UNKNOWN, np.int32)
    rank = rank_within(users, scores, items)
    best = rank < depth
    lists[users[best], rank[best]] = items[best]
    return lists
