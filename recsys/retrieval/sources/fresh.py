"""Available items that nobody has met yet, by the user's affinity to their category and attributes."""

from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np
from pydantic import Field

from recsys.arrays import offsets_of, ragged_indices, rank_within, rows_of, run_starts
from recsys.features.attributes import SLOW, ItemAttributes
from recsys.features.profiles import Profiles
from recsys.features.statistics import Statistics, distinct_levels
from recsys.retrieval.sources.base import Batch, Known, Scored, Source, SourceConfig, best_first
from recsys.schema import DAY, UNKNOWN
from recsys.specs import Arrays, ArraySpec, borders, codes

MAX_ATTRIBUTES: Final = 1000
"""Attributes of a version, at most; the settings allow fewer."""
MAX_LABELS: Final = 1 << 26
"""Labels of all attributes of a version, at most."""
MAX_DIMENSIONS: Final = 1 << 16
"""Dimensions of all vectors of a version, at most."""
TABLE: Final = 1 << 21
"""Entries of a table of users by labels, at most."""


class FreshConfig(SourceConfig):
    """Settings of the items that nobody has met."""

    weight: float = Field(1.0, ge=0)
    """See SourceConfig."""
    size: int = Field(20, ge=1)
    """Number of items proposed to a user, at most. So no more of the candidates are items that nobody has met."""
    reserved: float = Field(0.05, ge=0, le=1)
    """Fraction of a user's candidates of items new to the user that the best of these items get, whatever the
    pre-ranker. The pre-ranker learns from few hits on such items, and would leave out nearly all of them. The ranker
    still decides about the list. In lists of all items the pre-ranker alone decides."""
    max_users: int = Field(0, ge=0)
    """An item counts as met if more than this number of users have an event on it."""
    half_life_days: float = Field(30.0, gt=0)
    """Half-life of an item's weight with the time since its first record of an attribute. Items that nobody wanted for
    long are less likely to be wanted next."""
    per_label: int = Field(50, ge=1)
    """Number of items kept for each category and each label of an attribute: the newest ones."""
    labels: int = Field(24, ge=1)
    """Number of a user's categories and labels whose items are scored: those that set the user apart the most."""
    prior: float = Field(0.3, gt=0, lt=1)
    """Weight of chance in the affinity, beside the weight of the user's history. With a small weight, one label without
    any event of the user rules an item out."""
    vector_weight: float = Field(3.0, ge=0)
    """Weight of the cosine between the item's vector and the user's mean vector, in units of log-odds."""


