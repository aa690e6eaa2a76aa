"""All stages of a recommendation in one process."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import ValidationError

from recsys.arrays import offsets_of, order_within, ragged_indices
from recsys.errors import RegistryError
from recsys.histories import Histories
from recsys.inference.repeat_cap import limit_repeats
from recsys.inference.settings import InferenceConfig
from recsys.inference.stages import CandidateStage, candidate_features, score_cold_start
from recsys.models.blend import Blend
from recsys.models.rankers.base import Ranker
from recsys.models.tables import Tables
from recsys.registry.bundle import Bundle
from recsys.retrieval.generator import Candidates
from recsys.retrieval.preranker import PreRankerModels
from recsys.schema import ALL


def rows_by_ranker(for_discovery: np.ndarray) -> list[tuple[int, slice | np.ndarray]]:
    """Which rows are for the model of all items, 0, and which for the one of items new to the user, 1.

    of_new: bool (n_pairs,), see `Candidates.of_new`
    """
    if for_discovery.all() or not for_discovery.any():
        return [(int(for_discovery.any()), slice(None))]
    return [(0, (~for_discovery).nonzero()[0]), (1, for_discovery.nonzero()[0])]


@dataclass(frozen=True, slots=True)
class Recommendations:
    """Ranked items of a batch of users, user after user, best first.

    offsets: int64 (n_users + 1,); items: int32 (n,)
    scores, lgb_scores: float64 (n,), on [0, 1]; mf_scores: float64 (n,), NaN where there is none
    sources: uint8 (n,), provenance bits; warm: bool (n_users,); n_candidates: int64 (n_users,)
    """

    offsets: np.ndarray
    items: np.ndarray
    scores: np.ndarray
    lgb_scores: np.ndarray
    mf_scores: np.ndarray
    sources: np.ndarray
    warm: np.ndarray
    n_candidates: np.ndarray


class Recommender:
    """All stages in one process."""

    def __init__(
        self,
        tables: Tables,
        prerankers: PreRankerModels,
        rankers: Sequence[Ranker],
        blends: Sequence[Blend],
        config: InferenceConfig,
    ) -> None:
        """rankers, blends: of all items, and of those new to the user"""
        self.candidates = CandidateStage(tables, prerankers, config)
        self.factors = tables.factors
        self.rankers = rankers
        self.blends = blends
        self._tables = tables
        self._config = config

    @classmethod
    def from_bundle(cls, opened: Bundle) -> "Recommender":
        """Over a version, with its own settings and blend; raises RegistryError where this code has other settings."""
        try:
            config = InferenceConfig.model_validate(opened.manifest.inference)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, ("inference", *first["loc"])))
            raise RegistryError(f"version {opened.version}: manifest entry {where}: {first['msg']}") from error
        return cls(opened.tables, opened.manifest.prerankers, opened.rankers, opened.manifest.blends, config)

    def __call__(
        self,
        histories: Histories,
        now: int,
        n: int,
        objectives: np.ndarray | None = None,
        repeat_shares: np.ndarray | None = None,
    ) -> Recommendations:
        """The `n` best items of each user, fewer where fewer are known; ties go to the smaller item code.

        objectives: int8 (n_users,), positions in OBJECTIVES; None is ALL for everyone
        repeat_shares: see `repeat_shares`
        """
        objectives = np.zeros(len(histories), np.int8) if objectives is None else objectives
        shares = self.repeat_shares(objectives, repeat_shares)
        candidates, features = self.propose(histories, now, objectives, shares)
        user_factors, warm = self.fold_in(histories)
        lgb_raw = self.rank(features, candidates.for_discovery)
        mf_raw = self.factors.score(user_factors, candidates.users, candidates.items)
        return self.conclude(histories, candidates, lgb_raw, mf_raw, warm, n, shares)

    def propose(
        self, histories: Histories, now: int, objectives: np.ndarray, repeat_shares: np.ndarray | None
    ) -> tuple[Candidates, np.ndarray]:
        """Candidates and what the ranker looks at, float32 (n_pairs, n_features): made where the users' profiles are,
        which take longer to make than features to send.
        """
        profiles = self.candidates.profile(histories, now)
        candidates = self.candidates(profiles, objectives, repeat_shares)
        return candidates, candidate_features(profiles, candidates, self._tables)

    def rank(self, features: np.ndarray, for_discovery: np.ndarray) -> np.ndarray:
        """Raw scores of candidates by the ranker that each is for, float64 (n_pairs,); of_new: bool (n_pairs,)"""
        raw = np.empty(len(features))
        for at, rows in rows_by_ranker(for_discovery):
            raw[rows] = self.rankers[at].predict(features[rows])
        return raw

    def fold_in(self, histories: Histories) -> tuple[np.ndarray, np.ndarray]:
        """See `ItemFactors.fold_in`: what the factorization needs of users, whatever the candidates are."""
        return self.factors.fold_in(histories.latest(self._config.history.max_events))

    def conclude(
        self,
        histories: Histories,
        candidates: Candidates,
        lgb_raw: np.ndarray,
        mf_raw: np.ndarray,
        warm: np.ndarray,
        n: int,
        repeat_shares: np.ndarray | None,
    ) -> Recommendations:
        """What the stages found, put together.

        lgb_raw: see `rank`; mf_raw: float32 (n_pairs,), see `ItemFactors.score`; warm: see `fold_in`
        """
        lgb_raw = score_cold_start(lgb_raw, histories, candidates, self._config)
        return self.select(candidates, lgb_raw, mf_raw, warm, n, repeat_shares)

    def repeat_shares(self, objectives: np.ndarray, wanted: np.ndarray | None) -> np.ndarray | None:
        """How much of each user's list may be items they had before, float64 (n_users,), or None where nobody is held
        to a share.

        objectives: int8 (n_users,), positions in OBJECTIVES: only who is shown all items has a share
        wanted: float64 (n_users,), NaN, or None for everyone, stands for the version's own setting
        """
        shares = np.full(len(objectives), self._config.repeat_share)
        if wanted is not None:
            shares = np.where(np.isnan(wanted), shares, wanted)
        shares = np.where(objectives == ALL, shares, 1.0)
        return shares if (shares < 1).any() else None

    def select(
        self,
        candidates: Candidates,
        lgb_raw: np.ndarray,
        mf_raw: np.ndarray,
        warm: np.ndarray,
        n: int,
        repeat_shares: np.ndarray | None,
    ) -> Recommendations:
        """Blend the stages' raw scores and keep the `n` best items of each user, held to a share as `limit_repeats`
        does.
        """
        scores, lgb_scores, mf_scores = np.empty((3, len(lgb_raw)))
        for at, rows in rows_by_ranker(candidates.for_discovery):
            scores[rows], lgb_scores[rows], mf_scores[rows] = self.blends[at](lgb_raw[rows], mf_raw[rows])
        order = order_within(candidates.users, scores, candidates.items)
        counts = listed = np.bincount(candidates.users, minlength=candidates.n_users)
        if repeat_shares is not None:
            order = limit_repeats(order, candidates.users, candidates.had, repeat_shares)
            listed = np.bincount(candidates.users[order], minlength=candidates.n_users)
        kept = np.minimum(listed, n)
        best = order[ragged_indices(np.cumsum(listed) - listed, kept)]
        return Recommendations(
            offsets_of(kept),
            candidates.items[best],
            scores[best],
            lgb_scores[best],
            mf_scores[best],
            candidates.sources[best],
            warm,
            counts,
        )
