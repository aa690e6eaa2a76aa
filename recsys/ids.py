"""Ids: their integer codes, their hashes, and draws of users by hash."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys.arrays import find
from recsys.schema import UNKNOWN

IdKind = Literal["int64", "string"]
ID_TYPES: Final[Mapping[IdKind, pa.DataType]] = {"int64": pa.int64(), "string": pa.string()}
"""The Arrow type of ids of each kind."""

Purpose = Literal["factorization", "label windows", "examples", "pre-ranker", "event rows", "report", "sessions"]
"""The purpose of a draw of users."""

NUMBERS: Final[dict[Purpose, int]] = {
    "factorization": 1,  # users whose events fit the factorization
    "label windows": 2,  # users of a label window that become query groups
    "examples": 3,  # negatives of the ranker's rows
    "pre-ranker": 4,  # negatives of the pre-ranker's rows
    "event rows": 4,  # users of the study of phases; it never mixes them with the pre-ranker's negatives
    "report": 5,  # users whose lists the report shows
    "sessions": 6,  # beginnings of sessions that the session ranker learns from
}
"""A number for each purpose. Draws with different numbers are independent; a changed number draws other users."""


@dataclass(frozen=True, slots=True)
class Ids:
    """Unique ids in ascending order: integers by value, strings by UTF-8 bytes. The code of an id is its position.

    values: Arrow array of type int64 or string, without nulls
    """

    values: pa.Array

    @classmethod
    def from_values(cls, values: pa.Array | pa.ChunkedArray) -> "Ids":
        """The distinct values in ascending order."""
        unique = values.unique()
        if isinstance(unique, pa.ChunkedArray):
            unique = unique.combine_chunks()
        return cls(unique.take(pc.sort_indices(unique)))

    def __len__(self) -> int:
        return len(self.values)

    @property
    def kind(self) -> IdKind:
        """The type of the ids."""
        return "int64" if pa.types.is_int64(self.values.type) else "string"

    def parse(self, text: str) -> int | str | None:
        """The id written as `text`; None if ids are int64 and `text` is not exactly such a number ("07" is not)."""
        if self.kind == "string":
            return text
        try:
            value = int(text)
        except ValueError:
            return None
        return value if str(value) == text and -(2**63) <= value < 2**63 else None

    def code(self, value: int | str) -> int:
        """The code of one id, UNKNOWN if the id is absent. This is a binary search that copies nothing."""
        if self.kind == "int64":
            array = self.values.to_numpy()
            position = int(np.searchsorted(array, value))
            return position if position < len(array) and array[position] == value else UNKNOWN
        low, high, key = 0, len(self.values), str(value).encode()
        while low < high:
            middle = (low + high) // 2
            if self.values[middle].as_buffer().to_pybytes() < key:
                low = middle + 1
            else:
                high = middle
        return low if low < len(self.values) and self.values[low].as_py() == value else UNKNOWN

    def codes(self, values: Sequence[int | str]) -> np.ndarray:
        """The code of each of a few ids, int32 (n,), UNKNOWN for absent ids.

        A text that spells an integer stands for it, and the other way round: JSON has both.
        """
        if self.kind == "string":
            codes = {text: self.code(text) for text in set(map(str, values))}
            return np.array([codes[str(value)] for value in values], np.int32)
        parsed = [self.parse(str(value)) for value in values]
        known = np.array([value is not None for value in parsed], bool)
        numbers = np.array([value or 0 for value in parsed], np.int64)
        return np.where(known, find(self.values.to_numpy(), numbers), UNKNOWN).astype(np.int32)

    def encode(self, values: pa.Array | pa.ChunkedArray) -> np.ndarray:
        """The code of each id, int32 (n,), UNKNOWN for absent ids and for nulls."""
        if isinstance(values, pa.ChunkedArray):
            values = values.combine_chunks()
        if values.null_count:
            codes = np.full(len(values), UNKNOWN, np.int32)
            codes[values.is_valid().to_numpy(zero_copy_only=False)] = self.encode(values.drop_null())
            return codes
        if self.kind == "string":
            codes = pc.index_in(values, value_set=self.values)
            return pc.fill_null(codes, UNKNOWN).to_numpy(zero_copy_only=False).astype(np.int32)
        return find(self.values.to_numpy(), values.to_numpy(zero_copy_only=False)).astype(np.int32)

    def decode(self, codes: np.ndarray) -> pa.Array:
        """The id of each code; every code must be known."""
        return self.values.take(pa.array(codes))

    def to_list(self, codes: np.ndarray) -> list[int | str]:
        """The id of each code as int or str; every code must be known. For a few codes this is faster than `decode`."""
        if self.kind == "int64":
            return self.values.to_numpy()[codes].tolist()
        return self.decode(codes).to_pylist()

    def to_list_or_none(self, codes: np.ndarray) -> list[int | str | None]:
        """As `to_list`, with None for UNKNOWN."""
        inside = codes != UNKNOWN
        listed = iter(self.to_list(codes[inside]))
        return [next(listed) if one else None for one in inside.tolist()]

    def __getitem__(self, code: int) -> Any:
        """The id of a code, as int or str."""
        return self.values[code].as_py()


def mix(values: np.ndarray) -> np.ndarray:
    """A hash of each value, uint64 (n,): the finalizer of splitmix64 (Steele, Lea, Flood 2014).

    values: uint64 (n,)
    """
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def hashes(ids: pa.Array, salt: int = 0) -> np.ndarray:
    """A hash of each id, uint64 (n,), the same in every process. Different salts give independent hashes.

    An int64 id is hashed by `mix`, a string first by BLAKE2b (8 bytes) and then by `mix`.
    """
    if pa.types.is_int64(ids.type):
        values = ids.to_numpy(zero_copy_only=False).astype(np.uint64)
    else:
        coded = ids.dictionary_encode()
        digests = [blake2b(name.encode(), digest_size=8).digest() for name in coded.dictionary.to_pylist()]
        values = np.frombuffer(b"".join(digests), np.uint64)[coded.indices.to_numpy()]
    return mix(values + np.uint64(salt * 0x9E3779B97F4A7C15 % 2**64))


def draw(users: pa.Array, purpose: Purpose, seed: int) -> np.ndarray:
    """A random number for each user, uint64 (n,).

    The number depends only on the id, the purpose and the seed, so it is the same in every partition and process. With
    the same seed, draws for purposes with different NUMBERS are independent.
    """
    return hashes(users, 2 * seed + NUMBERS[purpose])


def fractions(users: pa.Array, purpose: Purpose, seed: int) -> np.ndarray:
    """The draw of each user divided by 2**64, float64 (n,) in [0, 1].

    `fractions(...) <= 0.3` is true for about 30% of the users.
    """
    return np.asarray(draw(users, purpose, seed) / float(2**64))
