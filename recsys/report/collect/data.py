"""What the data are, for the report: from the daily counts, the catalog and one pass over the users' histories."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final

import numpy as np
import ray

from recsys.arrays import run_starts
from recsys.cluster import run_tasks
from recsys.config import TrainConfig
from recsys.data.ingest import ShopData
from recsys.data.shop import UserPartition
from recsys.evaluation.curves import Spread
from recsys.report import content
from recsys.report.collect.numbers import line, short
from recsys.schema import DAY, EVENT_TYPES, PURCHASE, UNKNOWN
from recsys.timeline import cut
from recsys.training.plan import Plan

MOST_DAYS: Final = 400
"""Points of the figure of events per day; a longer log is summed over weeks, whose days differ."""
TOP_CATEGORIES: Final = 12
RECENT_DAYS: Final = 30
KINDS: Final = 1 << len(EVENT_TYPES)
"""Sets of event types, as bits by code."""


@dataclass(frozen=True, slots=True)
class Traits:
    """What users do, counted over a partition; those of disjoint users add up.

    sizes, counts: distinct numbers of events, int64 (n,), and how many users have so many, int64 (n,)
    users, pairs: int64 (KINDS,), users, and pairs of a user and an item, by the set of types of their events
    """

    sizes: np.ndarray
    counts: np.ndarray
    users: np.ndarray
    pairs: np.ndarray


def count_traits(partition: UserPartition) -> Traits:
    histories = partition.histories
    spread = Spread.from_counts(histories.lengths)
    width = int(histories.items.max(initial=0)) + 1
    pairs, place = np.unique(histories.rows * width + histories.items, return_inverse=True)
    by_pair = _sets(place, histories.events, len(pairs))
    starts = run_starts(pairs // width)
    by_user = np.bitwise_or.reduceat(by_pair, starts) if len(starts) else by_pair
    counted = (np.bincount(sets, minlength=KINDS) for sets in (by_user, by_pair))
    return Traits(spread.sizes, spread.counts, *counted)


def _sets(owners: np.ndarray, events: np.ndarray, n: int) -> np.ndarray:
    """The set of types of the events of each owner, int64 (n,)."""
    sets = np.zeros(n, np.int64)
    for code in range(len(EVENT_TYPES)):
        sets |= (np.bincount(owners[events == code], minlength=n) > 0).astype(np.int64) << code
    return sets


def find_data(shop: ShopData, plan: Plan, config: TrainConfig) -> content.Data:
    """The report's part on the data."""
    calls = [(partition,) for partition in shop.partitions]
    traits: list[Traits] = ray.get(run_tasks(count_traits, "count what users do", calls))
    by_item = items_by_type(shop)
    activity = Spread.from_counts(
        np.concatenate([part.sizes for part in traits]), np.concatenate([part.counts for part in traits])
    )
    types = [name for name, count in shop.event_counts.items() if count]
    return content.Data(
        start=shop.start,
        end=shop.end,
        users=shop.n_users,
        items=len(shop.items),
        events=shop.event_counts,
        targets=config.targets,
        windows=(
            _window("validation", shop.end, plan.valid, plan.horizon),
            _window("test", shop.end, plan.test, config.evaluation.test_days),
        ),
        daily=daily_events(shop, types),
        funnel_users=funnel(np.sum([part.users for part in traits], axis=0)),
        funnel_pairs=funnel(np.sum([part.pairs for part in traits], axis=0)),
        activity=_spread(activity),
        popularity=_spread(Spread.from_counts(by_item.sum(axis=1))),
        categories=top_categories(shop, by_item, types),
        n_categories=len(shop.catalog.categories),
        coverage=coverage(shop, by_item),
        quality=_rows_read(shop),
    )


def _window(name: str, end: int, age: int, days: int) -> content.Window:
    return content.Window(name=name, start=cut(end, age), end=cut(end, age - days))


def items_by_type(shop: ShopData) -> np.ndarray:
    """Events of each item, int64 (n_items, n_types)."""
    daily, kinds = shop.daily, len(EVENT_TYPES)
    cells = np.bincount(daily.item * kinds + daily.event, daily.count, len(shop.items) * kinds)
    return cells.reshape(-1, kinds).astype(np.int64)


