from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest
import ray

from recsys.config import TrainConfig
from recsys.data.shop import UserPartition
from recsys.schema import DAY
from recsys.timeline import Cut
from recsys.training.context import Context
from recsys.training.windows import Window, chosen_users, draws_of, has_label, label_windows
from tests.support.shop_data import END
from tests.support.trained import world_shop
from tests.support.world import small_config, small_world


def config_of(**examples: float) -> TrainConfig:
    return TrainConfig.model_validate({"examples": examples})


def chosen_ids(partitions: Sequence[UserPartition], window: Window, config: TrainConfig) -> list[int]:
    return sorted(
        user
        for part in partitions
        for user in part.users.take(pa.array(chosen_users(part, window, config))).to_pylist()
    )


@pytest.mark.usefixtures("ray_session")
class TestSmallShop:
    age = 42

    def windows(self, n: int, **examples: float) -> tuple[Window, list[UserPartition]]:
        context = Context.create(world_shop(n), config_of(**examples), work="")
        [window] = label_windows(context, [Cut.at(END, self.age)])
        return window, ray.get(list(context.shop.partitions))

    def able(self, config: TrainConfig) -> list[int]:
        """Ids of the users who have a label, by their hash."""
        window = Window(Cut.at(END, self.age), END - (self.age - 14) * DAY)
        partition = small_world().partition
        able = np.flatnonzero(has_label(partition.histories, window, config))
        by_hash = able[np.argsort(draws_of(partition, config)[able])]
        return partition.users.take(pa.array(by_hash)).to_pylist()

    def test_everyone_is_taken_where_there_is_room(self) -> None:
        window, partitions = self.windows(1)
        assert chosen_ids(partitions, window, config_of()) == sorted(self.able(config_of()))
        assert (window.cut.time, window.end) == (END - 42 * DAY, END - 28 * DAY)

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

        def windows_of(config: TrainConfig) -> list[Window]:
            return label_windows(Context.create(shop, config, work=""), [Cut.at(END, self.age)])

        one, other = (chosen_ids(partitions, windows_of(config)[0], config) for config in seeds)
        assert len(one) == len(other) == 20
        assert one != other
