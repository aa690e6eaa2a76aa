"""The session model beside its neighbours alone and the main path, on the prefixes after the validation cut."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from recsys.evaluation.metrics import Difference, Resampling, paired_difference
from recsys.histories import Histories
from recsys.inference.recommender import Recommendations, Recommender
from recsys.inference.settings import InferenceConfig
from recsys.inference.stages import CandidateStage
from recsys.models.blend import Blend, Calibration
from recsys.models.rankers.registry import ranker_from_text
from recsys.models.tables import Tables
from recsys.retrieval.preranker import PreRankerModels
from recsys.sessions.learning import K, LabelledRows, calibrated, neighbour_ranks, train_ranker
from recsys.sessions.prefixes import hit_rate, mrr, ndcg_by_prefix, target_ranks
from recsys.sessions.settings import SessionConfig
from recsys.sessions.tables import SessionTables
from recsys.timeline import Cut
from recsys.training.session_windows import WindowPart

OURS: Final = "session model"
WITHOUT_HISTORY: Final = "session model, history left out"
NEIGHBOURS: Final = "neighbours alone"
MAIN_PATH: Final = "main path"
WITHOUT_SESSION: Final = "main path, session left out"
ALL: Final = "all sessions"
KNOWN: Final = "known users"


@dataclass(frozen=True, slots=True)
class SessionQuality:
    """The next item on the validation window, for one system.

    group: ALL, or KNOWN for the sessions of users with events before the cut; prefixes: their number
    """

    system: str
    group: str
    prefixes: int
    hit_rate: float
    mrr: float
    ndcg: float

    @classmethod
    def create(cls, system: str, group: str, ranks: np.ndarray) -> "SessionQuality":
        """The metrics of the first 20 items; ranks: of the targets, at least one, see `target_ranks`."""
        ndcg = float(ndcg_by_prefix(ranks, K).mean())
        return cls(system, group, len(ranks), hit_rate(ranks, K), mrr(ranks, K), ndcg)


@dataclass(frozen=True, slots=True)
class MainPath:
    """The main path up to the validation window; ranker: its text."""

    ranker: str
    backend: str
    blend: Blend
    prerankers: PreRankerModels
    inference: InferenceConfig


@dataclass(frozen=True, slots=True)
class Compared:
    """The comparison on the first prefixes of the validation window.

    calibration: of the scores of a ranker that was trained before the window
    ranks: by system, the ranks of the targets, float64 (n,)
    known: bool (n,), whether the user has events before the cut
    """

    calibration: Calibration
    ranks: Mapping[str, np.ndarray]
    known: np.ndarray

    def table(self) -> list[SessionQuality]:
        """The metrics of each system and group."""
        groups = {ALL: np.ones(len(self.known), bool), KNOWN: self.known}
        return [
            SessionQuality.create(system, group, ranks[rows])
            for group, rows in groups.items()
            for system, ranks in self.ranks.items()
            if rows.any()
        ]

    def lead(self, resampling: Resampling) -> Difference:
        """See `SessionOutcome.lead`."""
        ours, others = (ndcg_by_prefix(self.ranks[system], K) for system in (OURS, MAIN_PATH))
        return paired_difference(ours, others, resampling)


def rank_by_main_path(tables: Tables, window: WindowPart, path: MainPath, cut: Cut) -> Mapping[str, np.ndarray]:
    """The ranks of the targets in the lists of the main path, by system.

    It gets the history with the session as one history, or the history alone as of the cut.
    """
    stage = CandidateStage(tables, path.prerankers, path.inference)
    rankers = [ranker_from_text(path.ranker, path.backend)]
    recommender = Recommender(tables, stage, rankers * 2, [path.blend] * 2, path.inference)
    ranks = np.empty(len(window.prefixes))
    for row in range(len(ranks)):  # one by one: each has a time of its own
        one = window.take(np.array([row]))
        history = _appended(one.known, one.prefixes.sessions)
        ranks[row] = _list_ranks(recommender(history, int(history.times.max()), K), one.prefixes.targets)[0]
    before = recommender(window.known, cut.time, K)
    return {MAIN_PATH: ranks, WITHOUT_SESSION: _list_ranks(before, window.prefixes.targets)}


def _appended(known: Histories, session: Histories) -> Histories:
    """The history of one user with the session's events at the end."""
    columns = (
        np.concatenate([getattr(part, name) for part in (known, session)]) for name in ("items", "events", "times")
    )
    return Histories(known.offsets + session.offsets, *columns)


def _list_ranks(listed: Recommendations, targets: np.ndarray) -> np.ndarray:
    users = np.arange(len(targets)).repeat(np.diff(listed.offsets))
    return target_ranks(users, listed.items, listed.scores, targets)


def rank_by_neighbours(tables: SessionTables, window: WindowPart, config: SessionConfig) -> Mapping[str, np.ndarray]:
    """The ranks of the targets in the lists of the neighbours alone."""
    return {NEIGHBOURS: neighbour_ranks(tables, window.prefixes, config.neighbours, config)}


def compare(
    config: SessionConfig,
    seed: int,
    train_rows: LabelledRows,
    rows: LabelledRows,
    plain_rows: LabelledRows,
    first: WindowPart,
    *others: Mapping[str, np.ndarray],
) -> Compared:
    """The session model beside others on the first prefixes after the validation cut.

    rows: of all drawn prefixes after this cut; plain_rows: of the first ones, as if nobody had a history
    first: the first prefixes; others: the ranks of other systems
    """
    ranker = train_ranker([train_rows], config, seed)
    ranks = {
        OURS: rows.ranks(ranker.predict(rows.candidates.features))[: len(first.prefixes)],
        WITHOUT_HISTORY: plain_rows.ranks(ranker.predict(plain_rows.candidates.features)),
    }
    for other in others:
        ranks |= other
    return Compared(calibrated(rows, ranker), ranks, first.known.lengths > 0)
