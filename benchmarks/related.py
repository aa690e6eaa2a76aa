"""Similar items and baskets through the code that serves, against simple peers, without Ray.

    python benchmarks/related.py [--quick] [--sessions FILE.parquet] [--period P] [--back N] [--json FILE]

- Similar items, with `--sessions` (columns session, item, period; rows of a session in order): the next item from the
  one before it alone, HR@20 and MRR@20 over all pairs of a sample of sessions of the newest period, or of period P.
  The peer is a Markov chain: the items that followed most often. It may repeat the item itself; a list of similar items
  never holds it, so pairs of two different items are counted apart as well.
- Baskets on completejourney: one item of each order of the last 14 days of the training part (the log without its
  newest 14 days) is left out, HR@10 and MRR@10 of finding it from the others. The peers are popularity, and the cosine
  of `implicit` over orders; their settings are chosen on the 14 days before. `--back N` moves both windows N further
  windows into the past.

Settings of ours are the defaults. They were chosen on the period, or on the windows, before those measured here.
"""

import argparse
import json
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
import pyarrow as pa
from scipy import sparse

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from recsys.arrays import offsets_of, positions, runs
from recsys.config import TrainConfig
from recsys.data import completejourney
from recsys.data.catalog import Catalog, build_catalog
from recsys.data.changes import Records
from recsys.data.partition import count_days, merge_events
from recsys.data.shop import UserPartition
from recsys.evaluation.metrics import Resampling, paired_difference
from recsys.evaluation.settings import BOOTSTRAP_SEED
from recsys.histories import Histories
from recsys.ids import Ids
from recsys.inference.basket import Baskets
from recsys.inference.shop_lists import popularity_order
from recsys.inference.similar import SimilarItems
from recsys.models.related import RelatedTables
from recsys.models.tables import Tables
from recsys.retrieval.orders import BasketConfig, count_orders
from recsys.schema import DAY, EVENT, EVENT_TYPES, ITEM, TIME, TRANSACTION, UNKNOWN, USER
from recsys.sessions.log import cut_sessions
from recsys.sessions.tables import fit_session_tables
from recsys.specs import Arrays
from recsys.timeline import Cut
from recsys.training.tables import count_partition, fit_cut, sample_users

Row = dict[str, str | float]

OURS: Final = "similar items"
BARE: Final = "without session vectors"
BASKET: Final = "basket"
SESSIONS: Final = 4_000
"""Sessions of the measured period, at most."""
PERIOD_DAYS: Final = 7
STEP_SECONDS: Final = 30
WINDOW_DAYS: Final = 14
COSINE_SIZES: Final = (100, 500, 2_000)
"""Neighbours of the peer, to choose from."""
POPULAR_DAYS: Final = (14, 30, 60, 365)
"""Days of orders that popularity counts, to choose from."""


@dataclass(frozen=True, slots=True)
class Ranks:
    """The rank of each true item in its list, from 0; UNKNOWN where the list lacks it. int64 (n,)"""

    ranks: np.ndarray
    groups: np.ndarray

    def per_group(self, metric: str, rows: np.ndarray | None = None) -> np.ndarray:
        """The mean metric of each group, float64; metric: "HR" or "MRR"; rows: bool (n,), the ranks that count."""
        hit = self.ranks != UNKNOWN
        value = np.where(hit, 1.0 if metric == "HR" else 1 / (1 + np.maximum(self.ranks, 0)), 0.0)
        kept = np.ones(len(value), bool) if rows is None else rows
        _, group = np.unique(self.groups[kept], return_inverse=True)
        return np.bincount(group, value[kept]) / np.maximum(np.bincount(group), 1)

    def mean(self, metric: str, rows: np.ndarray | None = None) -> float:
        """The mean metric over all ranks that count."""
        hit = self.ranks != UNKNOWN
        value = np.where(hit, 1.0 if metric == "HR" else 1 / (1 + np.maximum(self.ranks, 0)), 0.0)
        return float((value if rows is None else value[rows]).mean())


