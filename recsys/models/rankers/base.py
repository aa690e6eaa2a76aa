"""Learning to rank: settings, rows to learn from, and what a ranker is, whatever library grows the trees."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, Protocol

import numpy as np
from pydantic import Field, NonNegativeFloat, field_validator

from recsys.errors import ModelError
from recsys.plugins import Registry
from recsys.schema import Config

Watch = Callable[[int, float, Callable[[], np.ndarray]], None]
"""Called after each tree: their number so far, the validation NDCG@10 (NaN without such data), and a function that
gives the raw scores of the validation rows."""

NDCG_AT = 10
METRIC = f"ndcg@{NDCG_AT}"


class RankerConfig(Config):
    """Settings of the ranker: few, small, regularized trees, since a request's time grows with trees and leaves."""

    backend: str = "lightgbm"
    """The library that grows the trees, one of the names in RANKERS."""

    objective: Literal["lambdarank", "binary"] = "lambdarank"
    """Order within a query group (Burges 2010), or the probability that a candidate is a hit."""

    learning_rate: float = Field(0.1, gt=0, le=1)
    """Shrinkage of each tree."""

    max_trees: int = Field(100, ge=1)
    """Trees at most; early stopping usually ends sooner."""

    early_stopping_rounds: int = Field(20, ge=1)
    """Trees without a better validation NDCG@10 after which training stops, whatever the objective."""

    min_improvement: float = Field(0.0003, ge=0, le=1)
    """Validation NDCG@10 that further trees must gain, or training stops."""

    num_leaves: int = Field(31, ge=2)
    """Leaves of a tree, at most."""

    fewer_leaves: tuple[Annotated[int, Field(ge=2)], ...] = ()
    """Numbers of leaves below `num_leaves` that are tried as well."""

    tolerance: float = Field(0.005, ge=0, lt=1)
    """The ranker of least trees times leaves is taken whose validation NDCG is within this share of the best."""

    min_child_samples: int = Field(100, ge=1)
    """Rows a leaf holds at least."""

    feature_fraction: float = Field(0.3, gt=0, le=1)
    """Share of features each tree may use."""

    bagging_fraction: float = Field(1.0, gt=0, le=1)
    """Share of rows each tree sees; 1 switches bagging off: where hits are few, trees that see all of them rank better,
    and where they are many it makes no difference."""

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

    num_workers: int = Field(1, ge=1)
    """Processes that share out the rows, each with `threads` CPUs; 1 trains in the process of the run, as the trials
    of a sweep always do."""

    threads: int = Field(2, ge=1)
    """Threads of training, in each worker; LightGBM's trees do not depend on it, XGBoost's may in the last bits."""

    @field_validator("backend")
    @classmethod
    def _registered(cls, name: str) -> str:
        if name not in RANKERS.names:
            raise ValueError(f"expected one of {', '.join(RANKERS.names)}")
        return name


@dataclass(frozen=True, slots=True)
class RankingData:
    """Rows to learn from, query group after query group.

    features: float32 (n_rows, n_features)
    labels: int (n_rows,), relevance grades from 0; the binary objective takes any above 0 as a hit
    groups: int (n_groups,), rows of each query group, in order
    weights: float32 (n_rows,) or None; a validation group whose rows weigh nothing is not judged
    """

    features: np.ndarray
    labels: np.ndarray
    groups: np.ndarray
    weights: np.ndarray | None = None

    @property
    def learnable(self) -> bool:
        """Whether there are hits and others."""
        return bool(0 < np.count_nonzero(self.labels > 0) < len(self.labels))


