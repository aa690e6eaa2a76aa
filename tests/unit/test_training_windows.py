from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest
import ray

from recsys.config import TrainConfig
from recsys.data.shop import UserPartition
from recsys.histories import Histories
from recsys.schema import DAY, PURCHASE, VIEW
from recsys.training.windows import LabelWindow, chosen_users, has_label, label_windows, user_shares
from tests.support.shop_data import END
from tests.support.trained import world_shop
from tests.support.world import small_config, small_world

WINDOW = LabelWindow(age=0, start=100, end=200)


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


def test_who_has_a_label() -> None:
    """0 buys with a history; 1 views, 2 has no history, 3 buys before and 4 after the window."""
    profiles = partition(
        (0, VIEW, 100),
        (0, PURCHASE, 200),
        (1, PURCHASE, 99),
        (1, VIEW, 101),
        (2, PURCHASE, 101),
        (3, PURCHASE, 100),
        (4, VIEW, 100),
        (4, PURCHASE, 201),
        n_users=5,
    )
    assert has_label(profiles.histories, WINDOW, config_of()).tolist() == [True, False, False, False, False]


def test_nobody_is_chosen_without_a_quota() -> None:
    profiles = partition((0, VIEW, 100), (0, PURCHASE, 200), n_users=1)
    assert chosen_users(profiles, WINDOW, config_of()).tolist() == []


@pytest.mark.usefixtures("ray_session")
class TestSmallShop:
    age = 42

    def windows(self, n: int, **examples: float) -> tuple[LabelWindow, list[UserPartition]]:
        shop = world_shop(n)
        [window] = label_windows(shop, [self.age], config_of(**examples))
        return window, ray.get(list(shop.partitions))

    def able(self, config: TrainConfig) -> list[int]:
        """Ids of the users who have a label, by their hash."""
        window = LabelWindow(self.age, END - self.age * DAY, END - (self.age - 14) * DAY)
        partition = small_world().partition
        able = np.flatnonzero(has_label(partition.histories, window, config))
        by_hash = able[np.argsort(user_shares(partition, config)[able])]
        return partition.users.take(pa.array(by_hash)).to_pylist()

    def test_everyone_is_taken_where_there_is_room(self) -> None:
        window, partitions = self.windows(1)
        assert chosen_ids(partitions, window, config_of()) == sorted(self.able(config_of()))
        assert (window.start, window.end) == (END - 42 * DAY, END - 28 * DAY)

    def test_beyond_the_limit_the_hash_decides(self) -> None:
        config = config_of(max_users=20)
        window, partitions = self.windows(1, max_users=20)
        assert chosen_ids(partitions, window, config) == sorted(self.able(config)[:20])

    def test_partitions_do_not_matter(self) -> None:
        config = config_of(max_users=30)
        found = [self.windows(n, max_users=30) for n in (1, 4)]
        assert found[0][0] == found[1][0]
        assert chosen_ids(found[0][1], found[0][0], config) == chosen_ids(found[1][1], found[1][0], config)

    def test_another_seed_chooses_others(self) -> None:
        seeds = [small_config("examples.max_users=20", f"seed={seed}") for seed in (0, 1)]
        shop = world_shop(2)
        partitions = ray.get(list(shop.partitions))
        one, other = (chosen_ids(partitions, label_windows(shop, [self.age], config)[0], config) for config in seeds)
        assert len(one) == len(other) == 20
        assert one != other
