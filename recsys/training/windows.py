"""Windows after cuts, and which users of a label window become query groups."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import ray

from recsys.cluster import run_tasks
from recsys.config import TrainConfig
from recsys.data.shop import UserPartition
from recsys.histories import Histories
from recsys.ids import fractions
from recsys.timeline import Cut
from recsys.training.context import Context

NOBODY: Final = -1.0
"""A quota that draws no user."""


@dataclass(frozen=True, slots=True)
class Window:
    """The time after a cut up to an end (ms), and the users drawn in it.

    quota: the largest draw of a user taken, see `ids.fractions`
    """

    cut: Cut
    end: int
    quota: float = NOBODY


def label_windows(context: Context, cuts: Sequence[Cut]) -> list[Window]:
    """The label windows after the cuts, with users drawn by their ids whatever the partitions."""
    config = context.config
    windows = [Window(cut, cut.plus(config.horizon)) for cut in cuts]
    calls = [(partition, windows, config) for partition in context.shop.partitions]
    parts = ray.get(run_tasks(find_users, "find users of the label windows", calls))
    limit = config.examples.max_users
    by_window = (np.sort(np.concatenate([part[at] for part in parts])) for at in range(len(windows)))
    return [
        replace(window, quota=float(draws[:limit].max(initial=NOBODY)))
        for window, draws in zip(windows, by_window, strict=True)
    ]


def find_users(partition: UserPartition, windows: Sequence[Window], config: TrainConfig) -> list[np.ndarray]:
    """Draws of the users of each window, see `draws_of`."""
    draws = draws_of(partition, config)
    return [draws[has_label(partition.histories, window, config)] for window in windows]


def chosen_users(partition: UserPartition, window: Window, config: TrainConfig) -> np.ndarray:
    """Positions of the partition's users that become query groups, int64, ascending."""
    drawn = draws_of(partition, config) <= window.quota
    return np.flatnonzero(drawn & has_label(partition.histories, window, config))


def draws_of(partition: UserPartition, config: TrainConfig) -> np.ndarray:
    """The draw of each user for label windows, float64 (n_users,), see `ids.fractions`."""
    return fractions(partition.users, "label windows", config.seed)


def has_label(histories: Histories, window: Window, config: TrainConfig) -> np.ndarray:
    """Who has a history and then a target event in the window, bool (n_users,).

    Users without a history are no query groups: they are given popular items, not ranked ones.
    """
    after = histories.between(window.cut.time, window.end)
    targets = after.rows[np.isin(after.events, config.target_codes)]
    return (np.bincount(targets, minlength=len(histories)) > 0) & (histories.until(window.cut.time).lengths > 0)
