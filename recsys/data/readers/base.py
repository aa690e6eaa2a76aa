"""The interface of a reader, which reads the files of one format, and the types that all readers share."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

import numpy as np
import pyarrow as pa

from recsys.errors import DataError
from recsys.storage.filesystem import File

TEXT_LIMIT: Final = 200
"""Characters kept of a line that is no row."""

HALF_WRITTEN: Final = "not a complete row"
NOT_TEXT: Final = "not UTF-8 text"
UNREADABLE: Final = "unreadable"
"""Reasons of a broken line. UNREADABLE: the rest of the piece cannot be read, and the text is the error."""


class FormatError(Exception):
    """The content of a file does not fit its format."""


READ_ERRORS: Final = (OSError, pa.ArrowException, UnicodeDecodeError, FormatError)
"""A reader raises one of these where a file cannot be read."""


@dataclass(frozen=True, slots=True)
class FilePiece:
    """The piece of a file that one task reads. The reader of the format defines the unit of `start` and `stop`."""

    file: File
    start: int
    stop: int


class BrokenLine(NamedTuple):
    """A line of a file that is no row; row: its position in the piece, from 0."""

    row: int
    text: str
    reason: str


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some rows of a piece.

    columns: one string column, without nulls, for each column asked for
    rows: int64 (n,), the position of each row in the piece, from 0
    broken: lines between these rows that cannot be read as a row
    """

    columns: pa.Table
    rows: np.ndarray
    broken: list[BrokenLine]


class Reader(Protocol):
    """Reads the files of one format. `recsys.data.reading.READERS` lists the readers."""

    @property
    def name(self) -> str:
        """The name of the format in messages."""
        ...

    @property
    def endings(self) -> tuple[str, ...]:
        """The endings of the names of files that this reader reads, such as ".csv"."""
        ...

    def split(self, file: File, columns: Sequence[str]) -> list[FilePiece]:
        """The pieces of a file, at least one.

        Raises DataError if the file is empty or lacks one of `columns`, one of READ_ERRORS if it cannot be read.
        """
        ...

    def read(self, piece: FilePiece, columns: Sequence[str]) -> Iterator[Chunk]:
        """The rows of a piece as text, a bounded number at a time. Raises one of READ_ERRORS."""
        ...

    def rows_before(self, piece: FilePiece) -> int:
        """The number of rows of the file before the piece; in formats of lines, the number of lines.

        A line or row is reported to a person by this number plus its position in the piece plus 1.
        """
        ...


def check_columns(file: File, names: Sequence[str], columns: Sequence[str]) -> None:
    """Raise DataError if one of `columns` does not occur exactly once among the `names` of a file's columns."""
    for name in columns:
        if names.count(name) != 1:
            problem = "is missing" if name not in names else "occurs twice"
            raise DataError(f"{file.address}: column {name!r} {problem}; columns found: {', '.join(names)}")
