"""Contributions along the paths of rows through LightGBM's trees: cheap enough for every request."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse


@dataclass(frozen=True, slots=True)
class PathTable:
    """The contributions of each leaf, ready to be added up.

    starts: int64 (n_trees,), the first leaf of each tree; leaves: float64 (n_leaves, n_features + 1)

    At each split of the path to a leaf the expected score changes, and the change belongs to the feature of the split
    (Saabas 2014). The expected score of a node is the mean of the leaves below, weighted by their training rows. The
    last column is that of the root, so a row of `leaves` adds up to the value of the leaf.
    """

    starts: np.ndarray
    leaves: np.ndarray

    @classmethod
    def build(cls, trees: Sequence[Mapping[str, Any]], n_features: int) -> "PathTable":
        """The table of trees as `lightgbm.Booster.dump_model` returns them in `tree_info`."""
        starts = np.cumsum([0, *(int(tree["num_leaves"]) for tree in trees)])
        leaves = np.zeros((int(starts[-1]), n_features + 1))
        for tree, start in zip(trees, starts.tolist(), strict=False):
            _fill(leaves[start : start + int(tree["num_leaves"])], tree["tree_structure"])
        return cls(starts[:-1], leaves)

    def __call__(self, leaves: np.ndarray) -> np.ndarray:
        """The contributions of each row, float64 (n_rows, n_features + 1); leaves: int (n_rows, n_trees)."""
        n_rows, n_trees = len(leaves), len(self.starts)
        columns = (leaves.reshape(n_rows, n_trees) + self.starts).ravel()
        cells = np.ones(len(columns)), columns, np.arange(n_rows + 1) * n_trees
        # The product of matrices adds up the leaves of each row, and keeps no copy of them all.
        return np.asarray(sparse.csr_array(cells, shape=(n_rows, len(self.leaves))) @ self.leaves)


def _fill(leaves: np.ndarray, root: Mapping[str, Any]) -> None:
    """Write the contributions of each leaf below `root` into its row of `leaves`."""
    means = _means(root)
    above = np.zeros(leaves.shape[1])
    above[-1] = means[id(root)]
    waiting = [(root, above)]
    while waiting:
        node, path = waiting.pop()
        if "split_feature" not in node:
            leaves[node.get("leaf_index", 0)] = path
            continue
        for child in (node["left_child"], node["right_child"]):
            below = path.copy()
            below[node["split_feature"]] += means[id(child)] - means[id(node)]
            waiting.append((child, below))


def _means(root: Mapping[str, Any]) -> dict[int, float]:
    """The mean value of the leaves below each node, by the identity of the node."""
    order, waiting = [], [root]
    while waiting:
        node = waiting.pop()
        order.append(node)
        if "split_feature" in node:
            waiting += [node["left_child"], node["right_child"]]
    means: dict[int, float] = {}
    weights: dict[int, float] = {}
    for node in reversed(order):  # children come before their parents
        if "split_feature" not in node:
            means[id(node)], weights[id(node)] = float(node["leaf_value"]), float(node.get("leaf_count", 1))
            continue
        children = [id(node["left_child"]), id(node["right_child"])]
        counts = [weights[child] for child in children]
        weights[id(node)] = total = sum(counts)
        parts = counts if total > 0 else [1.0, 1.0]
        mean = sum(part * means[child] for part, child in zip(parts, children, strict=True)) / sum(parts)
        means[id(node)] = mean
    return means
