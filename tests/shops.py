"""A small shop in the Retailrocket format, the same every time, and a model trained on it once."""

import hashlib
import json
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pytest
import ray

from recsys import cli
from recsys.config import TrainConfig, load_config
from recsys.data.catalog import Catalog, Records, TreeProblems, build_catalog
from recsys.data.ingest import ShopData, ingest
from recsys.data.partition import count_days
from recsys.data.shop import DailyCounts, PropertyQuality, Quality, UserPartition
from recsys.data.sources import resolve
from recsys.features.definitions import CATEGORICAL, NAMES
from recsys.histories import Histories
from recsys.ids import Ids
from recsys.inference.stages import CandidateStage, candidate_features
from recsys.models.blend import Blend, Calibration
from recsys.models.rankers.base import Ranker, RankingData, TrainingSet
from recsys.models.rankers.registry import ranker_from_text, train
from recsys.models.snapshot import assemble, snapshot_part
from recsys.models.tables import Tables
from recsys.registry.bundle import Bundle, Counts, DateRange, Manifest, write
from recsys.registry.folder import FolderStore
from recsys.retrieval.preranker import NO_PRERANKERS
from recsys.schema import DAY, EVENT_TYPES, UNKNOWN
from recsys.timeline import cut
from recsys.training.tables import Cut, count_partition, fit_cut, sample_users

START = 1_430_438_400_000
"""2015-05-01 00:00 UTC, ms."""
DAYS = 90
END = START + DAYS * DAY
USERS, ITEMS, LEAVES, ROOTS = 200, 60, 6, 2

SETTINGS = (
    "factorization.factors=8",
    "factorization.confidence=0.03",
    "factorization.iterations=3",
    "inference.candidates.size=20",
    "inference.candidates.exclude_purchased=false",
    "inference.candidates.popularity.size=20",
    "ranker.max_trees=15",
    "ranker.num_leaves=7",
    "ranker.min_child_samples=10",
    "ranker.threads=1",
    "examples.cuts=2",
    "examples.negatives=10",
    "evaluation.bootstrap_samples=100",
    "evaluation.seeds=2",
    "evaluation.page=false",
    "hybrid.max_drift=1",
    "data.partitions=3",
)
"""Of a training run that takes seconds."""

BLEND = Blend(alpha=0.2, lgb=Calibration(slope=0.7, intercept=-1.0), mf=Calibration(slope=3.0, intercept=-0.5))

ODD_IDS = (
    "a/b",
    "/",
    "a/stats",
    'say "hi"',
    "it's'); DROP TABLE users; --",
    "<b>bold</b>",
    "naïve café",
    "日本語",
    "two  words ",
    "100%",
    "a+b&c=d?e#f",
    "007",
    "tab\there",
    "nul\0",
    "😀" * 100,
)
"""Texts that are ids and look like something else."""


class Event(NamedTuple):
    """One row of events.csv."""

    timestamp: int
    visitorid: int
    event: str
    itemid: int
    transactionid: str = ""


class Property(NamedTuple):
    """One row of item_properties.csv."""

    timestamp: int
    itemid: int
    property: str
    value: str


def item_id(number: int) -> int:
    return 500 + 3 * number


def user_id(number: int) -> int:
    return 1000 + 7 * number


def leaf_id(number: int) -> int:
    return 10 + number


def events() -> list[Event]:
    """Visits of users who prefer one leaf category each; the last 20 of them come after day 76, 15 after day 48.

    The first event is at START and the last one at END.
    """
    rng = np.random.default_rng(7)
    rows = [Event(START, user_id(0), "view", item_id(0)), Event(END, user_id(0), "view", item_id(0))]
    for user in range(USERS):
        first_day = 76 if user >= 180 else 48 if user >= 165 else 0
        for _ in range(1 + rng.poisson(6)):
            time = START + int(rng.integers(first_day * DAY, DAYS * DAY - 7_200_000))
            for _ in range(1 + rng.poisson(2)):
                rows += _visit(rng, user, time)
                time += 60_000 * int(rng.integers(1, 20))
    return sorted(rows)


