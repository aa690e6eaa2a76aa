"""Score the candidates of test users with several rankers at once, as Ray tasks over chunks of users."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import ray

from recsys.cluster import run_tasks
from recsys.config import TrainConfig
from recsys.data.ingest import ShopData
from recsys.data.shop import UserPartition
from recsys.evaluation import protocol
from recsys.evaluation.protocol import TestCases
from recsys.histories import Histories
from recsys.inference.stages import (
    CandidateStage,
    chunks,
    objectives,
    score_cold_start,
)
from recsys.models.rankers.base import Ranker
from recsys.models.rankers.registry import ranker_from_text
from recsys.models.tables import Tables
from recsys.retrieval.preranker import PreRankerModels
from recsys.schema import Objective
from recsys.timeline import cut

CHUNK = 500
"""Users of one task."""


@dataclass(frozen=True, slots=True)
class ScoredCandidates:
    """Raw scores of candidates.

    users: int64 (n,), items: int32 (n,), sources: float32 (n, n_sources), see Candidates
    lgb: float64 (n_rankers, n); mf: float32 (n,), NaN where there is none; warm: bool (n_users,)
    features: float32 (n, n_features), or (0, n_features) where they were not to be kept
    """

    users: np.ndarray
    items: np.ndarray
    sources: np.ndarray
    lgb: np.ndarray
    mf: np.ndarray
    warm: np.ndarray
    features: np.ndarray


def find_cases(shop: ShopData, age: int, days: int, config: TrainConfig) -> TestCases:
    """The protocol's test users for the `days` after the cut at `age`."""
    known = np.zeros(len(shop.items), bool)
    known[shop.daily.item[shop.daily.age >= age]] = True
    window = cut(shop.end, age), cut(shop.end, age - days)
    calls = [(partition, *window, config.target_codes, ray.put(known)) for partition in shop.partitions]
    found = ray.get(run_tasks(partition_cases, "find test users", calls))
    return protocol.sample(found, config.evaluation.max_users)


def partition_cases(
    partition: UserPartition, start: int, end: int, targets: Sequence[int], known: np.ndarray
) -> TestCases:
    return protocol.test_cases(partition.users, partition.histories, start, end, targets=targets, known_items=known)


def score_users(
    histories: Histories,
    tables: "ray.ObjectRef[Tables]",
    rankers: Sequence[Ranker],
    now: int,
    prerankers: PreRankerModels,
    objective: Objective,
    config: TrainConfig,
    *,
    keep_features: bool = False,
) -> ScoredCandidates:
    """Candidates of all users with the raw scores of each ranker; histories end at or before `now` (ms)."""
    texts = ray.put([ranker.to_text() for ranker in rankers])
    settings = prerankers, objective, config, keep_features
    calls = [(histories.take(users), tables, texts, now, *settings) for users in chunks(histories, CHUNK)]
    parts: list[ScoredCandidates] = ray.get(run_tasks(score_chunk, "score test users", calls))
    starts = np.cumsum([0, *(len(part.warm) for part in parts)])[:-1]
    return ScoredCandidates(
        np.concatenate([part.users + start for part, start in zip(parts, starts, strict=True)]),
        np.concatenate([part.items for part in parts]),
        np.concatenate([part.sources for part in parts]),
        np.concatenate([part.lgb for part in parts], axis=1),
        np.concatenate([part.mf for part in parts]),
        np.concatenate([part.warm for part in parts]),
        np.concatenate([part.features for part in parts]),
    )


def score_chunk(
    histories: Histories,
    tables: Tables,
    rankers: Sequence[str],
    now: int,
    prerankers: PreRankerModels,
    objective: Objective,
    config: TrainConfig,
    keep_features: bool,
) -> ScoredCandidates:
    stage = CandidateStage(tables, prerankers, config.inference)
    profiles = stage.profile(histories, now)
    candidates = stage(profiles, objectives(objective, len(histories)))
    features = stage.features(profiles, candidates)
    lgb = np.empty((len(rankers), len(candidates.items)))
    for scores, text in zip(lgb, rankers, strict=True):
        raw = ranker_from_text(text, config.ranker.backend).predict(features)
        scores[:] = score_cold_start(raw, profiles.histories, candidates, config.inference)
    user_factors, warm = tables.factors.fold_in(profiles.histories)
    mf = tables.factors.score(user_factors, candidates.users, candidates.items)
    kept = features if keep_features else features[:0]
    return ScoredCandidates(candidates.users, candidates.items, candidates.source_scores, lgb, mf, warm, kept)
