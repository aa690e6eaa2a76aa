import numpy as np
import pyarrow as pa
import pytest

from recsys.data.catalog import Catalog, TreeProblems, build_catalog
from recsys.data.changes import ChangeLog, Records
from recsys.ids import Ids
from recsys.schema import UNKNOWN

NO_FLAGS = Records(np.zeros(0, np.int32), np.zeros(0, np.int64), pa.array([], pa.bool_()))


def tree_of(*rows: tuple[int, int | None], used: tuple[int, ...] = ()) -> tuple[Catalog, TreeProblems]:
    """A catalog of one item that had the categories `used`, one after another."""
    children, parents = zip(*rows, strict=True) if rows else ((), ())
    records = Records(np.zeros(len(used), np.int32), np.arange(len(used)), pa.array(used, pa.int64()))
    return build_catalog(1, records, NO_FLAGS, pa.array(children, pa.int64()), pa.array(parents, pa.int64()))


def parents_of(catalog: Catalog) -> dict[int, int | None]:
    ids = catalog.categories
    return {ids[code]: None if up == UNKNOWN else ids[up] for code, up in enumerate(catalog.parent.tolist())}


@pytest.fixture
def catalog() -> Catalog:
    """Item 0 moves from category a to b and back, item 1 is in b from time 20 on, item 2 is unknown."""
    categories = Records(np.array([0, 1, 0, 0, 0]), np.array([30, 20, 10, 20, 15]), pa.array(["a", "b", "a", "b", "a"]))
    availability = Records(np.array([1, 1, 0]), np.array([5, 25, 30]), pa.array([False, True, False]))
    return build_catalog(3, categories, availability, pa.array(["b"]), pa.array(["a"]))[0]


def test_last_value_at_or_before_a_time(catalog: Catalog) -> None:
    a, b = catalog.categories.code("a"), catalog.categories.code("b")
    expected = {
        9: [-1, -1, -1],
        10: [a, -1, -1],
        19: [a, -1, -1],
        20: [b, b, -1],
        29: [b, b, -1],
        30: [a, b, -1],
    }
    for time, category in expected.items():
        state = catalog.as_of(time)
        assert state.category.tolist() == category
        assert state.category.dtype == np.int32


def test_unknown_availability_is_available(catalog: Catalog) -> None:
    expected = {4: [1, 1, 1], 5: [1, 0, 1], 24: [1, 0, 1], 25: [1, 1, 1], 30: [0, 1, 1]}
    for time, available in expected.items():
        assert catalog.as_of(time).available.astype(int).tolist() == available


def test_log_keeps_changes_only() -> None:
    log = ChangeLog.build(np.array([0, 0, 0, 1]), np.array([3, 1, 2, 9]), np.array([8, 7, 7, 8]))
    assert (log.items.tolist(), log.times.tolist(), log.values.tolist()) == ([0, 0, 1], [1, 3, 9], [7, 8, 8])


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0], [1, 2, 0]])
def test_of_two_values_at_one_time_the_largest_holds(order: list[int]) -> None:
    items, times, values = np.array([0, 0, 0]), np.array([1, 1, 0]), np.array([5, 6, 9])
    log = ChangeLog.build(items[order], times[order], values[order])
    assert log.as_of(1, np.array([-1])).tolist() == [6]


@pytest.mark.parametrize("used", [["101.0", "shoes"], [101, 7]])
@pytest.mark.parametrize("kind", [pa.int64(), pa.string(), pa.null()])
@pytest.mark.parametrize("chunked", [True, False])
def test_a_tree_without_rows_may_have_any_type(used: list[str | int], kind: pa.DataType, chunked: bool) -> None:
    records = Records(np.arange(2), np.arange(2), pa.array(used))
    nothing = pa.chunked_array([], kind) if chunked else pa.array([], kind)
    catalog, problems = build_catalog(2, records, NO_FLAGS, nothing, nothing)
    assert problems == TreeProblems()
    assert catalog.categories.values.to_pylist() == sorted(used)
    assert catalog.parent.tolist() == [UNKNOWN, UNKNOWN]
    assert catalog.categories.to_list(catalog.as_of(1).category) == used


