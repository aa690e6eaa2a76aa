"""What the model goes by, for the report: importance, contributions, and what is lost without something."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from recsys.arrays import ranked_lists
from recsys.config import TrainConfig
from recsys.evaluation import metrics as measures
from recsys.evaluation import protocol
from recsys.evaluation.protocol import TestCases
from recsys.features.definitions import feature_names_of
from recsys.inference.settings import InferenceConfig
from recsys.models.rankers.base import Ranker
from recsys.report import content
from recsys.report.collect.numbers import short
from recsys.report.sweep import sweep_of
from recsys.retrieval.sources.registry import SOURCES as REGISTRY
from recsys.training.ranker import SelectedRanker
from recsys.training.validation import Validation

FEATURES = InferenceConfig().features
NAMES = feature_names_of(FEATURES)
SOURCES = REGISTRY.names
USERS: Final = 600
"""Of the validation window, whose candidates are scored again without something."""
SHUFFLES: Final = 2
ROWS: Final = 2_000
"""Candidates whose contributions are computed."""
DOTS: Final = 500
"""Of these, how many are kept one by one."""
TOP: Final = 15
"""Features whose contributions are kept."""


def find_reasons(
    validation: Validation,
    selected: SelectedRanker,
    metrics: Mapping[str, Any],
    sweep: Mapping[str, Any] | None,
    config: TrainConfig,
) -> content.Reasons:
    """The report's part on reasons; sweep: as in sweep.json"""
    sample = Sample(validation, selected, config)
    gains = importance(metrics["importance"])
    groups = dict.fromkeys(feature.group for feature in FEATURES)
    by_group = {group: sum(found.gain for found in gains if found.group == group) for group in groups}
    rows = sample.features[np.linspace(0, len(sample.features) - 1, min(ROWS, len(sample.features))).astype(int)]
    return content.Reasons(
        backend=config.ranker.backend,
        trees=metrics["trees"],
        leaves=selected.leaves,
        alpha=selected.blend.alpha,
        drift=metrics["score_drift"],
        importance=gains,
        contributions=contributions(selected.ranker, rows),
        sampled_rows=len(rows),
        sampled_users=len(sample.cases),
        validation=float(sample.base.mean()),
        groups=tuple(sample.without_group(group, by_group[group]) for group in by_group),
        without=tuple(sample.without_source(source) for source in SOURCES),
        sources=tuple(
            content.Source(name=row["source"], share=row["fraction"], recall=row["recall"], alone=row["recall_alone"])
            for row in metrics["candidates"]["sources"]
        ),
        curve=tuple(content.Point(alpha=row["alpha"], metric=row["ndcg"]) for row in metrics["alpha_curve"]),
        sizes=tuple(content.Size(**row) for row in metrics.get("sizes", ())),
        sweep=None if sweep is None else sweep_of(sweep),
    )


def importance(gains: Mapping[str, float]) -> tuple[content.Importance, ...]:
    """Features by falling gain, as shares of all."""
    known, total = {feature.name: feature for feature in FEATURES}, sum(gains.values()) or 1.0
    return tuple(
        content.Importance(name=name, group=known[name].group, meaning=known[name].meaning, gain=gain / total)
        for name, gain in gains.items()
    )


def contributions(ranker: Ranker, rows: np.ndarray) -> tuple[content.Contributions, ...]:
    """Those of the TOP features, by falling mean; rows: float32 (n_rows, n_features)"""
    shares = ranker.contributions(rows)[:, :-1]
    means = np.abs(shares).mean(axis=0)
    dots = np.linspace(0, len(rows) - 1, min(DOTS, len(rows))).astype(int)
    return tuple(
        content.Contributions(
            name=NAMES[at],
            meaning=FEATURES[at].meaning,
            mean=float(means[at]),
            values=short(shares[dots, at]),
            places=tuple(_places(rows[:, at], FEATURES[at].kind == "category")[dots]),
        )
        for at in np.argsort(-means, kind="stable")[:TOP].tolist()
        if means[at] > 0
    )


def _places(values: np.ndarray, codes: bool) -> np.ndarray:
    """Where values stand among each other, 0 to 100, equal ones in the middle of theirs; None for codes and NaN."""
    known = ~np.isnan(values) & (not codes)
    places = np.full(len(values), None, object)
    ascending = np.sort(values[known])
    below = [np.searchsorted(ascending, values[known], side) for side in ("left", "right")]
    places[known] = [round(50 * place / len(ascending)) for place in (below[0] + below[1]).tolist()]
    return places


class Sample:
    """Some users of the validation window with their candidates, to be scored again without something.

    base: NDCG@k of each user as things are, float64 (n_users,)
    """

    def __init__(self, validation: Validation, selected: SelectedRanker, config: TrainConfig) -> None:
        step = -(-len(validation.cases) // USERS)
        chosen = np.arange(0, len(validation.cases), step)
        found = validation.candidates
        rows = np.flatnonzero(found.users % step == 0)
        self.cases: TestCases = validation.cases.take(chosen)
        self.features = validation.rows.features[rows]
        self.base = np.zeros(0)
        self._users, self._items, self._mf = found.users[rows] // step, found.items[rows], found.mf[rows]
        self._proposed = ~np.isnan(found.source_scores[rows])
        self._choice, self._config = selected, config.evaluation
        self.base = self._ndcg(selected.scores[rows], np.ones(len(rows), bool))

    def _ndcg(self, lgb: np.ndarray, kept: np.ndarray) -> np.ndarray:
        scores, _, _ = self._choice.blend(lgb[kept], self._mf[kept])
        k = self._config.k
        lists = ranked_lists(self._users[kept], self._items[kept], scores, len(self.cases), k)
        return protocol.per_user(f"ndcg@{k}", lists, self.cases.truth)

    def without_group(self, group: str, gain: float) -> content.Loss:
        """A group's columns are shuffled together across the rows, so that they keep what they say of each other."""
        columns = [at for at, feature in enumerate(FEATURES) if feature.group == group]
        original = self.features[:, columns]
        rng = np.random.default_rng(0)
        without = np.zeros(len(self.cases))
        for _ in range(SHUFFLES):
            self.features[:, columns] = original[rng.permutation(len(original))]
            without += self._ndcg(self._choice.ranker.predict(self.features), np.ones(len(original), bool)) / SHUFFLES
        self.features[:, columns] = original
        return self._loss(group, len(columns), gain, without)

    def without_source(self, source: str) -> content.Loss:
        """Candidates that it found alone are left out, its scores are missing; no others take their place."""
        at = SOURCES.index(source)
        kept = self._proposed.sum(axis=1) > self._proposed[:, at]
        features = self.features[kept]
        if (score := f"score_{source}") in NAMES:
            features[:, NAMES.index(score)] = np.nan
        features[:, NAMES.index("n_sources")] -= self._proposed[kept, at]
        lgb = np.zeros(len(kept))
        lgb[kept] = self._choice.ranker.predict(features)
        return self._loss(source, 0, None, self._ndcg(lgb, kept))

    def _loss(self, name: str, features: int, gain: float | None, without: np.ndarray) -> content.Loss:
        gap = measures.paired_difference(self.base, without, self._config.resampling)
        loss = content.Estimate(mean=gap.mean, low=gap.low, high=gap.high)
        return content.Loss(name=name, features=features, gain=gain, loss=loss)
