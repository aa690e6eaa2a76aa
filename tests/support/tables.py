"""Files of rows as tests read them: all pieces, with the numbers that a person sees."""

import gzip
from pathlib import Path

import pyarrow as pa

from recsys.data.readers.dialect import DEFAULT, Dialect
from recsys.data.reading import read_piece, rows_before, split_file
from recsys.storage.filesystem import File, file_at

Rows = list[tuple[str, ...]]
Broken = list[tuple[int, str, str]]


def write(path: Path, data: bytes) -> Path:
    """The file, compressed as its name tells."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".gz":
        data = gzip.compress(data)
    elif path.suffix in (".zst", ".zstd"):
        data = pa.Codec("zstd").compress(data, asbytes=True)
    path.write_bytes(data)
    return path


def read(place: Path | File, *columns: str, dialect: Dialect = DEFAULT) -> tuple[Rows, list[int], Broken]:
    """Rows of the columns, the number of each row in the file, and broken lines by their number there."""
    file = file_at(place) if isinstance(place, Path) else place
    rows: Rows = []
    numbers: list[int] = []
    broken: Broken = []
    for piece in split_file(file, columns, dialect):
        before = rows_before(piece) + 1
        for chunk in read_piece(piece, columns):
            rows += zip(*(column.to_pylist() for column in chunk.columns.columns), strict=True)
            numbers += (chunk.rows + before).tolist()
            broken += [(row + before, text, reason) for row, text, reason in chunk.broken]
    return rows, numbers, broken
