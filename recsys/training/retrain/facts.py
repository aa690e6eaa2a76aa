"""The facts about a shop's data that the gates of retraining look at, with Ray."""

import numpy as np
import ray

from recsys.cluster import run_tasks
from recsys.config import TrainConfig
from recsys.data.ingest import ShopData
from recsys.data.shop import UserPartition
from recsys.features.statistics import RepeatCounts, Statistics, statistics
from recsys.gates.data import GateInputs, check
from recsys.gates.facts import (
    DataFacts,
    events_by_week,
    facts_of_version,
    item_features,
    sample,
    user_features,
    with_category,
)
from recsys.gates.settings import GatesConfig
from recsys.models.snapshot import HistoryConfig
from recsys.registry.decisions import GateResult
from recsys.schema import DAY, LATEST, UNKNOWN
from recsys.training.retrain.production import Production


def check_gates(shop: ShopData, production: Production, bounds: GatesConfig) -> tuple[GateResult, ...]:
    """The results of all gates on the data."""
    gap = (shop.end - production.watermark) / DAY
    weeks = events_by_week(shop.daily, (shop.end - shop.start) / DAY)
    old, new = facts_of_version(production.opened), facts_of_shop(shop, production.settings or TrainConfig())
    return check(GateInputs(old, new, weeks, gap, bounds))


def facts_of_shop(shop: ShopData, config: TrainConfig) -> DataFacts:
    """The facts about data; config: of production, so that both sides are measured alike."""
    catalog = shop.catalog
    measured = _statistics(shop, config)
    calls = [(partition, shop.n_users, shop.end, config.inference.history) for partition in shop.partitions]
    parts = ray.get(run_tasks(partition_features, "measure features of users", calls))
    users = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return DataFacts(
        ids={"user": shop.user_kind, "item": shop.items.kind},
        events=shop.event_counts,
        days=(shop.end - shop.start) / DAY,
        links=int((catalog.parent != UNKNOWN).sum()),
        with_category=with_category(measured),
        attributes=tuple(spec.name for spec in catalog.attributes.specs),
        features={**item_features(measured, catalog.attributes.specs), **users},
    )


def partition_features(
    partition: UserPartition, n_users: int, end: int, history: HistoryConfig
) -> dict[str, np.ndarray]:
    """The features of one partition's users, from as many events as a version keeps of a user.

    n_users: of all partitions
    """
    return user_features(sample(partition.histories, n_users).latest(history.max_events), end)


def _statistics(shop: ShopData, config: TrainConfig) -> Statistics:
    """Statistics of items as of the newest event; without repeats, which no gate looks at."""
    nobody = np.zeros(len(shop.items), np.int64)
    ancestors = shop.catalog.ancestors(config.category_levels)
    state = shop.catalog.as_of(LATEST)
    return statistics(shop.daily, 0, state, ancestors, RepeatCounts(nobody, nobody), config.statistics)
