"""What the validation window decides: the number of trees, the calibrations and alpha."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import ray

from recsys import console
from recsys.arrays import ranked_lists
from recsys.config import TrainConfig
from recsys.data.ingest import ShopData
from recsys.evaluation import protocol
from recsys.evaluation.protocol import TestCases
from recsys.features.definitions import Feature, categorical_of, feature_names_of
from recsys.models.blend import Blend, Calibration, choose_alpha, fit_calibration
from recsys.models.rankers.base import Ranker, RankerConfig, RankingData, TrainingSet, Watch
from recsys.models.rankers.registry import train
from recsys.models.tables import Tables
from recsys.retrieval.preranker import PreRankerModels
from recsys.schema import Objective
from recsys.timeline import cut
from recsys.training.distributed.launch import fit_ranker
from recsys.training.evaluation import labels_of
from recsys.training.plan import Plan
from recsys.training.scoring import ScoredCandidates, score_users

EVERY: Final = 5
"""Trees between two sizes of ranker that are looked at."""
Grow = Callable[[RankerConfig, Watch], Ranker]
"""Fits a ranker of as many trees as the validation rows bear."""


@dataclass(frozen=True, slots=True)
class Validation:
    """The users of the validation window with their candidates, on which every choice is made.

    cases: those with a history, since others are not ranked
    candidates: theirs, without the scores of a ranker
    rows: the ranker's rows of the candidates, in their order; groups without a hit weigh nothing
    mf: calibration of the factorization's scores
    """

    cases: TestCases
    candidates: ScoredCandidates
    rows: RankingData
    mf: Calibration


class Size(NamedTuple):
    """A size of ranker, and its metric on the validation window."""

    trees: int
    leaves: int
    metric: float


@dataclass(frozen=True, slots=True)
class FittedRanker:
    """A ranker trained up to the validation window.

    leaves: of its trees, at most; sizes: what rankers of several sizes came to
    scores: what it gives the validation rows, float64 (n_rows,)
    """

    ranker: Ranker
    leaves: int
    sizes: Sequence[Size]
    scores: np.ndarray


@dataclass(frozen=True, slots=True)
class SelectedRanker:
    """What every refit carries over.

    ranker, leaves, sizes: see Fitted; scores: to measure drift against
    curve: the validation metric by alpha
    """

    ranker: Ranker
    leaves: int
    sizes: Sequence[Size]
    blend: Blend
    curve: dict[float, float]
    scores: np.ndarray

    @property
    def n_trees(self) -> int:
        return self.ranker.n_trees

    @property
    def metric(self) -> float:
        """Of the blend on the validation window."""
        return self.curve[self.blend.alpha]


def find_validation(
    shop: ShopData,
    tables: "ray.ObjectRef[Tables]",
    plan: Plan,
    cases: TestCases,
    prerankers: PreRankerModels,
    objective: Objective,
    config: TrainConfig,
) -> Validation:
    """The rows of the candidates of the window's users; cases: those with a history."""
    now = cut(shop.end, plan.valid)
    found = score_users(cases.histories, tables, [], now, prerankers, objective, config, keep_features=True)
    labels = labels_of(found, cases)
    groups = np.bincount(found.users, minlength=len(cases))
    judged = np.bincount(found.users[labels], minlength=len(cases)) > 0
    weights = judged[found.users].astype(np.float32)
    rows = RankingData(found.features, labels.astype(np.int8), groups[groups > 0], weights)
    nothing = np.zeros((0, len(config.inference.feature_names)), np.float32)
    return Validation(cases, replace(found, features=nothing), rows, fit_calibration(found.mf, labels))


def select_ranker(data: TrainingSet, validation: Validation, config: TrainConfig, work: str | Path) -> SelectedRanker:
    """The ranker that `fit_smallest` gives, and the rest read off its scores.

    work: see `fit_ranker`
    """

    def grow(settings: RankerConfig, watch: Watch) -> Ranker:
        return fit_ranker(data, settings, watch=watch, work=work)

    found = fit_smallest(validation, config, grow, _report_trees)
    blend, curve = read_blend(validation, found.scores, config)
    return SelectedRanker(found.ranker, found.leaves, found.sizes, blend, curve, found.scores)


def fit(data: TrainingSet, validation: Validation, config: TrainConfig, watch: Watch | None = None) -> FittedRanker:
    """What `fit_smallest` gives, trained in this process as trials do."""

    def grow(settings: RankerConfig, watch: Watch) -> Ranker:
        return train(data, settings, watch=watch)

    return fit_smallest(validation, config, grow, watch)


