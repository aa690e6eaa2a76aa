"""Rankers of any library: settings, training rows, and the protocols of a ranker and of its library."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, Protocol

import numpy as np
from pydantic import Field, NonNegativeFloat, field_validator

from recsys.errors import ModelError
from recsys.plugins import Registry
from recsys.schema import Config

Watch = Callable[[int, float, Callable[[], np.ndarray]], None]
"""A function called after each tree. Its arguments are the number of trees so far, the validation NDCG@10 (NaN without
validation rows), and a function that returns the raw scores of the validation rows, float64 (n_rows,)."""

NDCG_AT = 10
METRIC = f"ndcg@{NDCG_AT}"
"""The validation metric, by the name that both libraries give it."""


class RankerConfig(Config):
    """Settings of the ranker. Trees are few, small and regularized: the time of a request grows with trees and
    leaves."""

    backend: str = "lightgbm"
    """The library that grows the trees, one of the registered names."""

    objective: Literal["lambdarank", "binary"] = "lambdarank"
    """lambdarank learns the order within a query group (Burges 2010), binary the probability of a hit."""

    learning_rate: float = Field(0.1, gt=0, le=1)
    """Shrinkage of each tree."""

    max_trees: int = Field(100, ge=1)
    """Largest number of trees; early stopping usually ends training sooner."""

    early_stopping_rounds: int = Field(20, ge=1)
    """Training stops after this many trees without a better validation NDCG@10, for either objective."""

    min_improvement: float = Field(0.0003, ge=0, le=1)
    """Smallest gain in validation NDCG@10 that counts as better for early stopping."""

    num_leaves: int = Field(31, ge=2)
    """Largest number of leaves of a tree."""

    fewer_leaves: tuple[Annotated[int, Field(ge=2)], ...] = ()
    """Numbers of leaves below `num_leaves` that are tried as well."""

    tolerance: float = Field(0.005, ge=0, lt=1)
    """Fraction of the best validation NDCG that may be lost: the ranker with the fewest trees times leaves within it
    is selected."""

    min_child_samples: int = Field(100, ge=1)
    """Smallest number of rows in a leaf."""

    feature_fraction: float = Field(0.3, gt=0, le=1)
    """Fraction of the features that each tree may use."""

    bagging_fraction: float = Field(1.0, gt=0, le=1)
    """Fraction of the rows that each tree is grown on; 1 switches bagging off. If hits are few, trees grown on all rows
    rank better; if hits are many, the fraction makes no difference."""

    bagging_freq: int = Field(1, ge=1)
    """Number of trees after which the rows of bagging are drawn anew."""

    lambda_l1: float = Field(0.0, ge=0)
    """L1 penalty on leaf values."""

    lambda_l2: float = Field(10.0, ge=0)
    """L2 penalty on leaf values."""

    max_bin: int = Field(127, ge=2, le=65_535)
    """Largest number of histogram bins of a feature."""

    cat_smooth: float = Field(50.0, ge=0)
    """Smoothing of a category's statistics in splits; many rare categories need more."""

    truncation_level: int = Field(30, ge=1)
    """lambdarank uses only pairs with one item above this rank. It should be a little more than the list's length."""

    label_gain: tuple[NonNegativeFloat, ...] = (0.0, 1.0, 3.0, 7.0, 15.0)
    """lambdarank's gain of each relevance grade, from grade 0."""

    seed: int = Field(0, ge=0)
    """Seed of bagging and of the sampling of features."""

    num_workers: int = Field(1, ge=1)
    """Worker processes of a training; each holds a part of the rows and uses `threads` CPUs. With 1, training runs in
    the process of the run. The trials of a sweep always use 1."""

    threads: int = Field(2, ge=1)
    """Threads of training in each worker. LightGBM's trees do not depend on it; XGBoost's may, in the last bits."""

    @field_validator("backend")
    @classmethod
    def _registered(cls, name: str) -> str:
        if name not in RANKERS.names:
            raise ValueError(f"expected one of {', '.join(RANKERS.names)}")
        return name


@dataclass(frozen=True, slots=True)
class RankingData:
    """Rows of a training or validation set, query group after query group.

    features: float32 (n_rows, n_features)
    labels: int (n_rows,), relevance grades from 0; for the binary objective a grade above 0 is a hit
    groups: int (n_groups,), number of rows of each query group, in order
    weights: float32 (n_rows,) or None; a validation group of weight 0 does not count in the validation metric
    """

    features: np.ndarray
    labels: np.ndarray
    groups: np.ndarray
    weights: np.ndarray | None = None

    @property
    def learnable(self) -> bool:
        """Whether there are hits and misses."""
        return bool(0 < np.count_nonzero(self.labels > 0) < len(self.labels))


