"""Tables of every cut, fitted as Ray tasks: partial counts for each partition, one merge and fit for each cut."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import ray

from recsys.config import TrainConfig
from recsys.data.ingest import ShopData
from recsys.data.shop import UserPartition
from recsys.data.split import cut
from recsys.data.tasks import run_tasks
from recsys.features.statistics import statistics
from recsys.histories import Histories
from recsys.ids import hashes
from recsys.models.factorization import fit
from recsys.models.tables import PairCounts, Tables, add_counts, category_attributes, count_pairs
from recsys.retrieval.covisitation import covisitation
from recsys.retrieval.generator import RetrievalTables
from recsys.retrieval.neighbours import mf_neighbours
from recsys.retrieval.popularity import popularity_lists

SAMPLE_SALT = 1
"""Keeps the factorization's sample of users apart from other choices by hash."""


@dataclass(frozen=True, slots=True)
class CutSettings:
    """What one cut's fit needs to know; exclude_purchased None decides from the data."""

    age: int
    time: int
    max_users: int
    exclude_purchased: bool | None


def fit_tables(shop: ShopData, ages: Sequence[int], config: TrainConfig) -> "dict[int, ray.ObjectRef[Tables]]":
    """Tables as of each age, each from nothing but its own past."""
    daily, catalog = ray.put(shop.daily), ray.put(shop.catalog)
    able = run_tasks(
        count_able_users,
        "count users for the factorization",
        [(p, shop.end, ages, config) for p in shop.partitions],
    )
    able_users = np.sum(ray.get(able), axis=0)
    tables = {}
    for age, users in zip(ages, able_users.tolist(), strict=True):
        factorization = config.factorization
        cap = factorization.max_users if age == 0 else factorization.max_users_for_examples
        settings = CutSettings(age, cut(shop.end, age), cap, config.inference.candidates.exclude_purchased)
        share = min(1.0, cap / max(users, 1))
        counts = run_tasks(
            count_partition,
            f"count pairs {age} days before the end",
            [(p, len(shop.items), settings, config) for p in shop.partitions],
        )
        samples = run_tasks(
            sample_partition,
            f"sample users {age} days before the end",
            [(p, settings, share, config) for p in shop.partitions],
        )
        calls = [(daily, catalog, settings, config, len(counts), *counts, *samples)]
        [tables[age]] = run_tasks(fit_cut, f"fit tables {age} days before the end", calls)
    return tables


def count_able_users(partition: UserPartition, end: int, ages: Sequence[int], config: TrainConfig) -> np.ndarray:
    """Users with enough distinct items for the factorization at each age; int64 (n_ages,)."""
    return np.array([_able(partition.histories.until(cut(end, age)), config).sum() for age in ages])


def count_partition(partition: UserPartition, n_items: int, settings: CutSettings, config: TrainConfig) -> PairCounts:
    past = partition.histories.until(settings.time)
    return count_pairs(past, n_items, settings.time, config.inference.candidates.covisitation)


def sample_partition(partition: UserPartition, settings: CutSettings, share: float, config: TrainConfig) -> Histories:
    """Histories of a share of the users who can take part in the factorization, chosen by a hash of their ids."""
    past = partition.histories.until(settings.time)
    chosen = _able(past, config) & (hashes(partition.users, config.seed * 2 + SAMPLE_SALT) <= share * float(2**64))
    return past.take(np.flatnonzero(chosen))


def _able(histories: Histories, config: TrainConfig) -> np.ndarray:
    """Who has enough distinct items, bool (n_users,)."""
    width = int(histories.items.max(initial=0)) + 1
    pairs = np.unique(histories.rows * width + histories.items)
    distinct = np.bincount(pairs // width, minlength=len(histories))
    return np.asarray(distinct >= config.factorization.min_items)


def fit_cut(daily: Any, catalog: Any, settings: CutSettings, config: TrainConfig, n_parts: int, *parts: Any) -> Tables:
    """One cut's tables from the partial counts and samples of all partitions (n_parts of each)."""
    counts = add_counts(parts[:n_parts])
    past = Histories.concat(parts[n_parts:])
    candidates = config.inference.candidates
    ancestors = catalog.ancestors(config.category_levels)
    stats = statistics(daily, settings.age, catalog.as_of(settings.time), ancestors, counts.repeats, config.statistics)
    attributes = category_attributes(stats.levels, len(ancestors)) if config.factorization.item_attributes else None
    factors = fit(past, stats.n_items, attributes, config.factorization, settings.max_users)
    exclude = settings.exclude_purchased
    if exclude is None:
        exclude = counts.repeats.rate < candidates.repeat_rate_threshold
    retrieval = RetrievalTables(
        covisitation(counts.keys, counts.counts, counts.users, candidates.covisitation),
        mf_neighbours(factors.factors, factors.rows, counts.users, candidates.neighbours),
        popularity_lists(stats, config.targets, candidates.popularity),
        exclude,
    )
    return Tables(settings.time, stats, retrieval, factors)