def fit_smallest(validation: Validation, config: TrainConfig, grow: Grow, watch: Watch | None) -> FittedRanker:
    """Fit rankers that stop by the validation rows and take the smallest of those that are about as good as the best.

    grow: fits to rows of which the validation's are `valid`; watch: sees the ranker of most leaves grow
    """
    settings = config.ranker.model_copy(update={"seed": config.seed})
    measure = metric_of(validation, f"ndcg@{config.evaluation.k}")
    rankers: dict[int, Ranker] = {}
    sizes: list[Size] = []
    fewer = {leaves for leaves in settings.fewer_leaves if leaves < settings.num_leaves}
    for leaves in (*sorted(fewer), settings.num_leaves):
        own = settings.model_copy(update={"num_leaves": leaves})
        seen = watch if leaves == settings.num_leaves else None
        rankers[leaves], found = _grown(own, grow, validation, measure, seen)
        sizes += found
    size = smallest(sizes, config.ranker.tolerance)
    ranker = rankers[size.leaves].first(size.trees)
    return FittedRanker(ranker, size.leaves, sizes, ranker.predict(validation.rows.features))


def _grown(
    settings: RankerConfig,
    grow: Grow,
    validation: Validation,
    measure: Callable[[np.ndarray], float],
    watch: Watch | None,
) -> tuple[Ranker, list[Size]]:
    """A ranker, and what it came to on its way."""
    found: dict[int, float] = {}

    def look(trees: int, ndcg: float, scores: Callable[[], np.ndarray]) -> None:
        if trees % EVERY == 0:
            found[trees] = measure(scores())
        if watch is not None:
            watch(trees, ndcg, scores)

    ranker = grow(settings, look)
    last = ranker.n_trees  # those that grew after it are gone
    for trees in {*range(EVERY, last, EVERY), last} - found.keys():  # several workers show none but the last
        found[trees] = measure(ranker.first(trees).predict(validation.rows.features))
    return ranker, [Size(trees, settings.num_leaves, metric) for trees, metric in found.items() if trees <= last]


def _report_trees(trees: int, ndcg: float, _: object) -> None:
    if trees % 25 == 0:
        console.progress(f"{trees} trees, NDCG@10 of the validation candidates {ndcg:.4f}")


def smallest(sizes: Sequence[Size], tolerance: float) -> Size:
    """The least trees times leaves that is within a share of the best metric."""
    enough = (1 - tolerance) * max(size.metric for size in sizes)
    return min((size for size in sizes if size.metric >= enough), key=lambda size: (size.trees * size.leaves, size))


def training_set(parts: list[RankingData], validation: Validation | None, features: Sequence[Feature]) -> TrainingSet:
    """Rows of several cuts, and the validation rows that stop the training; features: of their columns."""
    valid = None if validation is None else validation.rows
    return TrainingSet(parts, valid, feature_names_of(features), categorical_of(features))


def read_blend(
    validation: Validation, scores: np.ndarray, config: TrainConfig, metric: str | None = None
) -> tuple[Blend, dict[float, float]]:
    """Calibrate a ranker's raw scores (float64 (n_rows,)) of the validation rows and choose alpha, unless it is fixed.

    metric: one that `protocol.per_user` knows, by default NDCG@evaluation.k. Returns the blend and the metric by alpha.
    """
    found = validation.candidates
    lgb = fit_calibration(scores, validation.rows.labels)
    measure = metric_of(validation, metric or f"ndcg@{config.evaluation.k}")
    alpha, curve = choose_alpha(lgb(scores), validation.mf(found.mf), measure, config.hybrid)
    return Blend(alpha=alpha, lgb=lgb, mf=validation.mf), curve


def metric_of(validation: Validation, metric: str) -> Callable[[np.ndarray], float]:
    """The mean of a metric that `protocol.per_user` knows, of scores (float64 (n_rows,)) of the validation rows."""
    return lambda scores: float(by_user(validation, metric, scores).mean())


def served_by_user(validation: Validation, metric: str, scores: np.ndarray, blend: Blend) -> np.ndarray:
    """The metric of each user as the blend serves a ranker's raw scores (float64 (n_rows,)), float64 (n_users,)."""
    blended, _, _ = blend(scores, validation.candidates.mf)
    return by_user(validation, metric, blended)


def by_user(validation: Validation, metric: str, scores: np.ndarray) -> np.ndarray:
    """The same metric of each user of the validation window, float64 (n_users,)."""
    found, cases, depth = validation.candidates, validation.cases, protocol.cutoff_of(metric)
    lists = ranked_lists(found.users, found.items, scores, len(cases), depth)
    return protocol.per_user(metric, lists, cases.truth)
