import numpy as np
import pytest

from recsys.arrays import order_within, positions, rank_within, sums_within
from recsys.features.interactions import NEVER, InteractionConfig, Interactions, interactions, sessions
from recsys.histories import Histories
from recsys.schema import CART, DAY, PURCHASE, VIEW, EventWeights

NOW = 100 * DAY
CONFIG = InteractionConfig(
    half_lives_days=(1.0, 2.0, 4.0), weights=EventWeights(view=1.0, addtocart=3.0, transaction=5.0)
)


def histories(*rows: tuple[int, int, int, float], n_users: int = 2) -> Histories:
    """From rows (user, item, event, days before NOW)."""
    users, items, events, ages = np.array(rows).reshape(-1, 4).T
    times = (NOW - ages * DAY).astype(np.int64)
    return Histories.build(users.astype(int), items.astype(int), events.astype(int), times, n_users)


def aggregated(profiles: Histories, width: int = 10) -> object:
    return interactions(profiles, [profiles.items], width, NOW, CONFIG)


def test_known_answer() -> None:
    rows = aggregated(
        histories(
            (1, 3, VIEW, 0),
            (0, 4, PURCHASE, 4),
            (0, 4, PURCHASE, 2),
            (0, 4, VIEW, 6),
            (0, 2, CART, 4),
        )
    )
    assert rows.users.tolist() == [0, 0, 1]
    assert rows.things.tolist() == [2, 4, 3]
    assert rows.counts.tolist() == [[0, 1, 0], [1, 0, 2], [1, 0, 0]]
    assert rows.decayed.tolist() == [
        [3 / 16, 3 / 4, 3 / 2],
        pytest.approx([1 / 64 + 5 / 16 + 5 / 4, 1 / 8 + 5 / 4 + 5 / 2, 2**-1.5 + 5 / 2 + 5 * 2**-0.5]),
        [1, 1, 1],
    ]
    assert rows.bought.tolist() == pytest.approx([0, 1 / 2 + 2**-0.5, 0])
    assert rows.last.tolist() == [
        [NEVER, NOW - 4 * DAY, NEVER],
        [NOW - 6 * DAY, NEVER, NOW - 2 * DAY],
        [NOW, NEVER, NEVER],
    ]
    assert rows.newest.tolist() == [NOW - 4 * DAY, NOW - 2 * DAY, NOW]
    assert rows.oldest.tolist() == [NOW - 4 * DAY, NOW - 6 * DAY, NOW]
    assert rows.purchase_days.tolist() == [0, 2, 0]
    assert rows.first_purchase.tolist() == [NEVER, NOW - 4 * DAY, NEVER]


def test_purchase_days_count_back_from_now() -> None:
    """0.2 and 0.9 days ago are one day, 1.1 days ago is another."""
    rows = aggregated(histories((0, 1, PURCHASE, 0.2), (0, 1, PURCHASE, 0.9), (0, 1, PURCHASE, 1.1)))
    assert rows.purchase_days.tolist() == [2]


def test_find() -> None:
    rows = aggregated(histories((0, 2, VIEW, 1), (1, 0, VIEW, 1), (1, 9, VIEW, 1)))
    users, things = np.array([0, 0, 1, 1, 1, 0]), np.array([2, 0, 9, 0, -1, 9])
    assert rows.find(users, things).tolist() == [0, -1, 2, 1, -1, -1]


def test_an_unknown_thing_is_not_the_last_one_of_the_user_before() -> None:
    """Its key, user * width - 1, is that of (user - 1, width - 1)."""
    rows = aggregated(histories((0, 9, VIEW, 1)))
    assert rows.find(np.array([1]), np.array([-1])).tolist() == [-1]


def test_negative_things_are_left_out() -> None:
    profiles = histories((0, 1, VIEW, 2), (0, 2, PURCHASE, 1), (1, 3, VIEW, 1))
    rows = interactions(profiles, [np.array([4, -1, -1])], 5, NOW, CONFIG)
    assert rows.things.tolist() == [4]
    assert rows.counts.tolist() == [[1, 0, 0]]


