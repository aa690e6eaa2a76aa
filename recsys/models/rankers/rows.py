"""Training and validation rows of a ranker, with their checks; the same for every library."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from recsys.errors import ModelError, TooLittleData

Watch = Callable[[int, float, Callable[[], np.ndarray]], None]
"""A function called after each tree. Its arguments are the number of trees so far, the validation NDCG@10 (NaN without
validation rows), and a function that returns the raw scores of the validation rows, float64 (n_rows,)."""

NDCG_AT = 10
METRIC = f"ndcg@{NDCG_AT}"
"""The validation metric."""


@dataclass(frozen=True, slots=True)
class RankingData:
    """Rows of a training or validation set, query group after query group.

    features: float32 (n_rows, n_features)
    labels: int (n_rows,), relevance grades from 0; for the binary objective a grade above 0 is a hit
    groups: int (n_groups,), number of rows of each query group, in order
    weights: float32 (n_rows,) or None; a validation group of weight 0 does not count in the validation metric, and
    neither does one without a hit, whose NDCG is not defined
    """

    features: np.ndarray
    labels: np.ndarray
    groups: np.ndarray
    weights: np.ndarray | None = None

    @property
    def learnable(self) -> bool:
        """Whether there are hits and misses."""
        return bool(0 < np.count_nonzero(self.labels > 0) < len(self.labels))

    @property
    def group_weights(self) -> np.ndarray:
        """The mean weight of the rows of each query group, float64 (n_groups,)."""
        if self.weights is None:
            return np.ones(len(self.groups))
        return self._group_sums(self.weights.astype(np.float64)) / self.groups

    @property
    def without_hit(self) -> np.ndarray:
        """Whether each query group has no hit, bool (n_groups,)."""
        return self._group_sums(self.labels > 0) == 0

    def _group_sums(self, values: np.ndarray) -> np.ndarray:
        """The sum of a value of each row over each query group, float64 (n_groups,)."""
        group = np.repeat(np.arange(len(self.groups)), self.groups)
        return np.bincount(group, values, minlength=len(self.groups))

    def weighing_hits(self) -> "RankingData":
        """The same rows, in which query groups without a hit weigh nothing."""
        ignored = self.without_hit & (self.group_weights > 0)
        if not ignored.any():
            return self
        weights = np.ones(len(self.labels), np.float32) if self.weights is None else self.weights.copy()
        weights[np.repeat(ignored, self.groups)] = 0
        return replace(self, weights=weights)


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
        Raises TooLittleData if hits or misses are lacking, ModelError if the shapes do not fit together.
        """
        if unknown := set(categorical) - set(feature_names):
            raise ModelError(
                f"ranker: categorical features {sorted(unknown)} are unknown; expected some of {list(feature_names)}"
            )
        _check(parts, "training", len(feature_names), whole)
        if valid is not None:
            _check([valid], "validation", len(feature_names), whole)
        self.parts, self.valid = tuple(parts), None if valid is None else valid.weighing_hits()
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

    def check_grades(self, gains: Sequence[float]) -> None:
        """Raise ModelError if a label has no entry in ranker.label_gain."""
        for part in (*self.parts, *([] if self.valid is None else [self.valid])):
            if not 0 <= part.labels.min(initial=0) <= part.labels.max(initial=0) < len(gains):
                raise ModelError(
                    f"ranker data: labels from {part.labels.min()} to {part.labels.max()}; expected "
                    f"grades from 0 to {len(gains) - 1}, one for each of ranker.label_gain"
                )


def _check(parts: Sequence[RankingData], role: str, n_features: int, whole: bool) -> None:
    """Raise ModelError if the shapes do not fit together, TooLittleData if `whole` and hits or misses are lacking."""
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
        raise TooLittleData(
            f"ranker {role} data: {positives} positive labels in {total} rows; expected hits and misses"
        )


def by_gain(gains: Mapping[str, float]) -> dict[str, float]:
    """The gain of each feature, in order of falling gain; features of equal gain by name."""
    return dict(sorted(gains.items(), key=lambda pair: (-pair[1], pair[0])))
