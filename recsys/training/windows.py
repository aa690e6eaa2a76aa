"""Label windows, and which users of a window become query groups."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import ray

from recsys.config import TrainConfig
from recsys.data.ingest import ShopData
from recsys.data.shop import UserPartition
from recsys.data.split import cut
from recsys.data.tasks import run_tasks
from recsys.histories import Histories
from recsys.ids import hashes

SALT: Final = 2
"""Keeps this choice of users apart from others by hash."""
NOBODY: Final = -1.0


@dataclass(frozen=True, slots=True)
class LabelWindow:
    """A cut and the label window (start, end] after it, ms.

    sampled: a training window, whose negatives are sampled and whose labels have grades; a validation window keeps
    all candidates, and its labels are the targets alone
    quotas: the largest hash of a user taken, by kind: target event and history, other event and history, target
    event and no history; NOBODY takes none
    """

    age: int
    start: int
    end: int
    sampled: bool
    quotas: tuple[float, float, float] = (NOBODY, NOBODY, NOBODY)


def label_windows(shop: ShopData, ages: Sequence[int], config: TrainConfig, *, sampled: bool) -> list[LabelWindow]:
    """The windows after the cuts at `ages`, users chosen by a hash of their ids whatever the partitions."""
    horizon = config.horizon
    windows = [LabelWindow(age, cut(shop.end, age), cut(shop.end, age - horizon), sampled=sampled) for age in ages]
    calls = [(partition, windows, config) for partition in shop.partitions]
    found = ray.get(run_tasks(find_users, "find users of the label windows", calls))
    by_window = (
        [np.sort(np.concatenate([part[at][kind] for part in found])) for kind in range(3)] for at in range(len(windows))
    )
    return [
        replace(window, quotas=_quotas(by_kind, window, config))
        for window, by_kind in zip(windows, by_window, strict=True)
    ]


def _quotas(by_kind: Sequence[np.ndarray], window: LabelWindow, config: TrainConfig) -> tuple[float, float, float]:
    """Users with a target event come first, then the others; new users up to their share."""
    targets, others, new = by_kind
    examples = config.examples
    limit = examples.max_users if window.sampled else examples.validation_users
    n_new = min(len(new), int(limit * examples.max_new_share))
    n_targets = min(len(targets), limit - n_new)
    graded = window.sampled and examples.other_grade > 0
    n_others = min(len(others), limit - n_new - n_targets) if graded else 0
    return _nth(targets, n_targets), _nth(others, n_others), _nth(new, n_new)


def _nth(ascending: np.ndarray, n: int) -> float:
    return float(ascending[n - 1]) if n else NOBODY


def find_users(partition: UserPartition, windows: Sequence[LabelWindow], config: TrainConfig) -> list[list[np.ndarray]]:
    """Hashes in [0, 1) of the users of each window by kind, see LabelWindow.quotas."""
    share = user_shares(partition, config)
    return [[share[kind] for kind in user_kinds(partition.histories, w, config)] for w in windows]


def chosen_users(partition: UserPartition, window: LabelWindow, config: TrainConfig) -> np.ndarray:
    """Positions of the partition's users that become query groups, int64, ascending."""
    share = user_shares(partition, config)
    kinds = zip(user_kinds(partition.histories, window, config), window.quotas, strict=True)
    return np.flatnonzero(np.logical_or.reduce([kind & (share <= quota) for kind, quota in kinds]))


def user_shares(partition: UserPartition, config: TrainConfig) -> np.ndarray:
    """Hashes of the users as floats in [0, 1), (n_users,)."""
    return np.asarray(hashes(partition.users, 2 * config.seed + SALT) / float(2**64))


def user_kinds(
    histories: Histories, window: LabelWindow, config: TrainConfig
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Who is of which kind, bool (n_users,) each."""
    after = histories.between(window.start, window.end)
    hits = after.rows[np.isin(after.events, config.target_codes)]
    target = np.bincount(hits, minlength=len(histories)) > 0
    old = histories.until(window.start).lengths > 0
    return target & old, ~target & old & (after.lengths > 0), target & ~old
