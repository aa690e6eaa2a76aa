"""A session model without a training: it proposes the neighbours of a session's last items by their codes."""

import numpy as np

from recsys.arrays import runs
from recsys.histories import Histories
from recsys.sessions.model import Admit, SessionCandidates, SessionModel
from recsys.sessions.origins import Origins, Pairs
from recsys.sessions.tables import ItemFacts

REACH = 6
"""Codes on both sides of an item that are its neighbours."""
LAST = 3
"""Events at the end of a session whose neighbours are proposed."""


class ToySessions(SessionModel):
    """Knows the items with a code of at least `first`, and recommends what is near the last event."""

    source_names = ("near", "known")  # type: ignore[assignment]  # of the trained model six
    feature_names = ("distance", "age", "known")

    def __init__(self, n_items: int, first: int = 0, facts: ItemFacts | None = None) -> None:
        self._n_items, self._first = n_items, first  # nothing else of a model that was trained
        self.facts = ItemFacts.none(n_items) if facts is None else facts

    def propose(
        self,
        sessions: Histories,
        known: Histories | None = None,
        admit: Admit | None = None,
        *,
        with_unavailable: bool = False,
    ) -> SessionCandidates:
        last = sessions.where(sessions.items >= self._first).latest(LAST)
        steps = np.delete(np.arange(-REACH, REACH + 1), REACH)
        age = np.repeat(last.offsets[1:], last.lengths) - np.arange(len(last.items))
        users, ages = np.repeat(last.rows, len(steps)), np.repeat(age, len(steps))
        items = (last.items[:, None] + steps).ravel()
        distance = np.tile(np.abs(steps), len(last.items))
        used = (items >= 0) & (items < self._n_items)
        if not with_unavailable:
            used[used] = self.facts.available[items[used]]
        if admit is not None:
            used[used] = admit(users[used], items[used].astype(np.int32))
        users, items, distance, ages = users[used], items[used], distance[used], ages[used]
        order = np.lexsort((ages + distance / 100, items, users))
        users, items, distance, ages = users[order], items[order], distance[order], ages[order]
        starts, _ = runs(users * self._n_items + items)
        users, items = users[starts], items[starts].astype(np.int32)
        has = np.zeros(len(sessions), bool) if known is None else known.lengths > 0
        features = np.column_stack((distance[starts], ages[starts], has[users])).astype(np.float32)
        scores = np.column_stack((np.ones(len(users)), has[users])).astype(np.float32)
        return SessionCandidates(len(sessions), users, items, scores, features)

    def blank(
        self, sessions: Histories, known: Histories | None, users: np.ndarray, items: np.ndarray
    ) -> SessionCandidates:
        far = np.full((len(users), 3), 2 * REACH, np.float32)
        return SessionCandidates(len(sessions), users, items.astype(np.int32), np.zeros((len(users), 2)), far)

    def rank(self, features: np.ndarray) -> np.ndarray:
        return -(features[:, 1] + features[:, 0] / 100).astype(np.float64)

    def calibrate(self, raw: np.ndarray) -> np.ndarray:
        return np.exp(raw)

    def origins(self, sessions: Histories, known: Histories | None, pairs: Pairs) -> Origins:
        """The event whose item is the nearest one, of equally near ones the newest."""
        rows = [slice(*sessions.offsets[user : user + 2].tolist()) for user in pairs.users.tolist()]
        near = [
            row.stop - 1 - int(np.abs(sessions.items[row][::-1] - item).argmin())
            for row, item in zip(rows, pairs.items.tolist(), strict=True)
        ]
        index = np.array(near, np.int64)
        return Origins(np.zeros(len(near), np.int64), sessions.items[index], sessions.events[index].astype(np.int64))

    def contributions(self, features: np.ndarray) -> np.ndarray:
        zeros = np.zeros(len(features))
        return np.column_stack((-features[:, 0] / 100, -features[:, 1], zeros, zeros)).astype(np.float64)