class Fresh(Source[FreshConfig]):
    """Available items that nobody has met, scored by naive Bayes.

    Categories and labels are numbered together: first the categories, then the labels of the attributes, then one label
    for items without any. With the fraction p of the user's weight that is on label l, and the fraction q of the pool
    that has it, an item's score is log(weight) + sum over attributes of log(mean over its labels of
    ((1 - prior) p / q + prior)) + vector_weight * cosine. The category counts as an attribute whose labels are the path
    from the root down.
    """

    name: ClassVar = "fresh"
    settings: ClassVar = FreshConfig
    needs_attributes: ClassVar = True
    specs: ClassVar = {
        "items": ArraySpec("i4", ("fresh items",), 0, "items", largest={"fresh items": "items"}),
        "weights": ArraySpec("f4", ("fresh items",)),
        "base": ArraySpec("f4", ("fresh labels",), largest={"fresh labels": MAX_LABELS}),
        "attributes": ArraySpec("i4", ("fresh labels",), 0, MAX_ATTRIBUTES),
        "label_items": codes("fresh items", "fresh entries", low=0),
        "label_offsets": borders("fresh labels", "fresh entries"),
        "item_labels": codes("fresh labels", "fresh item labels", low=0),
        "item_offsets": borders("fresh items", "fresh item labels"),
        "vectors": ArraySpec("f4", ("fresh items", "fresh dimensions"), largest={"fresh dimensions": MAX_DIMENSIONS}),
    }

    def fit(self, known: Known, counts: None, settings: FreshConfig) -> Arrays:
        statistics, attributes = known.statistics, known.statistics.attributes
        since = np.full(statistics.n_items, UNKNOWN) if known.since is None else known.since
        met = known.users_per_item > settings.max_users
        pool = np.flatnonzero((since != UNKNOWN) & statistics.available & ~met)
        labelled = _labelled(pool, statistics, attributes)
        days = (since[pool] - since[pool].max(initial=0)) / DAY
        counted = np.bincount(labelled.labels, minlength=labelled.n_labels)
        # The newest items of each label, as positions in the pool.
        order = np.lexsort((pool[labelled.owners], -since[pool][labelled.owners], labelled.labels))
        kept = np.minimum(counted, settings.per_label)
        listed = labelled.owners[order[ragged_indices(offsets_of(counted)[:-1], kept)]]
        used, positions = np.unique(listed, return_inverse=True)
        index, lengths = rows_of(used, labelled.offsets)
        matrix = np.zeros((len(pool), 0), np.float32) if attributes is None else attributes.matrix[pool]
        return {
            "items": pool[used].astype(np.int32),
            "weights": np.exp2(days[used] / settings.half_life_days).clip(1e-6).astype(np.float32),
            "base": ((counted + 1) / (len(pool) + 1)).astype(np.float32),
            "attributes": np.arange(len(labelled.starts) - 1, dtype=np.int32).repeat(np.diff(labelled.starts)),
            "label_items": positions.astype(np.int32),
            "label_offsets": offsets_of(kept),
            "item_labels": labelled.labels[index].astype(np.int32),
            "item_offsets": offsets_of(lengths),
            "vectors": matrix[used],
        }

    def reserved(self, settings: FreshConfig) -> float:
        return settings.reserved

    def propose(self, table: Arrays, batch: Batch, settings: FreshConfig) -> Scored:
        profiles, base = batch.profiles, table["base"].astype(np.float64)
        n_labels, n_pool = len(base), len(table["items"])
        n_categories = int(np.searchsorted(table["attributes"], 1))
        keys, fractions = _interest(profiles, n_categories, n_labels)
        users, labels = np.divmod(keys, n_labels)
        # The part of each label in the divergence of the user's labels from those of the pool.
        apart = fractions * np.log(np.maximum(fractions, 1e-300) / base[labels])
        chosen = rank_within(users, apart) < settings.labels
        index, lengths = rows_of(labels[chosen], table["label_offsets"])
        pairs = np.unique(users[chosen].repeat(lengths) * max(n_pool, 1) + table["label_items"][index])
        pair_users, positions = np.divmod(pairs, max(n_pool, 1))
        scores = np.log(table["weights"].astype(np.float64))[positions]
        scores += _label_scores(table, keys, fractions, (pair_users, positions), settings.prior)
        if table["vectors"].size and profiles.affinities is not None:
            vectors = table["vectors"][positions].astype(np.float64)
            means = profiles.affinities.vectors[pair_users]
            scores += settings.vector_weight * np.einsum("ij,ij->i", vectors, means)
        items = table["items"][positions]
        best = rank_within(pair_users, scores, items) < settings.size
        return best_first(pair_users[best], items[best], scores[best])


@dataclass(frozen=True, slots=True)
class _Labelled:
    """The labels of the items of a pool; item i has the labels labels[offsets[i]:offsets[i + 1]].

    owners: int64, the item of each entry; starts: int64, borders of the attributes among the labels
    """

    owners: np.ndarray
    labels: np.ndarray
    offsets: np.ndarray
    starts: np.ndarray

    @property
    def n_labels(self) -> int:
        return int(self.starts[-1])