class TrainingSet:
    """Rows to learn from and to stop by, checked; what a library makes of them is kept for the next training."""

    def __init__(
        self,
        parts: Sequence[RankingData],
        valid: RankingData | None,
        feature_names: Sequence[str],
        categorical: Sequence[str],
        *,
        whole: bool = True,
    ) -> None:
        """parts: used one after another, not copied; categorical: names of features that hold category codes, of which
        negative ones and NaN count as missing; whole: False for a worker's share, which alone may hold nothing to
        learn. Raises ModelError where there is nothing to learn, or rows do not fit.
        """
        if unknown := set(categorical) - set(feature_names):
            raise ModelError(f"ranker: categorical features {sorted(unknown)} are not among {list(feature_names)}")
        _check(parts, "training", len(feature_names), whole)
        if valid is not None:
            _check([valid], "validation", len(feature_names), whole)
        self.parts, self.valid = tuple(parts), valid
        self.feature_names, self.categorical = list(feature_names), list(categorical)
        self._kept: tuple[Any, Any] = (None, None)

    @property
    def n_rows(self) -> int:
        """Of the rows to learn from."""
        return sum(len(part.labels) for part in self.parts)

    def kept(self, key: object, make: Callable[[], Any]) -> Any:
        """What `make` gave when it was last asked for with this key; of one key at a time."""
        if self._kept[0] != key:
            self._kept = (None, None)  # lets go of the old before the new is made
            self._kept = (key, make())
        return self._kept[1]

    def check_grades(self, config: RankerConfig) -> None:
        """Raises ModelError where a label has no entry in ranker.label_gain."""
        for part in (*self.parts, *([] if self.valid is None else [self.valid])):
            if not 0 <= part.labels.min(initial=0) <= part.labels.max(initial=0) < len(config.label_gain):
                raise ModelError(
                    f"ranker data: labels from {part.labels.min()} to {part.labels.max()}; expected "
                    f"grades from 0 to {len(config.label_gain) - 1}, one for each of ranker.label_gain"
                )


def _check(parts: Sequence[RankingData], role: str, n_features: int, whole: bool) -> None:
    """Raises ModelError where the rows do not fit together or hold nothing to learn."""
    for part in parts:
        n_rows = len(part.labels)
        if part.features.shape != (n_rows, n_features):
            raise ModelError(
                f"ranker {role} data: features of shape {part.features.shape}; expected ({n_rows}, {n_features})"
            )
        if int(np.sum(part.groups)) != n_rows or (len(part.groups) and np.min(part.groups) < 1):
            raise ModelError(
                f"ranker {role} data: {len(part.groups)} query groups of {np.sum(part.groups)} rows in all; "
                f"expected groups of one row or more that add up to {n_rows}"
            )
    total = sum(len(part.labels) for part in parts)
    positives = sum(int(np.count_nonzero(part.labels > 0)) for part in parts)
    if whole and not 0 < positives < total:
        raise ModelError(f"ranker {role} data: {positives} positive labels in {total} rows; expected some, not all")


def by_gain(gains: Mapping[str, float]) -> dict[str, float]:
    """Features by falling gain, equals by name."""
    return dict(sorted(gains.items(), key=lambda pair: (-pair[1], pair[0])))


class Ranker(Protocol):
    """A trained ranker. Its text is its whole state: `from_text(ranker.to_text())` predicts the same bits."""

    @property
    def feature_names(self) -> list[str]: ...

    @property
    def n_trees(self) -> int: ...

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Raw scores float64 (n_rows,), higher is better; features: float32 (n_rows, n_features)."""
        ...

    def contributions(self, features: np.ndarray) -> np.ndarray:
        """What each feature adds to each raw score, float64 (n_rows, n_features + 1); the last column is the expected
        score, and a row adds up to its score (TreeSHAP; Lundberg et al. 2020).
        """
        ...

    def importance(self) -> dict[str, float]:
        """Total gain of each feature's splits, best first."""
        ...

    def first(self, n_trees: int) -> "Ranker":
        """The ranker that these settings gave with so many trees, at most its own."""
        ...

    def to_text(self) -> str:
        """The model in its library's own text format."""
        ...


class RankerBackend(Protocol):
    """A library that grows rankers.

    title: its name for people; library: the Python distribution that reads the text of its rankers
    distributed: the module that trains with several Ray workers; None where there is none
    """

    title: str
    library: str
    distributed: str | None

    def train(self, data: TrainingSet, config: RankerConfig, *, n_trees: int | None, watch: Watch | None) -> Ranker:
        """See `registry.train`."""
        ...

    def from_text(self, text: str, threads: int) -> Ranker:
        """The ranker that `Ranker.to_text` wrote; raises ModelError where it cannot be read."""
        ...


RANKERS: Final[Registry[RankerBackend]] = Registry("ranker backend")
"""Each library is imported at its first use: a process that serves one has no use for the other."""

RANKERS.add("lightgbm", "recsys.models.rankers.lightgbm:BACKEND")
RANKERS.add("xgboost", "recsys.models.rankers.xgboost:BACKEND")
