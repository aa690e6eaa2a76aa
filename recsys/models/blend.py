"""The blend of two models' scores, and the calibrations that map both scores onto [0, 1]."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from pydantic import Field, field_validator
from scipy.special import expit, logit

from recsys.schema import Config

LIMIT = 16.0
"""Bound of a fit's intercept, and of the product of its slope and the highest standardized score. sigmoid(16) is 1e-7
below 1, and float64 still separates scores there that differ by a billionth. sigmoid(37) would be exactly 1."""

MIN_SLOPE = 1e-3
"""Smallest slope per standard deviation of the raw scores."""

FLAT = 1e-9
"""Scores with a relative standard deviation up to this count as all equal."""

QUANTILES = tuple(np.linspace(0.01, 0.99, 99).tolist())


class HybridConfig(Config):
    """Settings of the blend."""

    alpha: float | None = Field(None, ge=0, le=1)
    """Weight of the factorization's score. None: chosen on validation data."""

    grid: tuple[float, ...] = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0)
    """Weights to choose from, each between 0 and 1."""

    tolerance: float = Field(0.002, ge=0, lt=1)
    """Fraction of the best validation metric that may be lost. On one window, chance decides between weights that lose
    no more. Of these weights, the one with the best metric on items new to the user is taken."""

    max_drift: float = Field(0.1, gt=0, le=1)
    """Largest usual difference between the calibrated scores of the evaluated and the refitted ranker, in any quantile.
    A run with a larger difference prints a warning: the calibration fits the published ranker less well."""

    @field_validator("grid")
    @classmethod
    def _within(cls, grid: tuple[float, ...]) -> tuple[float, ...]:
        if not grid or not all(0 <= alpha <= 1 for alpha in grid):
            raise ValueError("expected one or more numbers between 0 and 1")
        return grid


class Calibration(Config):
    """A strictly increasing map of raw scores onto [0, 1]: sigmoid(slope * score + intercept), Platt 1999."""

    slope: float = Field(1.0, gt=0, allow_inf_nan=False)
    intercept: float = Field(0.0, allow_inf_nan=False)

    def __call__(self, scores: np.ndarray) -> np.ndarray:
        """The calibrated scores, float64 of the shape of `scores`; NaN stays NaN."""
        return np.asarray(expit(self.slope * np.asarray(scores, np.float64) + self.intercept))


