import numpy as np
import pyarrow as pa

from recsys.config import TrainConfig
from recsys.data.shop import UserPartition
from recsys.histories import Histories
from recsys.schema import PURCHASE, VIEW
from recsys.timeline import Cut
from recsys.training.windows import Window, chosen_users, has_label

WINDOW = Window(Cut(age=0, time=100), end=200)


def config_of(**examples: float) -> TrainConfig:
    return TrainConfig.model_validate({"examples": examples})


def partition(*rows: tuple[int, int, int], n_users: int) -> UserPartition:
    """From rows (user, event, time)."""
    users, events, times = np.array(rows).T
    return UserPartition(
        pa.array(np.arange(n_users)), Histories.build(users, np.zeros(len(rows), int), events, times, n_users)
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
