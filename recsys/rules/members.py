"""Targets compiled for a version: which items belong to them."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from recsys.arrays import find, rows_of
from recsys.features.attributes import ItemAttributes
from recsys.features.statistics import descendants
from recsys.rules.items import RuleItems
from recsys.rules.request import Target, word_of
from recsys.schema import UNKNOWN


class Members(Protocol):
    """The items of a target."""

    def test(self, items: np.ndarray) -> np.ndarray:
        """Whether each item belongs to the target, bool (n,); items: int32 (n,)."""


@dataclass(frozen=True, slots=True)
class GivenItems:
    """codes: int32 (n,), ascending."""

    codes: np.ndarray

    def test(self, items: np.ndarray) -> np.ndarray:
        """See Members."""
        return find(self.codes, items) != UNKNOWN


@dataclass(frozen=True, slots=True)
class InCategories:
    """category: int32 (n_items,); inside: bool (n_categories + 1,), see `RuleItems.inside`."""

    category: np.ndarray
    inside: np.ndarray

    def test(self, items: np.ndarray) -> np.ndarray:
        """See Members."""
        return np.asarray(self.inside[self.category[items]])


@dataclass(frozen=True, slots=True)
class WithLabels:
    """attribute: position of the attribute; wanted: bool (n_labels,), over the labels of all attributes."""

    attributes: ItemAttributes
    attribute: int
    wanted: np.ndarray

    def test(self, items: np.ndarray) -> np.ndarray:
        """See Members."""
        index, lengths = rows_of(items, self.attributes.offsets)
        hits = self.wanted[self.attributes.values[index]]
        return np.bincount(np.arange(len(items)).repeat(lengths), hits, len(items)) > 0


@dataclass(frozen=True, slots=True)
class Between:
    """column: float32 (n_items,), NaN where unknown; low, high: float32, included."""

    name: str
    column: np.ndarray
    low: np.float32
    high: np.float32

    def test(self, items: np.ndarray) -> np.ndarray:
        """See Members."""
        values = self.column[items]
        return np.asarray((values >= self.low) & (values <= self.high))


def compile_target(target: Target, known: RuleItems) -> GivenItems | InCategories | WithLabels | Between:
    """The members of a target in a version; raises RuleError that names what the version lacks."""
    if target.items is not None:
        return GivenItems(known.item_codes(target.items, "item"))
    if target.categories is not None:
        codes = known.category_codes(target.categories, "category")
        return InCategories(known.statistics.category, descendants(known.parents, codes))
    name = target.attribute or ""
    if target.between is not None:
        low, high = target.between
        with np.errstate(over="ignore"):  # the version keeps numbers as float32, where 10.1 is not that of float64
            bounds = np.float32(-np.inf if low is None else low), np.float32(np.inf if high is None else high)
        return Between(name, known.number(name), *bounds)
    attributes, position = known.labels(name)
    wanted = np.zeros(attributes.n_labels, bool)
    wanted[known.label_codes(name, tuple(word_of(value) for value in target.values or ()))] = True
    return WithLabels(attributes, position, wanted)
