"""The form of a file of text with delimiters: its columns, its delimiter, and where its rows begin."""

import csv
import re
from dataclasses import dataclass
from typing import Final

from recsys.data.readers.base import FormatError, check_count, text_endings
from recsys.data.readers.dialect import Dialect
from recsys.data.readers.lines import MARK, text_encoding, text_stream
from recsys.data.readers.records import QUOTED_BYTES, grammar
from recsys.storage.filesystem import File

HEADER_BYTES: Final = 4096
"""Bytes read at a time to find the end of the header."""
MAX_HEADER_BYTES: Final = 1 << 20
DELIMITERS: Final = {".tsv": "\t", ".tab": "\t", ".psv": "|"}
"""Delimiters by the ending of a file's name."""
CANDIDATES: Final = (",", ";", "\t", "|")
"""Delimiters that are found in the first line."""
LONG_CANDIDATES: Final = ("::",)
"""Further ones that are found if they separate as many columns as the dialect names."""
BLANKS: Final = b"\r\n"
"""Bytes of blank lines."""
SEPARATOR: Final = "\x1f"
"""Stands for a delimiter of several bytes, since Arrow takes one byte."""


@dataclass(frozen=True, slots=True)
class Sheet:
    """The form of a file.

    names: of the columns; start: the first byte after the header; delimiter: between columns
    encoding: of the bytes that are read
    """

    names: tuple[str, ...]
    start: int
    delimiter: str
    encoding: str


def sheet_of(file: File, dialect: Dialect) -> Sheet:
    """The form of a file; no names if the file is empty.

    Raises FormatError if the first line is no header, or has other columns than the header of the dialect.
    """
    encoding = text_encoding(dialect)
    data = _first_bytes(file, dialect)
    if data[:2] in (b"\xff\xfe", b"\xfe\xff") and encoding == "utf-8":
        raise FormatError("it begins with the mark of UTF-16; expected UTF-8, or encoding: utf-16 in the settings")
    mark = len(MARK) if data.startswith(MARK) else 0
    start = len(data) - len(data[mark:].lstrip(BLANKS))  # the first line may be blank
    first = data[start : data.find(b"\n", start) + 1 or len(data)].decode(encoding)
    delimiter = dialect.delimiter or _delimiter(file, dialect, first)
    if dialect.header is not None:
        fields = len(_fields(first, delimiter))
        if fields not in (0, len(dialect.header)) and first.count('"') % 2 == 0:
            raise FormatError(f"the header of the settings has {len(dialect.header)} columns, the first line {fields}")
        return Sheet(dialect.header if data else (), mark, delimiter, encoding)
    match = grammar(delimiter.encode(encoding), None).record.match(data, start, start + QUOTED_BYTES)
    end = match.end() if match else data.find(b"\n", start) + 1 or len(data)
    names = _fields(data[start:end].decode(encoding), delimiter)
    check_count(len(names))
    return Sheet(tuple(names), end, delimiter, encoding)


def _fields(text: str, delimiter: str) -> list[str]:
    """The fields of a line, none if it is blank. Raises FormatError if a field is too long."""
    short = SEPARATOR if len(delimiter) > 1 else delimiter
    try:
        fields = next(csv.reader([text.rstrip("\r\n").replace(delimiter, short)], delimiter=short), [])
    except csv.Error as error:
        raise FormatError(str(error)) from error
    return [field.replace(short, delimiter) for field in fields]


def _first_bytes(file: File, dialect: Dialect) -> bytes:
    """The first bytes of a file, with the whole first line that is not blank.

    Raises FormatError if that line is too long.
    """
    data = b""
    with text_stream(file, dialect) as stream:
        while b"\n" not in data.removeprefix(MARK).lstrip(BLANKS) and (more := stream.read(HEADER_BYTES)):
            data += more
            if len(data) > MAX_HEADER_BYTES:
                raise FormatError(
                    f"the first line has more than {MAX_HEADER_BYTES >> 20} MB; "
                    "expected a header line with the names of the columns"
                )
    return data


def _delimiter(file: File, dialect: Dialect, first: str) -> str:
    """The delimiter by the file's ending, else by the first line."""
    name = file.name.lower()
    for ending, delimiter in DELIMITERS.items():
        if name.endswith(text_endings(ending)):
            return delimiter
    text = re.sub(r'"[^"]*"', "", first)
    if dialect.header is not None:
        candidates = (*CANDIDATES, *LONG_CANDIDATES)
        fitting = [delimiter for delimiter in candidates if text.count(delimiter) + 1 == len(dialect.header)]
        if fitting:
            return fitting[0]
    return max(CANDIDATES, key=text.count)