def _visit(rng: np.random.Generator, user: int, time: int) -> list[Event]:
    """A view of one item that may lead to the cart and to a purchase; low item numbers are popular."""
    per_leaf = ITEMS // LEAVES
    leaf = user % LEAVES if rng.random() < 0.8 else int(rng.integers(LEAVES))
    item = item_id(leaf + LEAVES * int(per_leaf * rng.random() ** 2))
    rows = [Event(time, user_id(user), "view", item)]
    if rng.random() < 0.5:
        rows.append(Event(time + 10_000, user_id(user), "addtocart", item))
        if rng.random() < 0.6:
            rows.append(Event(time + 20_000, user_id(user), "transaction", item, str(time)))
    return rows


def properties() -> list[Property]:
    """Item i starts in leaf i % LEAVES; every tenth item changes it on day 40 and on day 80.

    Items 7 and 17 are sold out from day 30 on, item 27 from day 30 to day 50. Four items have no category.
    """
    rows = []
    for item in range(ITEMS):
        rows += [Property(START + day * DAY, item_id(item), "790", f"n{day}.000") for day in (0, 30, 60)]
        rows.append(Property(START - DAY, item_id(item), "available", "1"))
        if item < ITEMS - 4:
            rows.append(Property(START - DAY, item_id(item), "categoryid", str(leaf_id(item % LEAVES))))
        if item % 10 == 3:
            rows += [
                Property(START + day * DAY, item_id(item), "categoryid", str(leaf_id((item + step) % LEAVES)))
                for step, day in ((1, 40), (2, 80))
            ]
    rows += [Property(START + 30 * DAY, item_id(item), "available", "0") for item in (7, 17, 27)]
    rows.append(Property(START + 50 * DAY, item_id(27), "available", "1"))
    return rows


def tree() -> list[tuple[int, str]]:
    """Rows (category, parent): the leaves under the roots 1 and 2."""
    roots = [(1 + root, "") for root in range(ROOTS)]
    return roots + [(leaf_id(leaf), str(1 + leaf % ROOTS)) for leaf in range(LEAVES)]


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([",".join(header), *(",".join(map(str, row)) for row in rows), ""]), encoding="utf-8")


def write_shop(
    folder: Path, event_rows: Sequence[Event] | None = None, property_rows: Sequence[Property] | None = None
) -> Path:
    """The folder of a source, with the rows given instead of the shop's own."""
    write_csv(folder / "events.csv", Event._fields, events() if event_rows is None else event_rows)
    chosen = properties() if property_rows is None else property_rows
    write_csv(folder / "item_properties.csv", Property._fields, chosen)
    write_csv(folder / "category_tree.csv", ("categoryid", "parentid"), tree())
    return folder


def small_config(*settings: str) -> TrainConfig:
    return load_config(None, [*SETTINGS, *settings])


def read_shop(folder: Path, config: TrainConfig | None = None) -> ShopData:
    """What training sees of a folder; needs Ray."""
    config = config or small_config()
    source = resolve(str(folder), folder / "work")
    return ingest(source, config.data, END + DAY, folder / "quarantine.parquet")


@dataclass(frozen=True)
class World:
    """The shop read without Ray, all users in one partition."""

    items: Ids
    catalog: Catalog
    partition: UserPartition
    daily: DailyCounts

    @cached_property
    def tables(self) -> Tables:
        """As of END."""
        return tables_of(self, 0)


@cache
def small_world() -> World:
    rows = events()
    items = Ids.from_values(pa.array([row.itemid for row in rows]))
    users = Ids.from_values(pa.array([row.visitorid for row in rows]))
    histories = Histories.build(
        users.encode(pa.array([row.visitorid for row in rows])),
        items.encode(pa.array([row.itemid for row in rows])),
        np.array([EVENT_TYPES.index(row.event) for row in rows]),
        np.array([row.timestamp for row in rows]),
        len(users),
    )
    partition = UserPartition(users.values, histories)
    return World(items, _catalog(items), partition, count_days(partition, END))


