"""Candidate generation: the union of the sources, filtered, cut to size, with provenance."""

from dataclasses import dataclass

import numpy as np
from pydantic import Field

from recsys.features.interactions import rank_within
from recsys.features.profiles import Profiles
from recsys.features.statistics import Statistics
from recsys.histories import offsets_of
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

    size: int = Field(200, ge=1)
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
    proposals = _proposals(of, tables, statistics, config)
    n_items, n_users = statistics.n_items, len(of)
    keys = np.concatenate([p.users * n_items + p.items for p in proposals])
    unique, place = np.unique(keys, return_inverse=True)
    scores = np.full((len(unique), len(SOURCES)), np.nan, np.float32)
    priority = np.full(len(unique), np.inf)
    start = 0
    for source, (name, proposal) in enumerate(zip(SOURCES, proposals, strict=True)):
        at = place[start : start + len(proposal.users)]
        start += len(proposal.users)
        scores[at, source] = proposal.scores
        rank = rank_within(proposal.users, proposal.scores, proposal.items)
        share = getattr(config.shares, name)
        if share > 0:
            priority[at] = np.minimum(priority[at], (rank + 1) / share)
    users, items = unique // n_items, (unique % n_items).astype(np.int32)
    best = (rank_within(users, -priority, items) < config.size) & np.isfinite(priority)
    return Candidates(n_users, users[best], items[best], scores[best])


def _proposals(of: Profiles, tables: RetrievalTables, statistics: Statistics, config: CandidateConfig) -> list[Scored]:
    """One list of allowed items for each source, in the order of SOURCES."""
    by_item, n_items, n_users = of.by_item, statistics.n_items, len(of)
    near = seeds(by_item, config.seeds)
    proposals = [
        own_items(by_item),
        neighbours_of(near, tables.covisitation, n_items),
        neighbours_of(near, tables.mf_neighbours, n_items),
        everywhere(tables.lists.recent, n_users),
        everywhere(tables.lists.popular, n_users),
        in_categories(tables.lists, of.by_level[-1], config.popularity.categories),
    ]
    allowed = [proposal.where(statistics.available[proposal.items]) for proposal in proposals]
    if not tables.exclude_purchased:
        return allowed
    bought = by_item.counts[:, PURCHASE] > 0

    def is_new(proposal: Scored) -> np.ndarray:
        at = by_item.find(proposal.users, proposal.items)
        return (at < 0) | ~bought[np.maximum(at, 0)] if len(bought) else np.ones(len(at), bool)

    return [proposal.where(is_new(proposal)) for proposal in allowed]
