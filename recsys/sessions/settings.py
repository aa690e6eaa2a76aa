"""The settings of the session model."""

from typing import Final, Literal

from pydantic import Field

from recsys.models.rankers.registry import RankerConfig
from recsys.schema import Config, EventWeights

SOURCES: Final = ("neighbours", "pairs", "vectors", "session", "own", "popular")
"""The candidate sources of the session model, in the order of their columns."""


class NeighbourConfig(Config):
    """Similar earlier sessions (VSTAN: Garg et al. 2019; Ludewig and Jannach 2018)."""

    recent: int = Field(1000, ge=1)
    """Newest sessions with an item of the session that are compared."""
    neighbours: int = Field(500, ge=1)
    """Most similar ones of these, whose items are proposed."""
    per_item: int = Field(300, ge=1)
    """Newest sessions that are listed for an item. It bounds the time of a request, however long the log is."""
    query_decay: float = Field(4.0, gt=0)
    """An item d steps before the last one weighs exp(-d / query_decay)."""
    recency_days: float = Field(84.0, gt=0)
    """A session that ended t days ago weighs exp(-t / recency_days)."""
    distance_decay: float = Field(8.0, gt=0)
    """In a neighbour, an item d steps from the match weighs exp(-d / distance_decay)."""
    before: float = Field(0.7, ge=0, le=1)
    """Weight of a neighbour's items before the match; those after it weigh 1."""
    last_decay: float = Field(2.0, gt=0)
    """A neighbour whose last match lies d steps before the session's last item weighs exp(-d / last_decay)."""
    idf: float = Field(1.0, ge=0)
    """Exponent of the inverse frequency of an item, log(sessions / sessions with the item)."""
    power: float = Field(1.5, gt=0)
    """Exponent of the similarity."""


class PairConfig(Config):
    """Items of the same sessions: one symmetric table of pairs."""

    per_item: int = Field(60, ge=1)
    """Pairs that are kept for an item."""
    decay: float = Field(2.0, gt=0)
    """An item d steps before the last one weighs exp(-d / decay)."""
    last: int = Field(5, ge=1)
    """Newest distinct items of a session whose pairs are proposed."""
    distance_decay: float = Field(3.0, gt=0)
    """Two items of a session d steps apart count exp(-(d - 1) / distance_decay)."""
    window: int = Field(10, ge=1)
    """Largest number of steps between two items that count as a pair."""
    lift: float = Field(0.25, ge=0, le=1)
    """A count is divided by (sessions of one item * sessions of the other) ** lift."""
    shrinkage: float = Field(2.0, ge=0)
    """Added to both numbers of sessions, so that rare coincidences stay small."""


class VectorConfig(Config):
    """Vectors of items: a singular value decomposition of the pairs, and the nearest neighbours."""

    dimensions: int = Field(128, ge=2, le=512)
    """Dimensions; a small shop gets fewer."""
    per_item: int = Field(40, ge=1)
    """Nearest items that are kept for an item."""
    decay: float = Field(1.0, gt=0)
    """An item d steps before the last one weighs exp(-d / decay)."""
    last: int = Field(3, ge=1)
    """Newest distinct items of a session whose nearest items are proposed."""
    min_sessions: int = Field(2, ge=1)
    """Sessions that an item needs for a vector."""
    max_items: int = Field(50_000, ge=2)
    """Items that get a vector, those with the most sessions. It bounds the time of the search for neighbours."""


class StepWeights(EventWeights):
    """Weights of the steps of a session by the type of the event."""

    addtocart: float = Field(2.0, ge=0)
    """Weight of an add-to-cart."""
    transaction: float = Field(2.0, ge=0)
    """Weight of a purchase."""


class SessionRankerConfig(RankerConfig):
    """The ranker of sessions; its settings mean the same as those of `ranker`. There is no early stopping."""

    max_trees: int = Field(80, ge=1)
    """The number of trees."""
    num_leaves: int = Field(15, ge=2)
    """Largest number of leaves of a tree."""
    min_child_samples: int = Field(50, ge=1)
    """Smallest number of rows in a leaf."""
    feature_fraction: float = Field(0.5, gt=0, le=1)
    """Fraction of the features that each tree may use."""
    truncation_level: int = Field(20, ge=1)
    """lambdarank uses only pairs with one item above this rank."""
    threads: int = Field(1, ge=1)
    """Threads of the training."""


class SessionConfig(Config):
    """Settings of the session model: its sources, its candidates and its training."""

    publish: Literal["auto", "always", "never"] = "auto"
    """Whether a version gets a session model. auto: where sessions have a next step often enough, see `min_prefixes`,
    and where the model's NDCG@20 of the next item on the validation window is significantly above that of the main
    path (paired interval). The main path gets the session as a history."""
    min_prefixes: int = Field(1000, ge=1)
    """Labelled prefixes that a window must have: beginnings of sessions with a next step that is later in time."""
    max_prefixes: int = Field(9000, ge=1)
    """Largest number of prefixes of a window that the ranker learns from."""
    validation_prefixes: int = Field(3000, ge=1)
    """Largest number of prefixes of the validation window on which the decays are chosen."""
    compared_prefixes: int = Field(1000, ge=1)
    """Largest number of these for which the main path recommends as well."""
    tune: bool = True
    """Whether the decays and exponents of `neighbours` are chosen on validation prefixes, starting from the given
    ones."""
    max_sessions: int = Field(2_000_000, ge=1)
    """Newest sessions of which the tables are fitted. It bounds time and memory of a training."""
    weights: StepWeights = StepWeights()
    """Weight of a step by the type of its event."""
    last_steps: int = Field(15, ge=1, le=15)
    """Newest distinct items of a session that are used."""
    max_steps: int = Field(30, ge=2, le=60)
    """Newest distinct items of an earlier session that are kept."""
    per_source: tuple[int, int, int] = (80, 40, 40)
    """Best items of neighbours, pairs and vectors that become candidates of a session."""
    own: int = Field(20, ge=0)
    """Newest items of a known user's history that become candidates."""
    popular: int = Field(20, ge=0)
    """Popular items that become candidates of a session with fewer candidates than this."""
    neighbours: NeighbourConfig = NeighbourConfig()
    pairs: PairConfig = PairConfig()
    vectors: VectorConfig = VectorConfig()
    ranker: SessionRankerConfig = SessionRankerConfig()
