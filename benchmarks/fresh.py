"""The source of items that nobody has met, on the generated shop with a style and a price of each item.

    python benchmarks/fresh.py [--quick] [--scale SCALE] [--json FILE]

Measured are the events, of all types, of two weeks on items without an event before them: the fraction of these events
whose item is in the top 50 that the source gives to the user as of the cut. Four windows are pooled, each two weeks
earlier than the one before; the last window of the log is not used. The baselines are the newest items of the user's
categories: of all of them, or category after category by the user's interest. `--quick` uses scale 0.05 instead of 0.2.
"""

import argparse
import json
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from synthetic import Log

from recsys import schema
from recsys.arrays import belongs, offsets_of, rank_within, ranked_lists
from recsys.data.attributes import Attributes, Labels, Numbers
from recsys.data.catalog import Catalog, build_catalog
from recsys.data.changes import Records
from recsys.data.partition import count_days
from recsys.data.shop import UserPartition
from recsys.data.synthetic import generate
from recsys.evaluation.metrics import Resampling, paired_difference
from recsys.evaluation.settings import BOOTSTRAP_SEED
from recsys.features.interactions import InteractionConfig
from recsys.features.profiles import Profiles, build_profiles
from recsys.features.statistics import RepeatCounts, Statistics, StatisticsConfig, statistics
from recsys.histories import Histories
from recsys.ids import Ids
from recsys.retrieval.sources.base import Batch, Known
from recsys.retrieval.sources.fresh import Fresh, FreshConfig
from recsys.schema import UNKNOWN
from recsys.timeline import Cut

Row = dict[str, str | float]

K: Final = 50
WINDOW_DAYS: Final = 14
WINDOWS: Final = 4
CHUNK: Final = 1_000
"""Users handled at a time."""
SOURCE: Final = "fresh"
NEWEST: Final = "newest of the user's categories"
BY_INTEREST: Final = "newest, category by category"


@dataclass(frozen=True, slots=True)
class Shop:
    """A generated shop; end: ms of the last event."""

    items: Ids
    catalog: Catalog
    partition: UserPartition
    end: int

    @classmethod
    def read(cls, folder: Path) -> "Shop":
        """The shop in a folder, read without Ray."""
        table = pl.read_csv(folder / "items.csv")
        log = Log.read(folder, table[schema.ITEM].to_list())
        properties = pl.scan_csv(folder / "item_properties_part*.csv", infer_schema=False)
        plain = properties.filter(pl.col(schema.PROPERTY).is_in([schema.CATEGORY, schema.AVAILABLE])).collect()
        codes = log.items.encode(table[schema.ITEM].to_arrow())

        def records(values: pa.Array) -> Records:
            return Records(codes, table[schema.TIME].to_numpy(), values)

        attributes = Attributes(
            (
                Labels.build("style", "category", records(table["style"].to_arrow().cast(pa.string()))),
                Numbers.build("price", records(table["price"].to_arrow())),
            )
        )
        catalog = _catalog(folder, log.items, plain, attributes)
        return cls(log.items, catalog, UserPartition(log.users.values, log.histories), log.end)


def _catalog(folder: Path, items: Ids, plain: pl.DataFrame, attributes: Attributes) -> Catalog:
    tree = pl.read_csv(folder / "category_tree.csv")
    by_name = []
    for name, dtype in ((schema.CATEGORY, pl.Int64), (schema.AVAILABLE, pl.Int8)):
        rows = plain.filter(pl.col(schema.PROPERTY) == name)
        codes = items.encode(rows[schema.ITEM].cast(pl.Int64).to_arrow())
        kept = pa.array(codes != UNKNOWN)
        values = rows[schema.VALUE].cast(dtype).to_arrow().filter(kept)
        by_name.append(
            Records(
                codes[codes != UNKNOWN],
                rows[schema.TIME].cast(pl.Int64).to_numpy()[codes != UNKNOWN],
                values if name == schema.CATEGORY else values.cast(pa.bool_()),
            )
        )
    catalog, _ = build_catalog(
        len(items), by_name[0], by_name[1], tree[schema.CATEGORY].to_arrow(), tree[schema.PARENT].to_arrow()
    )
    return replace(catalog, attributes=attributes)


@dataclass(frozen=True, slots=True)
class Window:
    """A cut, the statistics as of it, and the events after it on items without an event before it.

    unmet: bool (n_items,); rows: int64 (n,), users; items: int32 (n,); since: see Known
    """

    cut: Cut
    statistics: Statistics
    known: Known
    past: Histories
    unmet: np.ndarray
    rows: np.ndarray
    items: np.ndarray

    @classmethod
    def of_shop(cls, shop: Shop, back: int) -> "Window":
        """The window `back` windows before the last one."""
        cut = Cut.at(shop.end, (back + 1) * WINDOW_DAYS)
        histories, n_items = shop.partition.histories, len(shop.items)
        past, after = histories.until(cut.time), histories.between(cut.time, cut.plus(WINDOW_DAYS))
        state = shop.catalog.as_of(cut.time)
        none = np.zeros(n_items, np.int64)
        daily = count_days(shop.partition, shop.end)
        stats = statistics(
            daily, cut.age, state, shop.catalog.ancestors(), RepeatCounts(none, none), StatisticsConfig()
        )
        users = np.bincount(np.unique(past.rows * n_items + past.items) % n_items, minlength=n_items)
        since = None if state.attributes is None else state.attributes.since
        known = Known(stats, users, np.zeros((0, 1)), np.full(n_items, UNKNOWN), ("transaction",), since)
        kept = users[after.items] == 0
        return cls(cut, stats, known, past, users == 0, after.rows[kept], after.items[kept])


