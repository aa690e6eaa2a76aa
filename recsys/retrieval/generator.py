"""Candidate generation: the union of the sources, filtered, cut to size, with provenance."""

from dataclasses import dataclass

import numpy as np
from pydantic import Field

from recsys.features.interactions import positions, rank_within
from recsys.features.profiles import Profiles
from recsys.features.statistics import Statistics
from recsys.histories import offsets_of, runs
from recsys.retrieval.covisitation import CovisitationConfig
from recsys.retrieval.history import neighbours_of, own_items, seeds
from recsys.retrieval.neighbours import Neighbours, NeighboursConfig
from recsys.retrieval.popularity import PopularityConfig, PopularityLists, everywhere, in_categories
from recsys.retrieval.sources import Scored
from recsys.schema import PURCHASE, SOURCES, Config


class SourceShares(Config):
    """How many candidates a source contributes, relative to the others, before overlap."""

    own: float = Field(8.0, ge=0)
    covisitation: float = Field(4.0, ge=0)
    mf_neighbours: float = Field(2.0, ge=0)
    recent: float = Field(2.0, ge=0)
    popular: float = Field(1.0, ge=0)
    category: float = Field(3.0, ge=0)


class CandidateConfig(Config):
    """What is proposed to the ranker."""

    size: int = Field(120, ge=1)
    """Candidates of a user."""
    seeds: int = Field(30, ge=1)
    """Newest items of a user whose neighbours are proposed."""
    shares: SourceShares = SourceShares()
    """Relative sizes of the sources."""
    exclude_purchased: bool | None = None
    """Leave out what the user has bought; None decides from the repeat rate of the data."""
    repeat_rate_threshold: float = Field(0.02, ge=0, le=1)
    """Bought items are proposed again when at least this share of (user, item) purchases was repeated."""
    covisitation: CovisitationConfig = CovisitationConfig()
    neighbours: NeighboursConfig = NeighboursConfig()
    popularity: PopularityConfig = PopularityConfig()


@dataclass(frozen=True, slots=True)
class RetrievalTables:
    """What the sources know at a cut."""

    covisitation: Neighbours
    mf_neighbours: Neighbours
    lists: PopularityLists
    exclude_purchased: bool


@dataclass(frozen=True, slots=True)
class Candidates:
    """Candidates of a batch of users, ascending by (user, item).

    users: int64 (n,), positions in the batch; items: int32 (n,)
    scores: float32 (n, len(SOURCES)), each source's score, NaN where it did not propose the item
    """

    n_users: int
    users: np.ndarray
    items: np.ndarray
    scores: np.ndarray

    @property
    def offsets(self) -> np.ndarray:
        """Borders of the users' candidates; int64 (n_users + 1,)."""
        return offsets_of(np.bincount(self.users, minlength=self.n_users))

    @property
    def sources(self) -> np.ndarray:
        """Provenance bits, uint8 (n,): bit i is set where SOURCES[i] proposed the item."""
        bits = 1 << np.arange(len(SOURCES))
        return ((~np.isnan(self.scores)) @ bits).astype(np.uint8)

    def take(self, rows: np.ndarray) -> "Candidates":
        return Candidates(self.n_users, self.users[rows], self.items[rows], self.scores[rows])


def generate(of: Profiles, tables: RetrievalTables, statistics: Statistics, config: CandidateConfig) -> Candidates:
    """At most `config.size` candidates for each user, by weighted turns of the sources.

    A source's r-th best item has priority (r + 1) / share; an item takes its best one; ties go to the
    smaller item code.
    """
    source, users, items, scores = _proposals(of, tables, statistics, config)
    turn = positions(source * len(of) + users) + 1.0
    with np.errstate(divide="ignore"):  # a source without a share never has its turn
        priority = turn / np.array([getattr(config.shares, name) for name in SOURCES])[source]
    keys = users * statistics.n_items + items
    order = keys.argsort()
    starts, row = runs(keys[order])
    by_source = np.full((len(starts), len(SOURCES)), np.nan, np.float32)
    by_source[row, source[order]] = scores[order]
    first = np.minimum.reduceat(priority[order], starts)
    one = order[starts]
    users, items = users[one], items[one]
    best = ((rank_within(users, -first) < config.size) & (first < np.inf)).nonzero()[0]
    return Candidates(len(of), users[best], items[best], by_source.take(best, axis=0))


def _proposals(
    of: Profiles, tables: RetrievalTables, statistics: Statistics, config: CandidateConfig
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """What the sources propose that is allowed, source after source: position in SOURCES, user, item, score."""
    by_item, n_users = of.by_item, len(of)
    near = seeds(by_item, of.recency, config.seeds)
    parts = (
        own_items(by_item),
        neighbours_of(near, tables.covisitation, n_users),
        neighbours_of(near, tables.mf_neighbours, n_users),
        everywhere(tables.lists.recent, n_users),
        everywhere(tables.lists.popular, n_users),
        in_categories(tables.lists, of.by_category, n_users, config.popularity.categories),
    )
    source = np.arange(len(parts)).repeat([len(part.users) for part in parts])
    users, items, scores = (np.concatenate([getattr(part, name) for part in parts]) for name in Scored.__slots__)
    allowed = statistics.available[items]
    if tables.exclude_purchased:
        bought = np.append(by_item.counts[:, PURCHASE] > 0, False)  # the last one is found where they never met
        allowed &= ~bought[by_item.find(users, items)]
    if allowed.all():
        return source, users, items, scores
    return source[allowed], users[allowed], items[allowed], scores[allowed]