def rank_in(lists: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The position of each truth in its list, UNKNOWN where it is absent; lists: int (n, k); truth: int (n,)."""
    hit = lists == truth[:, None]
    return np.where(hit.any(axis=1), hit.argmax(axis=1), UNKNOWN)


def padded(offsets: np.ndarray, items: np.ndarray, k: int) -> np.ndarray:
    """Lists as a matrix (n, k), padded with UNKNOWN."""
    matrix = np.full((len(offsets) - 1, k), UNKNOWN)
    owners = np.arange(len(offsets) - 1).repeat(np.diff(offsets))
    matrix[owners, positions(owners)] = items
    return matrix


# Similar items


@dataclass(frozen=True, slots=True)
class Visits:
    """Views of sessions up to a period, and pairs of neighbouring views of the sessions after it.

    owners: int64 (n_pairs,), the session of each pair
    """

    items: Ids
    known: UserPartition
    end: int
    owners: np.ndarray
    last: np.ndarray
    following: np.ndarray


def read_visits(path: Path, period: int | None, *, quick: bool) -> Visits:
    table = pl.read_parquet(path).with_row_index("row").sort("session", "row")
    wanted = int(table["period"].max()) if period is None else period  # type: ignore[arg-type]
    earlier = table.filter(pl.col("period") < wanted)
    if quick:
        earlier = earlier.filter(pl.col("period") >= wanted - 4)
    items = Ids.from_values(earlier["item"].to_arrow())
    users = Ids.from_values(earlier["session"].to_arrow())
    owners = users.encode(earlier["session"].to_arrow())
    times = earlier["period"].to_numpy().astype(np.int64) * PERIOD_DAYS * DAY
    times += positions(owners) * STEP_SECONDS * 1000 + DAY
    codes = items.encode(earlier["item"].to_arrow())
    histories = Histories.build(owners, codes, np.zeros(len(codes), np.int8), times, len(users))
    test = table.filter(pl.col("period") == wanted)
    test = test.filter(pl.Series(items.encode(test["item"].to_arrow()) != UNKNOWN))
    test = test.filter(pl.len().over("session") >= 2)
    sessions = np.unique(test["session"].to_numpy())
    drawn = np.random.default_rng(0).choice(sessions, min(SESSIONS, len(sessions)), replace=False)
    test = test.filter(pl.col("session").is_in(drawn))
    owner, codes = test["session"].to_numpy(), items.encode(test["item"].to_arrow())
    same = owner[1:] == owner[:-1]
    end = int(times.max())
    return Visits(
        items, UserPartition(users.values, histories), end, owner[1:][same], codes[:-1][same], codes[1:][same]
    )


def tables_of(partition: UserPartition, n_items: int, end: int, catalog: Catalog, config: TrainConfig) -> Tables:
    """The tables that a training run would publish."""
    cut = Cut.at(end, 0)
    daily, counts = count_days(partition, end), count_partition(partition, n_items, cut, config)
    sample = sample_users(partition, cut, min(1.0, config.factorization.max_users / len(partition.users)), config)
    return fit_cut(daily, catalog, cut, config, config.factorization, 1, counts, sample)


def bare_catalog(n_items: int) -> Catalog:
    """A catalog without any record."""
    none = np.zeros(0, np.int64)
    ids = pa.array([], pa.int64())
    catalog, _ = build_catalog(
        n_items, Records(none, none, ids), Records(none, none, pa.array([], pa.bool_())), ids, ids
    )
    return catalog


def markov_lists(visits: Visits, wanted: np.ndarray, k: int) -> np.ndarray:
    """The `k` items that followed each item most often, int (n, k); of equal counts the smaller code comes first."""
    histories, n_items = visits.known.histories, len(visits.items)
    same = histories.rows[1:] == histories.rows[:-1]
    keys = np.sort(histories.items[:-1][same].astype(np.int64) * n_items + histories.items[1:][same])
    starts, run = runs(keys)
    counts = np.bincount(run)
    source, target = np.divmod(keys[starts], n_items)
    order = np.lexsort((target, -counts, source))
    source, target = source[order], target[order]
    best = positions(source) < k
    lists = np.full((n_items, k), UNKNOWN)
    lists[source[best], positions(source)[best]] = target[best]
    return lists[wanted]


def measure_similar(path: Path, period: int | None, *, quick: bool) -> list[Row]:
    visits = read_visits(path, period, quick=quick)
    n_items, k = len(visits.items), 20
    config = TrainConfig()
    if quick:
        config = config.model_copy(
            update={"factorization": config.factorization.model_copy(update={"max_users": 10_000, "confidence": 0.1})}
        )
    tables = tables_of(visits.known, n_items, visits.end, bare_catalog(n_items), config)
    log = cut_sessions(visits.known.histories, config.inference.interactions.session_gap_minutes)
    vectors = fit_session_tables(log, visits.end, n_items, config.sessions).vectors
    asked, place = np.unique(visits.last, return_inverse=True)
    truth = visits.following

    def ranks_of(vectors: Arrays | None) -> Ranks:
        popular = popularity_order(tables.statistics)
        listed = SimilarItems(tables, config.related.similar, popular, vectors)(asked, k)
        return Ranks(rank_in(padded(listed.offsets, listed.items, k)[place], truth), visits.owners)

    ours, bare = ranks_of(vectors), ranks_of(None)
    peer = Ranks(rank_in(markov_lists(visits, asked, k)[place], truth), visits.owners)
    setting = f"{path.stem}, {'newest period' if period is None else f'period {period}'}"
    rows = [row("pairs", setting, "pairs of two views", len(truth), "count")]
    for name, kept in (("all pairs", None), ("two different items", truth != visits.last)):
        for system, ranks in ((OURS, ours), (BARE, bare), ("Markov chain", peer)):
            rows += [row(system, setting, f"{m}@{k}, {name}", ranks.mean(m, kept), "fraction") for m in ("HR", "MRR")]
        rows += leads(
            "Markov chain", setting, f"HR@{k}, {name}", ours.per_group("HR", kept), peer.per_group("HR", kept)
        )
    return rows


# Baskets


@dataclass(frozen=True, slots=True)
class Carts:
    """Orders up to a cut, and orders of the window after it, each without one item.

    known: the partition of all households up to the cut
    offsets, items: cart c holds items[offsets[c]:offsets[c + 1]]; left_out: int (n_carts,)
    """

    known: UserPartition
    cut: int
    n_items: int
    offsets: np.ndarray
    items: np.ndarray
    left_out: np.ndarray


def read_orders() -> tuple[Ids, UserPartition]:
    with tempfile.TemporaryDirectory() as folder:
        completejourney.write(Path(folder))
        table = pl.read_parquet(Path(folder) / "events.parquet")
    items = Ids.from_values(table[ITEM].to_arrow())
    codes = {name: place for place, name in enumerate(EVENT_TYPES)}
    columns = {
        TIME: table[TIME].cast(pl.Int64).to_arrow(),
        USER: table[USER].cast(pl.String).to_arrow().cast(pa.string()),
        EVENT: table[EVENT].replace_strict(codes, return_dtype=pl.Int8).to_arrow(),
        ITEM: pa.array(items.encode(table[ITEM].to_arrow())),
        TRANSACTION: table[TRANSACTION].cast(pl.String).to_arrow().cast(pa.string()),
    }
    partition, _ = merge_events(pa.table(columns))
    return items, partition


def carts_of(partition: UserPartition, n_items: int, windows_back: int) -> Carts:
    """The window that ends `windows_back` windows before the newest event."""
    histories, orders = partition.histories, partition.orders
    if orders is None:
        raise SystemExit("the log names no orders")
    end = int(histories.times.max()) - windows_back * WINDOW_DAYS * DAY
    cut = end - WINDOW_DAYS * DAY
    past, after = histories.times <= cut, (histories.times > cut) & (histories.times <= end)
    known = UserPartition(partition.users, histories.where(past), orders[past])
    met = np.zeros(n_items, bool)
    met[histories.items[past]] = True
    cells = np.unique(orders[after].astype(np.int64) * n_items + histories.items[after])
    order, item = np.divmod(cells, n_items)
    order, item = order[met[item]], item[met[item]]
    starts, run = runs(order)
    sizes = np.bincount(run)
    chosen = starts + (np.random.default_rng(0).random(len(starts)) * sizes).astype(np.int64)
    usable = sizes >= 2
    rest = usable[run]
    rest[chosen] = False
    counts = np.bincount(run[rest], minlength=len(starts))[usable]
    return Carts(known, cut, n_items, offsets_of(counts), item[rest], item[chosen[usable]])


def order_matrix(carts: Carts) -> sparse.csr_matrix:
    """Orders up to the cut by items, 1 where an order holds the item."""
    orders = carts.known.orders
    if orders is None:
        raise SystemExit("the log names no orders")
    cells = np.unique(orders.astype(np.int64) * carts.n_items + carts.known.histories.items)
    order, item = np.divmod(cells, carts.n_items)
    shape = int(order.max()) + 1, carts.n_items
    return sparse.csr_matrix((np.ones(len(cells), np.float32), (order, item)), shape=shape)


def cosine_lists(carts: Carts, size: int, k: int) -> np.ndarray:
    from implicit.nearest_neighbours import CosineRecommender  # noqa: PLC0415
    from implicit.utils import ParameterWarning  # noqa: PLC0415

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ParameterWarning)
        model: Any = CosineRecommender(size)
        model.fit(order_matrix(carts), show_progress=False)
        shape = len(carts.left_out), carts.n_items
        asked = sparse.csr_matrix((np.ones(len(carts.items), np.float32), carts.items, carts.offsets), shape=shape)
        lists, _ = model.recommend(np.arange(shape[0]), asked, N=k, filter_already_liked_items=True)
    return np.asarray(lists)


def popular_lists(carts: Carts, days: int, k: int) -> np.ndarray:
    recent = carts.known.histories.times > carts.cut - days * DAY
    orders = carts.known.orders
    if orders is None:
        raise SystemExit("the log names no orders")
    cells = np.unique(orders[recent].astype(np.int64) * carts.n_items + carts.known.histories.items[recent])
    counts = np.bincount(cells % carts.n_items, minlength=carts.n_items)
    best = np.argsort(-counts, kind="stable")[: k + int(np.diff(carts.offsets).max())]
    lists = np.full((len(carts.left_out), k), UNKNOWN)
    for cart in range(len(lists)):
        own = carts.items[carts.offsets[cart] : carts.offsets[cart + 1]]
        lists[cart] = best[~np.isin(best, own)][:k]
    return lists


def our_lists(carts: Carts, k: int) -> np.ndarray:
    category, none = np.full(carts.n_items, UNKNOWN, np.int32), np.full(carts.n_items, UNKNOWN)
    counts = count_orders(carts.known.histories, carts.known.orders, category, BasketConfig())
    tables = RelatedTables.fit(counts, category, none, BasketConfig())
    listed = Baskets(tables, np.ones(carts.n_items, bool))(carts.offsets, carts.items, k)
    return padded(listed.offsets, listed.items, k)


def best_of(settings: Sequence[int], lists: Callable[[Carts, int], np.ndarray], valid: Carts) -> int:
    """The setting with the best hit rate on an earlier window."""
    rates = [(rank_in(lists(valid, setting), valid.left_out) != UNKNOWN).mean() for setting in settings]
    return settings[int(np.argmax(rates))]


def measure_baskets(back: int, *, quick: bool) -> list[Row]:
    items, partition = read_orders()
    k = 10
    test, valid = carts_of(partition, len(items), 1 + back), carts_of(partition, len(items), 2 + back)
    days = best_of(POPULAR_DAYS, lambda carts, days: popular_lists(carts, days, k), valid)
    size = COSINE_SIZES[0] if quick else best_of(COSINE_SIZES, lambda carts, size: cosine_lists(carts, size, k), valid)
    systems = {
        BASKET: our_lists(test, k),
        f"popularity, {days} days": popular_lists(test, days, k),
        f"implicit cosine, K={size}": cosine_lists(test, size, k),
    }
    orders = np.arange(len(test.left_out))
    ranks = {name: Ranks(rank_in(lists, test.left_out), orders) for name, lists in systems.items()}
    setting = "completejourney" + (f", {back} windows back" if back else "")
    rows = [row("orders", setting, "orders with one item left out", len(orders), "count")]
    for name, own in ranks.items():
        rows += [row(name, setting, f"{metric}@{k}", own.mean(metric), "fraction") for metric in ("HR", "MRR")]
        if name != BASKET:
            rows += leads(name, setting, f"HR@{k}", ranks[BASKET].per_group("HR"), own.per_group("HR"))
    return rows


def leads(system: str, setting: str, metric: str, ours: np.ndarray, peer: np.ndarray) -> list[Row]:
    """Our lead over a peer and the low and high end of its interval."""
    difference = paired_difference(ours, peer, Resampling(BOOTSTRAP_SEED))
    names = ("our lead", "our lead, low", "our lead, high")
    return [
        row(system, setting, f"{metric}: {name}", value, "fraction")
        for name, value in zip(names, difference, strict=True)
    ]


def row(system: str, setting: str, metric: str, value: float, unit: str) -> Row:
    return {"system": system, "setting": setting, "metric": metric, "value": round(float(value), 4), "unit": unit}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--quick", action="store_true", help="four periods, few users in the fit, one setting of cosine"
    )
    parser.add_argument("--sessions", type=Path, metavar="FILE.parquet", help="sessions; without it: baskets alone")
    parser.add_argument("--period", type=int, help="this period instead of the newest")
    parser.add_argument("--back", type=int, default=0, metavar="N", help="baskets of N windows before the last one")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    options = parser.parse_args()
    rows = measure_baskets(options.back, quick=options.quick)
    if options.sessions is not None:
        rows += measure_similar(options.sessions, options.period, quick=options.quick)
    for line in rows:
        print(f"{line['setting']:28} {line['system']:26} {line['metric']:48} {line['value']:>12,.10g} {line['unit']}")
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
