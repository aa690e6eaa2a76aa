"""The diversity of the items of a list."""

import numpy as np

from recsys.schema import UNKNOWN


def different_categories(ranked: np.ndarray, category: np.ndarray, k: int) -> np.ndarray:
    """The fraction of item pairs with different categories among the first k items of each list, float64 (n_users,).

    This is one minus the intra-list similarity of Ziegler et al. (2005), measured by categories. Items without a
    category are left out. With fewer than two other items the fraction is nan.
    ranked: int32 (n_users, depth), padded with UNKNOWN; category: int32 (n_items,), codes or UNKNOWN
    """
    head = ranked[:, :k]
    codes = np.where(head == UNKNOWN, UNKNOWN, category[head])
    known = codes != UNKNOWN
    first, second = np.triu_indices(head.shape[1], 1)
    pairs = known[:, first] & known[:, second]
    different = (pairs & (codes[:, first] != codes[:, second])).sum(axis=1)
    total = pairs.sum(axis=1)
    return np.divide(different, total, out=np.full(len(ranked), np.nan), where=total > 0)
