"""Time and memory to build features and statistics: Ray Data against one process of Polars that does the same.

    python benchmarks/features.py [--quick] [--json FILE]

Both sides run in turns (A B A B …), each in a fresh process, on the same raw CSV files. Both do these steps:

1. Read the events. Drop unusable rows (times that are not positive integers or lie in the future, unknown event types,
   blank ids) and repeated rows. Encode items and users, order histories by (user, time, item, event), and count events
   by item, day and type. Read the item properties, keep the needed ones of items with events, and reduce them to
   changes. Read the category tree.
2. Compute item and category statistics as of a cut, with repeat purchases: all columns of features/statistics.py.
3. Compute features of every (user, item) with an event before the cut, for all users with events before the cut and in
   the two weeks after it. These are all columns of features/definitions.py, except those of the candidate sources:
   they come from fitted models, which neither side builds.

After the clock has stopped, daily counts, availability, statistics and features of the two sides are compared. A
difference ends the run. Our side does more: it reports the row of each unusable value, detects the type of ids, repairs
the tree and computes a fingerprint. The Polars side assumes that ids are integers and that the tree is valid.

`imports` is the time from the start of the process to the first call. `work` is the sum of steps 1 to 3. `all but Ray's
start` is work and imports, and `all` is everything except stopping Ray. Times and memory are medians over the rounds.
Memory is the peak of the proportional set size of the process and its descendants (all of Ray's), sampled five times a
second. Sampling slows Ray's side more, because it has more processes.
"""
# ruff: noqa: PLC0415 - imports are timed, so each side has only its own

import argparse
import json
import math
import statistics as summary
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import polars as pl

ROOT: Final = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

if TYPE_CHECKING:
    from recsys.data.shop import UserPartition
    from recsys.features.statistics import RepeatCounts, Statistics

Frames = dict[str, pl.DataFrame]

AGE: Final = 42
"""Days from the cut to the newest event, as of a first training cut: a label, a validation and a test window follow."""
HORIZON: Final = 14
LEVELS: Final = 3
SYSTEMS: Final = ("Ray Data", "Polars")
USER_ID, ITEM_CODE = "user", "item"
# The defaults of our settings, copied so that the Polars side imports nothing of ours. The comparison would fail if
# they differed.
DAY: Final = 86_400_000
EVENT_TYPES: Final = ("view", "addtocart", "transaction")
WEIGHTS: Final = (1.0, 3.0, 5.0)
SPEEDS: Final = {"fast": 3.0, "medium": 14.0, "slow": 60.0}
RECENT_DAYS, HALF_LIFE, PRIOR, MAX_EVENTS, SESSION_GAP = 30, 7.0, 20.0, 2000, 1_800_000


class Laps:
    """Seconds of consecutive steps; began: time of the start of the process, seconds since 1970."""

    def __init__(self, began: float) -> None:
        self.seconds: dict[str, float] = {}
        self._last = began

    def __call__(self, name: str) -> None:
        now = time.time()
        self.seconds[name] = now - self._last
        self._last = now


# Ray's side: the package's own functions.


def count_repeats(partition: "UserPartition", n_items: int, cut: int) -> "RepeatCounts":
    from recsys.models.tables import count_events
    from recsys.schema import PURCHASE

    past = partition.histories.until(cut)
    return count_events(past.where(past.events == PURCHASE), n_items, cut).repeats


def statistics_of_cut(daily: Any, catalog: Any, cut: int, *parts: "RepeatCounts") -> "Statistics":
    import numpy as np

    from recsys.features.statistics import RepeatCounts, StatisticsConfig, statistics

    repeats = RepeatCounts(np.sum([p.buyers for p in parts], axis=0), np.sum([p.repeaters for p in parts], axis=0))
    return statistics(daily, AGE, catalog.as_of(cut), catalog.ancestors(LEVELS), repeats, StatisticsConfig())


