"""One score from two models: calibrations onto [0, 1] and the blend that every path uses."""

from collections.abc import Callable

import numpy as np
from pydantic import Field, field_validator
from scipy.special import expit, logit

from recsys.schema import Config

LIMIT = 16.0
"""Bound of the intercept, and of the slope times the highest score, of a fit. sigmoid(16) is 1e-7 from 1,
where float64 still tells scores apart that differ by a billionth; sigmoid(37) is 1."""

MIN_SLOPE = 1e-3
"""Smallest slope per standard deviation of the raw scores."""

FLAT = 1e-9
"""Scores whose relative standard deviation is below this count as all equal."""

QUANTILES = tuple(np.linspace(0.01, 0.99, 99).tolist())


class HybridConfig(Config):
    """Settings of the blend."""

    alpha: float | None = Field(None, ge=0, le=1)
    """Weight of the factorization's score; None chooses it on validation data."""

    grid: tuple[float, ...] = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0)
    """Weights to choose from, each between 0 and 1."""

    tolerance: float = Field(0.005, ge=0, lt=1)
    """The smallest weight is taken whose validation metric is within this share of the best: between weights that are
    about as good one window decides by chance, and what the ranker learned is not given away for that."""

    max_drift: float = Field(0.1, gt=0, le=1)
    """Largest accepted difference of a quantile of calibrated scores between evaluated and refitted model."""

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
        """float64, of the shape of `scores`; NaN stays NaN."""
        return np.asarray(expit(self.slope * np.asarray(scores, np.float64) + self.intercept))


class Blend(Config):
    """score = (1 - alpha) * lgb_score + alpha * mf_score, and lgb_score alone where there is no mf_score."""

    alpha: float = Field(ge=0, le=1)
    lgb: Calibration
    mf: Calibration

    def __call__(self, lgb_raw: np.ndarray, mf_raw: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """score, lgb_score and mf_score, float64 (n,) each; mf is NaN where there is none."""
        lgb_scores, mf_scores = self.lgb(lgb_raw), self.mf(mf_raw)
        return mix(lgb_scores, mf_scores, self.alpha), lgb_scores, mf_scores


def mix(lgb_scores: np.ndarray, mf_scores: np.ndarray, alpha: float) -> np.ndarray:
    """The blend of calibrated scores, float64 (n,); mf_scores may be NaN."""
    return np.where(np.isnan(mf_scores), lgb_scores, (1 - alpha) * lgb_scores + alpha * mf_scores)


def choose_alpha(
    lgb_scores: np.ndarray,
    mf_scores: np.ndarray,
    metric: Callable[[np.ndarray], float],
    config: HybridConfig,
) -> tuple[float, dict[float, float]]:
    """The alpha that is configured, or the smallest whose blend of calibrated scores is about as good as the best.

    Also the metric of each alpha that was looked at.
    """
    grid = config.grid if config.alpha is None else (config.alpha,)
    curve = {alpha: metric(mix(lgb_scores, mf_scores, alpha)) for alpha in sorted(grid)}
    enough = (1 - config.tolerance) * max(curve.values())
    return next(alpha for alpha, metric in curve.items() if metric >= enough), curve


def fit_calibration(scores: np.ndarray, labels: np.ndarray) -> Calibration:
    """Platt's sigmoid for scores (n,) whose rows are hits where `labels` (n,) is above 0; NaN is left out.

    Logistic regression with Platt's smoothed targets, on standardized scores. The map must keep the order, so
    the slope is at least MIN_SLOPE per standard deviation, even where hits score lower than the rest, and
    slope and intercept stay so small that the scores seen do not saturate (LIMIT). Scores that are all equal,
    or none at all, give a slope of 1 and the share of hits.
    """
    from scipy.optimize import minimize  # noqa: PLC0415 - half a second, which only who trains should wait

    seen = ~np.isnan(scores)
    x, hits = np.asarray(scores[seen], np.float64), np.asarray(labels[seen] > 0, np.float64)
    # One order for the same pairs, so that the sums below do not depend on the order of rows.
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
    """Largest difference between the quantiles (1% to 99%) of two models' calibrated scores on like rows.

    before, after: raw scores (n,) and (m,); NaN is left out. 0 where one of them has no scores.
    """
    before, after = before[~np.isnan(before)], after[~np.isnan(after)]
    if not len(before) or not len(after):
        return 0.0
    levels = np.array(QUANTILES)
    return float(np.abs(np.quantile(calibration(before), levels) - np.quantile(calibration(after), levels)).max())
