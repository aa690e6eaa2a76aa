"""The ranker of a version that is not learned: it keeps the order of the pre-ranker."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from pydantic import ValidationError, model_validator

from recsys.errors import ModelError, first_line
from recsys.schema import Config

COLUMN: Final = "preranker_score"
"""The feature that is the score."""


class _Text(Config):
    """The text of the ranker."""

    features: tuple[str, ...]

    @model_validator(mode="after")
    def _has_column(self) -> "_Text":
        if COLUMN not in self.features:
            raise ValueError(f"features: expected {COLUMN} among them")
        return self


class UntrainedRanker:
    """A Ranker whose score is the pre-ranker's score of the row."""

    n_trees = 1

    def __init__(self, feature_names: Sequence[str] = (COLUMN,)) -> None:
        """feature_names: the features of the rows, in the order of their columns; COLUMN is one of them"""
        self.feature_names = list(feature_names)
        self._column = self.feature_names.index(COLUMN)

    def predict(self, features: np.ndarray) -> np.ndarray:
        return features[:, self._column].astype(np.float64)

    def contributions(self, features: np.ndarray) -> np.ndarray:
        added = np.zeros((len(features), len(self.feature_names) + 1))
        added[:, self._column] = self.predict(features)
        return added

    def path_contributions(self, features: np.ndarray) -> np.ndarray:
        return self.contributions(features)

    def importance(self) -> dict[str, float]:
        return {}

    def first(self, n_trees: int) -> "UntrainedRanker":
        return self

    def to_text(self) -> str:
        return _Text(features=tuple(self.feature_names)).model_dump_json()


def from_text(text: str) -> UntrainedRanker:
    """The ranker of a text that `to_text` wrote; raises ModelError if the text cannot be read."""
    try:
        return UntrainedRanker(_Text.model_validate_json(text).features)
    except ValidationError as error:
        raise ModelError(f"ranker: not a text of an untrained ranker ({first_line(error)})") from error