@pytest.mark.parametrize("tree", [["a", "b"], [1, 2]])
@pytest.mark.parametrize("kind", [pa.int64(), pa.string()])
def test_a_tree_without_properties_may_have_any_type(tree: list[str | int], kind: pa.DataType) -> None:
    none = np.zeros(0, np.int64)
    records = Records(none, none, pa.array([], kind))
    catalog, problems = build_catalog(1, records, NO_FLAGS, pa.array(tree), pa.nulls(2))
    assert problems == TreeProblems()
    assert catalog.categories.values.to_pylist() == tree
    assert catalog.as_of(1).category.tolist() == [UNKNOWN]


def test_empty_log() -> None:
    log = ChangeLog.build(*(np.zeros(0, np.int64) for _ in range(3)))
    assert log.as_of(5, np.array([-1, -1])).tolist() == [-1, -1]


def test_ancestors_run_from_the_root_and_repeat_the_last() -> None:
    catalog, problems = tree_of((1, None), (2, 1), (3, 2), (4, 3), (5, None))
    ids = catalog.categories.values.to_numpy()
    assert problems == TreeProblems()
    assert ids[catalog.ancestors(3)].tolist() == [[1, 1, 1], [1, 2, 2], [1, 2, 3], [1, 2, 3], [5, 5, 5]]
    assert ids[catalog.ancestors(2)].tolist() == [[1, 1], [1, 2], [1, 2], [1, 2], [5, 5]]


def test_ancestors_of_any_tree_are_those_of_its_paths() -> None:
    """The test walks the paths one by one."""
    rng = np.random.default_rng(3)
    rows = [(int(code), int(rng.integers(code)) if code > 4 else None) for code in rng.permutation(60)]
    catalog, _ = tree_of(*rows)
    for levels in (1, 2, 3, 8):
        for code, ancestors in enumerate(catalog.ancestors(levels).tolist()):
            path = [code]
            while (up := int(catalog.parent[path[0]])) != UNKNOWN:
                path.insert(0, up)
            assert ancestors == (path + [code] * levels)[:levels]


def test_ancestors_of_a_deep_chain_take_no_time() -> None:
    """Walking every path would be 5 * 10^9 steps."""
    n = 100_000
    order = np.random.default_rng(0).permutation(n)
    parent = np.full(n, UNKNOWN, np.int32)
    parent[order[1:]] = order[:-1]
    none = ChangeLog(*np.zeros((3, 0), np.int64))
    ancestors = Catalog(0, Ids(pa.array(range(n))), parent, none, none).ancestors(3)
    assert ancestors.dtype == np.int32
    assert ancestors[order[0]].tolist() == [order[0]] * 3
    assert ancestors[order[1]].tolist() == [order[0], order[1], order[1]]
    assert (ancestors[order[2:]] == order[:3]).all()


@pytest.mark.parametrize("turn", [0, 1, 2])
def test_a_cycle_is_broken_at_its_first_category(turn: int) -> None:
    rows = [(3, 5), (5, 4), (4, 3), (9, 4)]
    catalog, problems = tree_of(*rows[turn:], *rows[:turn])
    assert parents_of(catalog) == {3: None, 4: 3, 5: 4, 9: 4}
    assert problems == TreeProblems(cycles=1)


def test_a_category_cannot_be_its_own_parent() -> None:
    catalog, problems = tree_of((1, 1), (2, 1))
    assert parents_of(catalog) == {1: None, 2: 1}
    assert problems == TreeProblems(cycles=1)


def test_missing_parents_and_unlisted_categories_become_roots() -> None:
    catalog, problems = tree_of((2, 1), (3, 1), used=(7, 8, 2))
    assert parents_of(catalog) == {1: None, 2: 1, 3: 1, 7: None, 8: None}
    assert problems == TreeProblems(missing_parents=1, not_in_tree=2)


@pytest.mark.parametrize("turn", [0, 1, 2])
def test_of_several_parents_the_first_holds(turn: int) -> None:
    rows: list[tuple[int, int | None]] = [(3, None), (3, 2), (3, 1)]
    catalog, problems = tree_of((1, None), (2, None), *rows[turn:], *rows[:turn])
    assert parents_of(catalog) == {1: None, 2: None, 3: 1}
    assert problems == TreeProblems(conflicting_parents=1)


def test_without_a_tree_every_category_is_a_root() -> None:
    catalog, problems = tree_of(used=(4, 6))
    assert parents_of(catalog) == {4: None, 6: None}
    assert problems == TreeProblems()
