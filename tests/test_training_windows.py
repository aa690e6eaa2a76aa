from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest
import ray
from shops import END, small_config, small_world, world_shop

from recsys.config import TrainConfig
from recsys.data.shop import UserPartition
from recsys.histories import Histories
from recsys.schema import DAY, PURCHASE, VIEW
from recsys.training.windows import NOBODY, LabelWindow, chosen_users, label_windows, user_kinds, user_shares

WINDOW = LabelWindow(age=0, start=100, end=200, sampled=True)


def config_of(**examples: float) -> TrainConfig:
    return TrainConfig.model_validate({"examples": examples})


def partition(*rows: tuple[int, int, int], n_users: int) -> UserPartition:
    """From rows (user, event, time)."""
    users, events, times = np.array(rows).T
    return UserPartition(
        pa.array(np.arange(n_users)), Histories.build(users, np.zeros(len(rows), int), events, times, n_users)
    )


def chosen_ids(partitions: Sequence[UserPartition], window: LabelWindow, config: TrainConfig) -> list[int]:
    return sorted(
        user
        for part in partitions
        for user in part.users.take(pa.array(chosen_users(part, window, config))).to_pylist()
    )


def test_kinds_of_users() -> None:
    """0 buys and 1 views in the window, both with history; 2 buys without one; 3 is gone, 4 comes later."""
    of = partition(
        (0, VIEW, 100),
        (0, PURCHASE, 200),
        (1, PURCHASE, 99),
        (1, VIEW, 101),
        (2, PURCHASE, 101),
        (3, PURCHASE, 100),
        (4, PURCHASE, 201),
        n_users=5,
    )
    target, other, new = user_kinds(of.histories, WINDOW, config_of())
    assert np.flatnonzero(target).tolist() == [0]
    assert np.flatnonzero(other).tolist() == [1]
    assert np.flatnonzero(new).tolist() == [2]


def test_nobody_is_chosen_without_quotas() -> None:
    of = partition((0, VIEW, 100), (0, PURCHASE, 200), n_users=1)
    assert chosen_users(of, WINDOW, config_of()).tolist() == []


@pytest.mark.usefixtures("ray_session")
class TestSmallShop:
    age = 42

    def windows(self, n: int, sampled: bool = True, **examples: float) -> tuple[LabelWindow, list[UserPartition]]:
        shop = world_shop(n)
        [window] = label_windows(shop, [self.age], config_of(**examples), sampled=sampled)
        return window, ray.get(list(shop.partitions))

    def of_kind(self, config: TrainConfig) -> list[np.ndarray]:
        """Positions in the shop of the users of each kind, by their hash."""
        window = LabelWindow(self.age, END - self.age * DAY, END - (self.age - 14) * DAY, sampled=True)
        kinds = user_kinds(small_world().partition.histories, window, config)
        shares = user_shares(small_world().partition, config)
        return [np.flatnonzero(kind)[np.argsort(shares[kind])] for kind in kinds]

    def test_everyone_is_taken_where_there_is_room(self) -> None:
        window, partitions = self.windows(1)
        targets, others, new = self.of_kind(config_of())
        assert min(len(targets), len(others), len(new)) > 0
        assert len(chosen_ids(partitions, window, config_of())) == len(targets) + len(others) + len(new)
        assert (window.start, window.end) == (END - 42 * DAY, END - 28 * DAY)

    def test_the_limit_goes_to_target_users_first(self) -> None:
        config = config_of(max_users=20, max_new_share=0.1)
        window, partitions = self.windows(1, max_users=20, max_new_share=0.1)
        targets, _, new = self.of_kind(config)
        expected = small_world().partition.users.take(pa.array([*targets[:18], *new[:2]])).to_pylist()
        assert chosen_ids(partitions, window, config) == sorted(expected)

    def test_new_users_may_be_left_out(self) -> None:
        window, _ = self.windows(1, max_new_share=0)
        assert window.quotas[2] == NOBODY

    def test_other_events_count_only_if_they_have_a_grade(self) -> None:
        assert self.windows(1, other_grade=0)[0].quotas[1] == NOBODY
        assert self.windows(1, sampled=False)[0].quotas[1] == NOBODY
        assert self.windows(1)[0].quotas[1] > 0

    def test_a_validation_window_has_a_limit_of_its_own(self) -> None:
        config = config_of(validation_users=10, max_users=50)
        window, partitions = self.windows(1, sampled=False, validation_users=10, max_users=50)
        assert len(chosen_ids(partitions, window, config)) == 10

    def test_partitions_do_not_matter(self) -> None:
        config = config_of(max_users=30)
        found = [self.windows(n, max_users=30) for n in (1, 4)]
        assert found[0][0] == found[1][0]
        assert chosen_ids(found[0][1], found[0][0], config) == chosen_ids(found[1][1], found[1][0], config)

    def test_another_seed_chooses_others(self) -> None:
        seeds = [small_config("examples.max_users=20", f"seed={seed}") for seed in (0, 1)]
        shop = world_shop(2)
        partitions = ray.get(list(shop.partitions))
        one, other = (
            chosen_ids(partitions, label_windows(shop, [self.age], config, sampled=True)[0], config) for config in seeds
        )
        assert len(one) == len(other) == 20
        assert one != other
