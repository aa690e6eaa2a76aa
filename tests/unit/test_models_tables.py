import numpy as np
import pytest

from recsys.histories import Histories
from recsys.models.tables import Counts, add_counts, category_attributes, count_events
from recsys.retrieval.generator import every_source
from recsys.schema import DAY, PURCHASE, UNKNOWN, VIEW

NOW = 30 * DAY
N = 4


def histories(*rows: tuple[int, int, int, float], n_users: int = 3) -> Histories:
    """From rows (user, item, event, days before NOW)."""
    users, items, events, ages = np.array(rows).reshape(-1, 4).T
    times = (NOW - ages * DAY).astype(np.int64)
    return Histories.build(users.astype(int), items.astype(int), events.astype(int), times, n_users)


def counted(profiles: Histories) -> Counts:
    return count_events(profiles, N, NOW, every_source())


def test_known_answer() -> None:
    """Item 0 is bought by two users, again on another day by one; item 1 twice on one day."""
    found = counted(
        histories(
            (0, 0, PURCHASE, 1.5),
            (0, 0, PURCHASE, 9),
            (1, 0, PURCHASE, 3),
            (1, 0, VIEW, 8),
            (2, 1, PURCHASE, 2.1),
            (2, 1, PURCHASE, 2.9),
            (2, 2, VIEW, 2.9),
        )
    )
    assert found.users.tolist() == [2, 1, 1, 0]
    assert found.buyers.tolist() == [2, 1, 0, 0]
    assert found.repeaters.tolist() == [1, 0, 0, 0]
    assert found.repeats.rate == 1 / 3
    assert found.sources["covisitation"].keys.tolist() == [1 * N + 2]


def test_repeats_count_users_not_events() -> None:
    found = counted(histories(*((0, 0, PURCHASE, day) for day in range(9))))
    assert found.buyers[0] == found.repeaters[0] == 1


@pytest.mark.parametrize("n_users", [0, 2])
def test_no_events(n_users: int) -> None:
    found = counted(histories(n_users=n_users))
    assert found.users.tolist() == found.buyers.tolist() == found.repeaters.tolist() == [0] * N
    assert found.sources["covisitation"].keys.tolist() == []


def test_counts_of_disjoint_users_add_up() -> None:
    rng = np.random.default_rng(5)
    rows = zip(*rng.integers(0, [[30], [N], [3], [20]], (4, 500)), strict=True)
    profiles = histories(*rows, n_users=30)
    whole = counted(profiles)
    parts = [counted(profiles.take(users)) for users in (np.arange(20, 30), np.arange(7), np.arange(7, 20))]
    joined = add_counts(parts)
    for name in ("users", "buyers", "repeaters"):
        np.testing.assert_array_equal(getattr(joined, name), getattr(whole, name), err_msg=name)
    pairs, expected = joined.sources["covisitation"], whole.sources["covisitation"]
    np.testing.assert_array_equal(pairs.keys, expected.keys)
    np.testing.assert_array_equal(pairs.counts, expected.counts)


def test_attributes_are_the_category_and_its_ancestors() -> None:
    """Category 2 lies below 1 and 0; a category counts even where the levels shown end above it."""
    ancestors = np.array([[0, 0], [0, 1], [0, 1]], np.int32)
    found = category_attributes(np.array([1, 0, UNKNOWN, 2], np.int32), ancestors)
    assert found is not None
    assert found.toarray().tolist() == [[1, 1, 0], [1, 0, 0], [0, 0, 0], [1, 1, 1]]


@pytest.mark.parametrize("n_categories", [0, 4])
def test_no_categories_no_attributes(n_categories: int) -> None:
    category = np.full(2, UNKNOWN, np.int32)
    assert category_attributes(category, np.zeros((n_categories, 3), np.int32)) is None
