"""Files of lines in pieces of whole lines, for readers of text formats.

The lines are cut here and not by the parser of a format. So several tasks can read one large file, and each bad line
has a number.

A piece is the bytes [start, stop) of its file. A file cannot be cut if it is compressed, or if its encoding writes line
ends in other bytes than ASCII. It is one piece: `start` counts bytes of the text as UTF-8, and `stop` is -1.
"""

import codecs
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final, Protocol

import pyarrow as pa

from recsys.data.readers.base import FilePiece, FormatError
from recsys.data.readers.dialect import Dialect, is_utf8, keeps_ascii
from recsys.storage.filesystem import File

WHOLE: Final = -1
"""The `stop` of a piece that ends with its file."""
HEAD_BYTES: Final = 1 << 18
"""Bytes read at a time for the head of a file."""
LINE_BYTES: Final = 16 << 20
"""Bytes of a line at most."""
MARK: Final = codecs.BOM_UTF8


class Stream(Protocol):
    """Bytes from the beginning of a file to its end."""

    def read(self, size: int) -> bytes:
        """The next bytes, at most `size`; none at the end."""
        ...


@dataclass(slots=True)
class Window:
    """Some bytes of an open file: `data` begins at byte `first` of the file, and `size` is that of the file."""

    opened: pa.NativeFile
    first: int
    size: int = field(init=False)
    data: bytes = field(default=b"", init=False)

    def __post_init__(self) -> None:
        self.size = self.opened.size()

    def fill(self, stop: int) -> None:
        """Read on until the window holds the bytes before `stop`, or the file ends. A file ends with a newline."""
        end = self.first + len(self.data)
        if end < min(stop, self.size):
            self.opened.seek(end)
            more = self.opened.read(min(stop, self.size) - end)
            if not more:
                raise FormatError("it has become shorter while it was read")
            self.data += more if stop < self.size or more.endswith(b"\n") else more + b"\n"

    def end_of_line(self, position: int, step: int) -> int:
        """The first byte after the line that holds byte `position`; `step` bytes are read at first, then more."""
        start = position
        while position < self.size:
            self.fill(position + step)
            if (end := self.data.find(b"\n", position - self.first)) >= 0:
                return min(self.first + end + 1, self.size)
            position = self.first + len(self.data)
            step *= 2
            check_length(position - start, f"the line at byte {start:,}")
        return self.size


Border = Callable[[pa.NativeFile, int, int], int]
"""`border(opened, start, position)` is a byte after `position` where a piece of a file may begin.

The lines of the file begin at `start`. The result is the size of the file if no further piece may begin.
"""


def split_lines(file: File, start: int, dialect: Dialect, piece_bytes: int, border: Border) -> list[FilePiece]:
    """The pieces of a file from byte `start` on, of at least `piece_bytes` each except the last."""
    if not can_be_cut(file, dialect):
        return [FilePiece(file, start, WHOLE, dialect)]
    borders = [start]
    with file.open() as opened:
        size = opened.size()
        while borders[-1] + piece_bytes < size:
            borders.append(border(opened, start, borders[-1] + piece_bytes))
    if borders[-1] < size or len(borders) == 1:
        borders.append(size)
    return [FilePiece(file, first, last, dialect) for first, last in pairwise(borders)]


def can_be_cut(file: File, dialect: Dialect) -> bool:
    """True if the lines of the file can be found in its bytes."""
    return not file.compressed and keeps_ascii(dialect.encoding)


def text_encoding(dialect: Dialect) -> str:
    """The encoding of the bytes of `text_stream` and `read_lines`: that of the file, or UTF-8."""
    return dialect.encoding if keeps_ascii(dialect.encoding) and not is_utf8(dialect.encoding) else "utf-8"


@contextmanager
def text_stream(file: File, dialect: Dialect) -> Iterator[Stream]:
    """The text of a file, decompressed. An encoding that does not keep ASCII becomes UTF-8."""
    with file.stream() as stream:
        yield stream if keeps_ascii(dialect.encoding) else _Recoded(stream, dialect.encoding)


class _Recoded:
    """Text of any encoding as UTF-8. Raises UnicodeDecodeError."""

    def __init__(self, stream: Stream, encoding: str) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self._rest = b""

    def read(self, size: int) -> bytes:
        """The next bytes, at most `size`; none at the end. Some texts are longer in UTF-8 than in the file."""
        while not self._rest and (data := self._stream.read(size)):
            self._rest = self._decoder.decode(data).encode()
        self._rest = self._rest or self._decoder.decode(b"", final=True).encode()
        text, self._rest = self._rest[:size], self._rest[size:]
        return text


def as_utf8(data: bytes, encoding: str) -> bytes:
    """The text as UTF-8; bytes that are no text stay as they are."""
    if is_utf8(encoding):
        return data
    return data.decode(encoding, "surrogateescape").encode("utf-8", "surrogateescape")


def is_text(data: bytes) -> bool:
    """True if the bytes are UTF-8."""
    if data.isascii():
        return True
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def read_lines(piece: FilePiece, chunk_bytes: int) -> Iterator[bytes]:
    """The text of a piece in chunks of whole lines, about `chunk_bytes` each. Each line ends with a newline.

    Raises FormatError for a line of more than LINE_BYTES.
    """
    if piece.stop == WHOLE:
        with text_stream(piece.file, piece.dialect) as stream:
            _skip(stream, piece.start, chunk_bytes)
            yield from _whole_lines(stream, None, chunk_bytes)
    else:
        with piece.file.open() as opened:
            opened.seek(piece.start)
            yield from _whole_lines(opened, piece.stop - piece.start, chunk_bytes)


def _whole_lines(stream: Stream, left: int | None, chunk_bytes: int) -> Iterator[bytes]:
    """The next `left` bytes of a stream, all if None, in chunks of whole lines."""
    rest: list[bytes] = []
    lines = 0
    while data := stream.read(chunk_bytes if left is None else min(left, chunk_bytes)):
        left = None if left is None else left - len(data)
        if end := data.rfind(b"\n") + 1:
            chunk = b"".join([*rest, data[:end]])
            lines += chunk.count(b"\n")
            yield chunk
            rest = [data[end:]]
        else:
            rest.append(data)
            check_length(sum(map(len, rest)), f"line {lines + 1:,} of the piece")
    if any(rest):
        yield b"".join([*rest, b"\n"])


def _skip(stream: Stream, size: int, step: int) -> int:
    """Read on by `size` bytes; returns the number of newlines in them."""
    lines = 0
    while size > 0 and (data := stream.read(min(size, step))):
        lines += data.count(b"\n")
        size -= len(data)
    return lines


def check_length(size: int, line: str) -> None:
    """Raise FormatError if a line has more than LINE_BYTES; line: its name in the message."""
    if size > LINE_BYTES:
        raise FormatError(f"{line} has more than {LINE_BYTES >> 20} MB")


def lines_before(piece: FilePiece, chunk_bytes: int) -> int:
    """The number of lines of the file before the piece."""
    with text_stream(piece.file, piece.dialect) as stream:
        return _skip(stream, piece.start, chunk_bytes)
