"""Versions of the small shop, made without a training run, and ways to damage one."""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa

from recsys.config import TrainConfig
from recsys.features.attributes import label_words
from recsys.features.statistics import CATEGORY_COLUMNS
from recsys.ids import Ids
from recsys.inference.stages import CandidateStage
from recsys.models.blend import Blend, Calibration
from recsys.models.rankers.registry import Ranker, ranker_from_text, train
from recsys.models.rankers.rows import RankingData, TrainingSet
from recsys.models.related import RelatedTables, first_seen
from recsys.models.snapshot import assemble, snapshot_part
from recsys.models.tables import Tables
from recsys.registry.bundle import Bundle, write
from recsys.registry.folder import FolderStore
from recsys.registry.manifest import Counts, DateRange, Manifest, StatisticsColumns
from recsys.retrieval.preranker import NO_PRERANKERS
from recsys.schema import UNKNOWN
from recsys.sessions.entry import SessionEntry
from recsys.sessions.learning import as_model, calibrated, labelled_rows, train_ranker
from recsys.sessions.log import cut_sessions
from recsys.sessions.model import SessionProposer
from recsys.sessions.prefixes import labelled
from recsys.sessions.settings import SessionConfig, SessionRankerConfig
from recsys.sessions.tables import ItemFacts, fit_session_tables
from recsys.training.related import count_partition_orders, fit_orders
from tests.support.attributed import attributed_config, attributed_world
from tests.support.features import CATEGORICAL
from tests.support.shop_data import DOT_IDS, END, ODD_IDS, START
from tests.support.world import World, small_config, small_world, tables_of

BLEND = Blend(alpha=0.2, lgb=Calibration(slope=0.7, intercept=-1.0), mf=Calibration(slope=3.0, intercept=-0.5))


@cache
def small_ranker(*settings: str) -> Ranker:
    """A ranker trained on the candidates of `small_world`; its scores mean nothing."""
    return ranker_on(small_world().tables, small_config(*settings))


def ranker_on(
    tables: Tables, config: TrainConfig, names: Sequence[str] | None = None, world: World | None = None
) -> Ranker:
    """A ranker of the features named, by default all, trained on the candidates that these tables give."""
    stage = CandidateStage(tables, NO_PRERANKERS, config.inference, names)
    profiles = stage.profile((world or small_world()).partition.histories, END)
    candidates = stage(profiles)
    features = stage.features(profiles, candidates)
    labels = (profiles.by_item.find(candidates.users, candidates.items) >= 0).astype(np.int8)
    rows = RankingData(features, labels, np.diff(candidates.offsets))
    names = config.inference.feature_names if names is None else names
    return train(TrainingSet([rows], None, names, CATEGORICAL), config.ranker)


def small_bundle() -> Bundle:
    config = small_config("inference.history.max_events=20")
    return bundle_of(small_world(), small_world().tables, config, small_ranker())


def session_bundle() -> Bundle:
    """The small shop with a session model; its scores mean nothing, since the ranker learned from what tables knew."""
    return with_sessions(small_bundle())


def with_sessions(bundle: Bundle) -> Bundle:
    """The version with a session model, trained on the histories of its users."""
    log = cut_sessions(bundle.snapshot.histories, 30)
    config = SessionConfig(ranker=SessionRankerConfig(max_trees=5, num_leaves=5, min_child_samples=5))
    tables = fit_session_tables(log, END, len(bundle.items), config)
    proposer = SessionProposer(tables, ItemFacts.create(bundle.tables.statistics), config)
    prefixes = labelled(log)
    rows = labelled_rows(proposer, prefixes, bundle.snapshot.histories.take(prefixes.owners))
    ranker = train_ranker([rows], config, 0)
    model = as_model(proposer, ranker, calibrated(rows, ranker))
    manifest = bundle.manifest.model_copy(update={"sessions": SessionEntry.create(model)})
    return replace(bundle, manifest=manifest, sessions=model)


def attributed_bundle() -> Bundle:
    """The small shop with attributes of its items, and items without an event."""
    world, config = attributed_world(), attributed_config("inference.history.max_events=20")
    tables = tables_of(world, 0, config)
    bundle = bundle_of(world, tables, config, ranker_on(tables, config, world=world))
    attributes = world.catalog.attributes
    return replace(
        bundle,
        texts=attributes.texts_as_of(END, len(world.items)),
        words=label_words(attributes, tables.statistics.attributes),
    )