class Blend(Config):
    """The blend: score = (1 - alpha) * lgb_score + alpha * mf_score. Without an mf_score, score = lgb_score."""

    alpha: float = Field(ge=0, le=1)
    lgb: Calibration
    mf: Calibration

    def __call__(self, lgb_raw: np.ndarray, mf_raw: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """score, lgb_score and mf_score, float64 (n,) each.

        lgb_raw, mf_raw: raw scores, float (n,); mf_raw and mf_score are NaN where the factorization gives no score
        """
        lgb_scores, mf_scores = self.lgb(lgb_raw), self.mf(mf_raw)
        return mix(lgb_scores, mf_scores, self.alpha), lgb_scores, mf_scores


def mix(lgb_scores: np.ndarray, mf_scores: np.ndarray, alpha: float) -> np.ndarray:
    """The blend of calibrated scores, float64 (n,): lgb_scores where mf_scores are NaN."""
    return np.where(np.isnan(mf_scores), lgb_scores, (1 - alpha) * lgb_scores + alpha * mf_scores)


@dataclass(frozen=True, slots=True)
class AlphaCurves:
    """Metrics of the blend by alpha.

    all_items: over all candidates, not empty
    discovery: over the candidates that are new to the user; empty if this metric was not measured
    """

    all_items: Mapping[float, float]
    discovery: Mapping[float, float] = field(default_factory=dict)

    def best(self, tolerance: float) -> float:
        """The alpha that is best for discovery, of those within `tolerance` of the best metric over all candidates.

        Ties go to the smaller alpha. Without the metric of discovery, every such alpha ties.
        tolerance: fraction of the best metric that may be lost
        """
        threshold = (1 - tolerance) * max(self.all_items.values())
        level = sorted(alpha for alpha, value in self.all_items.items() if value >= threshold)
        return max(level, key=lambda alpha: self.discovery.get(alpha, 0.0))  # the first one of those that tie


Metric = Callable[[np.ndarray], float]
"""A metric of blended scores, float64 (n,); higher is better."""


def choose_alpha(
    lgb_scores: np.ndarray,
    mf_scores: np.ndarray,
    metric: Metric,
    config: HybridConfig,
    discovery_metric: Metric | None = None,
) -> tuple[float, AlphaCurves]:
    """The alpha of the blend, and the metrics of each alpha that was measured.

    This is the configured alpha, or the best one of the grid, see `AlphaCurves.best`.
    lgb_scores, mf_scores: calibrated scores, float64 (n,); mf_scores may be NaN
    discovery_metric: the metric over the candidates that are new to the user; None if it is not to be measured
    """
    grid = config.grid if config.alpha is None else (config.alpha,)
    curve: dict[float, float] = {}
    discovery: dict[float, float] = {}
    for alpha in sorted(grid):
        scores = mix(lgb_scores, mf_scores, alpha)
        curve[alpha] = metric(scores)
        if discovery_metric is not None:
            discovery[alpha] = discovery_metric(scores)
    curves = AlphaCurves(curve, discovery)
    return curves.best(config.tolerance), curves


def fit_calibration(scores: np.ndarray, labels: np.ndarray) -> Calibration:
    """Platt's sigmoid, fitted to raw scores.

    scores: float (n,); rows with NaN are left out
    labels: (n,), hits are above 0

    This is a logistic regression with smoothed targets (Platt 1999) on standardized scores. The map must keep the
    order, so the slope is at least MIN_SLOPE per standard deviation, even if hits score lower than misses. LIMIT
    bounds slope and intercept, so that no score of the fit saturates. If all scores are equal, or there is none, the
    slope is 1 and the intercept gives the (smoothed) fraction of hits.
    """
    from scipy.optimize import minimize  # noqa: PLC0415 - the import takes half a second, and only training needs it

    scored = ~np.isnan(scores)
    x, hits = np.asarray(scores[scored], np.float64), np.asarray(labels[scored] > 0, np.float64)
    # Sorted, so that the sums below do not depend on the order of the rows.
    order = np.lexsort((hits, x))
    x, hits = x[order], hits[order]
    n_hits = float(hits.sum())
    center, scale = (float(x.mean()), float(x.std())) if len(x) else (0.0, 0.0)
    if scale <= FLAT * max(1.0, abs(center)):
        return Calibration(slope=1.0, intercept=float(logit((n_hits + 1) / (len(x) + 2))) - center)
    z = (x - center) / scale
    targets = np.where(hits > 0, (n_hits + 1) / (n_hits + 2), 1 / (len(hits) - n_hits + 2))

    def loss(theta: np.ndarray) -> tuple[float, np.ndarray]:
        """Mean cross entropy and its gradient."""
        linear = theta[0] * z + theta[1]
        error = expit(linear) - targets
        return float(np.mean(np.logaddexp(0, linear) - targets * linear)), np.array([error @ z, error.sum()]) / len(z)

    fitted = minimize(
        loss,
        [MIN_SLOPE, 0.0],
        jac=True,
        method="L-BFGS-B",
        bounds=[(MIN_SLOPE, LIMIT / z[-1]), (-LIMIT, LIMIT)],
    )
    slope, intercept = fitted.x.tolist()
    return Calibration(slope=slope / scale, intercept=intercept - slope * center / scale)


def score_drift(calibration: Calibration, before: np.ndarray, after: np.ndarray) -> float:
    """The largest difference between quantiles (1% to 99%) of two models' calibrated scores; 0 without scores.

    before, after: raw scores of the two models on rows of the same kind, float (n,) and (m,); NaN is left out
    """
    before, after = before[~np.isnan(before)], after[~np.isnan(after)]
    if not len(before) or not len(after):
        return 0.0
    levels = np.array(QUANTILES)
    return float(np.abs(np.quantile(calibration(before), levels) - np.quantile(calibration(after), levels)).max())
