"""The quarantine: one Parquet file of the rejected rows, and the limit on their number. No Ray."""

import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recsys.data.readers.base import UNREADABLE, FilePiece
from recsys.data.reading import rows_before
from recsys.data.validate import COLUMN, PIECE, REASON, ROW, TEXT
from recsys.errors import DataError
from recsys.storage.filesystem import put, remove

WORDS_SHOWN = 20
"""Words of event types without a meaning in a message."""
ROWS = pa.schema(
    [
        ("file", pa.string()),
        ("row", pa.int64()),
        ("column", pa.string()),
        ("value", pa.string()),
        ("reason", pa.string()),
    ]
)
"""Columns of the file, which is ordered by `file` and `row`.

The row of a CSV file is the number of its line; the header is line 1. The first row of a Parquet file is row 1.
"""


class ReasonCount(NamedTuple):
    """A reason, the number of rows that it rejected, and the first of these rows."""

    reason: str
    rows: int
    file: str
    row: int
    value: str


@dataclass(frozen=True, slots=True)
class Checked:
    """Rows of one kind, such as "event".

    read: the number of rows; counts: reasons of the rejected ones, the most frequent first
    """

    kind: str
    read: int
    counts: tuple[ReasonCount, ...]

    @property
    def rejected(self) -> int:
        """The number of rejected rows."""
        return sum(count.rows for count in self.counts)

    def too_many(self, max_bad_fraction: float) -> str:
        """A sentence without its end if a larger fraction than this is rejected, else ""."""
        if self.rejected <= max_bad_fraction * self.read:
            return ""
        return (
            f"{self.rejected:,} of {self.read:,} {self.kind} rows ({self.rejected / self.read:.2%}) are unusable, more "
            f"than data.max_bad_fraction = {max_bad_fraction:.2%} allows"
        )


class Quarantine:
    """Writes rejected rows to one Parquet file. Without rejected rows there is no file.

    checked: the rows that `add_checked` got
    """

    def __init__(self, path: str | Path, max_bad_fraction: float) -> None:
        """Remove the file of an earlier run. Raises DataError if S3 fails.

        path: a path or s3://bucket/key; max_bad_fraction: of the rows read, for `add_checked`
        """
        self._path = str(path)
        self.max_bad_fraction = max_bad_fraction
        self._rows = ROWS.empty_table()
        self.checked: list[Checked] = []
        remove(self._path)

    @property
    def path(self) -> str | None:
        """The address of the file, None if there is none."""
        return self._path if len(self._rows) else None

    def counts(self) -> list[ReasonCount]:
        """The reasons of all rejected rows, the most frequent first."""
        return _counts(self._rows)

    def values(self, reason: str) -> dict[str, int]:
        """The number of rejected rows by their value, for one reason, the most frequent first."""
        values = self._rows.filter(pc.equal(self._rows["reason"], reason))["value"].to_pylist()
        return dict(Counter(values).most_common())

    def add(self, faults: pa.Table, pieces: Sequence[FilePiece]) -> dict[str, int]:
        """Add rejected rows to the file; returns the number of rows for each reason, the most frequent first.

        faults: validate.FAULTS; pieces: the pieces that its column PIECE counts
        Raises DataError if a file could not be read to its end.
        """
        unreadable = faults.filter(pc.equal(faults[REASON], UNREADABLE))
        if len(unreadable):
            raise DataError(min(unreadable[TEXT].to_pylist()))
        rows = _located(faults, pieces)
        if len(rows):
            self._rows = pa.concat_tables([self._rows, rows])
            content = io.BytesIO()
            pq.write_table(self._rows, content)
            put(content.getvalue(), self._path)
        return {count.reason: count.rows for count in _counts(rows)}

    def add_checked(self, what: str, read: int, faults: pa.Table, pieces: Sequence[FilePiece]) -> dict[str, int]:
        """As `add`. Raises DataError if too large a fraction of the rows is rejected.

        what: the rows' name in the message; read: the number of rows read
        """
        counts = self.add(faults, pieces)
        self.checked.append(Checked(what, read, tuple(_counts(_located(faults, pieces)))))
        if problem := self.checked[-1].too_many(self.max_bad_fraction):
            examples = (
                f"{count.reason}: {count.rows:,}, first in {count.file} row {count.row}: {count.value!r}"
                for count in self.checked[-1].counts[:3]
            )
            raise DataError(
                f"{problem}; {'; '.join(examples)}; all are listed in {self.path}; recsys inspect writes settings that "
                "leave rows out"
            )
        return counts


def too_many_words(counts: Mapping[str, int], read: int) -> str:
    """The message about event types without a meaning; counts: rows of each word; read: rows of events."""
    ordered = Counter(counts).most_common()
    words = ", ".join(f"{word!r} {n:,}" for word, n in ordered[:WORDS_SHOWN])
    more = f" and {len(ordered) - WORDS_SHOWN:,} more" if len(ordered) > WORDS_SHOWN else ""
    return (
        f"{sum(counts.values()):,} of {read:,} event rows have an event type without a meaning: {words}{more}; set "
        "data.events.types to view, addtocart, transaction or ignore for each of these words"
    )


def _located(faults: pa.Table, pieces: Sequence[FilePiece]) -> pa.Table:
    """ROWS: the rejected rows with their file and their number in it, ordered by both."""
    index = faults[PIECE].to_numpy()
    before = np.zeros(len(pieces), np.int64)
    for piece in np.unique(index):
        before[piece] = rows_before(pieces[piece])
    files = pa.array([piece.file.address for piece in pieces], pa.string())
    rows = [
        files.take(pa.array(index)),
        pa.array(faults[ROW].to_numpy() + before[index] + 1),
        faults[COLUMN],
        faults[TEXT],
        faults[REASON],
    ]
    return pa.table(rows, schema=ROWS).sort_by([("file", "ascending"), ("row", "ascending")])


def _counts(rows: pa.Table) -> list[ReasonCount]:
    """The reasons of ROWS, the most frequent first."""
    groups = pl.DataFrame(rows).group_by("column", "reason", maintain_order=True)
    counted = groups.agg(pl.len(), pl.first("file"), pl.first("row"), pl.first("value"))
    ordered = counted.sort(["len", "column", "reason"], descending=[True, False, False])
    return [
        ReasonCount(f"{column} {reason}".strip(), rows, file, row, value)
        for column, reason, rows, file, row, value in ordered.iter_rows()
    ]
