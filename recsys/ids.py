"""A sorted set of ids and their integer codes."""

from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys.arrays import find
from recsys.schema import UNKNOWN

IdKind = Literal["int64", "string"]


@dataclass(frozen=True, slots=True)
class Ids:
    """Unique ids in ascending order (integers by value, strings by UTF-8 bytes); an id's code is its position.

    values: Arrow array of type int64 or string, without nulls.
    """

    values: pa.Array

    @classmethod
    def from_values(cls, values: pa.Array | pa.ChunkedArray) -> "Ids":
        """The distinct values, sorted."""
        unique = values.unique()
        if isinstance(unique, pa.ChunkedArray):
            unique = unique.combine_chunks()
        return cls(unique.take(pc.sort_indices(unique)))

    def __len__(self) -> int:
        return len(self.values)

    @property
    def kind(self) -> IdKind:
        return "int64" if pa.types.is_int64(self.values.type) else "string"

    def parse(self, text: str) -> int | str | None:
        """The id that `text` spells, or None where it does not fit the kind."""
        if self.kind == "string":
            return text
        try:
            value = int(text)
        except ValueError:
            return None
        return value if str(value) == text and -(2**63) <= value < 2**63 else None

    def code(self, value: int | str) -> int:
        """Code of one id, UNKNOWN where it is absent; binary search, no copy."""
        if self.kind == "int64":
            array = self.values.to_numpy()
            at = int(np.searchsorted(array, value))
            return at if at < len(array) and array[at] == value else UNKNOWN
        low, high, key = 0, len(self.values), str(value).encode()
        while low < high:
            middle = (low + high) // 2
            if self.values[middle].as_buffer().to_pybytes() < key:
                low = middle + 1
            else:
                high = middle
        return low if low < len(self.values) and self.values[low].as_py() == value else UNKNOWN

    def encode(self, values: pa.Array | pa.ChunkedArray) -> np.ndarray:
        """Codes, int32 (n,), UNKNOWN where an id is absent."""
        if isinstance(values, pa.ChunkedArray):
            values = values.combine_chunks()
        if self.kind == "string":
            found = pc.index_in(values, value_set=self.values)
            return pc.fill_null(found, UNKNOWN).to_numpy(zero_copy_only=False).astype(np.int32)
        return find(self.values.to_numpy(), values.to_numpy(zero_copy_only=False)).astype(np.int32)

    def decode(self, codes: np.ndarray) -> pa.Array:
        """Ids of codes that are all known."""
        return self.values.take(pa.array(codes))

    def to_list(self, codes: np.ndarray) -> list[int | str]:
        """Ids of codes that are all known, as Python's integers or strings; faster than `decode` for a few."""
        if self.kind == "int64":
            return self.values.to_numpy()[codes].tolist()
        return self.decode(codes).to_pylist()

    def __getitem__(self, code: int) -> Any:
        return self.values[code].as_py()


def mix(values: np.ndarray) -> np.ndarray:
    """The finalizer of splitmix64 (Steele, Lea, Flood 2014), so that no pattern in the values shows; uint64 (n,)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def hashes(ids: pa.Array, salt: int = 0) -> np.ndarray:
    """A 64-bit hash of each id, uint64 (n,), the same in every process; another salt gives independent ones.

    int64 ids go through `mix`, strings through their BLAKE2b first.
    """
    if pa.types.is_int64(ids.type):
        values = ids.to_numpy(zero_copy_only=False).astype(np.uint64)
    else:
        coded = ids.dictionary_encode()
        digests = [blake2b(name.encode(), digest_size=8).digest() for name in coded.dictionary.to_pylist()]
        values = np.frombuffer(b"".join(digests), np.uint64)[coded.indices.to_numpy()]
    return mix(values + np.uint64(salt * 0x9E3779B97F4A7C15 % 2**64))