def features_of_partition(partition: "UserPartition", stats: "Statistics", cut: int) -> Any:
    """An Arrow table: user id, item code, features."""
    import numpy as np
    import pyarrow as pa

    from recsys.features.build import FeatureBuilder
    from recsys.features.definitions import BASE_FEATURES, STAGE_FEATURES, feature_names_of
    from recsys.features.interactions import InteractionConfig
    from recsys.features.profiles import build_profiles

    past = partition.histories.until(cut)
    returned = partition.histories.between(cut, cut + HORIZON * DAY).lengths > 0
    chosen = np.flatnonzero(returned & (past.lengths > 0))
    profiles = build_profiles(past.take(chosen).latest(MAX_EVENTS), stats, cut, InteractionConfig())
    users, items = profiles.by_item.users, profiles.by_item.things.astype(np.int32)
    names = feature_names_of(BASE_FEATURES)
    unknown = np.full((len(users), len(STAGE_FEATURES)), np.nan, np.float32)
    matrix = FeatureBuilder(names, stats, {})(profiles, users, items, unknown[:, :0], unknown)
    columns = {name: matrix[:, i] for i, name in enumerate(names)}
    return pa.table({USER_ID: partition.users.take(pa.array(chosen[users])), ITEM_CODE: items, **columns})


def run_ray(folder: Path, laps: Laps) -> Frames:
    import logging

    import pyarrow as pa
    import ray

    from recsys.cluster import run_tasks
    from recsys.data.ingest import DataConfig, ingest
    from recsys.data.sources import resolve
    from recsys.features.statistics import CATEGORY_COLUMNS, ITEM_COLUMNS
    from recsys.timeline import Cut

    laps("imports")
    ray.init(address="local", include_dashboard=False, log_to_driver=False, logging_level=logging.WARNING)
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    laps("Ray's start")
    with tempfile.TemporaryDirectory() as quarantine:
        now = int(time.time() * 1000)
        shop = ingest(resolve(str(folder), folder), DataConfig(), now, Path(quarantine) / "quarantine.parquet")
    laps("1 ingest")
    cut = Cut.at(shop.end, AGE).time
    repeats = run_tasks(count_repeats, "count repeats", [(part, len(shop.items), cut) for part in shop.partitions])
    call = (ray.put(shop.daily), ray.put(shop.catalog), cut, *repeats)
    [reference] = run_tasks(statistics_of_cut, "statistics of the cut", [call])
    stats = ray.get(reference)
    laps("2 statistics")
    partitions = shop.partitions

    def feature_rows(batch: pa.Table) -> pa.Table:
        partition, tables = ray.get([partitions[batch[USER_ID][0].as_py()], reference])
        return features_of_partition(partition, tables, cut)

    numbers = ray.data.from_items([{USER_ID: n} for n in range(len(partitions))], override_num_blocks=len(partitions))
    dataset = numbers.map_batches(feature_rows, batch_size=1, batch_format="pyarrow")
    dataset.set_name("features of training users")
    features = pa.concat_tables([block for block in ray.get(dataset.to_arrow_refs()) if len(block)])
    laps("3 features")
    daily = {name: getattr(shop.daily, name) for name in ("item", "age", "event", "count")}
    return {
        "daily": pl.DataFrame(daily),
        "available": pl.DataFrame({"available": stats.available}),
        "items": pl.DataFrame(stats.items, schema=list(ITEM_COLUMNS)),
        "categories": pl.DataFrame(stats.categories, schema=list(CATEGORY_COLUMNS)),
        "features": pl.DataFrame(features),
    }


# The Polars side: none of the package's functions.


