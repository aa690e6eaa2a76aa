"""The stages of a recommendation over a bundle's parts, for one user or many; no Ray.

The same code runs in training, batch recommendation, evaluation and the service, so the answers agree.
"""

from collections.abc import Sequence

import numpy as np

from recsys.arrays import rank_within
from recsys.features.build import build
from recsys.features.definitions import FACTS
from recsys.features.profiles import Profiles, build_profiles
from recsys.histories import Histories
from recsys.inference.settings import InferenceConfig
from recsys.models.tables import Tables
from recsys.retrieval.generator import Candidates, generate
from recsys.retrieval.preranker import PreRanker, PreRankerModels
from recsys.schema import DISCOVER, OBJECTIVES, SOURCES, Objective


def objectives(objective: Objective, n_users: int) -> np.ndarray:
    """The same objective for all users, int8 (n_users,): positions in OBJECTIVES."""
    return np.full(n_users, OBJECTIVES.index(objective), np.int8)


class CandidateStage:
    """Proposes items."""

    def __init__(self, tables: Tables, prerankers: PreRankerModels, config: InferenceConfig) -> None:
        self._tables = tables
        self._config = config
        self._selection = PreRanker.for_tables(prerankers, config.candidates.shares.by_source(), tables.statistics)

    def profile(self, histories: Histories, now: int) -> Profiles:
        """What the users look like at `now` (ms); histories end at or before it."""
        recent = histories.latest(self._config.history.max_events)
        return build_profiles(recent, self._tables.statistics, now, self._config.interactions)

    def __call__(
        self, profiles: Profiles, objectives: np.ndarray | None = None, repeat_shares: np.ndarray | None = None
    ) -> Candidates:
        """objectives: int8 (n_users,), positions in OBJECTIVES; None is ALL for everyone

        repeat_shares: see `generate`
        """
        tables, config = self._tables, self._config.candidates
        objectives = np.zeros(len(profiles), np.int8) if objectives is None else objectives
        return generate(
            profiles, tables.retrieval, tables.statistics, config, self._selection, objectives, repeat_shares
        )


def score_cold_start(
    raw: np.ndarray, histories: Histories, candidates: Candidates, config: InferenceConfig
) -> np.ndarray:
    """The ranker's raw scores, but -ln(position among the popular items) for users without events; float64 (n_pairs,).

    Of them a ranker knows nothing that popularity does not; where data are few it ranked worse. Recent popularity
    goes first, then all-time popularity. The logarithm, since hits fall about as 1 / position: log-odds like raw
    scores.
    """
    without = histories.lengths == 0
    if not without.any():
        return raw
    new = without[candidates.users]
    # Both sources score 1 / position.
    recent, ever = (1 / candidates.scores[new, SOURCES.index(name)] for name in ("recent", "popular"))
    scores = raw.copy()
    scores[new] = -np.log(np.where(np.isnan(recent), config.candidates.popularity.size + ever, recent))
    return scores


def candidate_features(
    profiles: Profiles, candidates: Candidates, tables: Tables, rows: np.ndarray | None = None
) -> np.ndarray:
    """The ranker's rows, float32 (n_pairs, n_features).

    The factorization's score is a feature of items that are new to the user alone: there it says much, elsewhere no
    more than what the user did, and it costs time.
    rows: int64 (n,), positions of the candidates that are wanted, None for all
    """
    facts = np.full((len(candidates.users), len(FACTS)), np.nan)
    facts[:, 0] = candidates.preranker_score
    for_discovery = candidates.for_discovery.nonzero()[0]
    if len(for_discovery):
        users, items = candidates.users[for_discovery], candidates.items[for_discovery]
        asking = (candidates.objectives == DISCOVER).nonzero()[0]
        user_factors, _ = tables.factors.fold_in(profiles.histories.take(asking))
        facts[for_discovery, 1] = mf = tables.factors.score(user_factors, np.searchsorted(asking, users), items)
        # Among all candidates of the user, wanted or not.
        facts[for_discovery, 2] = rank_within(users, np.nan_to_num(mf, nan=-np.inf, neginf=-np.inf))
    if rows is not None:
        candidates, facts = candidates.take(rows), facts[rows]
    return build(profiles, tables.statistics, candidates.users, candidates.items, candidates.scores, facts)


def chunks(histories: Histories, size: int) -> Sequence[np.ndarray]:
    """Positions of users in runs of at most `size`: what one call of the stages handles in bounded memory."""
    return [np.arange(start, min(start + size, len(histories))) for start in range(0, len(histories), size)]
