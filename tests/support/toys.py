"""A candidate source and a ranker as a shop might add them: a class each, and a line to register it."""

import json
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from pydantic import Field

from recsys.errors import ModelError
from recsys.models.rankers.registry import RankerConfig
from recsys.models.rankers.rows import TrainingSet, Watch
from recsys.retrieval.sources.base import Batch, Known, Scored, Source, SourceConfig
from recsys.specs import Arrays, codes


class RareConfig(SourceConfig):
    """Settings of the rare items."""

    weight: float = Field(1.5, ge=0)
    """See SourceConfig."""
    size: int = Field(4, ge=1)
    """Items of the list."""


class Rare(Source[RareConfig]):
    """The available items that the fewest users met, the same for everybody."""

    name: ClassVar = "rare"
    settings: ClassVar = RareConfig
    specs: ClassVar = {"items": codes("items", "rare items", low=0)}

    def fit(self, known: Known, counts: None, settings: RareConfig) -> Arrays:
        users = np.where(known.statistics.available, known.users_per_item, np.iinfo(np.int64).max)
        return {"items": np.argsort(users, kind="stable")[: settings.size].astype(np.int32)}

    def propose(self, table: Arrays, batch: Batch, settings: RareConfig) -> Scored:
        items, n_users = table["items"], len(batch)
        scores = np.tile(np.arange(len(items), 0, -1.0), n_users)
        return Scored(np.arange(n_users).repeat(len(items)), np.tile(items, n_users), scores)


@dataclass(frozen=True)
class MeansRanker:
    """Scores by the difference of the features' means between hits and others."""

    feature_names: list[str]
    weights: np.ndarray
    n_trees: int = 1

    def predict(self, features: np.ndarray) -> np.ndarray:
        return self.contributions(features)[:, :-1].sum(axis=1)

    def contributions(self, features: np.ndarray) -> np.ndarray:
        terms = np.nan_to_num(features).astype(np.float64) * self.weights
        return np.append(terms, np.zeros((len(features), 1)), axis=1)

    def importance(self) -> dict[str, float]:
        return dict(zip(self.feature_names, np.abs(self.weights).tolist(), strict=True))

    def first(self, n_trees: int) -> "MeansRanker":
        return self

    def to_text(self) -> str:
        return json.dumps({"names": self.feature_names, "weights": self.weights.tolist()})


class MeansBackend:
    """See RankerBackend."""

    title = "difference of means"
    library = "numpy"
    distributed: str | None = None

    def train(
        self, data: TrainingSet, config: RankerConfig, *, n_trees: int | None, watch: Watch | None
    ) -> MeansRanker:
        features = np.nan_to_num(np.concatenate([part.features for part in data.parts]).astype(np.float64))
        hit = np.concatenate([part.labels for part in data.parts]) > 0
        spread = np.maximum(features.std(axis=0), 1e-9)
        ranker = MeansRanker(data.feature_names, (features[hit].mean(axis=0) - features[~hit].mean(axis=0)) / spread**2)
        if watch is not None and data.valid is not None:
            valid = data.valid
            watch(1, float("nan"), lambda: ranker.predict(valid.features))
        return ranker

    def from_text(self, text: str, threads: int) -> MeansRanker:
        try:
            content = json.loads(text)
            return MeansRanker(content["names"], np.array(content["weights"], np.float64))
        except (ValueError, KeyError, TypeError) as error:
            raise ModelError(f"not a text of the ranker means: {error}") from error