def run_polars(folder: Path, laps: Laps) -> Frames:
    laps("imports")
    events, items = polars_events(folder)
    newest: Any = events["time"].max()
    cut = newest - AGE * DAY
    age = ((newest - pl.col("time")) // DAY).alias("age")
    daily = events.group_by("item", age, "event").agg(count=pl.len()).sort("item", "age", "event")
    categories, availability, ancestors = polars_catalog(folder, items)
    laps("1 ingest")
    catalog = items.select("item").join(as_of(categories, cut), "item", "left", maintain_order="left")
    catalog = catalog.join(ancestors, "category", "left", maintain_order="left")
    available = items.select("item").join(as_of(availability, cut), "item", "left", maintain_order="left")
    past = events.filter(pl.col("time") <= cut)
    item_stats, category_stats = polars_statistics(daily, past, catalog, len(ancestors), cut)
    laps("2 statistics")
    label = pl.col("time").is_between(cut, cut + HORIZON * DAY, closed="right")
    returned = events.filter(label).select("user").unique()
    mine = past.join(returned, "user", "semi", maintain_order="left").group_by("user", maintain_order=True)
    features = polars_features(mine.tail(MAX_EVENTS), catalog, item_stats, category_stats, cut)
    laps("3 features")
    return {
        "daily": daily,
        "available": available.select(available=pl.col("available").fill_null(True)),
        "items": item_stats.drop("item"),
        "categories": category_stats.drop("category"),
        "features": features,
    }


def usable_time() -> pl.Expr:
    return pl.col("timestamp").is_between(1, int(time.time() * 1000) + DAY)


def polars_events(folder: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Ordered histories (user, time, item, event; users are ids, items codes), and the items' ids and codes."""
    types = {"timestamp": pl.Int64, "visitorid": pl.Int64, "itemid": pl.Int64, "transactionid": pl.String}
    kinds = {name: code for code, name in enumerate(EVENT_TYPES)}
    code = pl.col("event").replace_strict(kinds, default=None, return_dtype=pl.Int8)
    read = pl.scan_csv(folder / "events.csv", schema_overrides=types, ignore_errors=True).with_columns(code)
    usable = read.filter(usable_time()).drop_nulls(["visitorid", "itemid", "event"])
    events = usable.select("timestamp", "visitorid", "event", "itemid", "transactionid").unique().collect()
    items = events.select(pl.col("itemid").unique().sort()).with_row_index("item")
    events = events.join(items, "itemid").select(
        pl.col("visitorid").alias("user"), pl.col("timestamp").alias("time"), "item", "event"
    )
    return events.sort("user", "time", "item", "event"), items


def polars_catalog(folder: Path, items: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Changes of category (codes) and of availability, and the ancestors of each category, root first."""
    types = {"timestamp": pl.Int64, "itemid": pl.Int64, "property": pl.String, "value": pl.String}
    read = pl.scan_csv(folder / "item_properties*.csv", schema_overrides=types, ignore_errors=True)
    needed = read.filter(pl.col("property").is_in(["categoryid", "available"]) & usable_time())
    kept = needed.join(items.lazy(), "itemid").select("item", "property", "value", time="timestamp").collect()
    flags = kept.filter((pl.col("property") == "available") & pl.col("value").is_in(["0", "1"]))
    placed = kept.filter(pl.col("property") == "categoryid").with_columns(pl.col("value").cast(pl.Int64, strict=False))
    placed = placed.drop_nulls("value")
    tree = pl.read_csv(folder / "category_tree.csv")
    known = pl.concat([tree["categoryid"], tree["parentid"].drop_nulls(), placed["value"]]).unique().sort().to_list()
    codes = {name: code for code, name in enumerate(known)}
    above = {codes[child]: codes[parent] for child, parent in tree.iter_rows() if parent is not None}
    paths = []
    for code in range(len(known)):
        path = [code]
        while path[-1] in above:
            path.append(above[path[-1]])
        paths.append(([*reversed(path)] + [code] * LEVELS)[:LEVELS])
    levels = [f"level_{level}" for level in range(LEVELS)]
    ancestors = pl.DataFrame(paths, schema=dict.fromkeys(levels, pl.Int64), orient="row")
    category = pl.col("value").replace_strict(codes, return_dtype=pl.Int64).alias("category")
    return (
        changes(placed.select("item", "time", category), "category"),
        changes(flags.select("item", "time", available=pl.col("value") == "1"), "available"),
        ancestors.with_row_index("category").cast({"category": pl.Int64}),
    )


def changes(log: pl.DataFrame, value: str) -> pl.DataFrame:
    log = log.sort("item", "time", value).unique(["item", "time"], keep="last", maintain_order=True)
    return log.filter(pl.any_horizontal(pl.col("item", value).ne_missing(pl.col("item", value).shift())))


def as_of(log: pl.DataFrame, cut: int) -> pl.DataFrame:
    return log.filter(pl.col("time") <= cut).group_by("item", maintain_order=True).last().drop("time")


def rate(hits: str, trials: str | pl.Expr) -> pl.Expr:
    trial = pl.col(trials) if isinstance(trials, str) else trials
    return (pl.col(hits) + PRIOR * pl.col(hits).sum() / trial.sum().clip(1)) / (trial + PRIOR)


def polars_statistics(
    daily: pl.DataFrame, past: pl.DataFrame, catalog: pl.DataFrame, n_categories: int, cut: int
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Columns of features/statistics.py by item and by category."""
    count, event, age = pl.col("count"), pl.col("event"), pl.col("age")
    weight = event.replace_strict(range(3), WEIGHTS, return_dtype=pl.Float64)
    fading = count * (-age * (math.log(2) / HALF_LIFE)).exp()
    names = ("views", "carts", "purchases")
    known = daily.filter(age >= AGE).with_columns(age - AGE)
    by_item = known.group_by("item").agg(
        *(count.filter(event == kind).sum().alias(f"item_{name}") for kind, name in enumerate(names)),
        *(
            count.filter((event == kind) & (age < RECENT_DAYS)).sum().alias(f"item_recent_{name}")
            for kind, name in enumerate(names)
        ),
        item_popularity=(fading * weight).sum(),
        item_purchase_popularity=fading.filter(event == 2).sum(),
        item_days_known=age.max(),
    )
    days = ((cut - pl.col("time")) // DAY).n_unique()
    bought = past.filter(event == 2).group_by("user", "item").agg(days=days)
    repeats = bought.group_by("item").agg(buyers=pl.len(), repeaters=(pl.col("days") > 1).sum())
    items = catalog.join(by_item, "item", "left", maintain_order="left")
    items = items.join(repeats, "item", "left", maintain_order="left")
    items = items.with_columns(pl.col("buyers", "repeaters").fill_null(0))
    by_category = (
        items.drop_nulls("category")
        .group_by("category")
        .agg(
            category_views=pl.col("item_views").sum(),
            category_purchases=pl.col("item_purchases").sum(),
            category_popularity=pl.col("item_popularity").sum(),
            events=pl.sum_horizontal(pl.col(f"item_{name}").sum() for name in names),
            category_items=pl.col("item_views").is_not_null().sum(),
        )
    )
    every = pl.DataFrame({"category": pl.int_range(n_categories, eager=True)})
    categories = every.join(by_category, "category", "left", maintain_order="left").fill_null(0)
    categories = categories.with_columns(category_purchase_rate=rate("category_purchases", "events")).drop("events")
    total = pl.sum_horizontal(f"item_{name}" for name in names)
    recent = pl.sum_horizontal(f"item_recent_{name}" for name in names)
    popularity = categories.select("category", in_category="category_popularity")
    items = items.join(popularity, "category", "left", maintain_order="left").select(
        "item",
        pl.col(r"^item_(recent_)?(views|carts|purchases)$"),
        pl.col(r"^item_(popularity|purchase_popularity|days_known)$"),
        item_cart_rate=rate("item_carts", "item_views"),
        item_purchase_rate=rate("item_purchases", "item_views"),
        item_trend=recent / (total * RECENT_DAYS / (pl.col("item_days_known") + 1).clip(RECENT_DAYS)),
        item_repeat_fraction=pl.when(pl.col("item_views").is_not_null()).then(rate("repeaters", "buyers")),
        item_category_fraction=pl.col("item_popularity") / pl.col("in_category").clip(1e-9),
    )
    return as_floats(items, "item"), as_floats(categories, "category")


def as_floats(frame: pl.DataFrame, *keys: str) -> pl.DataFrame:
    """All columns but the keys as float32, NaN for nulls."""
    return frame.with_columns(pl.exclude(*keys).cast(pl.Float32).fill_null(math.nan))


def polars_features(
    mine: pl.DataFrame, catalog: pl.DataFrame, item_stats: pl.DataFrame, category_stats: pl.DataFrame, cut: int
) -> pl.DataFrame:
    """Columns of features/definitions.py by user and item, from histories up to the cut."""
    time_, event = pl.col("time"), pl.col("event")
    weight = event.replace_strict(range(3), WEIGHTS, return_dtype=pl.Float64)
    age = (cut - time_) / DAY
    decay = {speed: (-age * (math.log(2) / half_life)).exp() for speed, half_life in SPEEDS.items()}
    mine = mine.join(catalog, "item", "left", maintain_order="left").with_columns(
        **{speed: weight * factor for speed, factor in decay.items()},
        kept=decay["slow"],
        opens=(time_ - time_.shift().over("user")).fill_null(SESSION_GAP + 1) > SESSION_GAP,
    )
    bought = event == 2
    pairs = mine.group_by("user", "item").agg(
        *((event == kind).sum().alias(f"pair_{name}s") for kind, name in enumerate(EVENT_TYPES)),
        *(pl.col(speed).sum().alias(f"pair_weight_{speed}") for speed in SPEEDS),
        *(time_.filter(event == kind).max().alias(f"last_{kind}") for kind in range(3)),
        pl.col("level_0", "level_1", "level_2", "category").first(),
        pair_bought=pl.col("kept").filter(bought).sum(),
        first_purchase=time_.filter(bought).min(),
        newest=time_.max(),
        pair_purchase_days=((cut - time_) // DAY).filter(bought).n_unique(),
    )
    users = polars_users(mine, pairs, cut)
    features = pairs.join(users, "user")
    for name, level in (("category", "level_2"), ("parent", "level_1")):
        table = mine.drop_nulls(level).group_by("user", level).agg(
            *(pl.col(speed).sum().alias(f"{name}_{speed}") for speed in SPEEDS),
            *([bought.sum().alias("category_user_purchases"), time_.max().alias("category_newest")]
              if name == "category" else []),
        )  # fmt: skip
        features = features.join(table, ["user", level], "left")
    features = features.join(item_stats, "item").join(category_stats, "category", "left")
    weights, newest, times = pl.col("pair_weight_slow"), pl.col("newest"), pl.col("pair_purchase_days")
    interval = pl.when(times > 1).then((pl.col("last_2") - pl.col("first_purchase")) / DAY / (times - 1))
    order = {"pair_rank": weights, "pair_last_rank": newest}
    ranks = {
        name: pl.struct(-by.cast(pl.Float64), "item").rank("ordinal").over("user") - 1 for name, by in order.items()
    }
    since = {f"pair_days_since_{name}": (cut - pl.col(f"last_{kind}")) / DAY for kind, name in enumerate(EVENT_TYPES)}
    fractions = {f"{n}_share_{s}": pl.col(f"{n}_{s}").fill_null(0) / pl.col(f"total_{s}")
              for n in ("category", "parent") for s in SPEEDS}  # fmt: skip
    features = features.with_columns(
        pl.col("category_user_purchases").fill_null(0),
        **{f"pair_share_{speed}": pl.col(f"pair_weight_{speed}") / pl.col(f"total_{speed}") for speed in SPEEDS},
        **ranks,
        **since,
        **fractions,
        item_category=pl.col("category"),
        item_root=pl.col("level_0"),
        pair_due=since["pair_days_since_transaction"] / interval.clip(1e-3),
        pair_cart_open=pl.col("last_1").is_not_null() & (pl.col("last_1") > pl.col("last_2")).fill_null(True),
        pair_in_session=newest >= pl.col("session_start"),
        category_days_idle=(cut - pl.col("category_newest")) / DAY,
        pair_category_fraction=weights / pl.col("category_slow"),
    )
    helpers = r"^(last_\d|level_\d|(total|category|parent)_(fast|medium|slow)|category|category_newest)$"
    features = features.drop(pl.selectors.matches(helpers), "first_purchase", "newest", "session_start")
    return as_floats(features, "user", "item")


def polars_users(mine: pl.DataFrame, pairs: pl.DataFrame, cut: int) -> pl.DataFrame:
    """Features of the user alone, and session_start, total_fast, total_medium and total_slow."""
    time_, event = pl.col("time"), pl.col("event")
    session = time_.filter(pl.col("opens")).max()
    users = mine.group_by("user").agg(
        *(pl.col(speed).sum().alias(f"total_{speed}") for speed in SPEEDS),
        user_events=pl.len(),
        user_purchases=(event == 2).sum(),
        user_purchase_rate=(event == 2).mean(),
        user_items=pl.col("item").n_unique(),
        user_categories=pl.col("level_2").drop_nulls().n_unique(),
        user_recent_events=pl.col("medium").sum(),
        user_days_idle=(cut - time_.max()) / DAY,
        user_days_known=(cut - time_.min()) / DAY,
        user_session_events=(time_ >= session).sum(),
        session_start=session,
        last_hour=time_.max() % DAY // 3_600_000,
        last_weekday=time_.max() // DAY % 7,
        last_weekend=(time_.max() // DAY % 7).is_in([2, 3]),
    )
    again = (pl.col("pair_purchase_days") > 1).sum() / (pl.col("pair_transactions") > 0).sum()
    return users.join(pairs.group_by("user").agg(user_repeat_fraction=again), "user")


# The comparison.


def run_side(system: str, folder: Path, out: Path, began: float) -> None:
    """Run one side in this process, timed, and write its results into `out`."""
    laps = Laps(began)
    frames = (run_ray if system == SYSTEMS[0] else run_polars)(folder, laps)
    for name, frame in frames.items():
        frame.write_parquet(out / f"{name}.parquet")
    (out / "laps.json").write_text(json.dumps(laps.seconds), encoding="utf-8")


def measure(system: str, folder: Path, out: Path) -> dict[str, float]:
    """Seconds of a run by step, and `peak memory` in GB."""
    import psutil
    from training import GIGABYTE, proportional_memory

    out.mkdir(exist_ok=True)
    command = [sys.executable, __file__, "--side", system, str(folder), str(out), repr(time.time())]
    process, peak = subprocess.Popen(command, cwd=ROOT), 0
    root = psutil.Process(process.pid)
    while process.poll() is None:
        peak = max(peak, proportional_memory(root))
        time.sleep(0.2)
    if process.returncode:
        raise SystemExit(f"{system} ended with exit code {process.returncode}")
    laps: dict[str, float] = json.loads((out / "laps.json").read_text(encoding="utf-8"))
    laps["work"] = sum(seconds for name, seconds in laps.items() if name[0].isdigit())
    laps["all but Ray's start"] = laps["work"] + laps["imports"]
    laps["all"] = laps["all but Ray's start"] + laps.get("Ray's start", 0.0)
    return laps | {"peak memory": peak / GIGABYTE}


def compare(ours: Path, theirs: Path) -> int:
    """Number of compared values. Raises SystemExit if more than one in 100,000 of a column differ, or if rows differ.

    The two sides add up in another order, so values may differ by rounding, and ranks if rounding breaks a tie.
    """
    import numpy as np

    values = 0
    for path in sorted(ours.glob("*.parquet")):
        a, b = pl.read_parquet(path), pl.read_parquet(theirs / path.name)
        keys = [key for key in (USER_ID, ITEM_CODE) if path.stem == "features"]
        a, b = (frame.sort(keys) if keys else frame for frame in (a, b))
        if len(a) != len(b) or set(a.columns) != set(b.columns):
            raise SystemExit(f"{path.stem}: {a.shape} against {b.shape}, columns {set(a.columns) ^ set(b.columns)}")
        for name in a.columns:
            x, y = (frame[name].to_numpy().astype(np.float64) for frame in (a, b))
            bad = np.flatnonzero(~np.isclose(x, y, rtol=1e-4, atol=1e-6, equal_nan=True))
            if len(bad) > 1e-5 * len(x):
                raise SystemExit(f"{path.stem}.{name}: {len(bad)} of {len(x)} differ, {x[bad[:5]]} {y[bad[:5]]}")
        values += a.height * a.width
    return values


def report(runs: dict[str, list[dict[str, float]]]) -> list[dict[str, str | float]]:
    medians = {s: {name: summary.median(run[name] for run in runs[s]) for name in runs[s][0]} for s in SYSTEMS}
    rows: list[tuple[str, str, str, float, str]] = []
    for system, figures in medians.items():
        memory = figures.pop("peak memory")
        rows += [(system, name, "time", value, "s") for name, value in figures.items()]
        rows.append((system, "all", "peak memory", memory, "GB"))
    values = {row[:3]: row[3] for row in rows}
    for (system, setting, metric), value in values.items():
        if system == SYSTEMS[0] and (peer := values.get((SYSTEMS[1], setting, metric))):
            rows.append((f"{SYSTEMS[0]} / {SYSTEMS[1]}", setting, metric, value / peer, "ratio"))
    names = ("system", "setting", "metric", "value", "unit")
    return [dict(zip(names, (*row[:3], round(row[3], 3), row[4]), strict=True)) for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="synthetic:1", help="synthetic:SCALE")
    parser.add_argument("--quick", action="store_true", help="synthetic:0.05")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--work", type=Path, help="keep raw files here; default: a temporary folder")
    parser.add_argument("--side", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        system, folder, out, began = options.side
        run_side(system, Path(folder), Path(out), float(began))
        return
    from recsys import console
    from recsys.data.sources import resolve

    with tempfile.TemporaryDirectory() as temporary:
        data = "synthetic:0.05" if options.quick else options.data
        with console.step("make or find the raw files"):
            folder = Path(resolve(data, options.work or Path(temporary)).files("events")[0].address).parent
        runs: dict[str, list[dict[str, float]]] = {system: [] for system in SYSTEMS}
        outs = {system: Path(temporary) / system for system in SYSTEMS}
        for number in range(options.rounds):
            for system in SYSTEMS:
                with console.step(f"round {number + 1}: {system}"):
                    runs[system].append(measure(system, folder, outs[system]))
        with console.step("compare the results"):
            console.progress(f"{compare(*outs.values()):,} values agree")
    rows = report(runs)
    console.table(list(rows[0]), [list(row.values()) for row in rows], f"{data}, medians of {options.rounds} rounds")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
