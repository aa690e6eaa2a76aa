"""The session model of a version: it proposes items to sessions, ranks them and calibrates the scores."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recsys.errors import ModelError
from recsys.histories import Histories
from recsys.models.blend import Calibration
from recsys.models.rankers.registry import Ranker, path_contributions_of
from recsys.sessions.candidates import Admit, Ranked, merged, proposals
from recsys.sessions.features import SessionBatch, build_features, feature_names
from recsys.sessions.log import distinct_steps, steps_of
from recsys.sessions.neighbours import Weights
from recsys.sessions.origins import Origins, Pairs, origins
from recsys.sessions.settings import SOURCES, SessionConfig
from recsys.sessions.tables import ItemFacts, SessionTables

AT_ONCE = 256
"""Sessions that are handled at a time, so that memory does not grow with the batch."""


@dataclass(frozen=True, slots=True)
class SessionCandidates:
    """Proposed items of a batch of sessions, ascending by (user, item); a pair stands once.

    n_users: number of sessions of the batch
    users: int64 (n,), positions of the sessions in the batch; items: int32 (n,)
    source_scores: float32 (n, n_sources), 0 where a source does not propose the item; columns as `source_names`
    features: float32 (n, n_features), NaN where nothing is known; columns as `feature_names`
    place: int32 (n,), place among the items that fill a list up, from 1; 0 for proposals and pins; None without such
        items
    """

    n_users: int
    users: np.ndarray
    items: np.ndarray
    source_scores: np.ndarray
    features: np.ndarray
    place: np.ndarray | None = None

    @property
    def fill_place(self) -> np.ndarray:
        """`place`, int32 (n,), with 0 for all where there is none."""
        return np.zeros(len(self.users), np.int32) if self.place is None else self.place

    @property
    def provenance(self) -> np.ndarray:
        """The sources that proposed each item, bool (n, n_sources)."""
        return np.asarray(self.source_scores > 0)

    def joined(self, more: "SessionCandidates") -> "SessionCandidates":
        """Both candidates of the same sessions, ascending by (user, item); no pair stands in both."""
        columns = [
            np.concatenate([getattr(part, name) for part in (self, more)])
            for name in ("users", "items", "source_scores", "features", "fill_place")
        ]
        order = np.lexsort((columns[1], columns[0]))
        return SessionCandidates(self.n_users, *(column[order] for column in columns))


class SessionProposer:
    """The candidates and features of sessions, from tables as of a cut. It needs no ranker, so it makes its rows."""

    def __init__(
        self, tables: SessionTables, facts: ItemFacts, config: SessionConfig, features: Sequence[str] | None = None
    ) -> None:
        """features: the names of the rows' columns, by default all features of this code.

        Raises ModelError if this code lacks one of them.
        """
        every = feature_names(facts)
        if unknown := set(features or ()) - set(every):
            raise ModelError(f"session model: there is no feature {', '.join(sorted(unknown))}")
        self.tables = tables
        self.facts = facts
        self.config = config
        self.feature_names = every if features is None else tuple(features)
        self.source_names = SOURCES
        self._weights = Weights.create(tables.index, config.neighbours)
        self._event_weights = config.weights.by_code()

    def propose(
        self,
        sessions: Histories,
        known: Histories | None = None,
        admit: Admit | None = None,
        *,
        with_unavailable: bool = False,
    ) -> SessionCandidates:
        """Candidates with their source scores and features; none for a session without a usable event.

        sessions: the events of each request's session, oldest first
        known: the events of the same users before the session, with empty rows for unknown users; None if no user of
            the batch is known
        admit: a filter of the proposals before they are cut to size
        with_unavailable: whether items that are not available may come back too, if `admit` lets them
        """
        admitted = admit
        if not with_unavailable:
            admitted = self._available if admit is None else _both(self._available, admit)
        if len(sessions) <= AT_ONCE:
            return self._propose(sessions, known, admitted)
        parts = []
        for start in range(0, len(sessions), AT_ONCE):
            rows = np.arange(start, min(start + AT_ONCE, len(sessions)))
            inner = None if admitted is None else _shifted(admitted, start)
            parts.append(self._propose(sessions.take(rows), None if known is None else known.take(rows), inner))
        users = [part.users + index * AT_ONCE for index, part in enumerate(parts)]
        items, scores, features = (
            np.concatenate([getattr(part, name) for part in parts]) for name in ("items", "source_scores", "features")
        )
        return SessionCandidates(len(sessions), np.concatenate(users), items, scores, features)

    def _propose(self, sessions: Histories, known: Histories | None, admit: Admit | None) -> SessionCandidates:
        batch = self._batch(sessions, known)
        parts = proposals(self.tables, self._weights, batch.query, known, self.config)
        return self._with_features(merged(parts, self.tables, admit or _all, batch.n_users, self.config), batch)

    def _batch(self, sessions: Histories, known: Histories | None) -> SessionBatch:
        """The sessions as the sources and the features read them; sessions, known: see `propose`."""
        steps = steps_of(sessions)
        query = distinct_steps(steps, self.tables.n_items, self._event_weights, self.config.last_steps)
        return SessionBatch(len(sessions), query, steps, known)

    def blank(
        self, sessions: Histories, known: Histories | None, users: np.ndarray, items: np.ndarray
    ) -> SessionCandidates:
        """Candidates that no source proposes: pins of a request, and items that fill its list up.

        sessions, known: see `propose`; users: int64 (n,), ascending; items: int (n,), ascending within a user
        """
        nothing = np.zeros((len(users), len(SOURCES)), np.float32)
        ranked = Ranked(users, items.astype(np.int64), nothing, np.full_like(nothing, np.nan), nothing)
        return self._with_features(ranked, self._batch(sessions, known))

    def _with_features(self, ranked: Ranked, batch: SessionBatch) -> SessionCandidates:
        features = build_features(batch, ranked, self.tables, self.facts, self.feature_names)
        return SessionCandidates(batch.n_users, ranked.users, ranked.items.astype(np.int32), ranked.scores, features)

    def _available(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        return self.facts.available[items]

    def origins(self, sessions: Histories, known: Histories | None, pairs: Pairs) -> Origins:
        """The item that each of some candidates follows from; sessions, known: see `propose`."""
        return origins(self.tables, self._batch(sessions, known).query, known, pairs, self.config)


def _all(users: np.ndarray, items: np.ndarray) -> np.ndarray:
    return np.ones(len(items), bool)


def _both(first: Admit, second: Admit) -> Admit:
    return lambda users, items: first(users, items) & second(users, items)


def _shifted(admit: Admit, start: int) -> Admit:
    """The filter for a part of the batch whose first session has the position `start`."""
    return lambda users, items: admit(users + start, items)


class SessionModel(SessionProposer):
    """A trained session model. It is opened from a version, or comes out of a training."""

    def __init__(
        self, tables: SessionTables, facts: ItemFacts, config: SessionConfig, ranker: Ranker, calibration: Calibration
    ) -> None:
        """ranker: its features are the columns of the rows. Raises ModelError if this code lacks one of them."""
        super().__init__(tables, facts, config, ranker.feature_names)
        self.ranker = ranker
        self.calibration = calibration

    def rank(self, features: np.ndarray) -> np.ndarray:
        """Raw scores of candidates, float64 (n,); features: float32 (n, n_features)."""
        return self.ranker.predict(features)

    def contributions(self, features: np.ndarray) -> np.ndarray:
        """The contributions of the features to the raw scores, float64 (n, n_features + 1).

        See `Ranker.path_contributions`; features: float32 (n, n_features)
        """
        return path_contributions_of(self.ranker, features)

    def calibrate(self, raw: np.ndarray) -> np.ndarray:
        """Scores on [0, 1] in the same order, float64 (n,); raw: float64 (n,)."""
        return self.calibration(raw)
