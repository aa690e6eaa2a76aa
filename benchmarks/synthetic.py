"""The generated shop: its shape beside the published one, and the scores of the oracle and of simple methods on it.

    python benchmarks/synthetic.py [--quick] [--json FILE]

Scores follow the benchmark protocol (14 days, purchases, all test users) at scale 0.2, on the last window and on the
two before it. Time, memory and shape are also measured at scale 1. `--quick` uses only scale 0.05.
"""

import argparse
import json
import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa
from scipy.sparse import csr_matrix

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from recsys import schema
from recsys.data.synthetic import Oracle, events_hash, generate
from recsys.data.synthetic.settings import Shape
from recsys.evaluation import baselines, metrics, protocol
from recsys.evaluation.protocol import TestCases
from recsys.evaluation.settings import BOOTSTRAP_SEED
from recsys.histories import Histories
from recsys.ids import Ids
from recsys.schema import DAY, EVENT_TYPES, PURCHASE, EventWeights

Row = dict[str, str | float]

K: Final = 10
TEST_DAYS: Final = 14
MAX_USERS: Final = 5_000
ALS_GRID: Final = tuple((factors, confidence) for factors in (64, 128) for confidence in (3.0, 10.0, 30.0))
NEW_FRACTION: Final = {"new visitors in the last 20% of events": 0.92, "new items in the last 20% of events": 0.19}


@dataclass(frozen=True, slots=True)
class Log:
    """The events of a generated folder; end: ms of the last one."""

    users: Ids
    items: Ids
    histories: Histories
    end: int

    @classmethod
    def read(cls, folder: Path, further_items: Sequence[int] = ()) -> "Log":
        """The log of a folder; further_items: ids of items that count beside those with an event."""
        table = pl.read_csv(folder / "events.csv", schema_overrides={schema.TRANSACTION: pl.Int64})
        user, item = table[schema.USER].to_arrow(), table[schema.ITEM].to_arrow()
        users = Ids.from_values(user)
        items = Ids.from_values(pa.chunked_array([item, pa.array(further_items, pa.int64())]))
        kinds = table[schema.EVENT].replace_strict(EVENT_TYPES, range(len(EVENT_TYPES)), return_dtype=pl.Int8)
        times = table[schema.TIME].to_numpy()
        histories = Histories.build(users.encode(user), items.encode(item), kinds.to_numpy(), times, len(users))
        return cls(users, items, histories, int(times.max()))


def generate_apart(folder: Path, scale: float) -> tuple[float, float]:
    """Seconds and peak memory in bytes of a generation in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(timed_generate, folder, scale).result()


def timed_generate(folder: Path, scale: float) -> tuple[float, float]:
    start = time.perf_counter()
    generate(folder, scale, 0)
    return time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0


def shape_rows(folder: Path, log: Log, scale: float) -> list[Row]:
    """Counts of the folder beside the published ones times the scale."""
    properties = pl.scan_csv(folder / "item_properties_part*.csv", infer_schema=False)
    by_name = properties.group_by(schema.PROPERTY).len().collect(engine="streaming")
    named = dict(zip(by_name[schema.PROPERTY], by_name["len"], strict=True))
    described = properties.select(pl.col(schema.ITEM).n_unique()).collect(engine="streaming").item()
    counts = log.histories.counts().sum(axis=0)
    published = Shape.scaled(scale)
    figures: dict[str, tuple[float, float]] = {
        "views": (counts[0], published.views),
        "carts": (counts[1], published.carts),
        "purchases": (counts[2], published.purchases),
        "visitors": (len(log.users), published.visitors),
        "items with events": (len(log.items), published.items),
        "items with properties": (described, published.catalogue),
        "property rows": (sum(named.values()), published.properties),
        "category rows": (named[schema.CATEGORY], published.category_rows),
        "availability rows": (named[schema.AVAILABLE], published.available_rows),
        "days": ((log.end - int(log.histories.times.min())) / DAY, 138),
    }
    cut = int(np.quantile(log.histories.times, 0.8, method="lower"))
    test = log.histories.times > cut
    for (name, fraction), codes in zip(NEW_FRACTION.items(), (log.histories.rows, log.histories.items), strict=True):
        figures[name] = (1 - np.isin(np.unique(codes[test]), codes[~test]).mean(), fraction)
    rows: list[Row] = []
    for name, (ours, theirs) in figures.items():
        unit = "fraction" if name in NEW_FRACTION else "days" if name == "days" else "count"
        for system, value in (("generated", ours), ("published", theirs)):
            rows.append(row(system, f"scale={scale:g}", name, value, unit))
    lengths = log.histories.lengths
    rows.append(row("generated", f"scale={scale:g}", "median events per visitor", np.median(lengths), "count"))
    rows.append(row("generated", f"scale={scale:g}", "most events of a visitor", lengths.max(), "count"))
    return rows


def row(system: str, setting: str, metric: str, value: float, unit: str) -> Row:
    return {"system": system, "setting": setting, "metric": metric, "value": round(float(value), 4), "unit": unit}


def cases_of(log: Log, windows_back: int) -> tuple[TestCases, int, np.ndarray]:
    """Test users of a window, its cut (ms), and the popular items at the cut, int32 (K,)."""
    end = log.end - windows_back * TEST_DAYS * DAY
    cut = end - TEST_DAYS * DAY
    past = log.histories.until(cut)
    known = np.bincount(past.items, minlength=len(log.items)) > 0
    cases = protocol.test_cases(log.users.values, log.histories, cut, end, targets=(PURCHASE,), known_items=known)
    counts = baselines.target_counts(past, cut, (PURCHASE,), len(log.items))
    return protocol.sample([cases], MAX_USERS), cut, baselines.most_popular(counts, K)


def rank_als(log: Log, cases: TestCases, cut: int, popular: np.ndarray, factors: int, confidence: float) -> np.ndarray:
    """implicit's ALS on event weights 1/3/5 times `confidence`; popularity where a user has no history."""
    # Only this benchmark needs this peer, and its import starts thread pools.
    from implicit.cpu.als import AlternatingLeastSquares  # noqa: PLC0415
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # noqa: PLC0415

    past = log.histories.until(cut)
    weights = np.array(EventWeights().by_code(), np.float32)[past.events]
    matrix = csr_matrix((weights, (past.rows, past.items)), (len(log.users), len(log.items)))
    users = log.users.encode(cases.users)[cases.has_history]
    ranked = np.tile(popular, (len(cases), 1))
    with threadpool_limits(1, "blas"):
        model = AlternatingLeastSquares(factors, 0.05, confidence, iterations=10, random_state=0)
        model.fit(matrix, show_progress=False)
        ranked[cases.has_history] = model.recommend(users, matrix[users], N=K, filter_already_liked_items=False)[0]
    return ranked


