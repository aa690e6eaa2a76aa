"""Peers for sessions, written from their papers with dictionaries and sets: one prefix at a time.

- popularity: the items of the most sessions
- Markov chain: the items that follow the last item most often, with weight 1
- V-SkNN: Ludewig and Jannach, Evaluation of session-based recommendation algorithms, 2018
- VSTAN: Garg et al., Sequence and time aware neighborhood for session-based recommendations (STAN), 2019, joined with
  V-SkNN's weights and inverse frequencies; its decays are parameters
"""

import heapq
import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Protocol

DEPTH: Final = 20

Sessions = Sequence[Sequence[int]]
"""The items of each session, oldest first."""


class Peer(Protocol):
    """A fitted peer."""

    name: str

    def __call__(self, prefix: Sequence[int]) -> list[int]:
        """The best DEPTH items for the beginning of a session."""
        ...


def best(scores: dict[int, float]) -> list[int]:
    """The items with the highest scores; of equal scores the smaller item."""
    return [item for item, _ in heapq.nsmallest(DEPTH, scores.items(), key=lambda pair: (-pair[1], pair[0]))]


class Popularity:
    """The items with the most events, whatever the session."""

    name = "popularity"

    def __init__(self, sessions: Sessions) -> None:
        counts = Counter(item for session in sessions for item in session)
        self._best = best({item: float(count) for item, count in counts.items()})

    def __call__(self, prefix: Sequence[int]) -> list[int]:
        return self._best


class Markov:
    """The items that followed the last item most often."""

    name = "Markov chain"

    def __init__(self, sessions: Sessions) -> None:
        follows: dict[int, Counter[int]] = defaultdict(Counter)
        for session in sessions:
            for first, second in pairwise(session):
                follows[first][second] += 1
        self._best = {item: best(dict(counts)) for item, counts in follows.items()}

    def __call__(self, prefix: Sequence[int]) -> list[int]:
        return self._best.get(prefix[-1], [])


class _Neighbours:
    """The sessions of each item, oldest first, and the items of each session."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._by_item: dict[int, list[int]] = defaultdict(list)
        for number, session in enumerate(sessions):
            for item in set(session):
                self._by_item[item].append(number)

    def recent(self, items: Sequence[int], limit: int) -> list[int]:
        """The newest sessions with one of the items."""
        both = {number for item in items for number in self._by_item.get(item, [])[-limit:]}
        return heapq.nlargest(limit, both)


class VSkNN(_Neighbours):
    """Neighbours by a dot product with linearly decayed weights of the session's items."""

    name = "V-SkNN"

    def __init__(self, sessions: Sessions, k: int = 100, m: int = 1000) -> None:
        super().__init__(sessions)
        self._k, self._m = k, m
        self._sets = [set(session) for session in sessions]

    def __call__(self, prefix: Sequence[int]) -> list[int]:
        weights = {item: (place + 1) / len(prefix) for place, item in enumerate(prefix)}
        similarities = [
            (sum(weights[item] for item in weights.keys() & self._sets[number]) / len(weights), number)
            for number in self.recent(list(weights), self._m)
        ]
        scores: dict[int, float] = defaultdict(float)
        for similarity, number in heapq.nlargest(self._k, similarities):
            items = self._sets[number]
            back = next(step for step, item in enumerate(reversed(prefix), 1) if item in items)
            for item in items:
                scores[item] += similarity / back
        return best(scores)


@dataclass(frozen=True, slots=True)
class Decays:
    """The parameters of VSTAN.

    query: decay of the session's items, in steps; recency: of a neighbour's age, in the unit of the ages
    distance: of a neighbour's items around the match; last: of the distance of the last match from the session's end
    before: weight of a neighbour's items before the match; idf, power: exponents
    """

    query: float
    recency: float
    distance: float
    last: float
    before: float
    idf: float
    power: float


class VSTAN(_Neighbours):
    """V-SkNN with decays of position, age and distance."""

    name = "VSTAN"

    def __init__(self, sessions: Sessions, ages: Sequence[float], decays: Decays, k: int = 500, m: int = 1000) -> None:
        super().__init__([_distinct(session) for session in sessions])
        self._k, self._m, self._decays, self._ages = k, m, decays, ages
        self._idf = {
            item: math.log(len(sessions) / len(numbers)) ** decays.idf for item, numbers in self._by_item.items()
        }

    def __call__(self, prefix: Sequence[int]) -> list[int]:
        decays, session = self._decays, _distinct(prefix)
        back = {item: len(session) - 1 - place for place, item in enumerate(session)}
        weights = {item: math.exp(-steps / decays.query) * self._idf.get(item, 0.0) for item, steps in back.items()}
        rated = []
        for number in self.recent(session, self._m):
            items = self._sessions[number]
            if len(items) < 2:
                continue
            common = [item for item in items if item in back]
            similarity = (sum(weights[item] for item in common) / math.sqrt(len(items))) ** decays.power
            similarity *= math.exp(-self._ages[number] / decays.recency)
            match = min(common, key=back.__getitem__)
            rated.append((similarity * math.exp(-back[match] / decays.last), number, match))
        scores: dict[int, float] = defaultdict(float)
        for similarity, number, match in heapq.nlargest(self._k, rated):
            items = self._sessions[number]
            at_match = items.index(match)
            for place, item in enumerate(items):
                side = decays.before if place < at_match else 1.0
                scores[item] += similarity * side * math.exp(-abs(place - at_match) / decays.distance) * self._idf[item]
        return best(scores)


def _distinct(session: Sequence[int]) -> list[int]:
    """The distinct items in the order of their last steps."""
    return list(dict.fromkeys(reversed(session)))[::-1]
