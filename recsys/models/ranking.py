"""Learning to rank: what a ranker is, and the LightGBM one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import lightgbm
import numpy as np
from pydantic import Field, NonNegativeFloat

from recsys.errors import ModelError
from recsys.schema import Config

Backend = Literal["lightgbm"]
Progress = Callable[[int, float], None]
"""Called after each tree with their number so far and the validation NDCG@10 (NaN without such data)."""

NDCG_AT = 10
METRIC = f"ndcg@{NDCG_AT}"


class RankerConfig(Config):
    """Settings of the ranker: few, small, regularized trees, since a request's time grows with trees and leaves."""

    backend: Backend = "lightgbm"
    """The library that grows the trees."""

    objective: Literal["lambdarank", "binary"] = "lambdarank"
    """Order within a query group (Burges 2010), or the probability that a candidate is a hit."""

    learning_rate: float = Field(0.1, gt=0, le=1)
    """Shrinkage of each tree."""

    max_trees: int = Field(100, ge=1)
    """Trees at most; early stopping usually ends sooner."""

    early_stopping_rounds: int = Field(20, ge=1)
    """Trees without a better validation NDCG@10 after which training stops, whatever the objective."""

    min_improvement: float = Field(0.001, ge=0, le=1)
    """Validation NDCG@10 that further trees must gain to be kept; a request pays for each tree."""

    num_leaves: int = Field(31, ge=2)
    """Leaves of a tree."""

    min_child_samples: int = Field(100, ge=1)
    """Rows a leaf holds at least."""

    feature_fraction: float = Field(0.3, gt=0, le=1)
    """Share of features each tree may use."""

    bagging_fraction: float = Field(0.7, gt=0, le=1)
    """Share of rows each tree sees; 1 switches bagging off."""

    bagging_freq: int = Field(1, ge=1)
    """Trees between two draws of those rows."""

    lambda_l1: float = Field(0.0, ge=0)
    """L1 penalty on leaf values."""

    lambda_l2: float = Field(10.0, ge=0)
    """L2 penalty on leaf values."""

    max_bin: int = Field(127, ge=2, le=65_535)
    """Histogram bins of a feature."""

    cat_smooth: float = Field(50.0, ge=0)
    """Smoothing of a category's statistics in splits; higher for many rare categories."""

    truncation_level: int = Field(30, ge=1)
    """lambdarank only looks at pairs with one item above this rank; a few more than the list's length."""

    label_gain: tuple[NonNegativeFloat, ...] = (0.0, 1.0, 3.0, 7.0, 15.0)
    """lambdarank's gain of each relevance grade, from 0."""

    seed: int = Field(0, ge=0)
    """Of bagging and feature sampling."""

    threads: int = Field(2, ge=1)
    """Threads of training; the trees do not depend on it."""


@dataclass(frozen=True, slots=True)
class RankingData:
    """Rows to learn from, query group after query group.

    features: float32 (n_rows, n_features)
    labels: int (n_rows,), relevance grades from 0; the binary objective takes any above 0 as a hit
    groups: int (n_groups,), rows of each query group, in order
    weights: float32 (n_rows,) or None
    """

    features: np.ndarray
    labels: np.ndarray
    groups: np.ndarray
    weights: np.ndarray | None = None


class Ranker(Protocol):
    """A trained ranker. Its text is its whole state: `from_text(ranker.to_text())` predicts the same bits."""

    @property
    def feature_names(self) -> list[str]: ...

    @property
    def n_trees(self) -> int: ...

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Raw scores float64 (n_rows,), higher is better; features: float32 (n_rows, n_features)."""
        ...

    def importance(self) -> dict[str, float]:
        """Total gain of each feature's splits, best first."""
        ...

    def to_text(self) -> str:
        """The model in its library's own text format."""
        ...


class LightGBMRanker:
    """A ranker over a LightGBM booster."""

    def __init__(self, booster: lightgbm.Booster, threads: int = 1) -> None:
        """threads: of prediction; one is best for the few hundred rows of a request."""
        self._booster = booster
        self._threads = threads
        self.feature_names: list[str] = booster.feature_name()
        self.n_trees: int = booster.num_trees()

    @classmethod
    def from_text(cls, text: str, threads: int = 1) -> "LightGBMRanker":
        """Raises ModelError where the text is not a LightGBM model."""
        try:
            return cls(lightgbm.Booster(model_str=text), threads)
        except lightgbm.basic.LightGBMError as error:
            raise ModelError(f"ranker: not a LightGBM model text ({error}); starts with {text[:40]!r}") from error

    def predict(self, features: np.ndarray) -> np.ndarray:
        if not len(features):
            return np.zeros(0)
        scores = self._booster.predict(features, raw_score=True, num_threads=self._threads)
        return np.asarray(scores, np.float64)

    def importance(self) -> dict[str, float]:
        gains = self._booster.feature_importance("gain").tolist()
        return dict(sorted(zip(self.feature_names, gains, strict=True), key=lambda pair: (-pair[1], pair[0])))

    def to_text(self) -> str:
        return str(self._booster.model_to_string(num_iteration=-1))


def ranker_from_text(text: str, backend: Backend = "lightgbm", threads: int = 1) -> Ranker:
    """The ranker that `to_text` wrote; raises ModelError where it cannot be read."""
    return LightGBMRanker.from_text(text, threads)