def daily_events(shop: ShopData, types: Sequence[str]) -> content.Daily:
    daily = shop.daily
    days = int(daily.age.max(initial=0)) + 1
    step = 1 if days <= MOST_DAYS else 7 * -(-days // (7 * MOST_DAYS))
    bins = -(-days // step)
    place = bins - 1 - daily.age // step
    width = np.full(bins, float(step))
    width[0] = max((shop.end - shop.start) / DAY - (bins - 1) * step, 0)
    # A share of a day says little of a day.
    first = int(width[0] < 1 and bins > 2)
    by_type = {}
    for name in types:
        chosen = daily.event == EVENT_TYPES.index(name)
        sums = np.bincount(place[chosen], daily.count[chosen], bins)
        by_type[name] = short((sums / np.maximum(width, 1))[first:])
    starts = shop.end - (np.arange(bins)[::-1] * step + step) * DAY
    starts[0] = shop.start
    return content.Daily(step=step, starts=tuple(starts[first:].tolist()), events=by_type)


def funnel(by_set: np.ndarray) -> content.Funnel:
    """by_set: int64 (KINDS,), see Traits"""
    sets = np.arange(KINDS)
    codes = [code for code in range(len(EVENT_TYPES)) if by_set[sets >> code & 1 > 0].any()]
    have = [int(by_set[sets >> code & 1 > 0].sum()) for code in codes]
    through, wanted = [], 0
    for code in codes:
        wanted |= 1 << code
        through.append(int(by_set[sets & wanted == wanted].sum()))
    return content.Funnel(steps=tuple(EVENT_TYPES[code] for code in codes), have=tuple(have), through=tuple(through))


def _spread(spread: Spread) -> content.Spread:
    return content.Spread(
        total=spread.total,
        median=spread.median(),
        top_tenth=spread.events_of_top(0.1),
        survival=line(spread.survival()),
        concentration=line(spread.concentration()),
    )


def top_categories(shop: ShopData, by_item: np.ndarray, types: Sequence[str]) -> tuple[content.CategoryShare, ...]:
    """Those with the most events, as items belong to them at the end of the log."""
    category = shop.catalog.as_of(shop.end).category
    member = np.flatnonzero(category != UNKNOWN)
    if not len(member):
        return ()
    n = len(shop.catalog.categories)
    codes = [EVENT_TYPES.index(name) for name in types]
    events = np.stack([np.bincount(category[member], by_item[member, code], n) for code in codes], axis=1)
    items = np.bincount(category[member], minlength=n)
    totals = np.maximum(by_item[:, codes].sum(axis=0), 1)
    order = np.argsort(-events.sum(axis=1), kind="stable")[:TOP_CATEGORIES]
    return tuple(
        content.CategoryShare(
            name=str(shop.catalog.categories[int(code)]),
            items=int(items[code]),
            shares=dict(zip(types, short(events[code] / totals), strict=True)),
        )
        for code in order
        if events[code].any()
    )


def coverage(shop: ShopData, by_item: np.ndarray) -> tuple[content.Coverage, ...]:
    """How many items something is known of, with their share of the events."""
    state, daily, n = shop.catalog.as_of(shop.end), shop.daily, len(shop.items)
    recent = np.bincount(daily.item[daily.age < RECENT_DAYS], minlength=n) > 0
    logs = shop.catalog
    known = {
        "with a category": state.category != UNKNOWN,
        "with a known availability": np.bincount(logs.availability_log.items, minlength=n) > 0,
        "available at the end": state.available,
        f"with an event in the last {RECENT_DAYS} days": recent,
        "ever bought": by_item[:, PURCHASE] > 0,
        "with five events or more": by_item.sum(axis=1) >= 5,
    }
    events = by_item.sum(axis=1)
    total = max(int(events.sum()), 1)
    return tuple(
        content.Coverage(name=name, items=int(which.sum()), events=float(events[which].sum() / total))
        for name, which in known.items()
    )


def _rows_read(shop: ShopData) -> dict[str, int]:
    quality, properties = shop.quality, shop.quality.properties
    mended = {name.replace("_", " "): count for name, count in asdict(properties.tree).items()}
    aside = (
        ("event", quality.events_quarantined),
        ("item property", properties.quarantined),
        ("category tree", properties.tree_quarantined),
    )
    return {
        "event rows read": quality.events_read,
        "event rows kept": quality.events_kept,
        "repeated event rows dropped": quality.duplicates,
        "purchases without a transaction id, kept": quality.blank_transactions,
        "item property rows read": properties.read,
        "item property rows kept": properties.kept,
        "item property rows of other properties": properties.not_asked,
        "item property rows of items without events": properties.unknown_item,
        **{f"{what} rows set aside: {reason}": rows for what, found in aside for reason, rows in found.items()},
        **{f"category tree, mended: {name}": rows for name, rows in mended.items() if rows},
    }
