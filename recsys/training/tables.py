"""Tables of every cut, as Ray tasks: partial counts for each partition, then one merge and fit for each cut."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray

from recsys.cluster import run_tasks
from recsys.config import TrainConfig
from recsys.data.catalog import Catalog, CatalogState
from recsys.data.shop import DailyCounts, UserPartition
from recsys.errors import ModelError, TooLittleData
from recsys.features.attributes import item_attributes
from recsys.features.statistics import statistics
from recsys.histories import Histories
from recsys.ids import fractions
from recsys.models.factorization import (
    FactorizationConfig,
    best_confidence,
    confidences,
    fit,
    held_out_quality,
    no_factors,
)
from recsys.models.tables import Counts, Tables, add_counts, count_events, side_information
from recsys.retrieval.generator import RetrievalTables
from recsys.retrieval.sources.base import Known
from recsys.retrieval.sources.registry import SOURCES
from recsys.schema import LATEST
from recsys.timeline import Cut
from recsys.training.context import Context


def fit_tables(context: Context, cuts: Sequence[Cut], *, factorize: bool = True) -> "dict[Cut, ray.ObjectRef[Tables]]":
    """The tables as of each cut, fitted on nothing but events up to this cut.

    If the factorization's confidence is not set, it is chosen once, on the events up to the oldest cut.
    factorize: whether items get factors. At a cut before which no user has enough items, no item gets one.
    Raises TooLittleData if no user has enough items at the newest cut.
    """
    shop = context.shop
    daily, catalog, config = ray.put(shop.daily), ray.put(shop.catalog), ray.put(context.config)
    samples: dict[Cut, list[ray.ObjectRef[UserPartition]]] = {cut: [] for cut in cuts}
    settings: FactorizationConfig | ray.ObjectRef[FactorizationConfig] = context.config.factorization
    if factorize:
        samples = _samples(context, cuts)
        settings = _factorization_settings(context, catalog, max(cuts), samples[max(cuts)])
    tables = {}
    for cut in sorted(cuts, reverse=True):
        calls = [(partition, len(shop.items), cut, config) for partition in shop.partitions]
        counts = run_tasks(count_partition, f"count pairs, {cut.age} days back", calls)
        call = (daily, catalog, cut, config, settings, len(counts), *counts, *samples[cut])
        [tables[cut]] = run_tasks(fit_cut, f"fit tables, {cut.age} days back", [call])
    return tables


def _samples(context: Context, cuts: Sequence[Cut]) -> "dict[Cut, list[ray.ObjectRef[UserPartition]]]":
    """The users on whom each cut's factorization is fitted, partition by partition; raises TooLittleData."""
    partitions, config, settings = context.shop.partitions, context.config, context.config.factorization
    calls = [(partition, cuts, config) for partition in partitions]
    able = np.sum(ray.get(run_tasks(count_able_users, "count users for the factorization", calls)), axis=0)
    if not able[list(cuts).index(min(cuts))]:
        raise TooLittleData(
            f"factorization: no user has events on {settings.min_items} or more items; expected at least one such user"
        )
    samples = {}
    for cut, users in zip(cuts, able.tolist(), strict=True):
        limit = settings.max_users_for_examples if cut.age else settings.max_users
        fraction = min(1.0, limit / max(users, 1))
        sampling = [(partition, cut, fraction, config) for partition in partitions]
        samples[cut] = run_tasks(sample_users, f"sample users, {cut.age} days back", sampling)
    return samples


def count_able_users(partition: UserPartition, cuts: Sequence[Cut], config: TrainConfig) -> np.ndarray:
    """Users with enough distinct items for the factorization at each cut; int64 (n_cuts,)."""
    return np.array([_able(partition.histories.until(cut.time), config).sum() for cut in cuts])


def sample_users(partition: UserPartition, cut: Cut, fraction: float, config: TrainConfig) -> UserPartition:
    """The users drawn by their ids for the factorization, with their events up to the cut.

    fraction: fraction of the users with enough distinct items that is drawn
    """
    past = partition.histories.until(cut.time)
    drawn = fractions(partition.users, "factorization", config.seed) <= fraction
    chosen = np.flatnonzero(_able(past, config) & drawn)
    return UserPartition(partition.users.take(pa.array(chosen)), past.take(chosen))


def _joined(samples: Sequence[UserPartition]) -> Histories:
    """Histories by ascending user id: the fit depends on the order of users, which partitions must not change."""
    order = pc.sort_indices(pa.concat_arrays([sample.users for sample in samples])).to_numpy()
    return Histories.concat([sample.histories for sample in samples]).take(order)


