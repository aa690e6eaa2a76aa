from fractions import Fraction
from math import ceil

import numpy as np
import pytest

from recsys.inference.repeat_cap import cap_repeats


def one_by_one(order: list[int], had: np.ndarray, share: float) -> list[int]:
    """One user's list, built as one would by hand."""
    left, built, mine = list(order), [], 0
    while left:
        allowed = mine < ceil(Fraction(str(share)) * (len(built) + 1))
        row = next((row for row in left if allowed or not had[row]), None)
        if row is None:
            break
        left.remove(row)
        built.append(row)
        mine += had[row]
    return built


@pytest.mark.parametrize("share", [0.0, 1e-320, 0.07, 0.1, 0.14, 0.3, 0.34, 0.5, 0.55, 0.68, 0.99, 1.0])
def test_lists_are_those_built_item_by_item(share: float) -> None:
    rng = np.random.default_rng(5)
    users = np.sort(rng.integers(0, 9, 200))
    had = rng.random(200) < rng.random(9)[users]
    had[users == 2], had[users == 3] = True, False
    order = np.lexsort((rng.random(200), users))
    shares = np.full(10, share)
    shares[4] = 0.5
    wanted: list[int] = []
    for user in range(10):
        wanted += one_by_one(order[users[order] == user].tolist(), had, shares[user])
    assert cap_repeats(order, users, had, shares).tolist() == wanted


def test_a_share_of_one_changes_nothing_and_of_none_is_all_new() -> None:
    order, users, had = np.array([2, 0, 1]), np.zeros(3, int), np.array([True, False, True])
    assert cap_repeats(order, users, had, np.ones(1)).tolist() == [2, 0, 1]
    assert cap_repeats(order, users, had, np.zeros(1)).tolist() == [1]


def test_of_nobody() -> None:
    nothing = np.zeros(0, np.int64)
    assert cap_repeats(nothing, nothing, nothing == 1, np.ones(0)).tolist() == []
