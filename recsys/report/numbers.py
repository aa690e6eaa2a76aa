"""Numbers as a report keeps them: plain Python, rounded where a curve is drawn from them."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from recsys.evaluation import metrics
from recsys.evaluation.settings import EvaluationConfig
from recsys.evaluation.table import Row
from recsys.schema import Config

DIGITS: Final = 5
"""Significant digits that a curve keeps. No figure shows more."""

Floats = tuple[float, ...]


class Line(Config):
    """Points of a curve, in their order."""

    x: Floats
    y: Floats


class Estimate(Config):
    """A mean over users, or a fraction, with its interval."""

    mean: float
    low: float
    high: float

    @property
    def bounds(self) -> tuple[float, float, float]:
        """Mean, low and high, as the drawing functions take them."""
        return self.mean, self.low, self.high


class SystemRow(Config):
    """Metrics of a system over a group of users, see `evaluation.table.Row`."""

    system: str
    group: str
    users: int
    metrics: dict[str, float | None]

    def bounds(self, metric: str) -> tuple[float, float, float]:
        """Mean, low and high of a metric with an interval, 0 where it is undefined."""
        mean, low, high = (self.metrics[name] or 0.0 for name in (metric, f"{metric}_low", f"{metric}_high"))
        return mean, low, high


class Lead(Config):
    """NDCG@k of the published system minus that of another system, paired by user."""

    system: str
    difference: Estimate


def system_rows(rows: Sequence[Row]) -> tuple[SystemRow, ...]:
    """The rows of the evaluation as a report keeps them."""
    return tuple(
        SystemRow(system=row.system, group=row.group, users=row.users, metrics=dict(row.metrics)) for row in rows
    )


def short(values: np.ndarray) -> Floats:
    """The values with DIGITS significant digits."""
    return tuple(float(f"{value:.{DIGITS}g}") for value in values.tolist())


def line(points: tuple[np.ndarray, np.ndarray]) -> Line:
    """A curve from its x and y, float (n,) each."""
    x, y = points
    return Line(x=short(x), y=short(y))


def estimate(values: np.ndarray, config: EvaluationConfig) -> Estimate:
    """The mean over one or more users and its bootstrap interval; values: float64 (n_users,)."""
    low, high = metrics.bootstrap_interval(values, config.resampling)
    return Estimate(mean=float(values.mean()), low=low, high=high)
