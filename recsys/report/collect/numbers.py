"""Numbers as a report keeps them: few digits, plain Python."""

from typing import Final

import numpy as np

from recsys.evaluation import metrics
from recsys.evaluation.settings import EvaluationConfig
from recsys.report import content

DIGITS: Final = 5
"""Significant ones, which no figure shows more of."""


def short(values: np.ndarray) -> tuple[float, ...]:
    return tuple(float(f"{value:.{DIGITS}g}") for value in values.tolist())


def line(points: tuple[np.ndarray, np.ndarray]) -> content.Line:
    x, y = points
    return content.Line(x=short(x), y=short(y))


def estimate(values: np.ndarray, config: EvaluationConfig) -> content.Estimate:
    """The mean over users, at least one, with its bootstrap interval; values: float64 (n_users,)"""
    low, high = metrics.bootstrap_interval(values, config.resampling)
    return content.Estimate(mean=float(values.mean()), low=low, high=high)
