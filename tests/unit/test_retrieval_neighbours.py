"""Item-item tables and neighbours in the space of item factors."""

import tracemalloc

import numpy as np
import pytest

from recsys.retrieval.neighbours import Neighbours
from recsys.retrieval.sources.mf_neighbours import MFNeighboursConfig, mf_neighbours
from recsys.schema import UNKNOWN


def entries(table, item):
    part = slice(table.offsets[item], table.offsets[item + 1])
    return list(zip(table.items[part].tolist(), table.scores[part].tolist(), strict=True))


def brute_force(factors, rows, support, config):
    """The lists by the definition, one item at a time."""
    known = [item for item in range(len(rows)) if rows[item] != UNKNOWN]
    targets = sorted(known, key=lambda item: (-support[item], item))[: config.max_targets]
    unit = factors / np.linalg.norm(factors, axis=1)[:, None]
    lists = {}
    for item in known:
        scores = (unit[rows[targets]] @ unit[rows[item]]).astype(np.float16)
        cosines = dict(zip(targets, scores.tolist(), strict=True))
        cosines.pop(item, None)
        best = sorted((t for t in cosines if cosines[t] > 0), key=lambda t: (-cosines[t], t))
        lists[item] = [(t, cosines[t]) for t in best[: config.per_item]]
    return lists


def test_build_keeps_the_best_and_breaks_ties_by_code():
    table = Neighbours.build(
        np.array([2, 0, 0, 0, 2]),
        np.array([0, 3, 1, 2, 1]),
        np.float32([5, 1, 1, 2, 6]),
        n_items=4,
        per_item=2,
    )
    assert [entries(table, item) for item in range(4)] == [[(2, 2), (1, 1)], [], [(1, 6), (0, 5)], []]
    assert len(table) == 4
    assert table.items.dtype == np.int32
    assert table.scores.dtype == np.float32
    assert table.rows.tolist() == [0, 0, 2, 2]


def test_an_empty_table():
    none = np.zeros(0, np.int64)
    table = Neighbours.build(none, none, np.zeros(0, np.float32), 3, 5)
    assert table.lengths.tolist() == [0, 0, 0]


def some_rows(rng, n_items, n_known):
    rows = np.full(n_items, UNKNOWN, np.int32)
    rows[rng.choice(n_items, n_known, replace=False)] = rng.permutation(n_known)
    return rows


@pytest.mark.parametrize(("per_item", "max_targets"), [(3, 10_000), (3, 150), (1, 300), (400, 200)])
def test_mf_neighbours_are_exact_and_ties_go_by_code(per_item, max_targets):
    rng = np.random.default_rng(0)
    # Four times 1 or -1: all cosines are multiples of a quarter, exact in any precision, and most are tied.
    factors = np.zeros((300, 8), np.float32)
    for row in factors:
        row[rng.choice(8, 4, replace=False)] = rng.choice([-1, 1], 4)
    rows, support = some_rows(rng, 400, 300), rng.integers(0, 20, 400)
    config = MFNeighboursConfig(per_item=per_item, max_targets=max_targets)
    table = mf_neighbours(factors, rows, support, config)
    expected = brute_force(factors, rows, support, config)
    assert {item: entries(table, item) for item in expected} == expected
    assert len(table.items) == sum(map(len, expected.values()))


def test_mf_neighbours_have_the_highest_cosines():
    rng = np.random.default_rng(0)
    factors, rows, support = rng.normal(size=(300, 6)), some_rows(rng, 400, 300), np.ones(400, np.int64)
    config = MFNeighboursConfig(per_item=4)
    table = mf_neighbours(factors.astype(np.float32), rows, support, config)
    for item, best in brute_force(factors, rows, support, config).items():
        assert [score for _, score in entries(table, item)] == pytest.approx([s for _, s in best], abs=1e-3)


def test_items_that_all_point_the_same_way_take_no_more_memory():
    # What items that one user alone touched do: every cosine ties with every other.
    n_items = 2_500
    factors = np.outer(np.random.default_rng(0).uniform(0.5, 2, n_items), np.float32([1, 2, 3])).astype(np.float32)
    tracemalloc.start()
    table = mf_neighbours(factors, np.arange(n_items, dtype=np.int32), np.ones(n_items, np.int64), MFNeighboursConfig())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20e6  # all pairs would be 100 MB
    assert entries(table, 0) == [(item, 1) for item in range(1, 21)]
    assert entries(table, 2_000) == [(item, 1) for item in range(20)]


def test_only_queries_get_lists_and_each_as_among_all():
    rng = np.random.default_rng(1)
    factors = rng.normal(size=(50, 4)).astype(np.float32)
    rows = np.r_[np.arange(50), UNKNOWN].astype(np.int32)
    support = np.arange(51)
    config = MFNeighboursConfig(per_item=5)
    full = mf_neighbours(factors, rows, support, config)
    some = mf_neighbours(factors, rows, support, config, queries=np.array([7, 50, 3, 7]))
    assert np.flatnonzero(some.lengths).tolist() == [3, 7]
    assert entries(some, 3) == entries(full, 3)
    assert entries(some, 7) == entries(full, 7)


def test_zero_factors_and_opposite_items_are_nobodys_neighbours():
    factors = np.float32([[1, 0], [0, 0], [-1, 0], [1, 1]])
    table = mf_neighbours(factors, np.arange(4, dtype=np.int32), np.ones(4, np.int64), MFNeighboursConfig())
    assert [[item for item, _ in entries(table, i)] for i in range(4)] == [[3], [], [], [0]]


def test_no_item_has_a_factor():
    rows = np.full(4, UNKNOWN, np.int32)
    table = mf_neighbours(np.zeros((0, 5), np.float32), rows, np.zeros(4, np.int64), MFNeighboursConfig())
    assert len(table) == 4
    assert table.items.tolist() == []


def test_round_trip_through_files(tmp_path):
    table = Neighbours.build(np.array([0, 0, 1]), np.array([1, 2, 0]), np.float16([0.5, 0.25, 1]), 3, 5)
    for name, array in table.arrays().items():
        np.save(tmp_path / f"{name}.npy", array, allow_pickle=False)
    loaded = Neighbours(**{name: np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in table.arrays()})
    assert isinstance(loaded.items, np.memmap)
    assert entries(loaded, 0) == entries(table, 0)
