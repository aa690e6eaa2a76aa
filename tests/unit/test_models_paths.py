"""Contributions along paths of a tree that is small enough to compute by hand."""

import numpy as np
import pytest

from recsys.models.rankers.paths import PathTable

LEFT = {"leaf_index": 0, "leaf_value": 1.0, "leaf_count": 6}
RIGHT = {
    "split_feature": 0,
    "left_child": {"leaf_index": 1, "leaf_value": 4.0, "leaf_count": 1},
    "right_child": {"leaf_index": 2, "leaf_value": 8.0, "leaf_count": 3},
}
TREE = {"num_leaves": 3, "tree_structure": {"split_feature": 1, "left_child": LEFT, "right_child": RIGHT}}
STUMP = {"num_leaves": 1, "tree_structure": {"leaf_value": 0.5}}
"""A tree without a split has neither a number nor a count of its leaf."""


def test_each_split_gets_the_change_of_the_mean_below() -> None:
    """The means: 3.4 at the root, 7 right of it."""
    parts = PathTable.build([TREE], 2)(np.array([[0], [1], [2]]))
    np.testing.assert_allclose(parts, [[0, -2.4, 3.4], [-3, 3.6, 3.4], [1, 3.6, 3.4]])


def test_trees_add_up() -> None:
    parts = PathTable.build([TREE, STUMP, TREE], 2)(np.array([[2, 0, 0], [1, 0, 1]]))
    np.testing.assert_allclose(parts, [[1, 1.2, 7.3], [-6, 7.2, 7.3]])
    assert parts.sum(axis=1) == pytest.approx([9.5, 8.5])


def test_a_model_without_trees_has_nothing_to_add() -> None:
    assert PathTable.build([], 2)(np.zeros((4, 0), np.int64)).tolist() == [[0, 0, 0]] * 4


def test_leaves_without_training_rows_count_alike() -> None:
    bare = {name: part for name, part in TREE.items() if name != "tree_structure"}
    leaves = [{"leaf_index": at, "leaf_value": float(at), "leaf_count": 0} for at in range(2)]
    root = {"split_feature": 0, "left_child": leaves[0], "right_child": leaves[1]}
    parts = PathTable.build([bare | {"num_leaves": 2, "tree_structure": root}], 1)(np.array([[0], [1]]))
    assert parts.tolist() == [[-0.5, 0.5], [0.5, 0.5]]
