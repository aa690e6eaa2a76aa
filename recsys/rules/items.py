"""The facts about a version's items that rules may use."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pyarrow as pa

from recsys.arrays import offsets_of
from recsys.errors import RuleError
from recsys.features.attributes import ItemAttributes
from recsys.features.statistics import Statistics
from recsys.ids import Ids
from recsys.models.factors import ItemFactors
from recsys.rules.request import Target, word_of
from recsys.schema import UNKNOWN

SHOWN = 8
"""Names that a message lists."""


@dataclass(frozen=True)
class RuleItems:
    """The items of a version.

    parents: int32 (n_categories,), code of each category's parent, UNKNOWN for roots
    numbers: names of the attributes that are numbers, each a column `attr_NAME` of the statistics
    words: the word of each label of `statistics.attributes`, null for the bins of numbers; None for versions without
    """

    ids: Ids
    categories: Ids
    parents: np.ndarray
    statistics: Statistics
    factors: ItemFactors
    numbers: tuple[str, ...] = ()
    words: pa.Array | None = None
    _vocabularies: dict[int, Mapping[str, int]] = field(default_factory=dict)
    _groupings: dict[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def popular(self) -> np.ndarray:
        """All item codes, the most popular first, int32 (n_items,): by decayed events, ties to the smaller code."""
        return np.argsort(-np.nan_to_num(self.statistics.item("item_popularity")), kind="stable").astype(np.int32)

    def item_codes(self, ids: tuple[int | str, ...], name: str) -> np.ndarray:
        """The codes of the known ids, int32, ascending; name: for the RuleError about an id of the wrong type."""
        return _codes(self.ids, ids, name)

    def category_codes(self, ids: tuple[int | str, ...], name: str) -> np.ndarray:
        """As `item_codes`, for categories."""
        return _codes(self.categories, ids, name)

    def number(self, name: str) -> np.ndarray:
        """The numbers of an attribute, float32 (n_items,), NaN where unknown; raises RuleError."""
        if name in self.numbers and f"attr_{name}" in self.statistics.item_columns:
            return self.statistics.item(f"attr_{name}")
        if name in self.label_names:
            raise RuleError(f"attribute {name} has words as values; expected values instead of between")
        raise self._no_attribute(name)

    @property
    def label_names(self) -> tuple[str, ...]:
        """The attributes with words as values."""
        attributes = self.statistics.attributes
        return () if attributes is None else tuple(name for name in attributes.labels if name not in self.numbers)

    def labels(self, name: str) -> tuple[ItemAttributes, int]:
        """The labels of all items, and the position of the attribute among them; raises RuleError."""
        attributes = self.statistics.attributes
        if attributes is None or name not in self.label_names:
            if name in self.numbers:
                raise RuleError(f"attribute {name} is a number; expected between instead of values")
            raise self._no_attribute(name)
        return attributes, attributes.labels.index(name)

    def label_codes(self, name: str, words: tuple[str, ...]) -> np.ndarray:
        """The codes of the known words of an attribute, int64; raises RuleError."""
        attributes, position = self.labels(name)
        if self.words is None:
            raise RuleError(f"this version does not keep the words of attribute {name}: train again to filter by them")
        if position not in self._vocabularies:
            start, stop = attributes.starts[position : position + 2].tolist()
            texts = self.words.slice(start, stop - start).to_pylist()
            self._vocabularies[position] = {text: code for code, text in enumerate(texts, start) if text is not None}
        vocabulary = self._vocabularies[position]
        return np.array([vocabulary[word] for word in words if word in vocabulary], np.int64)

    def grouping(self, per: str) -> tuple[np.ndarray, np.ndarray]:
        """The groups of each item by category or by an attribute: borders and codes, as ragged rows; raises RuleError.

        Items without a value have no group. All programs share the arrays.
        """
        if per not in self._groupings:
            self._groupings[per] = self._group(per)
        return self._groupings[per]

    def _group(self, per: str) -> tuple[np.ndarray, np.ndarray]:
        if per == "category":
            known = self.statistics.category != UNKNOWN
            return offsets_of(known.astype(np.int64)), self.statistics.category[known].astype(np.int64)
        if per in self.numbers and per not in self.label_names:
            raise RuleError(f"attribute {per} is a number; a cap per value needs words, a cap of a range has where")
        attributes, position = self.labels(per)
        start, stop = attributes.starts[position : position + 2].tolist()
        own = (attributes.values >= start) & (attributes.values < stop)
        before = np.append(0, np.cumsum(own))
        return before[attributes.offsets], attributes.values[own].astype(np.int64)

    def absent(self, target: Target) -> str:
        """The ids and words of a target that the version does not have, for messages; "" if it has all."""
        values: Sequence[float | str]
        if target.items is not None:
            kind, values = "item", [one for one in target.items if not len(self.item_codes((one,), "item"))]
        elif target.categories is not None:
            kind, values = "category", [one for one in target.categories if not len(self.category_codes((one,), ""))]
        elif target.values is not None and target.attribute is not None:
            kind, name = target.attribute, target.attribute
            values = [one for one in target.values if not len(self.label_codes(name, (word_of(one),)))]
        else:
            return ""
        shown = ", ".join(f"{one!r:.80}" for one in values[:SHOWN])
        more = f" and {len(values) - SHOWN} more" if len(values) > SHOWN else ""
        return f"{kind} {shown}{more}" if values else ""

    def _no_attribute(self, name: str) -> RuleError:
        names = ", ".join(dict.fromkeys([*self.numbers, *self.label_names][:SHOWN]))
        known = f"it has {names}" if names else "it has no attributes of items"
        return RuleError(f"this version has no attribute {name!r:.80}; {known}")


def _codes(ids: Ids, values: tuple[int | str, ...], name: str) -> np.ndarray:
    codes = []
    for value in values:
        known = ids.parse(str(value))
        if known is None:
            raise RuleError(f"{name} {str(value)[:80]!r} does not fit; the ids of this shop are of type {ids.kind}")
        codes.append(ids.code(known))
    unique = np.unique(np.array(codes, np.int32))
    return unique[unique != UNKNOWN]