def train(
    data: RankingData,
    valid: RankingData | None,
    feature_names: Sequence[str],
    categorical: Sequence[str],
    config: RankerConfig,
    *,
    n_trees: int | None = None,
    progress: Progress | None = None,
) -> Ranker:
    """A ranker with as many trees as were best on `valid`, by NDCG@10 of its groups for either objective.

    categorical: names of features that hold category codes; negative codes and NaN count as missing.
    n_trees: exactly so many trees, without early stopping (for a refit).
    Without `valid` and `n_trees` it has `max_trees`. Raises ModelError for data that cannot be learned from,
    and for settings that LightGBM refuses.
    """
    _check(data, "training", feature_names, categorical, config)
    if valid is not None:
        _check(valid, "validation", feature_names, categorical, config)
    callbacks: list[Callable[..., Any]] = []
    if valid is not None and n_trees is None:
        callbacks.append(_early_stopping(config))
    if progress is not None:
        callbacks.append(_reporter(progress))
    try:
        train_set = _dataset(data, feature_names, categorical, config)
        booster = lightgbm.train(
            _parameters(config),
            train_set,
            num_boost_round=n_trees or config.max_trees,
            valid_sets=[] if valid is None else [_dataset(valid, feature_names, categorical, config, train_set)],
            callbacks=callbacks,
        )
    except lightgbm.basic.LightGBMError as error:
        raise ModelError(f"ranker: LightGBM cannot be trained with these settings: {error}") from error
    best = booster.best_iteration if booster.best_iteration > 0 else -1
    # Through the text: the ranker in use is then to the bit the one that is stored, and lets go of the data.
    return LightGBMRanker.from_text(booster.model_to_string(num_iteration=best), config.threads)


def _early_stopping(config: RankerConfig) -> Callable[..., Any]:
    return lightgbm.early_stopping(config.early_stopping_rounds, min_delta=config.min_improvement, verbose=False)


def _parameters(config: RankerConfig) -> dict[str, Any]:
    settings = config.model_dump(
        exclude={"backend", "max_trees", "early_stopping_rounds", "min_improvement", "truncation_level", "threads"}
    )
    settings |= {
        "metric": "ndcg",
        "eval_at": [NDCG_AT],
        "lambdarank_truncation_level": config.truncation_level,
        "label_gain": list(config.label_gain),
        "num_threads": config.threads,
        "deterministic": True,
        "force_row_wise": True,
        "verbosity": -1,
    }
    return settings


def _dataset(
    data: RankingData,
    feature_names: Sequence[str],
    categorical: Sequence[str],
    config: RankerConfig,
    reference: lightgbm.Dataset | None = None,
) -> lightgbm.Dataset:
    labels = data.labels > 0 if config.objective == "binary" else data.labels
    return lightgbm.Dataset(
        _without_negatives(data.features, [list(feature_names).index(name) for name in categorical]),
        label=labels.astype(np.float32),
        group=data.groups,
        weight=data.weights,
        feature_name=list(feature_names),
        categorical_feature=list(categorical),
        reference=reference,
        # One thread: OpenMP's workers have a log level of their own and would warn of sparse category codes on stdout.
        params=_parameters(config) | {"num_threads": 1},
        free_raw_data=True,
    ).construct()


def _without_negatives(features: np.ndarray, columns: list[int]) -> np.ndarray:
    """Negative codes as NaN, which LightGBM would make of them as well, but with a warning."""
    negative = features[:, columns] < 0
    if not negative.any():
        return features
    changed = features.copy()
    changed[:, columns] = np.where(negative, np.nan, features[:, columns])
    return changed


def _check(
    data: RankingData,
    role: str,
    feature_names: Sequence[str],
    categorical: Sequence[str],
    config: RankerConfig,
) -> None:
    """Raises ModelError where the rows do not fit together or hold nothing to learn."""
    n_rows = len(data.labels)
    if data.features.shape != (n_rows, len(feature_names)):
        raise ModelError(
            f"ranker {role} data: features of shape {data.features.shape}; expected ({n_rows}, {len(feature_names)})"
        )
    if int(np.sum(data.groups)) != n_rows or (len(data.groups) and np.min(data.groups) < 1):
        raise ModelError(
            f"ranker {role} data: {len(data.groups)} query groups of {np.sum(data.groups)} rows in all; "
            f"expected groups of one row or more that add up to {n_rows}"
        )
    positives = int(np.count_nonzero(data.labels > 0))
    if not 0 < positives < n_rows:
        raise ModelError(f"ranker {role} data: {positives} positive labels in {n_rows} rows; expected some, not all")
    if not 0 <= np.min(data.labels) <= np.max(data.labels) < len(config.label_gain):
        raise ModelError(
            f"ranker {role} data: labels from {np.min(data.labels)} to {np.max(data.labels)}; expected "
            f"grades from 0 to {len(config.label_gain) - 1}, one for each of ranker.label_gain"
        )
    if unknown := set(categorical) - set(feature_names):
        raise ModelError(f"ranker: categorical features {sorted(unknown)} are not among {list(feature_names)}")


def _reporter(progress: Progress) -> Callable[[lightgbm.callback.CallbackEnv], None]:
    def report(env: lightgbm.callback.CallbackEnv) -> None:
        results = env.evaluation_result_list or []
        progress(env.iteration + 1, float(results[0][2]) if results else float("nan"))

    return report
