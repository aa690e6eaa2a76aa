"""Logistic regression over normalized features: the reference's first two phases."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

import numpy as np
from pydantic import Field, PositiveFloat

from recsys.arrays import offsets_of, ragged_indices
from recsys.errors import ModelError
from recsys.models.rankers.base import RankingData
from recsys.schema import Config

Normalization = Literal["standardize", "logarithm", "quantile"]
"""standardize: mean 0, standard deviation 1; logarithm: sign(x) * ln(1 + |x|) first, since counts have long tails;
quantile: ranks mapped onto a normal distribution. All learn from the training rows alone."""
NORMALIZATIONS: Final[tuple[Normalization, ...]] = get_args(Normalization)
MISSING: Final = "a missing value becomes the mean and sets an indicator column"
"""How NaN is dealt with, for reports."""
QUANTILE_ROWS: Final = 10_000
"""Rows from which quantiles are estimated."""


class LogisticConfig(Config):
    """What the validation window chooses from, and what the regression learns from."""

    normalizations: tuple[Normalization, ...] = Field(NORMALIZATIONS, min_length=1)
    """Ways to normalize the features."""

    strengths: tuple[PositiveFloat, ...] = Field((1e-6, 1e-4, 1e-2, 1.0), min_length=1)
    """Values of C, the inverse of the L2 penalty."""

    max_rows: int = Field(300_000, ge=1)
    """Rows to learn from, about; of more, every n-th query group."""


@dataclass(frozen=True, slots=True)
class LogisticModel:
    """A fitted regression.

    columns: int64 (n,), the features it reads
    steps, regression: scikit-learn's normalization and imputation, and what follows them
    """

    columns: np.ndarray
    steps: Any
    regression: Any

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Log-odds, float64 (n_rows,); features: float32 (n_rows, n_features)."""
        return self.score(self.normalized(features)) if len(features) else np.zeros(0)

    def normalized(self, features: np.ndarray) -> np.ndarray:
        """What the regression reads, float64 (n_rows, n_columns); the same for all models of a path."""
        return np.asarray(self.steps.transform(features[:, self.columns].astype(np.float64)))

    def score(self, matrix: np.ndarray) -> np.ndarray:
        """Log-odds of normalized rows, float64 (n_rows,)."""
        return np.asarray(self.regression.decision_function(matrix), np.float64)


def fit_path(
    parts: Sequence[RankingData],
    columns: np.ndarray,
    normalization: Normalization,
    strengths: Sequence[float],
    max_rows: int,
) -> list[LogisticModel]:
    """A regression for each strength over features normalized once; columns: int64, the features to read.

    A missing value becomes the mean of the normalized feature, and a column says where it was missing. Raises
    ModelError where there are not both hits and misses, or no feature varies.
    """
    # Here, since the settings above are read by processes that have no use for scikit-learn.
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415
    from sklearn.pipeline import make_pipeline  # noqa: PLC0415

    features, hit = _rows(parts, columns, max_rows)
    if not 0 < hit.sum() < len(hit):
        raise ModelError(f"logistic regression: {hit.sum()} hits in {len(hit)} rows; expected some, not all")
    varies = np.fmin.reduce(features, axis=0) < np.fmax.reduce(features, axis=0)
    if not varies.any():
        raise ModelError(f"logistic regression: none of {len(columns)} features varies over {len(hit)} rows")
    steps = make_pipeline(*_normalizing(normalization, len(hit)))
    matrix = steps.fit_transform(features[:, varies])
    # Newton's method: rows are many more than columns.
    fitted = [LogisticRegression(C=c, solver="newton-cholesky").fit(matrix, hit) for c in strengths]
    return [LogisticModel(columns[varies], steps, model) for model in fitted]


def _rows(parts: Sequence[RankingData], columns: np.ndarray, max_rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Features and whether each row is a hit, of every n-th query group; float64 (n, n_columns), bool (n,)."""
    step = -(-sum(len(part.labels) for part in parts) // max_rows)
    features, hits = [np.zeros((0, len(columns)))], [np.zeros(0, bool)]
    for part in parts:
        rows = ragged_indices(offsets_of(part.groups)[:-1][::step], part.groups[::step])
        features.append(part.features[np.ix_(rows, columns)].astype(np.float64))
        hits.append(part.labels[rows] > 0)
    return np.concatenate(features), np.concatenate(hits)


def _normalizing(normalization: Normalization, n_rows: int) -> list[Any]:
    """Steps of a pipeline; all leave NaN to the last, which fills in 0, by then the mean or the median."""
    from sklearn.impute import SimpleImputer  # noqa: PLC0415
    from sklearn.preprocessing import FunctionTransformer, QuantileTransformer, StandardScaler  # noqa: PLC0415

    filled = SimpleImputer(strategy="constant", fill_value=0.0, add_indicator=True)
    if normalization == "quantile":
        n_quantiles = min(1000, n_rows)
        rows = max(QUANTILE_ROWS, n_quantiles)
        return [QuantileTransformer(n_quantiles=n_quantiles, output_distribution="normal", subsample=rows,
                                    random_state=0), filled]  # fmt: skip
    scaled = [StandardScaler(), filled]
    return [FunctionTransformer(signed_log), *scaled] if normalization == "logarithm" else scaled


def signed_log(values: np.ndarray) -> np.ndarray:
    """sign(x) * ln(1 + |x|); NaN stays NaN."""
    return np.asarray(np.sign(values) * np.log1p(np.abs(values)))
