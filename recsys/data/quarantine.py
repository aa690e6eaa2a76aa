"""The file of rows set aside, and the limit on their number. No Ray."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recsys.data.reading import UNREADABLE, Piece, rows_before
from recsys.data.validate import COLUMN, FOUND, PIECE, REASON, ROW
from recsys.errors import DataError
from recsys.storage.filesystem import put, remove

ROWS = pa.schema(
    [
        ("file", pa.string()),
        ("row", pa.int64()),
        ("column", pa.string()),
        ("value", pa.string()),
        ("reason", pa.string()),
    ]
)
"""Ordered by file and row. Rows of CSV files count as lines, the header being line 1; of Parquet from 1."""


class Quarantine:
    """Keeps the rows that were set aside in one Parquet file, which exists only where there are some."""

    def __init__(self, path: str | Path, max_share: float) -> None:
        """path: of a folder or s3://bucket/key; raises DataError where S3 refuses it"""
        self._path = str(path)
        self._max_share = max_share
        self._rows = ROWS.empty_table()
        remove(self._path)

    @property
    def path(self) -> str | None:
        """Where the file lies, None where there is none."""
        return self._path if len(self._rows) else None

    def add(self, faults: pa.Table, pieces: Sequence[Piece]) -> dict[str, int]:
        """Write down faults (validate.FAULTS) in the pieces of files; returns rows by reason, most first.

        Raises DataError where a file could not be read to its end.
        """
        unreadable = faults.filter(pc.equal(faults[REASON], UNREADABLE))
        if len(unreadable):
            raise DataError(min(unreadable[FOUND].to_pylist()))
        rows = _located(faults, pieces)
        if len(rows):
            self._rows = pa.concat_tables([self._rows, rows])
            content = io.BytesIO()
            pq.write_table(self._rows, content)
            put(content.getvalue(), self._path)
        return {name: count for name, count, *_ in _reasons(rows)}

    def check(self, what: str, read: int, faults: pa.Table, pieces: Sequence[Piece]) -> dict[str, int]:
        """As `add`; DataError where more than the permitted share of the rows read is set aside."""
        counts = self.add(faults, pieces)
        bad = sum(counts.values())
        if bad > self._max_share * read:
            examples = (
                f"{name}: {count:,}, first in {file} row {row}: {value!r}"
                for name, count, file, row, value in _reasons(_located(faults, pieces))[:3]
            )
            raise DataError(
                f"{bad:,} of {read:,} {what} rows ({bad / read:.2%}) are unusable, more than "
                f"data.max_bad_share = {self._max_share:.2%} allows; {'; '.join(examples)}; "
                f"all are listed in {self.path}"
            )
        return counts


def _located(faults: pa.Table, pieces: Sequence[Piece]) -> pa.Table:
    index = faults[PIECE].to_numpy()
    before = np.zeros(len(pieces), np.int64)
    for piece in np.unique(index):
        before[piece] = rows_before(pieces[piece])
    files = pa.array([piece.file.address for piece in pieces], pa.string())
    rows = [
        files.take(pa.array(index)),
        pa.array(faults[ROW].to_numpy() + before[index] + 1),
        faults[COLUMN],
        faults[FOUND],
        faults[REASON],
    ]
    return pa.table(rows, schema=ROWS).sort_by([("file", "ascending"), ("row", "ascending")])


def _reasons(rows: pa.Table) -> list[tuple[str, int, str, int, str]]:
    """Reasons, the most frequent first: name, rows, and file, row and value of the first of them."""
    groups = pl.DataFrame(rows).group_by("column", "reason", maintain_order=True)
    counted = groups.agg(pl.len(), pl.first("file"), pl.first("row"), pl.first("value"))
    ordered = counted.sort(["len", "column", "reason"], descending=[True, False, False])
    return [(f"{column} {reason}".strip(), *rest) for column, reason, *rest in ordered.iter_rows()]
