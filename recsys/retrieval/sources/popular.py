"""The items with the most target events of all time."""

from typing import ClassVar

from pydantic import Field

from recsys.retrieval.sources.base import Batch, Known, Scored, Source, SourceConfig
from recsys.retrieval.sources.item_lists import for_everybody, list_specs, top_items
from recsys.specs import Arrays


class PopularConfig(SourceConfig):
    """Settings of the list of all-time popularity."""

    weight: float = Field(1.0, ge=0)
    """See SourceConfig."""
    size: int = Field(100, ge=1)
    """Number of items in the list."""


class Popular(Source[PopularConfig]):
    """The items with the most target events up to the cut."""

    name: ClassVar = "popular"
    settings: ClassVar = PopularConfig
    specs: ClassVar = list_specs("popular")

    def fit(self, known: Known, counts: None, settings: PopularConfig) -> Arrays:
        return top_items(known.statistics, known.targets, "item", settings.size)

    def propose(self, table: Arrays, batch: Batch, settings: PopularConfig) -> Scored:
        return for_everybody(table["items"], len(batch))

    def cold_start_size(self, settings: PopularConfig) -> int:
        return settings.size
