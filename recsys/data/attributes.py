"""Attributes of items over time: numbers, labels, vectors and texts. NumPy and Arrow only."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys.arrays import offsets_of, rows_of
from recsys.data.changes import ChangeLog, Records
from recsys.ids import Ids
from recsys.schema import LATEST, UNKNOWN, Config

Kind = Literal["number", "category", "tags", "text", "vector"]
LearnedKind = Literal["number", "category", "tags", "vector"]
"""The kinds that models read; texts are only shown."""

TAG_BREAK: Final = "\x1f"
"""The separator of the values of a `tags` attribute in one text: a control character, which no tag has."""
MIN_COVERAGE: Final = 0.05
"""The smallest fraction of the items that must have the attribute."""
MIN_ITEMS_PER_VALUE: Final = 1.25
"""The smallest mean number of items with the same value. With fewer, a value tells nothing about other items."""
MAX_DIMENSIONS: Final = 1024
"""The largest number of dimensions of a vector."""


FEATURE_ENDINGS: Final = ("", "_vs_category", "_popularity", "_affinity", "_cosine")
"""What the names of features add to that of their attribute; see `recsys.features.definitions`."""


def feature_names(attribute: str) -> list[str]:
    """The names that features of an attribute may have."""
    return [f"attr_{attribute}{ending}" for ending in FEATURE_ENDINGS]


class AttributeSpec(Config):
    """The name and the kind of an attribute that models read."""

    name: str
    kind: LearnedKind


@dataclass(frozen=True, slots=True)
class Numbers:
    """A number of each item; the values of the log are float32."""

    name: str
    log: ChangeLog

    @property
    def kind(self) -> LearnedKind:
        return "number"

    @classmethod
    def build(cls, name: str, records: Records) -> "Numbers":
        """The attribute of records whose values are numbers; values that are not finite count as missing."""
        values = records.values.to_numpy(zero_copy_only=False).astype(np.float32)
        kept = np.isfinite(values)
        return cls(name, ChangeLog.build(records.items[kept], records.times[kept], values[kept]))

    def as_of(self, time: int, n_items: int) -> np.ndarray:
        """The number of each item at `time` (ms), float32 (n_items,), NaN where none is known."""
        return self.log.as_of(time, np.full(n_items, np.nan, np.float32))


@dataclass(frozen=True, slots=True)
class ItemLabels:
    """The labels of all items at one time.

    Item i has the labels values[offsets[i]:offsets[i + 1]], int32, ascending.
    n_values: number of labels that exist
    """

    offsets: np.ndarray
    values: np.ndarray
    n_values: int


@dataclass(frozen=True, slots=True)
class Labels:
    """One label of each item (`category`), or several (`tags`).

    log: its values are int32 positions of sets of labels
    offsets: int64 (n_sets + 1,); codes: int32; set s has the labels codes[offsets[s]:offsets[s + 1]], ascending
    vocabulary: Arrow array of strings; the code of a label is its position
    """

    name: str
    kind: Literal["category", "tags"]
    log: ChangeLog
    offsets: np.ndarray
    codes: np.ndarray
    vocabulary: pa.Array

    @classmethod
    def build(cls, name: str, kind: Literal["category", "tags"], records: Records) -> "Labels":
        """The attribute of records whose values are strings; null counts as missing.

        The labels of a `tags` value are separated by TAG_BREAK.
        """
        kept = records.values.is_valid().to_numpy(zero_copy_only=False)
        values = records.values.drop_null()
        sets = Ids.from_values(values)
        lists = pc.split_pattern(sets.values, TAG_BREAK) if kind == "tags" else None
        texts = sets.values if lists is None else lists.flatten()
        vocabulary = Ids.from_values(texts)
        lengths = np.ones(len(sets), np.int64) if lists is None else np.diff(lists.offsets.to_numpy())
        owner = np.arange(len(sets)).repeat(lengths)
        pairs = np.unique(owner * max(len(vocabulary), 1) + vocabulary.encode(texts))
        owner, codes = np.divmod(pairs, max(len(vocabulary), 1))
        log = ChangeLog.build(records.items[kept], records.times[kept], sets.encode(values))
        offsets = offsets_of(np.bincount(owner, minlength=len(sets)))
        return cls(name, kind, log, offsets, codes.astype(np.int32), vocabulary.values)

    def as_of(self, time: int, n_items: int) -> ItemLabels:
        """The labels of each item at `time` (ms)."""
        sets = self.log.as_of(time, np.full(n_items, UNKNOWN, np.int32))
        known = sets != UNKNOWN
        index, lengths = rows_of(sets[known], self.offsets)
        all_lengths = np.zeros(n_items, np.int64)
        all_lengths[known] = lengths
        return ItemLabels(offsets_of(all_lengths), self.codes[index], len(self.vocabulary))


@dataclass(frozen=True, slots=True)
class Vectors:
    """A vector of each item; the values of the log are int32 rows of `matrix`, float32 (n_rows, n_dimensions)."""

    name: str
    log: ChangeLog
    matrix: np.ndarray

    @property
    def kind(self) -> LearnedKind:
        return "vector"

    @classmethod
    def build(cls, name: str, items: np.ndarray, times: np.ndarray, matrix: np.ndarray) -> "Vectors":
        """The attribute of vectors scaled to length one; rows of zeros or with values that are not finite are missing.

        items: int32 (n,); times: int64 (n,), ms; matrix: float (n, n_dimensions)
        """
        exact = matrix.astype(np.float64)
        norms = np.sqrt(np.einsum("ij,ij->i", exact, exact))
        kept = np.isfinite(norms) & (norms > 0)
        unit = (exact[kept] / norms[kept, None]).astype(np.float32)
        # Of several vectors at one time the log takes the largest row, so rows are numbered by their bytes.
        rows, row = np.unique(np.ascontiguousarray(unit).view(f"V{4 * unit.shape[1]}").ravel(), return_inverse=True)
        distinct = rows.view(np.float32).reshape(-1, unit.shape[1])
        return cls(name, ChangeLog.build(items[kept], times[kept], row.astype(np.int32)), distinct)

    def as_of(self, time: int, n_items: int) -> np.ndarray:
        """The unit vector of each item at `time` (ms), float32 (n_items, n_dimensions), zeros where none is known."""
        rows = self.log.as_of(time, np.full(n_items, UNKNOWN, np.int32))
        vectors = np.zeros((n_items, self.matrix.shape[1]), np.float32)
        vectors[rows != UNKNOWN] = self.matrix[rows[rows != UNKNOWN]]
        return vectors


@dataclass(frozen=True, slots=True)
class Texts:
    """A text of each item, which is shown and not learned from; the values of the log are positions in `texts`."""

    name: str
    log: ChangeLog
    texts: pa.Array

    @classmethod
    def build(cls, name: str, records: Records) -> "Texts":
        """The attribute of records whose values are strings; null and the empty text count as missing."""
        kept = pc.fill_null(pc.not_equal(records.values, ""), False).to_numpy(zero_copy_only=False)
        values = records.values.filter(pa.array(kept))
        texts = Ids.from_values(values)
        return cls(name, ChangeLog.build(records.items[kept], records.times[kept], texts.encode(values)), texts.values)

    def as_of(self, time: int, n_items: int) -> pa.Array:
        """The text of each item at `time` (ms), Arrow array of strings, null where none is known."""
        codes = self.log.as_of(time, np.full(n_items, UNKNOWN, np.int32))
        return self.texts.take(pa.array(codes, mask=codes == UNKNOWN))


Learned = Numbers | Labels | Vectors


@dataclass(frozen=True, slots=True)
class AttributeState:
    """The attributes of all items at one time, by the attribute's name.

    numbers: float32 (n_items,), NaN where none is known
    vectors: float32 (n_items, n_dimensions), of length one, or zeros where none is known
    since: int64 (n_items,), time of the first record of any attribute of the item, ms; UNKNOWN for items without one
    specs: the attributes in their order
    """

    numbers: Mapping[str, np.ndarray]
    labels: Mapping[str, ItemLabels]
    vectors: Mapping[str, np.ndarray]
    since: np.ndarray
    specs: tuple[AttributeSpec, ...]


@dataclass(frozen=True, slots=True)
class Attributes:
    """All attributes of a shop's items, beside category and availability.

    learned: attributes that models read; texts: attributes that are shown
    left_out: for each attribute that cannot be used, the reason
    unread: numbers of values that are missing because they are no numbers, or no vectors of the length of most
    """

    learned: tuple[Learned, ...] = ()
    texts: tuple[Texts, ...] = ()
    left_out: Mapping[str, str] | None = None
    unread: Mapping[str, int] | None = None

    def __bool__(self) -> bool:
        return bool(self.learned or self.texts)

    @property
    def specs(self) -> tuple[AttributeSpec, ...]:
        """The attributes that models read."""
        return tuple(AttributeSpec(name=attribute.name, kind=attribute.kind) for attribute in self.learned)

    @property
    def logs(self) -> tuple[ChangeLog, ...]:
        """The log of each attribute."""
        return tuple(attribute.log for attribute in (*self.learned, *self.texts))

    def as_of(self, time: int, n_items: int) -> AttributeState | None:
        """The last state at or before `time` (ms); None if there are no attributes."""
        if not self:
            return None
        since = np.full(n_items, LATEST + 1)
        for log in self.logs:
            past = log.times <= time
            np.minimum.at(since, log.items[past], log.times[past])
        since[since > LATEST] = UNKNOWN
        return AttributeState(
            {one.name: one.as_of(time, n_items) for one in self.learned if isinstance(one, Numbers)},
            {one.name: one.as_of(time, n_items) for one in self.learned if isinstance(one, Labels)},
            {one.name: one.as_of(time, n_items) for one in self.learned if isinstance(one, Vectors)},
            since,
            self.specs,
        )

    def texts_as_of(self, time: int, n_items: int) -> dict[str, pa.Array]:
        """The texts of each item at `time` (ms) by name, see `Texts.as_of`."""
        return {text.name: text.as_of(time, n_items) for text in self.texts}

    def contents(self) -> list[pa.Array | np.ndarray | bytes]:
        """Everything that a fingerprint of the data must depend on."""
        parts: list[pa.Array | np.ndarray | bytes] = []
        for one in (*self.learned, *self.texts):
            kind = "text" if isinstance(one, Texts) else one.kind
            parts += [f"{kind} {one.name}".encode(), one.log.items, one.log.times, one.log.values]
            if isinstance(one, Labels):
                parts += [one.offsets, one.codes, one.vocabulary]
            elif isinstance(one, Vectors):
                parts.append(one.matrix)
            elif isinstance(one, Texts):
                parts.append(one.texts)
        return parts


NO_ATTRIBUTES: Final = Attributes()


def usable(attributes: list[Learned], texts: list[Texts], n_items: int) -> Attributes:
    """The attributes that tell something about items, and the reason for each of the others."""
    problems = {one.name: problem for one in attributes if (problem := fault(one, n_items))}
    problems |= {text.name: "it has no value" for text in texts if not len(text.log.items)}
    return Attributes(
        tuple(one for one in attributes if one.name not in problems),
        tuple(text for text in texts if text.name not in problems),
        problems,
    )


def fault(attribute: Learned, n_items: int) -> str | None:
    """The reason why an attribute tells nothing about items, None if it does; n_items: number of all items."""
    known = len(np.unique(attribute.log.items))
    if known < MIN_COVERAGE * n_items or not known:
        return f"{1 - known / max(n_items, 1):.1%} of the items have no value"
    if len(np.unique(attribute.log.values)) < 2:
        return "every item has the same value"
    if isinstance(attribute, Labels):
        labels = attribute.as_of(LATEST, n_items)
        n_values = len(np.unique(labels.values))
        if len(labels.values) < MIN_ITEMS_PER_VALUE * n_values:
            return f"{n_values:,} values on {known:,} items: nearly every item has a value of its own"
    if isinstance(attribute, Vectors) and attribute.matrix.shape[1] > MAX_DIMENSIONS:
        return f"{attribute.matrix.shape[1]:,} dimensions; expected at most {MAX_DIMENSIONS:,}"
    return None
