"""What the validation window decides: the number of trees, the calibrations and alpha."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import ray

from recsys import console
from recsys.config import TrainConfig
from recsys.data.ingest import ShopData
from recsys.data.split import cut
from recsys.evaluation import protocol
from recsys.evaluation.protocol import TestCases
from recsys.features.definitions import CATEGORICAL, NAMES
from recsys.inference.stages import ranked_lists
from recsys.models.backends import train
from recsys.models.hybrid import Blend, Calibration, choose_alpha, fit_calibration
from recsys.models.ranking import Ranker, RankingData, TrainingSet, Watch
from recsys.models.tables import Tables
from recsys.retrieval.selection import Selectors
from recsys.schema import Objective
from recsys.training.judge import labels_of
from recsys.training.plan import Plan
from recsys.training.scoring import ScoredCandidates, find_cases, score_users
from recsys.training.workers import fit_ranker

EVERY: Final = 5
"""Trees between two sizes of ranker that are looked at."""


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
class Choice:
    """What every refit carries over.

    ranker: the one chosen, trained up to the validation window; leaves: of its trees, at most
    sizes: what rankers of several sizes came to
    curve: the validation metric by alpha
    scores: what the chosen ranker gave the validation rows, to measure drift against
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
    selectors: Selectors,
    objective: Objective,
    config: TrainConfig,
) -> Validation:
    """The window's users and the rows of their candidates; raises DataError where there are none."""
    cases = find_cases(shop, plan.valid, plan.horizon, config)
    cases = cases.take(np.flatnonzero(cases.warm))
    if objective == "discover":
        cases, _ = protocol.new_items_only(cases)
    now = cut(shop.end, plan.valid)
    found = score_users(cases.histories, tables, [], now, selectors, objective, config, keep_features=True)
    labels = labels_of(found, cases)
    groups = np.bincount(found.users, minlength=len(cases))
    judged = np.bincount(found.users[labels], minlength=len(cases)) > 0
    weights = judged[found.users].astype(np.float32)
    rows = RankingData(found.features, labels.astype(np.int8), groups[groups > 0], weights)
    nothing = np.zeros((0, len(NAMES)), np.float32)
    return Validation(cases, replace(found, features=nothing), rows, fit_calibration(found.mf, labels))


def choose(data: TrainingSet, validation: Validation, config: TrainConfig, work: str | Path) -> Choice:
    """Fit rankers that stop by the validation rows, take the smallest of those that are about as good as the best,
    and read off the rest; `data` has these rows as `valid`.

    work: see `fit_ranker`
    """
    settings = config.ranker.model_copy(update={"seed": config.seed})
    measure = metric_of(validation, f"ndcg@{config.evaluation.k}")
    found: dict[tuple[int, int], float] = {}
    for leaves in sorted({*config.ranker.fewer_leaves, settings.num_leaves}):
        if leaves > settings.num_leaves:
            continue

        def watch(trees: int, _: float, scores: Callable[[], np.ndarray], leaves: int = leaves) -> None:
            if trees % EVERY == 0:
                found[trees, leaves] = measure(scores())

        ranker = fit_ranker(data, settings.model_copy(update={"num_leaves": leaves}), watch=watch, work=work)
        last = ranker.n_trees, leaves
        found[last] = measure(ranker.predict(validation.rows.features))
        console.progress(f"{leaves} leaves: {ranker.n_trees} trees, validation NDCG {found[last]:.4f}")
    sizes = [Size(*size, metric) for size, metric in found.items()]
    size = smallest(sizes, config.ranker.tolerance)
    if size[:2] != last:
        smaller = settings.model_copy(update={"num_leaves": size.leaves})
        ranker = fit_ranker(data, smaller, n_trees=size.trees, work=work)
    scores = ranker.predict(validation.rows.features)
    blend, curve = read_blend(validation, scores, config)
    return Choice(ranker, size.leaves, sizes, blend, curve, scores)


def smallest(sizes: Sequence[Size], tolerance: float) -> Size:
    """The least trees times leaves that is within a share of the best metric."""
    enough = (1 - tolerance) * max(size.metric for size in sizes)
    return min((size for size in sizes if size.metric >= enough), key=lambda size: (size.trees * size.leaves, size))


def fit(data: TrainingSet, config: TrainConfig, watch: Watch | None = None) -> Ranker:
    """A ranker with as many trees as the validation rows bear, trained in this process as trials do."""
    return train(data, config.ranker.model_copy(update={"seed": config.seed}), watch=watch)


def training_set(parts: list[RankingData], validation: Validation | None) -> TrainingSet:
    """Rows of several cuts, and those to stop by."""
    return TrainingSet(parts, None if validation is None else validation.rows, NAMES, CATEGORICAL)


def read_blend(
    validation: Validation, scores: np.ndarray, config: TrainConfig, metric: str | None = None
) -> tuple[Blend, dict[float, float]]:
    """Calibrate a ranker's raw scores (float64 (n_rows,)) of the validation rows and choose alpha, unless it is fixed.

    metric: one that `protocol.per_user` knows, by default NDCG@evaluation.k. Returns the blend and the metric by alpha.
    """
    found, fixed = validation.candidates, config.hybrid.alpha
    lgb = fit_calibration(scores, validation.rows.labels)
    grid = config.hybrid.grid if fixed is None else (fixed,)
    measure = metric_of(validation, metric or f"ndcg@{config.evaluation.k}")
    alpha, curve = choose_alpha(lgb(scores), validation.mf(found.mf), measure, grid)
    return Blend(alpha=alpha, lgb=lgb, mf=validation.mf), curve


def metric_of(validation: Validation, metric: str) -> Callable[[np.ndarray], float]:
    """The mean of a metric that `protocol.per_user` knows, of scores (float64 (n_rows,)) of the validation rows."""
    found, cases, depth = validation.candidates, validation.cases, protocol.cutoff_of(metric)

    def measure(scores: np.ndarray) -> float:
        lists = ranked_lists(found.users, found.items, scores, len(cases), depth)
        return float(protocol.per_user(metric, lists, cases.truth).mean())

    return measure