def _labelled(pool: np.ndarray, statistics: Statistics, attributes: ItemAttributes | None) -> _Labelled:
    """The categories and labels of some items, numbered as in `Fresh`; pool: int64 (n,), item codes."""
    levels = statistics.levels[pool]
    new = distinct_levels(levels)
    owners, labels = [np.nonzero(new)[0]], [levels[new].astype(np.int64)]
    n_categories = len(statistics.categories)
    starts = np.zeros(1, np.int64)
    if attributes is not None:
        index, lengths = rows_of(pool, attributes.offsets)
        owners.append(np.arange(len(pool)).repeat(lengths))
        labels.append(attributes.values[index] + np.int64(n_categories))
        starts = attributes.starts
    n_labels = n_categories + int(starts[-1])
    bare = np.setdiff1d(np.arange(len(pool)), np.concatenate(owners))
    owners.append(bare)
    labels.append(np.full(len(bare), n_labels))
    owner, label = np.concatenate(owners), np.concatenate(labels)
    order = owner.argsort(kind="stable")
    offsets = offsets_of(np.bincount(owner, minlength=len(pool)))
    return _Labelled(owner[order], label[order], offsets, np.array([0, *(n_categories + starts), n_labels + 1]))


def _interest(profiles: Profiles, n_categories: int, n_labels: int) -> tuple[np.ndarray, np.ndarray]:
    """The fraction of each user's weight on each label, as keys user * n_labels + label, ascending, and fractions.

    n_categories: number of the labels that are categories; the last label is that of items without any
    """
    by_level, totals, n_users = profiles.by_level, profiles.totals[:, SLOW], len(profiles)
    users = by_level.users % max(n_users, 1)
    keys = [users * n_labels + by_level.things]
    fractions = [by_level.decayed[:, SLOW] / np.maximum(totals[users], 1e-300)]
    if profiles.affinities is not None:
        known, n_known = profiles.affinities.keys, max(profiles.affinities.n_labels, 1)
        keys.append(known // n_known * n_labels + n_categories + known % n_known)
        fractions.append(profiles.affinities.fractions)
    active = np.flatnonzero(totals > 0)
    keys.append(active * n_labels + n_labels - 1)
    fractions.append(np.ones(len(active)))
    key = np.concatenate(keys)
    # A category that ends a short path is on several levels; the highest one has all events on it, and comes first.
    order = key.argsort(kind="stable")
    first = order[run_starts(key[order])]
    return key[first], np.concatenate(fractions)[first]


def _label_scores(
    table: Arrays, keys: np.ndarray, fractions: np.ndarray, pairs: tuple[np.ndarray, np.ndarray], prior: float
) -> np.ndarray:
    """The sum over attributes in `Fresh`, float64 (n_pairs,).

    keys, fractions: see `_interest`; pairs: the user and the position in the pool of each pair, int64 (n_pairs,) each,
        ascending by user
    """
    users, positions = pairs
    n_labels, n_attributes = len(table["base"]), int(table["attributes"][-1]) + 1
    owners = keys // n_labels
    lifts = (1 - prior) * fractions / table["base"][keys % n_labels] + prior
    scores = np.empty(len(users))
    n_users = int(users.max(initial=-1)) + 1
    step = max(1, min(n_users, TABLE // n_labels))
    for first in range(0, n_users, step):
        # A table of all labels: to look labels up by a search takes ten times as long.
        lift = np.full((step, n_labels), prior)
        known = slice(*np.searchsorted(owners, (first, first + step)))
        lift.ravel()[keys[known] - first * n_labels] = lifts[known]
        rows = slice(*np.searchsorted(users, (first, first + step)))
        index, lengths = rows_of(positions[rows], table["item_offsets"])
        pair = np.arange(len(lengths)).repeat(lengths)
        labels = table["item_labels"][index]
        cells = pair * n_attributes + table["attributes"][labels]
        counts = np.bincount(cells, minlength=len(lengths) * n_attributes)
        sums = np.bincount(cells, lift[users[rows][pair] - first, labels], len(lengths) * n_attributes)
        means = np.where(counts > 0, sums / np.maximum(counts, 1), 1)
        scores[rows] = np.log(means).reshape(-1, n_attributes).sum(axis=1)
    return scores
