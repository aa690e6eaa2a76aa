"""The manifest of a version. It lists all features, sources and settings that serving uses."""

from typing import Annotated, Any

from pydantic import Field, model_validator

from recsys.data.attributes import AttributeSpec
from recsys.data.layout.mapping import DataMapping
from recsys.models.blend import Blend
from recsys.models.related import RelatedConfig
from recsys.retrieval.preranker import PreRankerModels
from recsys.schema import LATEST, Config
from recsys.sessions.entry import SessionEntry

Count = Annotated[int, Field(ge=0)]


class Counts(Config):
    """Sizes of the data and of the models."""

    events: dict[str, Count]
    """Events by type."""
    users: Count
    items: Count
    mf_users: Count
    """Users with an event on an item that has a factor."""
    mf_items: Count
    """Items that have a factor."""


class DateRange(Config):
    """First and last event, ms since 1970 UTC."""

    start: int = Field(ge=0, le=LATEST)
    end: int = Field(ge=0, le=LATEST)


class StatisticsColumns(Config):
    """Names of the columns of the statistics, in their order."""

    items: tuple[str, ...]
    categories: tuple[str, ...]


class Manifest(Config):
    """The manifest's entries except its format and the file hashes.

    Code that has every listed feature, source and statistic can serve the version, even if it has others as well.
    """

    created: str = ""
    """UTC, ISO 8601; set when the version is written."""
    fingerprint: str
    """sha256 of the data."""
    data: str | None = None
    """The source of the data as `--data` named it; None for versions from before this entry."""
    mapping: DataMapping | None = None
    """The meaning of the columns and words of the data's files; None for versions from before this entry."""
    date_range: DateRange
    counts: Counts
    targets: tuple[str, ...]
    """The event types that count as success."""
    features: tuple[str, ...]
    """The ranker's features, in the order of its columns."""
    sources: tuple[str, ...]
    """The candidate sources, in the order of their columns."""
    statistics: StatisticsColumns
    attributes: tuple[AttributeSpec, ...] | None = None
    """The attributes of items that the features use, with labels and vectors in the order of their columns; None for
    versions without attributes."""
    backend: str
    """The library of the rankers."""
    blend: Blend
    discovery_blend: Blend | None = None
    """The blend for items new to the user; None if the ranker of all items ranks them."""
    prerankers: PreRankerModels
    sessions: SessionEntry | None = None
    """The session model; None for versions without one, which recommend to a session as to a history."""
    no_sessions: str | None = None
    """Why there is no session model; None with one, and for versions from before this entry."""
    exclude_purchased: bool
    """Whether items that a user bought are left out of the user's candidates."""
    live_watermark: int = Field(ge=0, le=LATEST)
    """Time up to which the snapshot has events, ms since 1970 UTC."""
    inference: dict[str, Any]
    """Settings of the stages, as `InferenceConfig` writes them."""
    test_days: int | None = Field(None, ge=1)
    """Days before the newest event that were the test window; None for versions from before this entry."""
    not_learned: str | None = None
    """Why nothing was learned from the data, so that the sources' weights alone rank; None for a learned version."""
    related: RelatedConfig | None = None
    """Settings of similar items and baskets; None for versions from before this entry, which have no tables of them."""
    headline: dict[str, float | None]
    """A few metrics of the evaluated model on the test window; all of them are in metrics.json."""

    @model_validator(mode="after")
    def _consistent(self) -> "Manifest":
        for name in ("features", "sources"):
            names = getattr(self, name)
            if len(set(names)) < len(names):
                raise ValueError(f"{name}: a name is listed twice in {', '.join(names)}")
        for objective in ("all", "discovery"):
            model = getattr(self.prerankers, objective)
            if model is not None and tuple(model.ranks) != self.sources:
                raise ValueError(f"prerankers.{objective}.ranks: expected the sources {', '.join(self.sources)}")
        return self

    @property
    def blends(self) -> tuple[Blend, Blend]:
        """The blend of all items, and of items that are new to the user."""
        return self.blend, self.discovery_blend or self.blend

    def with_alpha(self, alpha: float) -> "Manifest":
        """The same manifest with another alpha in every blend."""
        blends = {"blend": self.blend, "discovery_blend": self.discovery_blend}
        return self.model_copy(
            update={name: blend.model_copy(update={"alpha": alpha}) for name, blend in blends.items() if blend}
        )
