"""JSON Lines: one object a line. Values inside of objects are columns with dotted names; lists are JSON text."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
import pyarrow as pa

from recsys.data.readers.base import (
    NO_OBJECT,
    NOT_TEXT,
    TEXT_LIMIT,
    BrokenLine,
    Chunk,
    FilePiece,
    FormatError,
    Head,
    check_columns,
    check_count,
    text_endings,
)
from recsys.data.readers.dialect import Dialect
from recsys.data.readers.lines import (
    HEAD_BYTES,
    MARK,
    WHOLE,
    Window,
    lines_before,
    read_lines,
    split_lines,
    text_encoding,
    text_stream,
)
from recsys.data.readers.values import value_text
from recsys.errors import DataError
from recsys.storage.filesystem import File

NAMES_BYTES: Final = 8 << 20
"""Columns are named by the objects in the first bytes of a file, about this many."""
HEAD_VALUES: Final = 1 << 20
"""Values of a head after which no more rows are read: each line may have keys of its own."""
DEPTH: Final = 8
"""Objects inside of each other that become columns. Deeper ones are JSON text."""

_DECODER: Final = json.JSONDecoder()


@dataclass(frozen=True, slots=True)
class JsonReader:
    """Reads JSON Lines, also compressed ones. Pieces are those of `lines`. A key that a line lacks is blank.

    search_bytes: bytes read at a time to find the end of a line
    """

    name: str = "JSON Lines"
    endings: tuple[str, ...] = text_endings(".jsonl", ".ndjson", ".json")
    piece_bytes: int = 32 << 20
    chunk_bytes: int = 8 << 20
    search_bytes: int = 1 << 16

    def head(self, file: File, dialect: Dialect, rows: int) -> Head:
        kinds: dict[str, str] = {}
        objects: list[dict[str, Any]] = []
        for value in _first_objects(file, dialect):
            objects.append(value)
            _add_kinds(value, kinds)
            if len(objects) >= rows or len(objects) * len(kinds) >= HEAD_VALUES:
                break
        texts = [[value_text(_column(value, name)) for name in kinds] for value in objects]
        return Head(tuple(kinds), kinds, _texts(texts, tuple(kinds)))

    def split(self, file: File, columns: Sequence[str], dialect: Dialect) -> list[FilePiece]:
        kinds: dict[str, str] = {}
        for value in _first_objects(file, dialect):
            _add_kinds(value, kinds)
            if all(name in kinds for name in columns):
                break
        check_columns(file, list(kinds), columns, certain=False)
        border = partial(_next_line, step=self.search_bytes)
        return split_lines(file, _start(file, dialect), dialect, self.piece_bytes, border)

    def read(self, piece: FilePiece, columns: Sequence[str]) -> Iterator[Chunk]:
        encoding = text_encoding(piece.dialect)
        before = 0
        for data in read_lines(piece, self.chunk_bytes):
            rows: list[int] = []
            values: list[list[str]] = []
            broken: list[BrokenLine] = []
            for row, line in enumerate(data.removesuffix(b"\n").split(b"\n"), before):
                if not line or line.isspace():
                    continue
                parsed = _row(line, encoding, columns)
                if isinstance(parsed, str):
                    broken.append(BrokenLine(row, line[:TEXT_LIMIT].decode(encoding, "replace"), parsed))
                else:
                    rows.append(row)
                    values.append(parsed)
            before += data.count(b"\n")
            yield Chunk(_texts(values, columns), np.asarray(rows, np.int64), broken)

    def rows_before(self, piece: FilePiece) -> int:
        return lines_before(piece, self.chunk_bytes)


def _first_objects(file: File, dialect: Dialect) -> Iterator[dict[str, Any]]:
    """The objects in the first NAMES_BYTES, at least one.

    Raises DataError if the file is empty, FormatError if no line is an object.
    """
    encoding = text_encoding(dialect)
    first = b""
    size = rows = 0
    for data in read_lines(FilePiece(file, _start(file, dialect), WHOLE, dialect), HEAD_BYTES):
        for line in data.split(b"\n"):
            size += len(line) + 1
            first = first or line.strip()
            parsed = _parsed(line, encoding)
            if isinstance(parsed, dict):
                rows += 1
                yield parsed
        if size > NAMES_BYTES:
            break
    if not first:
        raise DataError(f"{file.address}: the file is empty; expected one JSON object a line")
    if not rows:
        begin = first[:20].decode(encoding, "replace")
        raise FormatError(f"no line is a JSON object; expected one object a line; it begins with {begin!r}")


def _parsed(line: bytes, encoding: str) -> dict[str, Any] | str:
    """The object in a line, or the reason why there is none."""
    try:
        value = _DECODER.decode(line.decode(encoding))
    except UnicodeDecodeError:
        return NOT_TEXT
    except (ValueError, RecursionError):
        return NO_OBJECT
    return value if isinstance(value, dict) else NO_OBJECT


def _row(line: bytes, encoding: str, columns: Sequence[str]) -> list[str] | str:
    """The texts of the columns in a line, or the reason why the line is no row."""
    value = _parsed(line, encoding)
    if isinstance(value, str):
        return value
    try:
        return [value_text(_column(value, name)) for name in columns]
    except RecursionError:
        return NO_OBJECT


def _add_kinds(value: Mapping[str, Any], kinds: dict[str, str], prefix: str = "", depth: int = 1) -> None:
    """Add the columns of an object to the kinds of columns."""
    for key, item in value.items():
        name = prefix + key
        if isinstance(item, dict) and item and depth < DEPTH:
            _add_kinds(item, kinds, f"{name}.", depth + 1)
            continue
        kind, before = _kind(item), kinds.get(name, "null")
        if before == "null":
            kinds[name] = kind
        elif kind not in ("null", before):
            kinds[name] = "text"
        check_count(len(kinds))


def _kind(item: object) -> str:
    if item is None:
        return "null"
    if isinstance(item, bool):
        return "boolean"
    if isinstance(item, int | float):
        return "number"
    return "list" if isinstance(item, list) else "text"


def _column(value: Mapping[str, Any], name: str) -> Any:
    """The value of a column with a dotted name; None if the object lacks it."""
    if name in value:
        return value[name]
    dot = name.find(".")
    while dot >= 0:
        inner = value.get(name[:dot])
        if isinstance(inner, dict) and (item := _column(inner, name[dot + 1 :])) is not None:
            return item
        dot = name.find(".", dot + 1)
    return None


def _texts(values: Sequence[Sequence[str]], names: Sequence[str]) -> pa.Table:
    """Rows of texts as a table. A lone half of a surrogate pair, which JSON can write, becomes a question mark."""
    columns = list(zip(*values, strict=True)) or [()] * len(names)
    try:
        return pa.table([pa.array(column, pa.string()) for column in columns], names=list(names))
    except UnicodeEncodeError:
        clean = [[text.encode("utf-8", "replace").decode() for text in row] for row in values]
        return _texts(clean, names)


def _start(file: File, dialect: Dialect) -> int:
    """The first byte after the byte order mark."""
    with text_stream(file, dialect) as stream:
        return len(MARK) if stream.read(len(MARK)) == MARK else 0


def _next_line(opened: pa.NativeFile, start: int, position: int, step: int) -> int:
    """A Border: the first byte after the line that holds byte `position`."""
    return Window(opened, position).end_of_line(position, step)
