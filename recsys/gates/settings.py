"""Settings of retraining."""

from pydantic import Field

from recsys.schema import Config


class GatesConfig(Config):
    """Bounds of the gates on the data. A run whose data are beyond one of them stops before it trains."""

    min_events_fraction: float = Field(0.6, ge=0, le=1)
    """Smallest fraction of the usual events: of each type, in each of the newest weeks and in the whole log. Where half
    of the events are missing, chance makes it a little more or less than a half."""
    min_catalog_fraction: float = Field(0.5, ge=0, le=1)
    """Smallest fraction of production's figures about the catalog: links of the category tree, and the part of the
    items with events that has a category."""
    max_drift: float = Field(0.5, gt=0)
    """Largest drift of a feature of items or users since production was trained: the population stability index, in
    excess of what chance explains. 0.1 is small, 0.25 is large."""


class RetrainConfig(Config):
    """Settings of `recsys retrain`."""

    margin: float = Field(0.02, ge=0, lt=1)
    """Largest fraction of production's metric that a challenger may lose: the low end of the paired interval of the
    difference must not lie below -margin * production's metric."""
    min_days: int = Field(3, ge=1)
    """Shortest window after production's newest event, in days. Where it is shorter, production's settings are refitted
    as of an earlier cut."""
    max_days: int = Field(28, ge=1)
    """Longest window after production's newest event, in days. Where there are more, the newest of them are taken."""
    min_users: int = Field(100, ge=1)
    """Fewest users of a comparison. Where a window after production's newest event has fewer, production's settings are
    refitted as of an earlier cut. Where that window has fewer too, the challenger is kept."""
    lock_minutes: float = Field(10.0, gt=0, le=1440)
    """Minutes after which the lock of a run that has died may be taken over. A run that lives renews it in time."""
    gates: GatesConfig = GatesConfig()