def tables_of(world: World, age: int, config: TrainConfig | None = None) -> Tables:
    """The tables as of some days before END, fitted without Ray."""
    config, at = config or small_config(), Cut(age, cut(END, age), share=1.0)
    counts = count_partition(world.partition, len(world.items), at, config)
    sample = sample_users(world.partition, at, config)
    return fit_cut(world.daily, world.catalog, at, config, config.factorization, 1, counts, sample)


def world_shop(n_partitions: int) -> ShopData:
    """`small_world` as later steps see it, users dealt out in turns; needs Ray."""
    world = small_world()
    everyone = np.arange(len(world.partition.users))
    parts = [everyone[start::n_partitions] for start in range(n_partitions)]
    quality = Quality(0, 0, {}, 0, 0, PropertyQuality(0, 0, 0, 0, {}, {}, TreeProblems()))
    return ShopData(
        world.items,
        "int64",
        tuple(
            ray.put(UserPartition(world.partition.users.take(pa.array(part)), world.partition.histories.take(part)))
            for part in parts
        ),
        len(everyone),
        dict(zip(EVENT_TYPES, world.partition.histories.counts().sum(axis=0).tolist(), strict=True)),
        START,
        END,
        world.daily,
        world.catalog,
        quality,
        "",
    )


def _catalog(items: Ids) -> Catalog:
    categories, availability = (
        [row for row in properties() if row.property == name] for name in ("categoryid", "available")
    )

    def records(rows: list[Property], values: pa.Array) -> Records:
        codes = items.encode(pa.array([row.itemid for row in rows]))
        return Records(codes, np.array([row.timestamp for row in rows]), values)

    catalog, _ = build_catalog(
        len(items),
        records(categories, pa.array([int(row.value) for row in categories])),
        records(availability, pa.array([row.value == "1" for row in availability])),
        pa.array([child for child, _ in tree()]),
        pa.array([int(parent) if parent else None for _, parent in tree()]),
    )
    return catalog


NONE = np.zeros(0, np.int64)
NOBODY_DID_ANYTHING = Histories.build(NONE, NONE, NONE, NONE, 1)
"""One user without a history."""


@cache
def small_ranker(*settings: str) -> Ranker:
    """Trained on the candidates of `small_world`; what it learned means nothing."""
    tables, config = small_world().tables, small_config(*settings)
    stage = CandidateStage(tables, NO_PRERANKERS, config.inference)
    profiles = stage.profile(small_world().partition.histories, END)
    candidates = stage(profiles)
    features = candidate_features(profiles, candidates, tables)
    labels = (profiles.by_item.find(candidates.users, candidates.items) >= 0).astype(np.int8)
    rows = RankingData(features, labels, np.diff(candidates.offsets))
    return train(TrainingSet([rows], None, NAMES, CATEGORICAL), config.ranker)


def small_bundle() -> Bundle:
    world, config = small_world(), small_config("inference.history.max_events=20")
    part = snapshot_part(
        world.partition.users, world.partition.histories, world.tables.statistics.category, config.inference.history
    )
    manifest = Manifest(
        fingerprint="0" * 64,
        date_range=DateRange(start=START, end=END),
        counts=Counts(events={"view": 1}, users=len(part.users), items=len(world.items), mf_users=2, mf_items=3),
        targets=("transaction",),
        features=NAMES,
        backend="lightgbm",
        blend=BLEND,
        prerankers=NO_PRERANKERS,
        exclude_purchased=world.tables.retrieval.exclude_purchased,
        live_watermark=END,
        inference=config.inference.model_dump(mode="json"),
        headline={"ndcg@10 all": 0.5, "ndcg@10 cold": None},
    )
    catalog = world.catalog
    tree = catalog.categories, catalog.parent, catalog.ancestors(config.category_levels)
    return Bundle("v1", manifest, world.items, *tree, world.tables, small_ranker(), None, assemble([part], "int64"))


