"""Label windows, and which users of a window become query groups."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import ray

from recsys.cluster import run_tasks
from recsys.config import TrainConfig
from recsys.data.ingest import ShopData
from recsys.data.shop import UserPartition
from recsys.histories import Histories
from recsys.ids import hashes
from recsys.timeline import cut

SALT: Final = 2
"""Keeps this choice of users apart from others by hash."""
NOBODY: Final = -1.0
"""A quota that takes no user."""


@dataclass(frozen=True, slots=True)
class LabelWindow:
    """A cut and the label window (start, end] after it, ms.

    quota: the largest hash of a user taken
    """

    age: int
    start: int
    end: int
    quota: float = NOBODY


def label_windows(shop: ShopData, ages: Sequence[int], config: TrainConfig) -> list[LabelWindow]:
    """The windows after the cuts at `ages`, users chosen by a hash of their ids whatever the partitions."""
    horizon = config.horizon
    windows = [LabelWindow(age, cut(shop.end, age), cut(shop.end, age - horizon)) for age in ages]
    calls = [(partition, windows, config) for partition in shop.partitions]
    found = ray.get(run_tasks(find_users, "find users of the label windows", calls))
    limit = config.examples.max_users
    by_window = (np.sort(np.concatenate([part[at] for part in found])) for at in range(len(windows)))
    return [
        replace(window, quota=float(shares[:limit].max(initial=NOBODY)))
        for window, shares in zip(windows, by_window, strict=True)
    ]


def find_users(partition: UserPartition, windows: Sequence[LabelWindow], config: TrainConfig) -> list[np.ndarray]:
    """Hashes in [0, 1) of the users of each window."""
    share = user_shares(partition, config)
    return [share[has_label(partition.histories, window, config)] for window in windows]


def chosen_users(partition: UserPartition, window: LabelWindow, config: TrainConfig) -> np.ndarray:
    """Positions of the partition's users that become query groups, int64, ascending."""
    chosen = user_shares(partition, config) <= window.quota
    return np.flatnonzero(chosen & has_label(partition.histories, window, config))


def user_shares(partition: UserPartition, config: TrainConfig) -> np.ndarray:
    """Hashes of the users as floats in [0, 1), (n_users,)."""
    return np.asarray(hashes(partition.users, 2 * config.seed + SALT) / float(2**64))


def has_label(histories: Histories, window: LabelWindow, config: TrainConfig) -> np.ndarray:
    """Who has a history and then a target event in the window, bool (n_users,).

    Users without a history are no query groups: they are given popular items, not ranked ones.
    """
    after = histories.between(window.start, window.end)
    targets = after.rows[np.isin(after.events, config.target_codes)]
    return (np.bincount(targets, minlength=len(histories)) > 0) & (histories.until(window.start).lengths > 0)