def bundle_of(world: World, tables: Tables, config: TrainConfig, ranker: Ranker) -> Bundle:
    """A version of a shop whose manifest has figures that mean nothing."""
    part = snapshot_part(
        world.partition.users, world.partition.histories, tables.statistics.category, config.inference.history
    )
    manifest = Manifest(
        fingerprint="0" * 64,
        date_range=DateRange(start=START, end=END),
        counts=Counts(events={"view": 1}, users=len(part.users), items=len(world.items), mf_users=2, mf_items=3),
        targets=("transaction",),
        features=config.inference.feature_names,
        sources=config.inference.candidates.source_names,
        statistics=StatisticsColumns(items=tables.statistics.item_columns, categories=CATEGORY_COLUMNS),
        attributes=config.inference.attributes or None,
        backend="lightgbm",
        blend=BLEND,
        prerankers=NO_PRERANKERS,
        exclude_purchased=tables.retrieval.exclude_purchased,
        live_watermark=END,
        inference=config.inference.model_dump(mode="json", exclude={"attributes"}),
        related=config.related,
        headline={"ndcg@10 all": 0.5, "ndcg@10 cold": None},
    )
    catalog = world.catalog
    tree = catalog.categories, catalog.parent, catalog.ancestors(config.category_levels)
    snapshot = assemble([part], "int64")
    related = related_tables(world, tables, config)
    return Bundle("v1", manifest, world.items, *tree, tables, ranker, None, snapshot, related=related)


def related_tables(world: World, tables: Tables, config: TrainConfig) -> RelatedTables:
    """Tables of baskets and of new items as of END."""
    statistics = tables.statistics
    counts = count_partition_orders(world.partition, statistics.category, END, config.related.basket)
    first = first_seen(world.catalog, statistics.item("item_days_known"), END)
    return fit_orders(statistics.category, first, config.related.basket, counts)


def odd_bundle() -> Bundle:
    """The small shop with text ids. The first users have the ids ODD_IDS and DOT_IDS; items have odd ids too."""
    bundle = small_bundle()
    numbered = [f"u{user:03}" for user in range(len(bundle.snapshot.users))]
    odd = (*ODD_IDS, *DOT_IDS)
    users = pa.array([*odd, *numbered[len(odd) :]])
    history = small_config("inference.history.max_events=20").inference.history
    part = snapshot_part(users, bundle.snapshot.histories, bundle.tables.statistics.category, history)
    items = Ids(pa.array([f"{item:03} <b>'\"/é" for item in range(len(bundle.items))]))
    return replace(bundle, items=items, snapshot=assemble([part], "string"))


def retrained(bundle: Bundle) -> Bundle:
    """The same shop with another alpha and fewer trees, so that its scores differ."""
    text = small_ranker("ranker.max_trees=5").to_text()
    blend = bundle.manifest.blend.model_copy(update={"alpha": 0.6})
    manifest = bundle.manifest.model_copy(update={"blend": blend})
    return replace(bundle, manifest=manifest, ranker=ranker_from_text(text, "lightgbm"))


def without_factors(bundle: Bundle, items: np.ndarray) -> Bundle:
    """The bundle as if the factorization had never seen these items."""
    factors = bundle.tables.factors
    rows = factors.rows.copy()
    rows[items] = UNKNOWN
    return replace(bundle, tables=replace(bundle.tables, factors=replace(factors, rows=rows)))


def publish(store: FolderStore, bundle: Bundle, version: str, promote: bool = True) -> Bundle:
    """Publish a bundle as a version, by default promoted; returns the bundle with the version's name."""
    named = replace(bundle, version=version)
    store.publish(lambda folder: write(named, folder, {}), version)
    if promote:
        store.promote(version)
    return named


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def reseal(folder: Path) -> None:
    """Write the hashes of the files as they are now into a version's manifest, so that no hash shows damage."""
    manifest = json.loads((folder / "manifest.json").read_text())
    for name, entry in manifest["files"].items():
        content = (folder / name).read_bytes()
        entry |= {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def tie_ranker(folder: Path) -> None:
    """Make each node of a version's trees a child of itself, with hashes that are right: a prediction never ends."""
    path = folder / "ranker.txt"
    text = re.sub(r"\ntree_sizes=.*", "", path.read_text())  # which would not be true any more
    path.write_text(re.sub(r"(?<=_child=).*", lambda nodes: re.sub(r"\S+", "0", nodes[0]), text))
    reseal(folder)


def halve_ranker(folder: Path) -> None:
    """Cut a version's ranker in half, with hashes that are right: LightGBM aborts the process that reads it."""
    path = folder / "ranker.txt"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    reseal(folder)
