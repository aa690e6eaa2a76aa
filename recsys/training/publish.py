"""Put a trained model into the registry."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import ray

from recsys.cluster import run_tasks
from recsys.config import TrainConfig
from recsys.data.ingest import ShopData
from recsys.data.shop import UserPartition
from recsys.inference.trial import check_version
from recsys.models.blend import Blend
from recsys.models.rankers.base import Ranker
from recsys.models.snapshot import HistoryConfig, Snapshot, SnapshotPart, assemble, snapshot_part
from recsys.models.tables import Tables
from recsys.registry.bundle import CONFIG, METRICS, Bundle, write
from recsys.registry.manifest import Counts, DateRange, Manifest, StatisticsColumns
from recsys.registry.store import Store
from recsys.retrieval.preranker import PreRankerModels
from recsys.training.evaluation import HYBRID


@dataclass(frozen=True, slots=True)
class Model:
    """What a training run came to; of_new, blend_of_new: for items new to the user, where these have their own."""

    tables: Tables
    prerankers: PreRankerModels
    ranker: Ranker
    discovery_ranker: Ranker | None
    blend: Blend
    discovery_blend: Blend | None


def publish(
    shop: ShopData,
    model: Model,
    metrics: dict[str, Any],
    files: Mapping[str, str | bytes],
    store: Store,
    config: TrainConfig,
) -> str:
    """Write the bundle, publish it and, once it was read back, put it into production; returns the version.

    files: further ones by name, beside metrics and config
    """
    category = ray.put(model.tables.statistics.category)
    calls = [(partition, category, config.inference.history) for partition in shop.partitions]
    parts: list[SnapshotPart] = ray.get(run_tasks(partition_snapshot, "cut histories to size", calls))
    snapshot = assemble(parts, shop.user_kind)
    manifest = _about(shop, model, snapshot, metrics, config)
    catalog = shop.catalog
    ancestors = catalog.ancestors(config.category_levels)

    def fill(folder: Path) -> None:
        tree = catalog.categories, catalog.parent, ancestors
        bundle = Bundle(
            folder.name, manifest, shop.items, *tree, model.tables, model.ranker, model.discovery_ranker, snapshot
        )
        texts: dict[str, str | bytes] = {
            METRICS: json.dumps(metrics, indent=1),
            CONFIG: config.model_dump_json(indent=1),
        }
        write(bundle, folder, {**texts, **files})

    version = store.publish(fill)
    store.promote(version, check_version)
    return version


def _about(shop: ShopData, model: Model, snapshot: Snapshot, metrics: dict[str, Any], config: TrainConfig) -> Manifest:
    factors, statistics = model.tables.factors, model.tables.statistics
    name = f"ndcg@{config.evaluation.k}"
    return Manifest(
        fingerprint=shop.fingerprint,
        date_range=DateRange(start=shop.start, end=shop.end),
        counts=Counts(
            events=shop.event_counts,
            users=shop.n_users,
            items=len(shop.items),
            mf_users=int(factors.warm(snapshot.histories).sum()),
            mf_items=int(factors.known.sum()),
        ),
        targets=config.targets,
        features=config.inference.feature_names,
        sources=config.inference.candidates.source_names,
        statistics=StatisticsColumns(items=statistics.item_columns, categories=statistics.category_columns),
        backend=config.ranker.backend,
        blend=model.blend,
        discovery_blend=model.discovery_blend,
        prerankers=model.prerankers,
        exclude_purchased=model.tables.retrieval.exclude_purchased,
        live_watermark=shop.end,
        inference=config.inference.model_dump(mode="json"),
        headline={f"{name} {row['group']}": row[name] for row in metrics["table"] if row["system"] == HYBRID},
    )


def partition_snapshot(partition: UserPartition, category: np.ndarray, config: HistoryConfig) -> SnapshotPart:
    return snapshot_part(partition.users, partition.histories, category, config)
