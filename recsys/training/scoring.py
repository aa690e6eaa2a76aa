"""Candidates of many users with the scores of several rankers at once, as Ray tasks over chunks of users."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import ray

from recsys.arrays import belongs
from recsys.cluster import run_tasks
from recsys.data.shop import UserPartition
from recsys.evaluation import protocol
from recsys.evaluation.protocol import TestCases
from recsys.histories import Histories
from recsys.inference.settings import InferenceConfig
from recsys.inference.stages import (
    CandidateStage,
    chunks,
    objectives,
    score_cold_start,
)
from recsys.models.rankers.registry import Ranker, ranker_from_text
from recsys.models.tables import Tables
from recsys.retrieval.preranker import PreRankerModels
from recsys.schema import Objective
from recsys.timeline import Cut
from recsys.training.context import Context

CHUNK: Final = 500
"""Users of one task."""


@dataclass(frozen=True, slots=True)
class ScoredCandidates:
    """Candidates of some users with their raw scores.

    users: int64 (n,), positions of the users; items: int32 (n,)
    source_scores: float32 (n, n_sources), NaN if a source did not propose the item
    lgb: float64 (n_rankers, n), raw scores of each ranker
    mf: float32 (n,), raw scores of the factorization, NaN where there is none
    warm: bool (n_users,), whether the user has an event on an item with a learned factor
    features: float32 (n, n_features), or (0, n_features) if they were not kept
    """

    users: np.ndarray
    items: np.ndarray
    source_scores: np.ndarray
    lgb: np.ndarray
    mf: np.ndarray
    warm: np.ndarray
    features: np.ndarray


@dataclass(frozen=True, slots=True)
class Scoring:
    """The settings of a scoring task, beside its users, tables and rankers.

    now: time of the cut, ms; histories end at or before it
    keep_features: whether the candidates' features are returned as well
    """

    now: int
    objective: Objective
    prerankers: PreRankerModels
    inference: InferenceConfig
    backend: str
    keep_features: bool = False


def find_cases(context: Context, cut: Cut, days: int) -> TestCases:
    """The protocol's test users for the `days` after a cut."""
    shop, config = context.shop, context.config
    known = np.zeros(len(shop.items), bool)
    known[shop.daily.item[shop.daily.age >= cut.age]] = True
    calls = [
        (partition, cut.time, cut.plus(days), config.target_codes, ray.put(known)) for partition in shop.partitions
    ]
    parts = ray.get(run_tasks(partition_cases, "find test users", calls))
    return protocol.sample(parts, config.evaluation.max_users)


def partition_cases(
    partition: UserPartition, start: int, end: int, targets: Sequence[int], known: np.ndarray
) -> TestCases:
    """The test users of one partition, see `protocol.test_cases`."""
    return protocol.test_cases(partition.users, partition.histories, start, end, targets=targets, known_items=known)


def labels_of(scored: ScoredCandidates, cases: TestCases) -> np.ndarray:
    """Whether each candidate is in its user's truth, bool (n,)."""
    return belongs(scored.users, scored.items, cases.truth.offsets, cases.truth.items)


def score_users(
    histories: Histories, tables: "ray.ObjectRef[Tables]", rankers: Sequence[Ranker], scoring: Scoring
) -> ScoredCandidates:
    """Candidates of all users with the raw scores of each ranker."""
    texts = ray.put([ranker.to_text() for ranker in rankers])
    parts_of_users = chunks(histories, CHUNK) or [np.zeros(0, np.int64)]  # nobody is scored as somebody is
    calls = [(histories.take(users), tables, texts, scoring) for users in parts_of_users]
    parts: list[ScoredCandidates] = ray.get(run_tasks(score_chunk, "score test users", calls))
    starts = np.cumsum([0, *(len(part.warm) for part in parts)])[:-1]
    return ScoredCandidates(
        np.concatenate([part.users + start for part, start in zip(parts, starts, strict=True)]),
        np.concatenate([part.items for part in parts]),
        np.concatenate([part.source_scores for part in parts]),
        np.concatenate([part.lgb for part in parts], axis=1),
        np.concatenate([part.mf for part in parts]),
        np.concatenate([part.warm for part in parts]),
        np.concatenate([part.features for part in parts]),
    )


def score_chunk(histories: Histories, tables: Tables, rankers: Sequence[str], scoring: Scoring) -> ScoredCandidates:
    """Candidates of one chunk of users with their raw scores; rankers: the texts of the rankers."""
    stage = CandidateStage(tables, scoring.prerankers, scoring.inference)
    profiles = stage.profile(histories, scoring.now)
    candidates = stage(profiles, objectives(scoring.objective, len(histories)))
    features = stage.features(profiles, candidates)
    lgb = np.empty((len(rankers), len(candidates.items)))
    for scores, text in zip(lgb, rankers, strict=True):
        raw = ranker_from_text(text, scoring.backend).predict(features)
        scores[:] = score_cold_start(raw, profiles.histories, candidates, scoring.inference)
    user_factors, warm = tables.factors.fold_in(profiles.histories)
    mf = tables.factors.score(user_factors, candidates.users, candidates.items)
    kept = features if scoring.keep_features else features[:0]
    return ScoredCandidates(candidates.users, candidates.items, candidates.source_scores, lgb, mf, warm, kept)
