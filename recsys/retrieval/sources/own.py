"""The user's own items: what was viewed, put into the cart or bought before."""

from typing import ClassVar

import numpy as np
from pydantic import Field

from recsys.arrays import order_within
from recsys.features.statistics import Statistics
from recsys.retrieval.sources.base import Batch, Known, Scored, Source, SourceConfig
from recsys.specs import Arrays


class OwnConfig(SourceConfig):
    """Settings of the user's own items."""

    weight: float = Field(8.0, ge=0)
    """See SourceConfig."""


class Own(Source[OwnConfig]):
    """Every item of the user's history; the score is the decayed weight with the longest half-life.

    This weight is already the feature `pair_weight_slow`, so the source has no feature of its own.
    """

    name: ClassVar = "own"
    settings: ClassVar = OwnConfig
    has_feature: ClassVar = False

    def fit(self, known: Known, counts: None, settings: OwnConfig) -> Arrays:
        return {}

    def propose(self, table: Arrays, batch: Batch, settings: OwnConfig) -> Scored:
        by_item = batch.profiles.by_item
        order = order_within(by_item.users, by_item.decayed[:, -1])  # ties keep the order of the rows: by item
        items = by_item.things[order].astype(np.int32)
        return Scored(by_item.users[order], items, by_item.decayed[order, -1], order)

    def origins(
        self, table: Arrays, batch: Batch, statistics: Statistics, users: np.ndarray, items: np.ndarray
    ) -> np.ndarray:
        """The item itself."""
        return batch.profiles.by_item.find(users, items)