class TrainingSet:
    """Checked training rows, and validation rows for early stopping.

    A library's own form of the rows is kept for the next training.
    """

    def __init__(
        self,
        parts: Sequence[RankingData],
        valid: RankingData | None,
        feature_names: Sequence[str],
        categorical: Sequence[str],
        *,
        whole: bool = True,
    ) -> None:
        """Check the rows.

        parts: training rows in several parts, which are not copied; valid: validation rows, or None
        categorical: names of the features that hold category codes; negative codes and NaN count as missing
        whole: False for the rows of one worker, which may have no hit or no miss
        Raises ModelError if hits or misses are lacking, or if the shapes do not fit together.
        """
        if unknown := set(categorical) - set(feature_names):
            raise ModelError(
                f"ranker: categorical features {sorted(unknown)} are unknown; expected some of {list(feature_names)}"
            )
        _check(parts, "training", len(feature_names), whole)
        if valid is not None:
            _check([valid], "validation", len(feature_names), whole)
        self.parts, self.valid = tuple(parts), valid
        self.feature_names, self.categorical = list(feature_names), list(categorical)
        self._cached: tuple[Any, Any] = (None, None)

    @property
    def n_rows(self) -> int:
        """The number of training rows."""
        return sum(len(part.labels) for part in self.parts)

    def cached(self, key: object, make: Callable[[], Any]) -> Any:
        """The result of `make()`, kept until a call with another key."""
        if self._cached[0] != key:
            self._cached = (None, None)  # frees the old value before the new one takes memory
            self._cached = (key, make())
        return self._cached[1]

    def check_grades(self, config: RankerConfig) -> None:
        """Raise ModelError if a label has no entry in ranker.label_gain."""
        for part in (*self.parts, *([] if self.valid is None else [self.valid])):
            if not 0 <= part.labels.min(initial=0) <= part.labels.max(initial=0) < len(config.label_gain):
                raise ModelError(
                    f"ranker data: labels from {part.labels.min()} to {part.labels.max()}; expected "
                    f"grades from 0 to {len(config.label_gain) - 1}, one for each of ranker.label_gain"
                )


def _check(parts: Sequence[RankingData], role: str, n_features: int, whole: bool) -> None:
    """Raise ModelError if the shapes do not fit together, or if `whole` and there are no hits or no misses."""
    for part in parts:
        n_rows = len(part.labels)
        if part.features.shape != (n_rows, n_features):
            raise ModelError(
                f"ranker {role} data: features of shape {part.features.shape}; expected ({n_rows}, {n_features})"
            )
        if int(np.sum(part.groups)) != n_rows or (len(part.groups) and np.min(part.groups) < 1):
            raise ModelError(
                f"ranker {role} data: {len(part.groups)} query groups of {np.sum(part.groups)} rows in all; "
                f"expected groups of at least one row that add up to {n_rows} rows"
            )
    total = sum(len(part.labels) for part in parts)
    positives = sum(int(np.count_nonzero(part.labels > 0)) for part in parts)
    if whole and not 0 < positives < total:
        raise ModelError(f"ranker {role} data: {positives} positive labels in {total} rows; expected hits and misses")


def by_gain(gains: Mapping[str, float]) -> dict[str, float]:
    """The gain of each feature, in order of falling gain; features of equal gain by name."""
    return dict(sorted(gains.items(), key=lambda pair: (-pair[1], pair[0])))


class Ranker(Protocol):
    """A trained ranker. Its text is its whole state: `from_text(ranker.to_text())` predicts the same bits."""

    @property
    def feature_names(self) -> list[str]:
        """Names of the features, in the order of their columns."""
        ...

    @property
    def n_trees(self) -> int:
        """The number of trees."""
        ...

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Raw scores, float64 (n_rows,), higher is better; features: float32 (n_rows, n_features)."""
        ...

    def contributions(self, features: np.ndarray) -> np.ndarray:
        """The contribution of each feature to each raw score, float64 (n_rows, n_features + 1).

        The last column is the expected score, and each row adds up to its raw score (TreeSHAP; Lundberg et al. 2020).
        features: float32 (n_rows, n_features)
        """
        ...

    def importance(self) -> dict[str, float]:
        """The total gain of the splits on each feature, highest first."""
        ...

    def first(self, n_trees: int) -> "Ranker":
        """A ranker of the first `n_trees` trees; n_trees: from 1 to the ranker's own number."""
        ...

    def to_text(self) -> str:
        """The model in its library's own text format."""
        ...


class RankerBackend(Protocol):
    """A library that trains rankers.

    title: the name of the library for people
    library: the Python distribution that is needed to read the text of a ranker
    distributed: the module that trains with several Ray workers; None if the library has no such module
    """

    title: str
    library: str
    distributed: str | None

    def train(self, data: TrainingSet, config: RankerConfig, *, n_trees: int | None, watch: Watch | None) -> Ranker:
        """See `registry.train`."""
        ...

    def from_text(self, text: str, threads: int) -> Ranker:
        """The ranker of a text that `Ranker.to_text` wrote; raises ModelError if the text cannot be read."""
        ...


RANKERS: Final[Registry[RankerBackend]] = Registry("ranker backend")
"""All ranker libraries, by name. A library is imported at its first use, so serving one does not load the others."""

RANKERS.add("lightgbm", "recsys.models.rankers.lightgbm:BACKEND")
RANKERS.add("xgboost", "recsys.models.rankers.xgboost:BACKEND")