def newest_lists(window: Window, profiles: Profiles, *, by_interest: bool) -> np.ndarray:
    """The newest available unmet items of each user's categories, int32 (n_users, K).

    by_interest: the categories follow each other by the user's interest, instead of all their items by age alone
    """
    statistics, since = window.statistics, window.known.since
    if since is None:
        raise SystemExit("the shop has no attributes")
    pool = np.flatnonzero(window.unmet & statistics.available & (since != UNKNOWN) & (statistics.category != UNKNOWN))
    pool = pool[np.lexsort((pool, -since[pool], statistics.category[pool]))]
    category = statistics.category[pool]
    first = np.searchsorted(category, np.arange(len(statistics.categories)))
    last = np.searchsorted(category, np.arange(len(statistics.categories)), side="right")
    by_category = profiles.by_category
    order = rank_within(by_category.users, by_category.decayed[:, -1])
    users, items, scores = [], [], []
    for user, code, rank in zip(by_category.users, by_category.things, order, strict=True):
        own = pool[first[code] : last[code]][:K]
        users.append(np.full(len(own), user))
        items.append(own)
        age = (window.cut.time - since[own]).astype(np.float64)
        scores.append(-age - (rank * 1e15 if by_interest else 0))
    owner, item = (np.concatenate([np.zeros(0, np.int64), *parts]) for parts in (users, items))
    return ranked_lists(owner, item.astype(np.int32), np.concatenate([np.zeros(0), *scores]), len(profiles), K)


def hits_of(window: Window, settings: FreshConfig) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The events in the top K by user and system, and all events by user; users with a history only."""
    active = np.unique(window.rows[window.past.lengths[window.rows] > 0])
    source = Fresh()
    table = source.fit(window.known, None, settings)
    hits: dict[str, list[np.ndarray]] = {SOURCE: [], NEWEST: [], BY_INTEREST: []}
    totals = []
    for start in range(0, len(active), CHUNK):
        users = active[start : start + CHUNK]
        profiles = build_profiles(window.past.take(users), window.statistics, window.cut.time, InteractionConfig())
        rows = source.propose(table, Batch(profiles, 30), settings)
        lists = {
            SOURCE: ranked_lists(rows.users, rows.items, rows.scores, len(users), K),
            NEWEST: newest_lists(window, profiles, by_interest=False),
            BY_INTEREST: newest_lists(window, profiles, by_interest=True),
        }
        mine = np.isin(window.rows, users)
        owner, items = np.searchsorted(users, window.rows[mine]), window.items[mine]
        totals.append(np.bincount(owner, minlength=len(users)))
        for system, ranked in lists.items():
            listed = ranked != UNKNOWN
            hit = belongs(owner, items, offsets_of(listed.sum(axis=1)), ranked[listed])
            hits[system].append(np.bincount(owner, hit, len(users)))
    return {system: np.concatenate(parts) for system, parts in hits.items()}, np.concatenate(totals)


def measure(scale: float) -> list[Row]:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        generate(folder, scale, 0, attributes=True)
        shop = Shop.read(folder)
    setting, settings = f"scale={scale:g}", FreshConfig(size=K)
    pooled: dict[str, list[np.ndarray]] = {SOURCE: [], NEWEST: [], BY_INTEREST: []}
    totals, n_events = [], 0
    for back in range(1, WINDOWS + 1):
        window = Window.of_shop(shop, back)
        hits, events = hits_of(window, settings)
        totals.append(events)
        n_events += len(window.rows)
        for system, values in hits.items():
            pooled[system].append(values)
    total = np.concatenate(totals)
    rows: list[Row] = [
        row("events on unmet items", setting, "all users", n_events, "count"),
        row("events on unmet items", setting, "users with a history", int(total.sum()), "count"),
    ]
    ours = np.concatenate(pooled[SOURCE])
    for system, parts in pooled.items():
        values = np.concatenate(parts)
        rows.append(row(system, setting, f"of all events in the top {K}", values.sum() / max(n_events, 1), "fraction"))
        rows.append(row(system, setting, "of users with a history", values.sum() / max(total.sum(), 1), "fraction"))
        if system != SOURCE:
            difference = paired_difference(ours, values, Resampling(BOOTSTRAP_SEED))
            for name, value in zip(("lead", "lead_low", "lead_high"), difference, strict=True):
                rows.append(row(system, setting, f"{SOURCE}'s {name}", value / total.mean(), "fraction"))
    return rows


def row(system: str, setting: str, metric: str, value: float, unit: str) -> Row:
    return {"system": system, "setting": setting, "metric": metric, "value": round(float(value), 4), "unit": unit}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="scale 0.05")
    parser.add_argument("--scale", type=float, help="this scale, instead of 0.2")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    options = parser.parse_args()
    rows = measure(options.scale or (0.05 if options.quick else 0.2))
    for line in rows:
        print(f"{line['setting']:14} {line['system']:34} {line['metric']:30} {line['value']:>12,.10g} {line['unit']}")
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
