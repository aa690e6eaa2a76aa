"""The training of a session model: rows of labelled prefixes, the choice of the decays, the ranker, the calibration."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from recsys.arrays import runs
from recsys.histories import Histories
from recsys.models.blend import Calibration, fit_calibration
from recsys.models.rankers.registry import Ranker, train
from recsys.models.rankers.rows import RankingData, TrainingSet
from recsys.sessions.log import distinct_steps, steps_of
from recsys.sessions.model import AT_ONCE, SessionCandidates, SessionModel, SessionProposer
from recsys.sessions.neighbours import Weights, propose
from recsys.sessions.prefixes import Prefixes, ndcg_by_prefix, target_ranks
from recsys.sessions.settings import NeighbourConfig, SessionConfig
from recsys.sessions.tables import SessionTables

K: Final = 20
"""Length of the lists by whose NDCG settings are chosen."""
GRID: Final[Mapping[str, tuple[float, ...]]] = {
    "query_decay": (1.0, 2.0, 4.0, 8.0),
    "recency_days": (7.0, 28.0, 84.0, 365.0),
    "idf": (0.0, 0.5, 1.0),
    "power": (1.0, 1.5, 2.0),
    "last_decay": (1.0, 2.0, 4.0),
}
"""Values of the neighbours' settings that are compared, one setting after the other."""
MIN_GAIN: Final = 0.003
"""Fraction of NDCG that another value must gain. Less is chance on a few thousand prefixes."""


@dataclass(frozen=True, slots=True)
class LabelledRows:
    """Candidates of prefixes with their labels.

    candidates: of the prefixes; targets: int32 (n_prefixes,)
    names: of the features, in the order of the columns
    """

    candidates: SessionCandidates
    targets: np.ndarray
    names: tuple[str, ...]

    @property
    def hits(self) -> np.ndarray:
        """Whether each candidate is the next item, bool (n,)."""
        return np.asarray(self.candidates.items == self.targets[self.candidates.users])

    def ranks(self, scores: np.ndarray) -> np.ndarray:
        """The ranks of the targets, see `target_ranks`; scores: float (n,), of the candidates."""
        return target_ranks(self.candidates.users, self.candidates.items, scores, self.targets)

    def learnable(self) -> RankingData:
        """The rows of the prefixes whose target is among the candidates; all other candidates are the misses."""
        users, hits = self.candidates.users, self.hits
        with_hit = np.zeros(len(self.targets), bool)
        with_hit[users[hits]] = True
        keep = with_hit[users]
        starts, _ = runs(users[keep])
        groups = np.diff(np.append(starts, np.count_nonzero(keep)))
        return RankingData(self.candidates.features[keep], hits[keep].astype(np.int8), groups)


def labelled_rows(proposer: SessionProposer, prefixes: Prefixes, known: Histories | None = None) -> LabelledRows:
    """The candidates of prefixes; known: the history before the cut of each prefix's user, None for a log without."""
    return LabelledRows(proposer.propose(prefixes.sessions, known), prefixes.targets, proposer.feature_names)


def neighbour_ranks(
    tables: SessionTables, prefixes: Prefixes, settings: NeighbourConfig, config: SessionConfig
) -> np.ndarray:
    """The ranks of the targets in the lists of the neighbours alone, see `target_ranks`."""
    weights, n_items, ranks = Weights.create(tables.index, settings), tables.n_items, []
    for start in range(0, len(prefixes), AT_ONCE):
        some = prefixes.take(np.arange(start, min(start + AT_ONCE, len(prefixes))))
        query = distinct_steps(steps_of(some.sessions), n_items, config.weights.by_code(), config.last_steps)
        listed = propose(tables.index, weights, query, settings)
        ranks.append(target_ranks(listed.users, listed.items, listed.scores, some.targets))
    return np.concatenate([np.zeros(0), *ranks])


def tuned(tables: SessionTables, prefixes: Prefixes, config: SessionConfig) -> SessionConfig:
    """The settings with the neighbours' decays and exponents that have the best NDCG@20 on the prefixes.

    Each setting in turn takes its best value, see GRID, if this gains more than MIN_GAIN. None changes the tables.
    """

    def quality(settings: NeighbourConfig) -> float:
        return float(ndcg_by_prefix(neighbour_ranks(tables, prefixes, settings, config), K).mean())

    best, reached = config.neighbours, quality(config.neighbours)
    for name, values in GRID.items():
        for value in values:
            if value == getattr(best, name):
                continue
            settings = best.model_copy(update={name: value})
            if (value_quality := quality(settings)) > reached * (1 + MIN_GAIN):
                best, reached = settings, value_quality
    return config.model_copy(update={"neighbours": best})


def train_ranker(parts: Sequence[LabelledRows], config: SessionConfig, seed: int) -> Ranker:
    """A ranker of labelled rows; raises TooLittleData if no target is among the candidates."""
    data = TrainingSet([part.learnable() for part in parts], None, parts[0].names, ())
    settings = config.ranker.model_copy(update={"seed": seed})
    return train(data, settings, n_trees=settings.max_trees)


def calibrated(rows: LabelledRows, ranker: Ranker) -> Calibration:
    """The map of raw scores onto [0, 1] for rows that the ranker was not trained on."""
    return fit_calibration(ranker.predict(rows.candidates.features), rows.hits)


def as_model(proposer: SessionProposer, ranker: Ranker, calibration: Calibration) -> SessionModel:
    """The proposer with a ranker: a session model."""
    return SessionModel(proposer.tables, proposer.facts, proposer.config, ranker, calibration)
