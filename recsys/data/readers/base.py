"""The interface of a reader, which reads the files of one format, and the types that all readers share."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

import numpy as np
import pyarrow as pa

from recsys.data.readers.dialect import DEFAULT, Dialect
from recsys.errors import DataError
from recsys.storage.compression import CODECS
from recsys.storage.filesystem import File

TEXT_LIMIT: Final = 200
"""Characters kept of a line that is no row."""

HALF_WRITTEN: Final = "not a complete row"
NOT_TEXT: Final = "not text in this encoding (the setting encoding, utf-8 by default)"
NO_OBJECT: Final = "not a JSON object"
UNREADABLE: Final = "unreadable"
"""Reasons of a broken line. UNREADABLE: the rest of the piece cannot be read, and the text is the error."""

NAMES_SHOWN: Final = 50
"""Names of columns in a message."""
MAX_COLUMNS: Final = 10_000
"""Columns of a file at most."""


class MissingColumnError(DataError):
    """A file lacks columns.

    names: the columns
    certain: whether no row of the file has them; False where only the first rows are known
    """

    def __init__(self, message: str, names: tuple[str, ...] = (), certain: bool = True) -> None:
        super().__init__(message)
        self.names = names
        self.certain = certain


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
    dialect: Dialect = DEFAULT


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


@dataclass(frozen=True, slots=True)
class Head:
    """The first rows of a file.

    names: all columns, in the order of the file; a name may occur twice
    kinds: the kind of each column by its name: the type of a Parquet column, "folder" for a column by the names of
        folders, "text" for one of CSV; in JSON Lines "text", "number", "boolean", "list", or "null" without a value
    rows: one string column, without nulls, for each name; blank where values of the kind cannot be read as text
    unreadable: names of these columns
    """

    names: tuple[str, ...]
    kinds: Mapping[str, str]
    rows: pa.Table
    unreadable: frozenset[str] = frozenset()


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

    def head(self, file: File, dialect: Dialect, rows: int) -> Head:
        """The first rows of a file, at most `rows` and at most some MB. Raises the errors of `split`."""
        ...

    def split(self, file: File, columns: Sequence[str], dialect: Dialect) -> list[FilePiece]:
        """The pieces of a file, at least one.

        Raises DataError if the file is empty, MissingColumnError if it lacks one of `columns` (see `check_columns`),
        one of READ_ERRORS if it cannot be read.
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


def text_endings(*endings: str) -> tuple[str, ...]:
    """The endings of files of text, as they are and compressed."""
    return tuple(ending + compressed for ending in endings for compressed in ("", *CODECS))


def empty_table(names: Sequence[str]) -> pa.Table:
    """No rows of string columns."""
    return pa.table([pa.array([], pa.string())] * len(names), names=list(names))


def unique(names: Sequence[str]) -> tuple[str, ...]:
    """The names without those that occurred before."""
    return tuple(dict.fromkeys(names))


def check_count(columns: int) -> None:
    """Raise FormatError if a file has more than MAX_COLUMNS columns."""
    if columns > MAX_COLUMNS:
        raise FormatError(f"it has {columns:,} columns or more, expected at most {MAX_COLUMNS:,}")


def check_columns(file: File, names: Sequence[str], columns: Sequence[str], certain: bool = True) -> None:
    """Check that each of `columns` occurs exactly once among the `names` of a file's columns.

    certain: whether `names` are those of all rows
    Raises MissingColumnError for columns that do not occur, DataError for one that occurs twice.
    """
    first = ", ".join(names[:NAMES_SHOWN]) + (", …" if len(names) > NAMES_SHOWN else "")
    missing = tuple(name for name in columns if name not in names)
    if missing:
        problem = f"column {missing[0]!r} is missing; columns found: {first}"
        raise MissingColumnError(f"{file.address}: {problem}", missing, certain)
    for name in columns:
        if names.count(name) > 1:
            raise DataError(f"{file.address}: column {name!r} occurs twice; columns found: {first}")
