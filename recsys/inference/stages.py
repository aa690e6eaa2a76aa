"""The stages before the ranker, over the tables of a cut, for one user or many; no Ray.

The same code runs in training, evaluation, batch recommendation and the service, so their results are the same.
"""

from collections.abc import Sequence

import numpy as np

from recsys.arrays import rank_within
from recsys.features.build import FeatureBuilder
from recsys.features.definitions import STAGE_FEATURES
from recsys.features.profiles import Profiles, build_profiles
from recsys.histories import Histories
from recsys.inference.settings import InferenceConfig
from recsys.models.tables import Tables
from recsys.retrieval.generator import Candidates, generate
from recsys.retrieval.preranker import PreRanker, PreRankerModels
from recsys.retrieval.restrictions import Restrictions
from recsys.retrieval.sources.registry import SOURCES
from recsys.schema import DISCOVER, OBJECTIVES, Objective
from recsys.timeline import Present


def objectives(objective: Objective, n_users: int) -> np.ndarray:
    """The same objective for all users, int8 (n_users,): positions in OBJECTIVES."""
    return np.full(n_users, OBJECTIVES.index(objective), np.int8)


class CandidateStage:
    """Makes candidates for users, and the ranker's rows of the candidates."""

    def __init__(
        self,
        tables: Tables,
        prerankers: PreRankerModels,
        config: InferenceConfig,
        feature_names: Sequence[str] | None = None,
    ) -> None:
        """feature_names: the features of the rows, by default all features of this code.

        Raises ModelError if this code does not have one of them.
        """
        self._tables = tables
        self._config = config
        candidates = config.candidates
        weights = dict(zip(candidates.source_names, candidates.source_weights, strict=True))
        self._preranker = PreRanker.for_tables(prerankers, weights, tables.statistics)
        names = config.feature_names if feature_names is None else feature_names
        self._features = FeatureBuilder(names, tables.statistics, config.scored_sources)

    def profile(self, histories: Histories, now: Present) -> Profiles:
        """Aggregates of the users' histories as of `now`; histories end at or before it."""
        recent = histories.latest(self._config.history.max_events)
        return build_profiles(recent, self._tables.statistics, now, self._config.interactions)

    def __call__(
        self,
        profiles: Profiles,
        objectives: np.ndarray | None = None,
        repeat_caps: np.ndarray | None = None,
        restrictions: Restrictions | None = None,
    ) -> Candidates:
        """Candidates of a batch of users.

        objectives: int8 (n_users,), positions in OBJECTIVES; by default ALL for every user
        repeat_caps, restrictions: see `generate`
        """
        tables, config = self._tables, self._config.candidates
        codes = np.zeros(len(profiles), np.int8) if objectives is None else objectives
        return generate(
            profiles, tables.retrieval, tables.statistics, config, self._preranker, codes, repeat_caps, restrictions
        )

    def features(self, profiles: Profiles, candidates: Candidates, rows: np.ndarray | None = None) -> np.ndarray:
        """The ranker's rows of candidates, float32 (n_pairs, n_features).

        The factorization's score is a feature only for users with objective DISCOVER. It helps there, adds nothing for
        other users, and costs time.
        rows: int64 (n,), positions of the candidates that get a row, by default all
        """
        extra = np.full((len(candidates.users), len(STAGE_FEATURES)), np.nan)
        extra[:, 0] = candidates.preranker_score
        new = candidates.for_discovery.nonzero()[0]
        if len(new):
            users, items = candidates.users[new], candidates.items[new]
            discovering = (candidates.objectives == DISCOVER).nonzero()[0]
            factors = self._tables.factors
            user_factors, _ = factors.fold_in(profiles.histories.take(discovering))
            extra[new, 1] = mf = factors.score(user_factors, np.searchsorted(discovering, users), items)
            # The rank counts all candidates of the user, also those that get no row.
            extra[new, 2] = rank_within(users, np.nan_to_num(mf, nan=-np.inf, neginf=-np.inf))
        if rows is not None:
            candidates, extra = candidates.take(rows), extra[rows]
        return self._features(profiles, candidates.users, candidates.items, candidates.source_scores, extra)


def rows_by_ranker(for_discovery: np.ndarray) -> list[tuple[int, slice | np.ndarray]]:
    """The rows of each ranker: 0 for all items, 1 for items that are new to the user.

    for_discovery: bool (n_pairs,), see `Candidates.for_discovery`
    """
    if for_discovery.all() or not for_discovery.any():
        return [(int(for_discovery.any()), slice(None))]
    return [(0, (~for_discovery).nonzero()[0]), (1, for_discovery.nonzero()[0])]


def score_cold_start(
    raw: np.ndarray, histories: Histories, candidates: Candidates, config: InferenceConfig
) -> np.ndarray:
    """Raw scores, float64 (n_pairs,): the ranker's, and for users without events -ln(position in the cold-start lists).

    For such users a ranker has only popularity to rank by. With little data it ranked worse than the plain lists. The
    cold-start lists of the sources follow each other: recent popularity, then all-time popularity, then items that fill
    a filtered list up. The chance of a hit falls about as 1 / position, so -ln(position) is a log-odds up to a
    constant, as raw scores are.
    """
    cold = histories.lengths == 0
    if not cold.any():
        return raw
    rows = cold[candidates.users]
    position, last = cold_start_positions(candidates.source_scores[rows], config)
    # Items that fill a filtered list up have a place among themselves; all others come right after the lists.
    after = last + 1 if candidates.place is None else last + np.maximum(candidates.place[rows], 1)
    scores = raw.copy()
    scores[rows] = -np.log(np.where(np.isnan(position), after, position))
    return scores


def cold_start_positions(source_scores: np.ndarray, config: InferenceConfig) -> tuple[np.ndarray, int]:
    """The position of each item in the cold-start lists, one list after the other, and the last position that exists.

    float32 (n,), from 1, NaN for an item in none of the lists; source_scores: float32 (n, n_sources), see `Candidates`
    """
    position = np.full(len(source_scores), np.nan, np.float32)
    before = 0
    for column, (name, settings) in enumerate(config.candidates.sources.items()):
        size = SOURCES[name].cold_start_size(settings)
        if size is not None:  # its scores are 1 / position
            in_list = before + 1 / source_scores[:, column]
            position = np.where(np.isnan(position), in_list, position)
            before += size
    return position, before


def chunks(histories: Histories, size: int) -> Sequence[np.ndarray]:
    """Positions of users in runs of at most `size`, so that one call of the stages needs limited memory."""
    return [np.arange(start, min(start + size, len(histories))) for start in range(0, len(histories), size)]
