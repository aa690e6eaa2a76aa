"""Tables of every cut as Ray tasks: partial counts for each partition, then one merge and fit for each cut."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray

from recsys.cluster import run_tasks
from recsys.config import TrainConfig
from recsys.data.catalog import Catalog
from recsys.data.ingest import ShopData
from recsys.data.shop import DailyCounts, UserPartition
from recsys.errors import ModelError
from recsys.features.statistics import statistics
from recsys.histories import Histories
from recsys.ids import hashes
from recsys.models.factorization import (
    FactorizationConfig,
    best_confidence,
    confidences,
    fit,
    held_out_quality,
)
from recsys.models.tables import Counts, Tables, add_counts, category_attributes, count_events
from recsys.retrieval.generator import RetrievalTables
from recsys.retrieval.sources.base import Known
from recsys.retrieval.sources.registry import SOURCES
from recsys.timeline import cut

SALT: Final = 1
"""Keeps the factorization's sample of users apart from other choices by hash."""


@dataclass(frozen=True, slots=True)
class Cut:
    """A cut to fit tables at.

    age: days before the newest event; time: ms; share: of the able users that take part in the factorization
    """

    age: int
    time: int
    share: float


def fit_tables(shop: ShopData, ages: Sequence[int], config: TrainConfig) -> "dict[int, ray.ObjectRef[Tables]]":
    """Tables as of each age, each from nothing but its own past.

    What the factorization leaves open is chosen once, from the past of the oldest cut.
    """
    daily, catalog, shared = ray.put(shop.daily), ray.put(shop.catalog), ray.put(config)
    cuts = _cuts(shop, ages, config)
    sampled = {
        at.age: run_tasks(sample_users, f"sample users, {at.age} days back", [(p, at, shared) for p in shop.partitions])
        for at in cuts
    }
    oldest = max(cuts, key=lambda at: at.age)
    chosen = _chosen(catalog, oldest, config, sampled[oldest.age])
    tables = {}
    for at in sorted(cuts, key=lambda at: -at.age):
        n_items = len(shop.items)
        calls = [(partition, n_items, at, shared) for partition in shop.partitions]
        counts = run_tasks(count_partition, f"count pairs, {at.age} days back", calls)
        call = (daily, catalog, at, shared, chosen, len(counts), *counts, *sampled[at.age])
        [tables[at.age]] = run_tasks(fit_cut, f"fit tables, {at.age} days back", [call])
    return tables


def _cuts(shop: ShopData, ages: Sequence[int], config: TrainConfig) -> list[Cut]:
    calls = [(partition, shop.end, ages, config) for partition in shop.partitions]
    able = np.sum(ray.get(run_tasks(count_able_users, "count users for the factorization", calls)), axis=0)
    settings = config.factorization
    caps = [settings.max_users if age == 0 else settings.max_users_for_examples for age in ages]
    return [
        Cut(age, cut(shop.end, age), min(1.0, cap / max(users, 1)))
        for age, cap, users in zip(ages, caps, able.tolist(), strict=True)
    ]


def count_able_users(partition: UserPartition, end: int, ages: Sequence[int], config: TrainConfig) -> np.ndarray:
    """Users with enough distinct items for the factorization at each age; int64 (n_ages,)."""
    return np.array([_able(partition.histories.until(cut(end, age)), config).sum() for age in ages])


def sample_users(partition: UserPartition, at: Cut, config: TrainConfig) -> UserPartition:
    """Those who take part in the factorization with their past, chosen by a hash of their ids."""
    past = partition.histories.until(at.time)
    drawn = hashes(partition.users, 2 * config.seed + SALT) <= at.share * float(2**64)
    chosen = np.flatnonzero(_able(past, config) & drawn)
    return UserPartition(partition.users.take(pa.array(chosen)), past.take(chosen))


def _joined(samples: Sequence[UserPartition]) -> Histories:
    """Histories by ascending user id: the fit's sums depend on the order, which must not on the partitions."""
    order = pc.sort_indices(pa.concat_arrays([sample.users for sample in samples])).to_numpy()
    return Histories.concat([sample.histories for sample in samples]).take(order)


def _able(histories: Histories, config: TrainConfig) -> np.ndarray:
    """Who has enough distinct items, bool (n_users,)."""
    width = int(histories.items.max(initial=0)) + 1
    pairs = np.unique(histories.rows * width + histories.items)
    distinct = np.bincount(pairs // width, minlength=len(histories))
    return np.asarray(distinct >= config.factorization.min_items)


def _chosen(
    catalog: "ray.ObjectRef[Catalog]", at: Cut, config: TrainConfig, samples: "Sequence[ray.ObjectRef[UserPartition]]"
) -> "FactorizationConfig | ray.ObjectRef[FactorizationConfig]":
    """The factorization's settings with what they leave open chosen on the past of one cut."""
    if config.factorization.confidence is not None:
        return config.factorization
    grid, name = confidences(config.factorization), "choose the factorization's confidence"
    calls = [(catalog, at, config.category_levels, settings, *samples) for settings in grid]
    [chosen] = run_tasks(take_best, name, [(grid, *run_tasks(try_factorization, name, calls))])
    return chosen


def try_factorization(
    catalog: Catalog, at: Cut, category_levels: int, settings: FactorizationConfig, *samples: UserPartition
) -> float:
    """The quality of one confidence, 0 where it cannot be fitted with."""
    state = catalog.as_of(at.time)
    attributes = category_attributes(state.category, catalog.ancestors(category_levels))
    try:
        return held_out_quality(_joined(samples), len(state.category), attributes, settings)
    except ModelError:  # where all fail, the fit of the tables says why
        return 0.0


def take_best(grid: Sequence[FactorizationConfig], *qualities: float) -> FactorizationConfig:
    return best_confidence(zip(grid, qualities, strict=True))


def count_partition(partition: UserPartition, n_items: int, at: Cut, config: TrainConfig) -> Counts:
    past = partition.histories.until(at.time)
    return count_events(past, n_items, at.time, config.inference.candidates.sources)


def fit_cut(
    daily: DailyCounts,
    catalog: Catalog,
    at: Cut,
    config: TrainConfig,
    factorization: FactorizationConfig,
    n_parts: int,
    *parts: Counts | UserPartition,
) -> Tables:
    """One cut's tables from the partial counts of all partitions and then their samples of users."""
    counts = add_counts([part for part in parts[:n_parts] if isinstance(part, Counts)])
    past = _joined([part for part in parts[n_parts:] if isinstance(part, UserPartition)])
    ancestors, state = catalog.ancestors(config.category_levels), catalog.as_of(at.time)
    stats = statistics(daily, at.age, state, ancestors, counts.repeats, config.statistics)
    candidates = config.inference.candidates
    factors = fit(past, stats.n_items, category_attributes(state.category, ancestors), factorization, len(past))
    known = Known(stats, counts.users, factors.factors, factors.rows, config.targets)
    sources = {
        name: SOURCES[name].fit(known, counts.sources[name], settings) for name, settings in candidates.sources.items()
    }
    retrieval = RetrievalTables(sources, _exclude_purchased(counts, config))
    return Tables(at.time, stats, retrieval, factors)


def _exclude_purchased(counts: Counts, config: TrainConfig) -> bool:
    """As configured, or whether repeat purchases are so rare that bought items are not worth a place."""
    candidates = config.inference.candidates
    if candidates.exclude_purchased is not None:
        return candidates.exclude_purchased
    return counts.repeats.rate < candidates.repeat_rate_threshold