def test_kinds_of_things_go_together_and_come_apart() -> None:
    """User u of kind k is user 2 * k + u; what one kind leaves out the other still counts."""
    profiles = histories((0, 1, VIEW, 2), (0, 2, PURCHASE, 1), (1, 3, CART, 1))
    both = interactions(profiles, [profiles.items, np.array([4, -1, 0])], 5, NOW, CONFIG)
    assert both.users.tolist() == [0, 0, 1, 2, 3]
    assert both.things.tolist() == [1, 2, 3, 4, 0]
    first, second = both.of_users(0, 2), both.of_users(2, 4)
    alone = aggregated(profiles, 5)
    for name in Interactions.__slots__:
        assert np.array_equal(getattr(first, name), getattr(alone, name)), name
    assert second.users.tolist() == [0, 1]
    assert second.find(np.array([0, 1, 1]), np.array([4, 0, 3])).tolist() == [0, 1, -1]
    assert second.counts.tolist() == [[1, 0, 0], [0, 1, 0]]


def test_sums_within_keep_the_order_of_rows() -> None:
    groups, values = np.array([1, 0, 1, 3]), np.array([[1.0, 2], [3, 4], [5, 6], [7, 8]])
    assert sums_within(groups, values, 5).tolist() == [[3, 4], [6, 8], [0, 0], [7, 8], [0, 0]]
    assert sums_within(groups[:0], values[:0], 2).tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize("n_users", [0, 3])
def test_no_events(n_users: int) -> None:
    rows = aggregated(histories(n_users=n_users))
    assert len(rows.keys) == 0
    assert rows.counts.shape == rows.decayed.shape == rows.last.shape == (0, 3)
    assert rows.find(np.array([0]), np.array([1])).tolist() == [-1]


def test_counts_add_up_to_the_number_of_events() -> None:
    rng = np.random.default_rng(1)
    profiles = histories(*zip(*rng.integers(0, [[5], [6], [3], [50]], (4, 300)), strict=True), n_users=5)
    assert aggregated(profiles).counts.sum() == 300


def test_a_user_alone_gets_the_same_bits() -> None:
    rng = np.random.default_rng(2)
    columns = zip(
        rng.integers(0, 7, 500), rng.integers(0, 9, 500), rng.integers(0, 3, 500), rng.random(500) * 40, strict=True
    )
    together = histories(*columns, n_users=7)
    batch = aggregated(together)
    for user in range(7):
        alone = aggregated(together.take(np.array([user])))
        mine = batch.users == user
        for name in set(Interactions.__slots__) - {"width", "users", "keys"}:
            assert getattr(batch, name)[mine].tolist() == getattr(alone, name).tolist(), name


def test_rank_within_puts_ties_in_order() -> None:
    users = np.array([1, 0, 1, 1, 0])
    score = np.array([2.0, 1.0, 2.0, 9.0, 4.0])
    assert rank_within(users, score, np.array([8, 0, 3, 9, 1])).tolist() == [2, 1, 1, 0, 0]
    assert rank_within(users, score).tolist() == [1, 1, 2, 0, 0]
    assert order_within(users, score).tolist() == [4, 1, 3, 0, 2]
    assert rank_within(users * 100_000, score).tolist() == [1, 1, 2, 0, 0]
    assert positions(np.array([3, 3, 1, 3])).tolist() == [0, 1, 0, 0]
    assert rank_within(users[:0], score[:0], users[:0]).tolist() == []


def test_session_starts_after_a_longer_pause_only() -> None:
    minute = 1 / 24 / 60
    profiles = histories(
        (0, 1, VIEW, 100 * minute),
        (0, 2, VIEW, 69 * minute),
        (0, 1, CART, 39 * minute),
        (0, 1, PURCHASE, 10 * minute),
        (2, 1, VIEW, 5),
        n_users=3,
    )
    starts, lengths = sessions(profiles, gap_minutes=30)
    assert starts.tolist() == [profiles.times[1], NEVER, profiles.times[3 + 1]]
    assert lengths.tolist() == [3, 0, 1]


@pytest.mark.parametrize("half_life", [0, -1])
def test_half_lives_are_positive(half_life: float) -> None:
    with pytest.raises(ValueError, match="half_lives_days"):
        InteractionConfig(half_lives_days=(half_life, 14, 60))