def _able(histories: Histories, config: TrainConfig) -> np.ndarray:
    """Whether each user has enough distinct items, bool (n_users,)."""
    width = int(histories.items.max(initial=0)) + 1
    pairs = np.unique(histories.rows * width + histories.items)
    distinct = np.bincount(pairs // width, minlength=len(histories))
    return np.asarray(distinct >= config.factorization.min_items)


def _factorization_settings(
    context: Context, catalog: "ray.ObjectRef[Catalog]", cut: Cut, samples: "Sequence[ray.ObjectRef[UserPartition]]"
) -> "FactorizationConfig | ray.ObjectRef[FactorizationConfig]":
    """The factorization's settings; a confidence that is not set is chosen on the events up to one cut."""
    config = context.config
    if config.factorization.confidence is not None:
        return config.factorization
    grid, name = confidences(config.factorization), "choose the factorization's confidence"
    calls = [(catalog, cut, config.category_levels, settings, *samples) for settings in grid]
    [chosen] = run_tasks(take_best, name, [(grid, *run_tasks(try_factorization, name, calls))])
    return chosen


def try_factorization(
    catalog: Catalog, cut: Cut, category_levels: int, settings: FactorizationConfig, *samples: UserPartition
) -> float:
    """The quality of one confidence, 0 if the fit fails."""
    state = catalog.as_of(cut.time)
    attributes = None
    if state.attributes is not None and state.attributes.specs:
        attributes, _ = item_attributes(state.attributes, state.category, np.zeros(len(state.category)))
    side = side_information(state.category, catalog.ancestors(category_levels), attributes)
    try:
        return held_out_quality(_joined(samples), len(state.category), side, settings)
    except ModelError:  # if all fail, the fit of the tables raises the error
        return 0.0


def take_best(grid: Sequence[FactorizationConfig], *qualities: float) -> FactorizationConfig:
    """The settings with the best quality."""
    return best_confidence(zip(grid, qualities, strict=True))


def count_partition(partition: UserPartition, n_items: int, cut: Cut, config: TrainConfig) -> Counts:
    """The counts of a partition's events up to the cut."""
    past = partition.histories.until(cut.time)
    return count_events(past, n_items, cut.time, config.inference.candidates.sources)


def fit_cut(
    daily: DailyCounts,
    catalog: Catalog,
    cut: Cut,
    config: TrainConfig,
    factorization: FactorizationConfig,
    n_parts: int,
    *parts: Counts | UserPartition,
) -> Tables:
    """The tables of one cut.

    parts: the partial counts of all partitions, `n_parts` of them, then the samples of their users. Without a user in
    them no item gets a factor.
    """
    counts = add_counts([part for part in parts[:n_parts] if isinstance(part, Counts)])
    samples = [part for part in parts[n_parts:] if isinstance(part, UserPartition) and len(part.users)]
    ancestors, state = catalog.ancestors(config.category_levels), catalog_state(catalog, cut)
    stats = statistics(daily, cut.age, state, ancestors, counts.repeats, config.statistics)
    candidates = config.inference.candidates
    side = side_information(state.category, ancestors, stats.attributes)
    if samples:
        past = _joined(samples)
        factors = fit(past, stats.n_items, side, factorization, len(past))
    else:
        factors = no_factors(stats.n_items, factorization)
    since = None if state.attributes is None else state.attributes.since
    known = Known(stats, counts.users, factors.factors, factors.rows, config.target_types, since)
    sources = {
        name: SOURCES[name].fit(known, counts.sources[name], settings) for name, settings in candidates.sources.items()
    }
    retrieval = RetrievalTables(sources, _exclude_purchased(counts, config))
    return Tables(cut.time, stats, retrieval, factors)


def catalog_state(catalog: Catalog, cut: Cut) -> CatalogState:
    """The catalog as of a cut. The newest cut, whose tables are published, has the newest state of the catalog.

    A shop knows this state when it trains, although it may be dated after the last event.
    """
    return catalog.as_of(cut.time if cut.age else LATEST)


def _exclude_purchased(counts: Counts, config: TrainConfig) -> bool:
    """Whether bought items are left out: as configured, or because few purchases are repeated."""
    candidates = config.inference.candidates
    if candidates.exclude_purchased is not None:
        return candidates.exclude_purchased
    return counts.repeats.rate < candidates.repeat_rate_threshold
