"""Logistic regression over normalized features, the model of the study's first two phases."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

import numpy as np
from pydantic import Field, PositiveFloat

from recsys.arrays import offsets_of, ragged_indices
from recsys.errors import ModelError
from recsys.models.rankers.rows import RankingData
from recsys.schema import Config

Normalization = Literal["standardize", "logarithm", "quantile"]
"""standardize: mean 0 and standard deviation 1. logarithm: first sign(x) * ln(1 + |x|), since counts have long tails,
then standardize. quantile: ranks mapped onto a normal distribution. Each is fitted on the training rows alone."""
NORMALIZATIONS: Final[tuple[Normalization, ...]] = get_args(Normalization)
MISSING: Final = "a missing value becomes the mean and sets an indicator column"
"""The treatment of NaN, as reports print it."""
QUANTILE_ROWS: Final = 10_000
"""Rows from which the quantiles are estimated."""


class LogisticConfig(Config):
    """Settings of the logistic regression. Normalization and strength are chosen on the validation window."""

    normalizations: tuple[Normalization, ...] = Field(NORMALIZATIONS, min_length=1)
    """Normalizations of the features to choose from."""

    strengths: tuple[PositiveFloat, ...] = Field((1e-6, 1e-4, 1e-2, 1.0), min_length=1)
    """Values of C, the inverse of the L2 penalty, to choose from."""

    max_rows: int = Field(300_000, ge=1)
    """Approximate limit of the training rows; if there are more, only every n-th query group is used."""


@dataclass(frozen=True, slots=True)
class LogisticModel:
    """A fitted regression.

    columns: int64 (n_columns,), positions of the features that the regression uses
    steps: scikit-learn's pipeline of normalization and imputation
    regression: scikit-learn's regression over the output of the pipeline
    """

    columns: np.ndarray
    steps: Any
    regression: Any

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Log-odds, float64 (n_rows,); features: float32 (n_rows, n_features)."""
        return self.score(self.normalized(features)) if len(features) else np.zeros(0)

    def normalized(self, features: np.ndarray) -> np.ndarray:
        """The input of the regression, float64 (n_rows, n_inputs). All models of one `fit_path` have the same input.

        features: float32 (n_rows, n_features). n_inputs counts the indicators of missing values too.
        """
        return np.asarray(self.steps.transform(features[:, self.columns].astype(np.float64)))

    def score(self, matrix: np.ndarray) -> np.ndarray:
        """Log-odds, float64 (n_rows,); matrix: rows as `normalized` returns them."""
        return np.asarray(self.regression.decision_function(matrix), np.float64)


def fit_path(
    parts: Sequence[RankingData],
    columns: np.ndarray,
    normalization: Normalization,
    strengths: Sequence[float],
    max_rows: int,
) -> list[LogisticModel]:
    """One regression for each strength; all use the same normalized features.

    parts: training rows; columns: int64 (n,), positions of the features to use; strengths: values of C
    max_rows: see LogisticConfig

    A missing value becomes 0, which is the mean (or the median) of the normalized feature, and an indicator column
    marks it. Features without two different values are left out. Raises ModelError unless there are hits and misses,
    and at least one feature that varies.
    """
    # Imported here: processes that only read the settings above do not need scikit-learn.
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415
    from sklearn.pipeline import make_pipeline  # noqa: PLC0415

    features, hit = _rows(parts, columns, max_rows)
    if not 0 < hit.sum() < len(hit):
        raise ModelError(f"logistic regression: {hit.sum()} hits in {len(hit)} rows; expected hits and misses")
    varies = np.fmin.reduce(features, axis=0) < np.fmax.reduce(features, axis=0)
    if not varies.any():
        raise ModelError(
            f"logistic regression: each of {len(columns)} features has one value in all {len(hit)} rows; "
            "expected a feature that varies"
        )
    steps = make_pipeline(*_normalizing(normalization, len(hit)))
    matrix = steps.fit_transform(features[:, varies])
    # Newton's method is the fast one here: there are many more rows than columns.
    fitted = [LogisticRegression(C=c, solver="newton-cholesky").fit(matrix, hit) for c in strengths]
    return [LogisticModel(columns[varies], steps, model) for model in fitted]


def _rows(parts: Sequence[RankingData], columns: np.ndarray, max_rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Features, float64 (n, n_columns), and whether each row is a hit, bool (n,), of every n-th query group."""
    step = -(-sum(len(part.labels) for part in parts) // max_rows)
    features, hits = [np.zeros((0, len(columns)))], [np.zeros(0, bool)]
    for part in parts:
        rows = ragged_indices(offsets_of(part.groups)[:-1][::step], part.groups[::step])
        features.append(part.features[np.ix_(rows, columns)].astype(np.float64))
        hits.append(part.labels[rows] > 0)
    return np.concatenate(features), np.concatenate(hits)


def _normalizing(normalization: Normalization, n_rows: int) -> list[Any]:
    """Steps of a pipeline. The last one replaces NaN by 0, which is the mean or the median after normalization."""
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
