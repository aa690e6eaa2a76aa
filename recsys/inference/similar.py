"""Items like an item: what users see together with it, its factors, its session vectors and its attributes."""

import numpy as np

from recsys.arrays import find, rows_of
from recsys.features.statistics import Statistics
from recsys.inference.item_labels import ItemLabels, VectorPool, vector_agreement
from recsys.inference.item_lists import Allowed, ItemLists, Scores, best_items
from recsys.inference.ruled_lists import Demand, arranged, programs_of
from recsys.models.factors import ItemFactors
from recsys.models.related import SimilarConfig
from recsys.models.tables import Tables
from recsys.rules.batch import BatchRules
from recsys.rules.book import RuleBook
from recsys.rules.programs import Programs
from recsys.schema import UNKNOWN
from recsys.specs import Arrays

COVISITATION, FACTORS = "covisitation", "mf_neighbours"
"""The candidate sources whose tables are read, where a version has them."""
CHUNK = 200
"""Items handled at a time; bounds the memory."""


class SimilarItems:
    """Finds similar items in the arrays of a version. The work of a request does not grow with the number of items."""

    def __init__(
        self,
        tables: Tables,
        config: SimilarConfig,
        popular: np.ndarray,
        vectors: Arrays | None = None,
        book: RuleBook | None = None,
    ) -> None:
        """Nothing is copied.

        popular: int (n,), all available items, the most popular first
        vectors: those of a session model, see `sessions.vectors.SPECS`; None for a version without one
        book: None if no request has rules
        """
        self._book = book
        statistics = tables.statistics
        self._statistics, self._factors, self._config = statistics, tables.factors, config
        self._sources, self._vectors, self._popular = tables.retrieval.sources, vectors, popular
        rank = np.full(statistics.n_items, len(popular))
        rank[popular] = np.arange(len(popular))
        self._labels = ItemLabels.build(statistics, rank, config.per_label)
        self._vector_pool = VectorPool.build(statistics.attributes, popular)

    def __call__(self, items: np.ndarray, n: int, rules: BatchRules | None = None) -> ItemLists:
        """The `n` items most like each item, never the item itself; popular items fill a list up, with score 0.

        An item that is not available is never listed, unless the rules of its request allow it.
        items: int (n_requests,), item codes
        rules: filters and rules of the requests; a list then has at most the n of its own request. Raises RuleError
        """
        parts = [
            self._similar(some, n, programs_of(self._book, rules, start, len(some)))
            for start in range(0, max(len(items), 1), CHUNK)
            for some in [items[start : start + CHUNK]]
        ]
        return ItemLists.concat(parts)

    def _similar(self, items: np.ndarray, n: int, programs: Programs | None) -> ItemLists:
        n_items = self._statistics.n_items
        own = np.sort(np.arange(len(items)) * np.int64(n_items) + items)
        allowed = Allowed(self._statistics.available, own, programs)
        keys, covisitation = self._pool(items, n_items)
        owners, others = np.divmod(keys, n_items)
        kept = allowed(owners, others)
        owners, others, covisitation = owners[kept], others[kept], covisitation[kept]
        scored = Scores(owners, others, self._scores(items, owners, others, covisitation), len(items))
        best = best_items(scored, n, allowed, self._popular, programs)
        if programs is None:
            return best
        return arranged(best, Demand(programs, allowed, self._statistics.category[items]))

    def _pool(self, items: np.ndarray, n_items: int) -> tuple[np.ndarray, np.ndarray]:
        """Items to score: request * n_items + item, int64 ascending, and the covisitation score of each, float64."""
        tables = [self._sources[name] for name in (COVISITATION, FACTORS) if name in self._sources]
        if self._vectors is not None:
            tables.append(self._vectors)
        parts = [neighbours_of(table, items) for table in tables]
        parts.append(self._labels.propose(items, self._config.labels))
        attributes = self._statistics.attributes
        parts.append(self._vector_pool.propose(attributes, items, self._config.per_label))
        keys = np.unique(np.concatenate([owner * np.int64(n_items) + other for owner, other in parts]))
        scores = np.zeros(len(keys))
        if COVISITATION in self._sources:
            table = self._sources[COVISITATION]
            index, lengths = rows_of(items, table["offsets"])
            together = np.arange(len(items)).repeat(lengths) * np.int64(n_items) + table["items"][index]
            scores[find(keys, together)] = table["scores"][index]
        return keys, scores

    def _scores(
        self, items: np.ndarray, owners: np.ndarray, others: np.ndarray, covisitation: np.ndarray
    ) -> np.ndarray:
        """The weighted sum of the parts for each pair, float64 (n_pairs,), see SimilarConfig."""
        config, left = self._config, items[owners]
        scores = config.covisitation * covisitation * events_of(self._statistics, others) ** config.popularity_power
        if config.factors:
            scores += config.factors * factor_cosine(self._factors, left, others)
        if config.vectors and self._vectors is not None:
            scores += config.vectors * cosine(self._vectors["matrix"], self._vectors["rows"], left, others)
        if config.attributes:
            labels = self._labels.agreement(items, owners, others)
            vectors = vector_agreement(self._statistics.attributes, left, others)
            scores += config.attributes * (labels + vectors) / 2
        return scores


def neighbours_of(table: Arrays, items: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The neighbours of some items: positions in `items`, int64 (n,), and item codes, int32 (n,)."""
    index, lengths = rows_of(items, table["offsets"])
    return np.arange(len(items)).repeat(lengths), table["items"][index]


def events_of(statistics: Statistics, items: np.ndarray) -> np.ndarray:
    """The number of events of each item, float64 (n,), at least 1."""
    names = [name for name in ("item_views", "item_carts", "item_purchases") if name in statistics.item_columns]
    total = np.zeros(len(items))
    for name in names:
        total += np.nan_to_num(statistics.item(name)[items])
    return np.maximum(total, 1)


def factor_cosine(factors: ItemFactors, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The cosine of the factors of each pair of items, float64 (n_pairs,), at least 0; 0 where one has no factor."""
    return cosine(factors.factors, factors.rows, left, right)


def cosine(vectors: np.ndarray, rows: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The cosine of the vectors of each pair of items, float64 (n_pairs,), at least 0; 0 where one has none.

    vectors: float (n_known, k); rows: int32 (n_items,), row of each item or UNKNOWN
    """
    result = np.zeros(len(left))
    both = np.flatnonzero((rows[left] != UNKNOWN) & (rows[right] != UNKNOWN))
    a, b = vectors[rows[left[both]]].astype(np.float64), vectors[rows[right[both]]].astype(np.float64)
    lengths = np.sqrt(np.einsum("ij,ij->i", a, a) * np.einsum("ij,ij->i", b, b))
    products = np.einsum("ij,ij->i", a, b)
    result[both] = np.maximum(np.divide(products, lengths, out=np.zeros(len(both)), where=lengths > 0), 0)
    return result
