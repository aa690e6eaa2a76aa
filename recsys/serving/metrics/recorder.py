"""Counts in this process. A count costs a tenth of a microsecond; a call of Ray's metrics costs up to ten.

Without an exporter nothing else happens, so services in tests and scripts need no Ray.
"""

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, field

from recsys.serving.metrics.definitions import Metric

Labels = tuple[str, ...]
"""The values of a metric's labels, in their order."""


@dataclass(slots=True)
class Distribution:
    """The observations of a histogram so far; buckets: counts by bucket, the last one beyond all bounds."""

    buckets: list[int]
    sum: float = 0.0


@dataclass(slots=True)
class Recorder:
    """The metrics of this process since its start. Its methods are for one thread, `values` may be read by others."""

    counts: dict[Metric, dict[Labels, float]] = field(default_factory=dict)
    gauges: dict[Metric, dict[Labels, float]] = field(default_factory=dict)
    distributions: dict[Metric, dict[Labels, Distribution]] = field(default_factory=dict)
    samplers: list[Callable[["Recorder"], None]] = field(default_factory=list)
    """Called before each export: they set gauges, and count what was put off."""

    def sample(self) -> None:
        """Bring the values up to date."""
        for sampler in self.samplers:
            sampler(self)

    def count(self, metric: Metric, *labels: str, by: float = 1) -> None:
        """Add to a counter."""
        values = self.counts.setdefault(metric, {})
        values[labels] = values.get(labels, 0) + by

    def expect(self, metric: Metric, *labels: str) -> None:
        """Begin a counter at 0. Else its first count would not show as an increase."""
        self.count(metric, *labels, by=0)

    def set(self, metric: Metric, value: float, *labels: str) -> None:
        """Set a gauge."""
        self.gauges.setdefault(metric, {})[labels] = value

    def observe(self, metric: Metric, value: float, *labels: str) -> None:
        """Add an observation to a histogram."""
        values = self.distributions.setdefault(metric, {})
        known = values.get(labels)
        if known is None:
            known = values[labels] = Distribution([0] * (len(metric.bounds) + 1))
        known.buckets[bisect_left(metric.bounds, value)] += 1
        known.sum += value
