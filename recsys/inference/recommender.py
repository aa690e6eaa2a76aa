"""All stages of a recommendation in one process, and the last stage: blend scores and keep the best items."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import ValidationError

from recsys.arrays import offsets_of, order_within, ragged_indices
from recsys.errors import ModelError, RegistryError
from recsys.histories import Histories
from recsys.inference.repeat_cap import cap_repeats
from recsys.inference.settings import InferenceConfig
from recsys.inference.stages import CandidateStage, rows_by_ranker, score_cold_start
from recsys.models.blend import Blend
from recsys.models.rankers.registry import Ranker
from recsys.models.tables import Tables
from recsys.registry.bundle import Bundle
from recsys.retrieval.generator import Candidates
from recsys.schema import ALL


@dataclass(frozen=True, slots=True)
class Recommendations:
    """Ranked items of a batch of users, user after user, best first.

    offsets: int64 (n_users + 1,); items: int32 (n,)
    scores, lgb_scores: float64 (n,), on [0, 1]; mf_scores: float64 (n,), NaN for items without a factor
    provenance: bool (n, n_sources), the sources that proposed the item
    warm: bool (n_users,); n_candidates: int64 (n_users,)
    """

    offsets: np.ndarray
    items: np.ndarray
    scores: np.ndarray
    lgb_scores: np.ndarray
    mf_scores: np.ndarray
    provenance: np.ndarray
    warm: np.ndarray
    n_candidates: np.ndarray


@dataclass(frozen=True, slots=True)
class StageScores:
    """Raw scores of the candidates of a batch, before the blend.

    lgb: float64 (n_pairs,), raw scores of the ranker
    mf: float32 (n_pairs,), raw scores of the factorization, NaN where there is none
    warm: bool (n_users,), users with an event on an item with a factor
    """

    lgb: np.ndarray
    mf: np.ndarray
    warm: np.ndarray


class Recommender:
    """All stages in one process."""

    def __init__(
        self,
        tables: Tables,
        stage: CandidateStage,
        rankers: Sequence[Ranker],
        blends: Sequence[Blend],
        config: InferenceConfig,
    ) -> None:
        """rankers, blends: of all items, and of items that are new to the user."""
        self.candidates = stage
        self.factors = tables.factors
        self.rankers = rankers
        self.blends = blends
        self._config = config

    @classmethod
    def from_bundle(cls, opened: Bundle) -> "Recommender":
        """The stages of a version, with its own settings, features and blends; raises RegistryError."""
        manifest = opened.manifest
        config = _settings(opened)
        try:
            stage = CandidateStage(opened.tables, manifest.prerankers, config, manifest.features)
        except ModelError as error:
            raise RegistryError(f"version {opened.version}: {error}") from error
        return cls(opened.tables, stage, opened.rankers, manifest.blends, config)

    def __call__(
        self,
        histories: Histories,
        now: int,
        n: int,
        objectives: np.ndarray | None = None,
        repeat_caps: np.ndarray | None = None,
    ) -> Recommendations:
        """The `n` best items of each user, fewer if there are fewer candidates; ties go to the smaller item code.

        objectives: int8 (n_users,), positions in OBJECTIVES; by default ALL for every user
        repeat_caps: float64 (n_users,), caps of the requests, NaN for the version's setting
        """
        codes = np.zeros(len(histories), np.int8) if objectives is None else objectives
        caps = self.repeat_caps(codes, repeat_caps)
        candidates, features = self.propose(histories, now, codes, caps)
        user_factors, warm = self.fold_in(histories)
        lgb = self.rank(features, candidates.for_discovery)
        mf = self.factors.score(user_factors, candidates.users, candidates.items)
        return self.combine(histories, candidates, StageScores(lgb, mf, warm), n, caps)

    def propose(
        self, histories: Histories, now: int, objectives: np.ndarray, repeat_caps: np.ndarray | None
    ) -> tuple[Candidates, np.ndarray]:
        """Candidates and their rows for the ranker, float32 (n_pairs, n_features).

        One stage computes both, because both need the users' profiles. Sending the rows to the ranker takes less time
        than computing the profiles again there.
        """
        profiles = self.candidates.profile(histories, now)
        candidates = self.candidates(profiles, objectives, repeat_caps)
        return candidates, self.candidates.features(profiles, candidates)

    def rank(self, features: np.ndarray, for_discovery: np.ndarray) -> np.ndarray:
        """Raw scores of candidates, each by its ranker, float64 (n_pairs,); for_discovery: bool (n_pairs,)."""
        raw = np.empty(len(features))
        for ranker, rows in rows_by_ranker(for_discovery):
            raw[rows] = self.rankers[ranker].predict(features[rows])
        return raw

    def fold_in(self, histories: Histories) -> tuple[np.ndarray, np.ndarray]:
        """User factors, and whether each user is warm, see `ItemFactors.fold_in`; candidates play no part in them."""
        return self.factors.fold_in(histories.latest(self._config.history.max_events))

    def repeat_caps(self, objectives: np.ndarray, requested: np.ndarray | None) -> np.ndarray | None:
        """The largest fraction of each user's list for items of the history, float64 (n_users,); None for no cap.

        Only lists with objective ALL have a cap.
        objectives: int8 (n_users,), positions in OBJECTIVES
        requested: float64 (n_users,), caps of the requests, NaN for the version's setting; None if no request has a cap
        """
        caps = np.full(len(objectives), self._config.repeat_cap)
        if requested is not None:
            caps = np.where(np.isnan(requested), caps, requested)
        caps = np.where(objectives == ALL, caps, 1.0)
        return caps if (caps < 1).any() else None

    def combine(
        self,
        histories: Histories,
        candidates: Candidates,
        raw: StageScores,
        n: int,
        repeat_caps: np.ndarray | None,
    ) -> Recommendations:
        """Blend the stages' scores and keep the `n` best items of each user, under the caps of `cap_repeats`."""
        lgb = score_cold_start(raw.lgb, histories, candidates, self._config)
        scores, lgb_scores, mf_scores = np.empty((3, len(lgb)))
        for blend, rows in rows_by_ranker(candidates.for_discovery):
            scores[rows], lgb_scores[rows], mf_scores[rows] = self.blends[blend](lgb[rows], raw.mf[rows])
        order = order_within(candidates.users, scores, candidates.items)
        n_candidates = listed = np.bincount(candidates.users, minlength=candidates.n_users)
        if repeat_caps is not None:
            order = cap_repeats(order, candidates.users, candidates.in_history, repeat_caps)
            listed = np.bincount(candidates.users[order], minlength=candidates.n_users)
        kept = np.minimum(listed, n)
        best = order[ragged_indices(np.cumsum(listed) - listed, kept)]
        return Recommendations(
            offsets_of(kept),
            candidates.items[best],
            scores[best],
            lgb_scores[best],
            mf_scores[best],
            candidates.provenance[best],
            raw.warm,
            n_candidates,
        )


def _settings(opened: Bundle) -> InferenceConfig:
    """The settings of a version; raises RegistryError if this code does not accept one of them."""
    manifest = opened.manifest
    try:
        config = InferenceConfig.model_validate(manifest.inference, context={"declared_sources": manifest.sources})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, ("inference", *first["loc"])))
        raise RegistryError(f"version {opened.version}: manifest entry {where}: {first['msg']}") from error
    if tuple(manifest.inference.get("candidates", {}).get("sources", ())) != manifest.sources:
        problem = f"inference.candidates.sources: expected settings of {', '.join(manifest.sources)}"
        raise RegistryError(f"version {opened.version}: manifest entry {problem}")
    return config
