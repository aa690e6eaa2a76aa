"""Rankers of any library: their settings, the protocols of a ranker and of its library, and the registry by name."""

from typing import Annotated, Final, Literal, Protocol

import numpy as np
from pydantic import Field, NonNegativeFloat, field_validator

from recsys.models.rankers import untrained
from recsys.models.rankers.rows import TrainingSet, Watch
from recsys.plugins import Registry
from recsys.schema import Config


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

    def path_contributions(self, features: np.ndarray) -> np.ndarray:
        """As `contributions`, in about the time of `predict`: for the answers of the service.

        Each tree gives the change of the expected score at a split to the feature of the split, along the path of the
        row (Saabas 2014). TreeSHAP averages over all orders of the features instead. It takes ten times as long and
        more. A plugin's ranker that lacks this method serves as well, see `path_contributions_of`.
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


UNTRAINED: Final = "untrained"
"""The backend of a version that is not learned. It is no RankerBackend, since it cannot be trained."""
RANKERS: Final[Registry[RankerBackend]] = Registry("ranker backend")
"""All libraries that train rankers, by name. A library is imported at its first use, so serving one does not load the
others."""

RANKERS.add("lightgbm", "recsys.models.rankers.lightgbm:BACKEND")
RANKERS.add("xgboost", "recsys.models.rankers.xgboost:BACKEND")


def ranker_from_text(text: str, backend: str = "lightgbm", threads: int = 1) -> Ranker:
    """The ranker of a text that `Ranker.to_text` wrote; threads: threads of prediction.

    Raises ModelError if the text cannot be read, ConfigError for an unknown backend.
    """
    return untrained.from_text(text) if backend == UNTRAINED else RANKERS[backend].from_text(text, threads)


def train(data: TrainingSet, config: RankerConfig, *, n_trees: int | None = None, watch: Watch | None = None) -> Ranker:
    """A trained ranker, with the number of trees that has the best NDCG@10 on the validation rows.

    n_trees: if given, the ranker has this number of trees, without early stopping (for a refit)
    watch: called after each tree

    Without validation rows and without `n_trees`, the ranker has `config.max_trees` trees. The same data and settings
    give the same bits. Raises ModelError if labels have no gain, or if the library refuses the settings.
    """
    return RANKERS[config.backend].train(data, config, n_trees=n_trees, watch=watch)


def path_contributions_of(ranker: Ranker, features: np.ndarray) -> np.ndarray:
    """See `Ranker.path_contributions`; for a ranker that lacks the method, the whole score is in the last column."""
    if hasattr(ranker, "path_contributions"):
        return ranker.path_contributions(features)
    whole = np.zeros((len(features), features.shape[1] + 1))
    whole[:, -1] = ranker.predict(features)
    return whole
