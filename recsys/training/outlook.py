"""The outlook of a training: what it would do with a shop's data, without training."""

from dataclasses import dataclass

import numpy as np
import ray

from recsys.cluster import run_tasks
from recsys.config import TrainConfig
from recsys.data.ingest import ShopData
from recsys.errors import TooLittleData
from recsys.timeline import Cut
from recsys.training.from_log import FromLog, from_log, label_users, newest_windows
from recsys.training.plan import make_plan
from recsys.training.tables import count_able_users

NAMES = ("test", "validation", "training")
"""Names of the newest windows, see `newest_windows`."""


@dataclass(frozen=True, slots=True)
class LabelWindow:
    """One of the newest windows; start, end: ms; users: with a target event in it and an event before it."""

    name: str
    start: int
    end: int
    users: int


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a training would do.

    chosen: the settings with windows and targets, and why they were chosen
    windows: the test, the validation and the newest training window
    too_little: what the data lack, so that nothing could be learned; empty if a ranker would be trained. A training may
    still find that no candidate of any user is a hit.
    """

    chosen: FromLog
    windows: tuple[LabelWindow, ...]
    too_little: tuple[str, ...]


def look_ahead(shop: ShopData, config: TrainConfig) -> Outlook:
    """The outlook of a training with these settings on the data."""
    chosen = from_log(shop, config)
    complete = chosen.config
    [[users]] = label_users(shop, [complete], [complete.target_types])
    windows = tuple(
        LabelWindow(name, Cut.at(shop.end, old).time, Cut.at(shop.end, new).time, count)
        for name, (old, new), count in zip(NAMES, newest_windows(complete), users.tolist(), strict=True)
    )
    return Outlook(chosen, windows, _too_little(shop, complete, windows))


def _too_little(shop: ShopData, config: TrainConfig, windows: tuple[LabelWindow, ...]) -> tuple[str, ...]:
    try:
        make_plan(shop.start, shop.end, config)
    except TooLittleData as problem:
        return (str(problem),)
    problems = [
        f"no user with an earlier event has a {' or '.join(config.target_types)} in the {window.name} window"
        for window in windows
        if not window.users
    ]
    calls = [(partition, [Cut.at(shop.end, 0)], config) for partition in shop.partitions]
    if not np.sum(ray.get(run_tasks(count_able_users, "count users for the factorization", calls))):
        problems.append(f"no user has events on {config.factorization.min_items} or more items")
    return tuple(problems)
