"""Windows and targets chosen from the log, where the settings leave them open."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import ray

from recsys.cluster import run_tasks
from recsys.config import USUAL_DAYS, TrainConfig, changed
from recsys.data.ingest import ShopData
from recsys.data.shop import UserPartition
from recsys.schema import DAY, EVENT_TYPES, EventType

LENGTHS: Final = (USUAL_DAYS, 7, 6, 5, 4, 3, 2, 1)
"""Days of a window, the preferred first. From a week on, windows are whole weeks, since weekdays differ."""
LONG_LOG: Final = 730
"""Days of a log from which on windows are LONG_WINDOW days."""
LONG_WINDOW: Final = 28
LONGEST_WINDOW: Final = 56
"""Days of a window, at most, where target events are rare."""
ENOUGH_USERS: Final = 20
"""Users with a label in each window; with fewer, windows become longer, or a weaker event type becomes the target."""
WINDOWS, TARGETS = "windows", "targets"
"""Keys of `FromLog.why`."""


@dataclass(frozen=True, slots=True)
class FromLog:
    """Settings with windows and targets.

    why: why the windows and why the targets were chosen, by WINDOWS and TARGETS; without what the settings gave
    """

    config: TrainConfig
    why: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Options:
    """What can be chosen.

    lengths: days of a window, the preferred first; targets: event types, the strongest first
    """

    lengths: tuple[int, ...]
    targets: tuple[tuple[EventType, ...], ...]

    @classmethod
    def create(cls, span: float, event_counts: Mapping[str, int], config: TrainConfig) -> "Options":
        """The options for a log; span: days from the first to the last event; event_counts: events by type."""
        occurring: list[tuple[EventType, ...]] = [(name,) for name in reversed(EVENT_TYPES) if event_counts.get(name)]
        targets = tuple(occurring) if config.targets is None else (config.targets,)
        return cls(window_lengths(span, config), targets or (config.target_types,))


def needed_days(config: TrainConfig) -> int:
    """Days that a log must span for one training cut: three windows and the history before them."""
    return config.test_days + 2 * config.horizon + config.history_days


def window_lengths(span: float, config: TrainConfig) -> tuple[int, ...]:
    """Days of a window for a log of `span` days: the preferred length, and the longer ones for rare target events.

    The preferred length is the largest of LENGTHS that fits, and LONG_WINDOW from LONG_LOG days on. If none fits, it
    is one day. If the settings give a length, it is the only one.
    """
    if config.evaluation.test_days is not None:
        return (config.evaluation.test_days,)

    def fits(days: int) -> bool:
        return needed_days(_with_length(config, days)) <= span

    preferred = next((days for days in (*[LONG_WINDOW] * (span >= LONG_LOG), *LENGTHS) if fits(days)), 1)
    lengths = [preferred]
    while preferred >= USUAL_DAYS and 2 * lengths[-1] <= LONGEST_WINDOW and fits(2 * lengths[-1]):
        lengths.append(2 * lengths[-1])
    return tuple(lengths)


def _with_length(config: TrainConfig, days: int) -> TrainConfig:
    evaluation = config.evaluation.model_copy(update={"test_days": days})
    return config.model_copy(update={"evaluation": evaluation})


def newest_windows(config: TrainConfig) -> tuple[tuple[int, int], ...]:
    """First and last day of the test, the validation and the newest training window, as days before the last event."""
    test, horizon = config.test_days, config.horizon
    return (test, 0), (test + horizon, test), (test + 2 * horizon, test + horizon)


def choose(span: float, options: Options, users: np.ndarray, config: TrainConfig) -> FromLog:
    """The settings with windows and targets.

    The strongest target is taken that has ENOUGH_USERS in each window of one of the lengths, with the first such
    length. If there is none, the strongest target is taken that has a user in each window, with the length of the most
    users; else the strongest target with the preferred length.

    span: days from the first to the last event
    users: int64 (n_lengths, n_targets, 3), users with a label in each window, see `count_users`
    """
    least = users.min(axis=2)
    enough, some = least >= ENOUGH_USERS, least > 0
    if enough.any():
        target = int(enough.any(axis=0).argmax())
        length = int(enough[:, target].argmax())
    else:
        target = int(some.any(axis=0).argmax())
        length = int(least[:, target].argmax())
    days, targets = options.lengths[length], options.targets[target]
    chosen = _complete(_with_length(config, days).model_copy(update={"targets": targets}))
    why = {}
    if config.evaluation.test_days is None:
        why[WINDOWS] = _why_length(span, days, options, chosen)
    if config.targets is None:
        why[TARGETS] = _why_targets(options, target, least)
    return FromLog(chosen, why)


def _complete(config: TrainConfig) -> TrainConfig:
    """The config with every window as a number; checked."""
    return changed(
        config,
        {
            "examples.horizon_days": config.horizon,
            "examples.step_days": config.step_days,
            "examples.min_history_days": config.history_days,
        },
    )


def _why_length(span: float, days: int, options: Options, chosen: TrainConfig) -> str:
    if needed_days(chosen) > span:
        return f"the log spans {span:.1f} days, too few for any window"
    if days > options.lengths[0]:
        return f"fewer than {ENOUGH_USERS} users have a label in a window of {options.lengths[0]} days"
    if days >= LONG_WINDOW:
        return f"the log spans {span:.0f} days, two years or more"
    if days == USUAL_DAYS:
        return f"the usual length; the log spans {span:.0f} days"
    return f"the longest that fits into {span:.1f} days"


def _why_targets(options: Options, target: int, least: np.ndarray) -> str:
    users = int(least[:, target].max())
    stronger = [name for names in options.targets[:target] for name in names]
    if len(options.targets) == 1:
        return "the only event type of the log"
    if not target and users >= ENOUGH_USERS:
        return "the strongest event type"
    if not users:
        return "the strongest event type, though a window has no user with it and a history"
    if stronger:
        return f"too few users with a history have a {' or '.join(stronger)} in each window"
    return f"the strongest event type, though a window has only {users} users with it and a history"


def count_users(
    partition: UserPartition,
    end: int,
    windows: Sequence[Sequence[tuple[int, int]]],
    targets: Sequence[Sequence[EventType]],
) -> np.ndarray:
    """Users of a partition with a label in each window, int64 (n_lengths, n_targets, 3).

    They have a target event in the window and an event before it.
    end: time of the newest event, ms; windows: for each length the three windows, see `newest_windows`
    """
    histories = partition.histories
    counts = np.zeros((len(windows), len(targets), 3), np.int64)
    active = np.flatnonzero(histories.lengths)
    first = np.full(len(histories), end)
    first[active] = histories.times[histories.offsets[active]]
    for row, three in enumerate(windows):
        for column, (old, new) in enumerate(three):
            start = end - old * DAY
            events = histories.between(start, end - new * DAY)
            known = first[events.rows] <= start
            for place, names in enumerate(targets):
                codes = [EVENT_TYPES.index(name) for name in names]
                labelled = events.rows[known & np.isin(events.events, codes)]
                counts[row, place, column] = len(np.unique(labelled))
    return counts


def label_users(shop: ShopData, configs: Sequence[TrainConfig], targets: Sequence[Sequence[EventType]]) -> np.ndarray:
    """`count_users` of all partitions, int64 (n_configs, n_targets, 3), for the windows of each config."""
    windows = [newest_windows(config) for config in configs]
    calls = [(partition, shop.end, windows, targets) for partition in shop.partitions]
    return np.sum(ray.get(run_tasks(count_users, "count users of possible windows", calls)), axis=0)


def from_log(shop: ShopData, config: TrainConfig) -> FromLog:
    """The config with the windows and targets that the log suggests, where the settings leave them open.

    A config without an open window or target comes back as it is.
    """
    span = (shop.end - shop.start) / DAY
    options = Options.create(span, shop.event_counts, config)
    users = np.zeros((len(options.lengths), len(options.targets), 3), np.int64)
    if users.size > 3:  # else there is nothing to choose between
        users = label_users(shop, [_with_length(config, days) for days in options.lengths], options.targets)
    else:
        users += ENOUGH_USERS
    return choose(span, options, users, config)
