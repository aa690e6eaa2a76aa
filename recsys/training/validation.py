"""The validation window: its users and their candidates, metrics of scores, and the selection of the blend."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import ray

from recsys.arrays import ranked_lists
from recsys.config import TrainConfig
from recsys.evaluation import protocol
from recsys.evaluation.metrics import Truth
from recsys.evaluation.protocol import TestCases
from recsys.features.definitions import Feature, categorical_of, feature_names_of
from recsys.models.blend import AlphaCurves, Blend, Calibration, Metric, choose_alpha, fit_calibration
from recsys.models.rankers.rows import RankingData, TrainingSet
from recsys.models.tables import Tables
from recsys.retrieval.preranker import PreRankerModels
from recsys.schema import UNKNOWN, Objective
from recsys.training.context import Context
from recsys.training.scoring import ScoredCandidates, Scoring, labels_of, score_users
from recsys.training.systems import is_new


@dataclass(frozen=True, slots=True)
class NewCandidates:
    """The candidates that are new to their users, of the users whose truth has an item that is new to them.

    rows: int64 (n,), positions in the validation rows
    users: int64 (n,), positions in `truth`; items: int32 (n,)
    truth: the new items of each user's truth, at least one
    """

    rows: np.ndarray
    users: np.ndarray
    items: np.ndarray
    truth: Truth


@dataclass(frozen=True, slots=True)
class Validation:
    """The users of the validation window with their candidates. All selections of a run are made on them.

    cases: users with a history, since users without one are not ranked
    candidates: the candidates of these users, without the scores of a ranker
    rows: the candidates as the ranker's rows, in the same order; the rows of a user without a hit weigh nothing
    mf: calibration of the factorization's scores
    new: the candidates by which alpha is selected among about equal ones; None if no truth has a new item, and in the
    window of discovery, which has no other candidates
    """

    cases: TestCases
    candidates: ScoredCandidates
    rows: RankingData
    mf: Calibration
    new: NewCandidates | None = None


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
    new = new_candidates(candidates, cases) if objective == "all" else None
    nothing = np.zeros((0, len(config.inference.feature_names)), np.float32)
    return Validation(cases, replace(candidates, features=nothing), rows, fit_calibration(candidates.mf, labels), new)


def new_candidates(candidates: ScoredCandidates, cases: TestCases) -> NewCandidates | None:
    """The candidates that are new to their users; None if the truth of no user has a new item."""
    remaining, kept = protocol.new_items_only(cases)
    if not len(kept):
        return None
    position = np.full(len(cases), UNKNOWN)
    position[kept] = np.arange(len(kept))
    users = position[candidates.users]
    rows = np.flatnonzero(is_new(candidates, cases) & (users != UNKNOWN))
    return NewCandidates(rows, users[rows], candidates.items[rows], remaining.truth)


def training_set(
    parts: Sequence[RankingData],
    valid: RankingData | None,
    features: Sequence[Feature],
    left_out: Sequence[str] = (),
) -> TrainingSet:
    """The rows of several cuts to learn from, and the validation rows that stop the training; None for no such rows.

    features: the features of the rows' columns
    left_out: names of features that are NaN in every row, so that no tree can use them
    """
    names = feature_names_of(features)
    if left_out:
        columns = [names.index(name) for name in left_out]
        parts = [_blanked(part, columns) for part in parts]
        valid = valid and _blanked(valid, columns)
    return TrainingSet(parts, valid, names, categorical_of(features))


def _blanked(rows: RankingData, columns: Sequence[int]) -> RankingData:
    """The rows with NaN in some columns."""
    blanked = rows.features.copy()
    blanked[:, columns] = np.nan
    return replace(rows, features=blanked)


def choose_blend(
    validation: Validation, scores: np.ndarray, config: TrainConfig, metric: str | None = None
) -> tuple[Blend, AlphaCurves]:
    """The blend of a ranker's raw scores of the validation rows, and the metrics by alpha.

    The scores are calibrated, and alpha is chosen unless hybrid.alpha fixes it.
    scores: float64 (n_rows,); metric: a name for `protocol.per_user`, by default ndcg@k of evaluation.k
    """
    lgb, name = fit_calibration(scores, validation.rows.labels), metric or f"ndcg@{config.evaluation.k}"
    measure, measure_new = metric_of(validation, name), new_metric_of(validation, name)
    mf = validation.mf(validation.candidates.mf)
    alpha, curves = choose_alpha(lgb(scores), mf, measure, config.hybrid, measure_new)
    return Blend(alpha=alpha, lgb=lgb, mf=validation.mf), curves


def new_metric_of(validation: Validation, metric: str) -> Metric | None:
    """A function as `metric_of` returns, for items that are new to the user; None if `validation.new` is None."""
    return None if validation.new is None else partial(new_metric, validation.new, metric)


def new_metric(new: NewCandidates, metric: str, scores: np.ndarray) -> float:
    """The mean metric over the users of `new` of their lists of new candidates; scores: of the validation rows."""
    depth = protocol.cutoff_of(metric)
    lists = ranked_lists(new.users, new.items, scores[new.rows], len(new.truth), depth)
    return float(protocol.per_user(metric, lists, new.truth).mean())


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