def odd_bundle() -> Bundle:
    """The small shop with text ids, the first users' those of ODD_IDS; items are odd too."""
    bundle = small_bundle()
    numbered = [f"u{user:03}" for user in range(len(bundle.snapshot.users))]
    users = pa.array([*ODD_IDS, *numbered[len(ODD_IDS) :]])
    history = small_config("inference.history.max_events=20").inference.history
    part = snapshot_part(users, bundle.snapshot.histories, bundle.tables.statistics.category, history)
    items = Ids(pa.array([f"{item:03} <b>'\"/é" for item in range(len(bundle.items))]))
    return replace(bundle, items=items, snapshot=assemble([part], "string"))


def retrained(bundle: Bundle) -> Bundle:
    """The same shop by another alpha and fewer trees, so that its scores differ."""
    text = small_ranker("ranker.max_trees=5").to_text()
    blend = bundle.manifest.blend.model_copy(update={"alpha": 0.6})
    manifest = bundle.manifest.model_copy(update={"blend": blend})
    return replace(bundle, manifest=manifest, ranker=ranker_from_text(text, "lightgbm"))


def without_factors(bundle: Bundle, items: np.ndarray) -> Bundle:
    """The factorization never saw these items."""
    factors = bundle.tables.factors
    rows = factors.rows.copy()
    rows[items] = UNKNOWN
    return replace(bundle, tables=replace(bundle.tables, factors=replace(factors, rows=rows)))


def publish(store: FolderStore, bundle: Bundle, version: str, promote: bool = True) -> Bundle:
    """Make a bundle a version, by default the one in production; the bundle under the version's name."""
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
    """Correct a version's manifest to the files that are there now, as whoever damaged them on purpose would."""
    manifest = json.loads((folder / "manifest.json").read_text())
    for name, entry in manifest["files"].items():
        content = (folder / name).read_bytes()
        entry |= {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def halve_ranker(folder: Path) -> None:
    """Leave a version half of its ranker and hashes that are right: LightGBM aborts the process that reads it."""
    path = folder / "ranker.txt"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    reseal(folder)


def train_arguments(data: Path | str, registry: Path | str, *settings: str) -> list[str]:
    """Of `train_job.py`."""
    options = [option for setting in (*SETTINGS, *settings) for option in ("--set", setting)]
    return ["--data", str(data), "--registry", str(registry), *options]


@dataclass(frozen=True)
class Trained:
    """A registry with one version in production, trained on the small shop in `data`."""

    data: Path
    registry: Path

    @cached_property
    def version(self) -> str:
        [version] = FolderStore(self.registry).versions()
        return version.name

    @property
    def path(self) -> Path:
        return FolderStore(self.registry).path()

    @cached_property
    def metrics(self) -> dict[str, Any]:
        return metrics_of(self.registry)


def metrics_of(registry: Path) -> dict[str, Any]:
    """metrics.json of the version in production."""
    content: dict[str, Any] = json.loads((FolderStore(registry).path() / "metrics.json").read_text())
    return content


def trained(factory: pytest.TempPathFactory) -> Trained:
    """Trains at the first call of a test run; needs Ray. Nothing may change the result's folders."""
    return _train(factory.getbasetemp() / "trained")


@cache
def _train(folder: Path) -> Trained:
    data, registry = write_shop(folder / "data"), folder / "registry"
    if cli.main(["train", *train_arguments(data, registry)]):
        raise RuntimeError("training on the small shop failed; its error is on stderr")
    return Trained(data, registry)


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Ask again until it holds; the event is never set, it paces the asking."""
    pace, end = threading.Event(), monotonic() + seconds
    while not condition():
        if monotonic() > end:
            raise TimeoutError(f"{condition} did not hold within {seconds} s")
        pace.wait(0.05)