def tune_als(log: Log, windows_back: int, quick: bool) -> tuple[int, float]:
    """The best point of the grid on a window; with `quick` the middle of the grid."""
    if quick:
        return 64, 10.0
    cases, cut, popular = cases_of(log, windows_back)
    return max(ALS_GRID, key=lambda point: ndcg_of(rank_als(log, cases, cut, popular, *point), cases).mean())


def ndcg_of(ranked: np.ndarray, cases: TestCases) -> np.ndarray:
    return metrics.ndcg(metrics.hits(ranked, cases.truth), cases.truth.sizes, K)


def score_rows(folder: Path, log: Log, scale: float, quick: bool) -> list[Row]:
    """NDCG@10 of each system on each window, its interval, and its fraction of the oracle's NDCG@10."""
    oracle = Oracle.load(folder)
    peers = find_spec("implicit") is not None
    windows = 1 if quick else 3
    point = tune_als(log, windows, quick) if peers else None
    rows: list[Row] = []
    for back in range(windows):
        cases, cut, popular = cases_of(log, back)
        best = oracle.rank(cases.users.to_numpy(), cut, K)
        ranked = {
            "oracle": log.items.encode(pl.Series(best.ravel()).to_arrow()).reshape(best.shape),
            "popularity": np.tile(popular, (len(cases), 1)),
            "decayed personal frequency": baselines.personal_frequency(cases.histories, cut, popular, k=K),
        }
        if point:
            name = f"implicit ALS ({point[0]} factors, confidence {point[1]:g})"
            ranked[name] = rank_als(log, cases, cut, popular, *point)
        setting = f"scale={scale:g} window={back}"
        rows.append(row("test users", setting, "all", len(cases), "count"))
        rows.append(row("test users", setting, "warm", int(cases.has_history.sum()), "count"))
        top = ndcg_of(ranked["oracle"], cases).mean()
        for system, lists in ranked.items():
            values = ndcg_of(lists, cases)
            low, high = metrics.bootstrap_interval(values, metrics.Resampling(BOOTSTRAP_SEED))
            for metric, value in (("ndcg@10", values.mean()), ("ndcg@10_low", low), ("ndcg@10_high", high)):
                rows.append(row(system, setting, metric, value, "score"))
            rows.append(row(system, setting, "ndcg@10 of the oracle's", values.mean() / top, "fraction"))
    if not peers:
        print("implicit ALS is skipped, because implicit is not installed: pip install implicit")
    return rows


def measure(scale: float, scores: bool, quick: bool) -> list[Row]:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        seconds, peak = generate_apart(folder, scale)
        log = Log.read(folder)
        setting = f"scale={scale:g}"
        rows = [
            row("generated", setting, "time", seconds, "s"),
            row("generated", setting, "peak memory", peak / 2**30, "GiB"),
            {**row("generated", setting, "events.csv", 0, "sha256"), "value": events_hash(folder)},
            *shape_rows(folder, log, scale),
        ]
        return rows + (score_rows(folder, log, scale, quick) if scores else [])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="scale 0.05, the last window, no tuning")
    parser.add_argument("--scale", type=float, help="scores at this scale only, instead of 0.2 and the shape at 1")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    options = parser.parse_args()
    scale = options.scale or (0.05 if options.quick else 0.2)
    rows = measure(scale, True, options.quick)
    if not (options.quick or options.scale):
        rows += measure(1, False, False)
    for line in rows:
        value = line["value"] if isinstance(line["value"], str) else f"{line['value']:,.10g}"
        print(f"{line['setting']:20} {line['system']:42} {line['metric']:40} {value:>12} {line['unit']}")
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
