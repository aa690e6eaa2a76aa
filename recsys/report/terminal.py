"""What a training run says to the person who watches it."""

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from recsys import console
from recsys.config import TrainConfig
from recsys.data.ingest import ShopData
from recsys.report.sections.sweep import outcome
from recsys.timeline import day
from recsys.training.sweep.search import Swept


def show_data(shop: ShopData) -> None:
    """Say what was read, and what was set aside."""
    events = ", ".join(f"{count:,} {name}" for name, count in shop.event_counts.items())
    console.line(
        f"{events}; {shop.n_users:,} users, {len(shop.items):,} items, {len(shop.catalog.categories):,} categories, "
        f"{day(shop.start)} to {day(shop.end)}"
    )
    quality, properties = shop.quality, shop.quality.properties
    console.line(
        f"{quality.events_read:,} event rows read, {quality.duplicates:,} duplicates dropped, "
        f"quarantined: {_counted(quality.events_quarantined)}"
    )
    console.line(
        f"{properties.read:,} item property rows read, {properties.kept:,} kept, "
        f"quarantined: {_counted(properties.quarantined)}"
    )
    mended = {name.replace("_", " "): count for name, count in asdict(properties.tree).items() if count}
    console.line(f"category tree: mended: {_counted(mended)}, quarantined: {_counted(properties.tree_quarantined)}")
    if quality.quarantine:
        console.line(f"every quarantined row is listed in {quality.quarantine}")


def _counted(reasons: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {reason}" for reason, count in reasons.items()) or "none"


def show_sweep(swept: Swept) -> None:
    """Print the trials, best first."""
    keys = list(swept.sweep.search)
    trials = sorted(swept.trials, key=lambda trial: -math.inf if trial.metric is None else trial.metric, reverse=True)
    rows = [
        [t.number, t.metric, t.trees, t.alpha, t.status, f"{t.seconds:.1f}", *(t.settings[key] for key in keys)]
        for t in trials
    ]
    columns = ["trial", swept.sweep.metric, "trees", "alpha", "status", "seconds", *keys]
    console.table(
        columns,
        rows,
        "trials of the sweep on the validation window, best first",
    )
    console.line(outcome(swept))


def show_metrics(metrics: dict[str, Any], config: TrainConfig) -> None:
    """Print the metrics tables, warm and cold users apart."""
    k, days = config.evaluation.k, config.evaluation.test_days
    level = f"{config.evaluation.confidence * 100:.4g}%"
    names = [f"{name}@{k}" for name in ("ndcg", "recall", "precision", "hit", "mrr", "coverage")]
    columns = ["system", "group", "users", *names, "roc_auc", "average_precision"]
    bounds = [f"ndcg@{k}_{name}" for name in ("low", "high", "seeds")]
    rows = [[row[name] for name in (*columns, *bounds)] for row in metrics["table"]]
    title = (
        f"test window of {days} days; low, high ({level}) and seeds (standard "
        f"deviation) are of ndcg@{k}; roc_auc and average_precision are over the candidates"
    )
    console.table([*columns, "low", "high", "seeds"], rows, title)
    columns = ["system", "users", *names[:2]]
    rows = [[row[name] for name in columns] for row in metrics["new_items"] if row["group"] == "all"]
    console.table(columns, rows, "only items that are new to the user")
    found = metrics["candidates"]
    sources = [list(row.values()) for row in found["sources"]]
    title = f"candidates: {found['per_user']:.0f} a user, recall {found['recall']:.3f}"
    console.table(["source", "share", "recall", "found by it alone"], sources, title)
    gaps = [list(row.values()) for row in metrics["differences"]]
    console.table(["hybrid minus", "mean", "low", "high"], gaps, f"paired differences of ndcg@{k}, {level}")
