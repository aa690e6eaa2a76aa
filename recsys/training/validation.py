"""The validation window: its users and their candidates, metrics of scores, and the selection of the blend."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import ray

from recsys.arrays import ranked_lists
from recsys.config import TrainConfig
from recsys.evaluation import protocol
from recsys.evaluation.protocol import TestCases
from recsys.features.definitions import Feature, categorical_of, feature_names_of
from recsys.models.blend import Blend, Calibration, choose_alpha, fit_calibration
from recsys.models.rankers.rows import RankingData, TrainingSet
from recsys.models.tables import Tables
from recsys.retrieval.preranker import PreRankerModels
from recsys.schema import Objective
from recsys.training.context import Context
from recsys.training.scoring import ScoredCandidates, Scoring, labels_of, score_users


@dataclass(frozen=True, slots=True)
class Validation:
    """The users of the validation window with their candidates. All selections of a run are made on them.

    cases: users with a history, since users without one are not ranked
    candidates: the candidates of these users, without the scores of a ranker
    rows: the candidates as the ranker's rows, in the same order; the rows of a user without a hit weigh nothing
    mf: calibration of the factorization's scores
    """

    cases: TestCases
    candidates: ScoredCandidates
    rows: RankingData
    mf: Calibration


def find_validation(
    context: Context,
    tables: "ray.ObjectRef[Tables]",
    cases: TestCases,
    prerankers: PreRankerModels,
    objective: Objective,
) -> Validation:
    """The validation window of some users, with candidates as of the validation cut; cases: users with a history."""
    config, now = context.config, context.plan.validation.time
    scoring = Scoring(now, objective, prerankers, config.inference, config.ranker.backend, keep_features=True)
    candidates = score_users(cases.histories, tables, [], scoring)
    labels = labels_of(candidates, cases)
    groups = np.bincount(candidates.users, minlength=len(cases))
    with_hit = np.bincount(candidates.users[labels], minlength=len(cases)) > 0
    weights = with_hit[candidates.users].astype(np.float32)
    rows = RankingData(candidates.features, labels.astype(np.int8), groups[groups > 0], weights)
    nothing = np.zeros((0, len(config.inference.feature_names)), np.float32)
    return Validation(cases, replace(candidates, features=nothing), rows, fit_calibration(candidates.mf, labels))


def training_set(parts: Sequence[RankingData], valid: RankingData | None, features: Sequence[Feature]) -> TrainingSet:
    """The rows of several cuts to learn from, and the validation rows that stop the training; None for no such rows.

    features: the features of the rows' columns
    """
    return TrainingSet(parts, valid, feature_names_of(features), categorical_of(features))


def choose_blend(
    validation: Validation, scores: np.ndarray, config: TrainConfig, metric: str | None = None
) -> tuple[Blend, dict[float, float]]:
    """The blend of a ranker's raw scores of the validation rows, and the metric by alpha.

    The scores are calibrated, and alpha is chosen unless hybrid.alpha fixes it.
    scores: float64 (n_rows,); metric: a name for `protocol.per_user`, by default ndcg@k of evaluation.k
    """
    lgb = fit_calibration(scores, validation.rows.labels)
    measure = metric_of(validation, metric or f"ndcg@{config.evaluation.k}")
    alpha, curve = choose_alpha(lgb(scores), validation.mf(validation.candidates.mf), measure, config.hybrid)
    return Blend(alpha=alpha, lgb=lgb, mf=validation.mf), curve


def metric_of(validation: Validation, metric: str) -> Callable[[np.ndarray], float]:
    """A function from scores of the validation rows, float64 (n_rows,), to their mean metric over the users.

    metric: a name for `protocol.per_user`
    """
    return lambda scores: float(metric_by_user(validation, metric, scores).mean())


def blended_metric_by_user(validation: Validation, metric: str, scores: np.ndarray, blend: Blend) -> np.ndarray:
    """The metric of each user's blended list, float64 (n_users,); scores: a ranker's raw scores, float64 (n_rows,)."""
    blended, _, _ = blend(scores, validation.candidates.mf)
    return metric_by_user(validation, metric, blended)


def metric_by_user(validation: Validation, metric: str, scores: np.ndarray) -> np.ndarray:
    """The metric of each user's list of candidates by score, float64 (n_users,); scores: float64 (n_rows,)."""
    candidates, cases, depth = validation.candidates, validation.cases, protocol.cutoff_of(metric)
    lists = ranked_lists(candidates.users, candidates.items, scores, len(cases), depth)
    return protocol.per_user(metric, lists, cases.truth)
