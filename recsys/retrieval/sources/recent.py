"""The items with the most target events in the recent window."""

from typing import ClassVar

from pydantic import Field

from recsys.retrieval.sources.base import Batch, Known, Scored, Source, SourceConfig
from recsys.retrieval.sources.item_lists import for_everybody, list_specs, top_items
from recsys.specs import Arrays


class RecentConfig(SourceConfig):
    """Settings of the list of recent popularity."""

    weight: float = Field(2.0, ge=0)
    """See SourceConfig."""
    size: int = Field(100, ge=1)
    """Number of items in the list."""


class Recent(Source[RecentConfig]):
    """The items with the most target events in the recent window (`statistics.recent_days`)."""

    name: ClassVar = "recent"
    settings: ClassVar = RecentConfig
    specs: ClassVar = list_specs("recent")

    def fit(self, known: Known, counts: None, settings: RecentConfig) -> Arrays:
        return top_items(known.statistics, known.targets, "item_recent", settings.size)

    def propose(self, table: Arrays, batch: Batch, settings: RecentConfig) -> Scored:
        return for_everybody(table["items"], len(batch))

    def cold_start_size(self, settings: RecentConfig) -> int:
        return settings.size
