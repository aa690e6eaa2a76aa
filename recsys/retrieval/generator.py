"""Candidate generation: the union of the sources, filtered, cut to size by a selection, with provenance."""

from dataclasses import dataclass

import numpy as np
from pydantic import Field

from recsys.arrays import offsets_of, positions, rank_within, runs
from recsys.features.profiles import Profiles
from recsys.features.statistics import Statistics
from recsys.retrieval.neighbours import Neighbours
from recsys.retrieval.preranker import MAX_RANK, PreRanker, Proposals
from recsys.retrieval.sources.base import Scored
from recsys.retrieval.sources.covisitation import CovisitationConfig
from recsys.retrieval.sources.mf_neighbours import NeighboursConfig
from recsys.retrieval.sources.own import neighbours_of, own_items, seeds
from recsys.retrieval.sources.popularity import PopularityConfig, PopularityLists, everywhere, in_categories
from recsys.schema import DISCOVER, PURCHASE, REPEAT, SOURCES, UNKNOWN, Config


class SourceShares(Config):
    """What a source is worth relative to the others: a place in its list counts share / place.

    The selection starts from the sum of these, and stays with it where nothing can be learned. A source without a share
    proposes nothing.
    """

    own: float = Field(8.0, ge=0)
    covisitation: float = Field(4.0, ge=0)
    mf_neighbours: float = Field(2.0, ge=0)
    recent: float = Field(2.0, ge=0)
    popular: float = Field(1.0, ge=0)
    category: float = Field(3.0, ge=0)

    def by_source(self) -> tuple[float, ...]:
        return tuple(getattr(self, name) for name in SOURCES)


class CandidateConfig(Config):
    """What is proposed to the ranker."""

    size: int = Field(120, ge=1)
    """Candidates of a user."""
    seeds: int = Field(30, ge=1)
    """Newest items of a user whose neighbours are proposed."""
    shares: SourceShares = SourceShares()
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
    preranker_score: float32 (n,), log-odds of the pre-ranker but for a constant
    objectives: int8 (n_users,), positions in OBJECTIVES
    """

    n_users: int
    users: np.ndarray
    items: np.ndarray
    scores: np.ndarray
    preranker_score: np.ndarray
    objectives: np.ndarray

    @property
    def offsets(self) -> np.ndarray:
        """Borders of the users' candidates; int64 (n_users + 1,)."""
        return offsets_of(np.bincount(self.users, minlength=self.n_users))

    @property
    def sources(self) -> np.ndarray:
        """Provenance bits, uint8 (n,): bit i is set where SOURCES[i] proposed the item."""
        bits = 1 << np.arange(len(SOURCES))
        return ((~np.isnan(self.scores)) @ bits).astype(np.uint8)

    @property
    def had(self) -> np.ndarray:
        """Whether the user had the item before, bool (n,): the source of their own items proposes it."""
        had: np.ndarray = ~np.isnan(self.scores[:, SOURCES.index("own")])
        return had

    @property
    def for_discovery(self) -> np.ndarray:
        """Whether only items new to the user are wanted, which have models of their own; bool (n,)."""
        return (self.objectives == DISCOVER)[self.users]

    def take(self, rows: np.ndarray) -> "Candidates":
        users, items = self.users[rows], self.items[rows]
        return Candidates(self.n_users, users, items, self.scores[rows], self.preranker_score[rows], self.objectives)


def generate(
    profiles: Profiles,
    tables: RetrievalTables,
    statistics: Statistics,
    config: CandidateConfig,
    selection: PreRanker,
    objectives: np.ndarray,
    repeat_shares: np.ndarray | None = None,
) -> Candidates:
    """The at most `config.size` proposals of each user that the selection thinks most of, ties to the smaller item.

    objectives: int8 (n_users,), positions in OBJECTIVES
    repeat_shares: float64 (n_users,), how much of the places items that the user had may take, None for all
    """
    found = propose(profiles, tables, statistics, config, objectives)
    scores = selection(profiles, statistics, found, objectives)
    if repeat_shares is not None:
        had, places = found.own != UNKNOWN, np.ceil(config.size * repeat_shares)[found.users]
        # 2 * user + 1 owns the items that the user had, 2 * user the others.
        scores[had & (rank_within(2 * found.users + had, scores) >= places)] = -np.inf
    best = ((rank_within(found.users, scores) < config.size) & (scores > -np.inf)).nonzero()[0]
    users, items = found.users[best], found.items[best]
    return Candidates(len(profiles), users, items, found.scores.take(best, axis=0), scores[best], objectives)


def propose(
    profiles: Profiles, tables: RetrievalTables, statistics: Statistics, config: CandidateConfig, objectives: np.ndarray
) -> Proposals:
    """What the sources propose that is allowed and suits the users' objectives."""
    by_item, n_users = profiles.by_item, len(profiles)
    near = seeds(by_item, profiles.recency, config.seeds)
    own, own_rows = own_items(by_item)
    parts = (
        own,
        neighbours_of(near, tables.covisitation, n_users),
        neighbours_of(near, tables.mf_neighbours, n_users),
        everywhere(tables.lists.recent, n_users),
        everywhere(tables.lists.popular, n_users),
        in_categories(tables.lists, profiles.by_category, n_users, config.popularity.categories),
    )
    source = np.arange(len(parts)).repeat([len(part.users) for part in parts])
    users, items, scores = (np.concatenate([getattr(part, name) for part in parts]) for name in Scored.__slots__)
    keys = users * max(statistics.n_items, 1) + items
    mine = np.full(len(keys), UNKNOWN)
    mine[: len(own_rows)] = own_rows
    allowed = statistics.available[items]
    if silent := [at for at, share in enumerate(config.shares.by_source()) if not share]:
        allowed &= ~np.isin(source, silent)
    wanted = objectives[users]
    if silent or tables.exclude_purchased or wanted.any():
        mine = by_item.find(users, items)
        bought = np.append(by_item.counts[:, PURCHASE] > 0, False)  # the last one is found where they never met
        allowed &= ~(bought[mine] & tables.exclude_purchased) | (wanted == REPEAT)
        allowed &= ((wanted != DISCOVER) | (mine == UNKNOWN)) & ((wanted != REPEAT) | (mine != UNKNOWN))
    if not allowed.all():
        source, keys, scores, mine = source[allowed], keys[allowed], scores[allowed], mine[allowed]
    return _merged(source, keys, scores, mine, n_users, max(statistics.n_items, 1))


def _merged(
    source: np.ndarray, keys: np.ndarray, scores: np.ndarray, mine: np.ndarray, n_users: int, n_items: int
) -> Proposals:
    """One row for each (user, item) of lists that are given source after source, user after user, best first."""
    rank = positions(source * n_users + keys // n_items)
    order = keys.argsort()
    starts, row = runs(keys[order])
    by_source = np.full((len(starts), len(SOURCES)), np.nan, np.float32)
    ranks = np.full((len(starts), len(SOURCES)), MAX_RANK)
    own = np.full(len(starts), UNKNOWN)
    cells = row, source[order]
    by_source[cells] = scores[order]
    ranks[cells] = np.minimum(rank[order], MAX_RANK - 1)
    mine = mine[order]
    own[row[mine != UNKNOWN]] = mine[mine != UNKNOWN]
    users, items = np.divmod(keys[order[starts]], n_items)
    return Proposals(users, items.astype(np.int32), by_source, ranks, own)
