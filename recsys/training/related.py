"""Tables of baskets and of new items as of the newest event, from partial counts of each partition, as Ray tasks."""

import numpy as np
import ray

from recsys.cluster import run_tasks
from recsys.data.shop import UserPartition
from recsys.features.statistics import Statistics
from recsys.models.related import RelatedTables, first_seen
from recsys.retrieval.orders import BasketConfig, OrderCounts, add_order_counts, count_orders
from recsys.training.context import Context


def fit_related(context: Context, statistics: Statistics) -> RelatedTables:
    """The tables as of the newest event; statistics: as of the same cut."""
    shop, config = context.shop, context.config.related.basket
    category, first = statistics.category, first_seen(shop.catalog, statistics.item("item_days_known"), shop.end)
    codes = ray.put(category)
    calls = [(partition, codes, shop.end, config) for partition in shop.partitions]
    counts = run_tasks(count_partition_orders, "count orders", calls)
    [tables] = run_tasks(fit_orders, "fit the table of orders", [(category, first, config, *counts)])
    related: RelatedTables = ray.get(tables)
    return related


def count_partition_orders(
    partition: UserPartition, category: np.ndarray, until: int, config: BasketConfig
) -> OrderCounts:
    """The counts of a partition's orders up to `until` (ms); category: int32 (n_items,)."""
    past = partition.histories.times <= until
    orders = None if partition.orders is None else partition.orders[past]
    return count_orders(partition.histories.where(past), orders, category, config)


def fit_orders(category: np.ndarray, first: np.ndarray, config: BasketConfig, *counts: OrderCounts) -> RelatedTables:
    """The tables from the counts of all partitions."""
    return RelatedTables.fit(add_order_counts(counts), category, first, config)
