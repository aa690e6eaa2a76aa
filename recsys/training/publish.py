"""A trained model as a new version of the registry."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import ray

from recsys.cluster import run_tasks
from recsys.data.shop import UserPartition
from recsys.features.attributes import label_words
from recsys.models.blend import Blend
from recsys.models.rankers.registry import Ranker
from recsys.models.snapshot import HistoryConfig, Snapshot, SnapshotPart, assemble, snapshot_part
from recsys.models.tables import Tables
from recsys.registry.bundle import CONFIG, METRICS, Bundle, write
from recsys.registry.manifest import Counts, DateRange, Manifest, StatisticsColumns
from recsys.registry.store import Store
from recsys.retrieval.preranker import PreRankerModels
from recsys.schema import LATEST
from recsys.sessions.entry import SessionEntry
from recsys.training.context import Context
from recsys.training.preparation import RankerInputs
from recsys.training.ranker import SelectedRankers
from recsys.training.refit import FinalRankers
from recsys.training.related import fit_related
from recsys.training.results import TrainingResult, UnlearnedResult
from recsys.training.sessions import NOT_TRAINED, SessionOutcome
from recsys.training.systems import HYBRID


@dataclass(frozen=True, slots=True)
class Model:
    """The parts of a version that a run trained.

    tables: as of the newest event
    backend: the library of the rankers
    discovery_ranker, discovery_blend: for items new to the user; None if the ranker of all items ranks them
    not_learned: why nothing was learned; None for a learned model
    sessions: the session model, or why there is none
    """

    tables: Tables
    prerankers: PreRankerModels
    backend: str
    ranker: Ranker
    blend: Blend
    discovery_ranker: Ranker | None = None
    discovery_blend: Blend | None = None
    not_learned: str | None = None
    sessions: SessionOutcome = NOT_TRAINED

    @classmethod
    def create(
        cls,
        backend: str,
        inputs: RankerInputs,
        selected: SelectedRankers,
        final: FinalRankers,
        sessions: SessionOutcome,
    ) -> "Model":
        """The final rankers of a backend with the tables, the pre-rankers, the selected blends and the sessions."""
        discovery = selected.discovery
        return cls(
            tables=ray.get(inputs.tables[inputs.plan.newest]),
            prerankers=inputs.prerankers,
            backend=backend,
            ranker=final.all_items,
            blend=selected.all_items.blend,
            discovery_ranker=final.discovery,
            discovery_blend=None if discovery is None else discovery.selected.blend,
            sessions=sessions,
        )


def publish(
    context: Context,
    model: Model,
    result: TrainingResult | UnlearnedResult,
    files: Mapping[str, str | bytes],
    store: Store,
) -> str:
    """Write the version and publish it, without putting it into production; returns its name.

    files: further files by name, beside metrics.json and config.json
    """
    snapshot = make_snapshot(context, model)
    related = fit_related(context, model.tables.statistics)
    manifest = make_manifest(context, model, result, snapshot)
    shop, config = context.shop, context.config
    ancestors = shop.catalog.ancestors(config.category_levels)

    def fill(folder: Path) -> None:
        bundle = Bundle(
            version=folder.name,
            manifest=manifest,
            items=shop.items,
            categories=shop.catalog.categories,
            parents=shop.catalog.parent,
            ancestors=ancestors,
            tables=model.tables,
            ranker=model.ranker,
            discovery_ranker=model.discovery_ranker,
            snapshot=snapshot,
            texts=shop.catalog.attributes.texts_as_of(LATEST, len(shop.items)),
            related=related,
            sessions=model.sessions.model,
            words=label_words(shop.catalog.attributes, model.tables.statistics.attributes),
        )
        texts: dict[str, str | bytes] = {
            METRICS: json.dumps(result.to_json(), indent=1),
            CONFIG: config.model_dump_json(indent=1),
        }
        write(bundle, folder, {**texts, **files})

    return store.publish(fill)


def make_snapshot(context: Context, model: Model) -> Snapshot:
    """The users' histories as a version keeps them."""
    category = ray.put(model.tables.statistics.category)
    calls = [(partition, category, context.config.inference.history) for partition in context.shop.partitions]
    parts: list[SnapshotPart] = ray.get(run_tasks(partition_snapshot, "cut histories to size", calls))
    return assemble(parts, context.shop.user_kind)


def partition_snapshot(partition: UserPartition, category: np.ndarray, config: HistoryConfig) -> SnapshotPart:
    """The histories of one partition as a version keeps them."""
    return snapshot_part(partition.users, partition.histories, category, config)


def make_manifest(
    context: Context, model: Model, result: TrainingResult | UnlearnedResult, snapshot: Snapshot
) -> Manifest:
    """The version's manifest without its file hashes."""
    shop, config = context.shop, context.config
    factors, statistics = model.tables.factors, model.tables.statistics
    metric = f"ndcg@{config.evaluation.k}"
    hybrid = [row for row in result.evaluation.table if row.system == HYBRID]
    return Manifest(
        fingerprint=shop.fingerprint,
        data=shop.name,
        mapping=shop.mapping,
        date_range=DateRange(start=shop.start, end=shop.end),
        counts=Counts(
            events=shop.event_counts,
            users=shop.n_users,
            items=len(shop.items),
            mf_users=int(factors.warm(snapshot.histories).sum()),
            mf_items=int(factors.known.sum()),
        ),
        targets=config.target_types,
        features=tuple(model.ranker.feature_names),
        sources=config.inference.candidates.source_names,
        statistics=StatisticsColumns(items=statistics.item_columns, categories=statistics.category_columns),
        attributes=None if statistics.attributes is None else config.inference.attributes,
        backend=model.backend,
        blend=model.blend,
        discovery_blend=model.discovery_blend,
        prerankers=model.prerankers,
        sessions=None if model.sessions.model is None else SessionEntry.create(model.sessions.model),
        no_sessions=model.sessions.left_out,
        exclude_purchased=model.tables.retrieval.exclude_purchased,
        live_watermark=shop.end,
        inference=config.inference.model_dump(mode="json", exclude={"attributes"}),
        test_days=config.test_days,
        not_learned=model.not_learned,
        related=config.related,
        headline={f"{metric} {row.group}": row.metrics[metric] for row in hybrid},
    )
