"""Files of lines in pieces of whole lines, for readers of text formats.

The lines are cut here and not by the parser of a format. So a stray quote cannot swallow the rows after it, several
tasks can read one large file, and each bad line has a number.

A piece is the bytes [start, stop) of its file. A compressed file cannot be cut. It is one piece: `start` counts bytes
of the text, and `stop` is -1.
"""

from collections.abc import Iterator
from itertools import pairwise

import pyarrow as pa

from recsys.data.readers.base import FilePiece
from recsys.storage.filesystem import File

WHOLE = -1
"""The `stop` of a piece that ends with its file."""


def split_lines(file: File, start: int, piece_bytes: int, search_bytes: int) -> list[FilePiece]:
    """The pieces of a file from byte `start` on, of at least `piece_bytes` each except the last.

    search_bytes: how many bytes are read at a time to find the end of a line
    """
    if file.compressed:
        return [FilePiece(file, start, WHOLE)]
    borders = [start]
    with file.open() as opened:
        size = opened.size()
        while borders[-1] + piece_bytes < size:
            borders.append(_end_of_line(opened, borders[-1] + piece_bytes, search_bytes))
    if borders[-1] < size or len(borders) == 1:
        borders.append(size)
    return [FilePiece(file, first, last) for first, last in pairwise(borders)]


def _end_of_line(opened: pa.NativeFile, position: int, search_bytes: int) -> int:
    """The first byte after the line that holds byte `position`."""
    opened.seek(position)
    while data := opened.read(search_bytes):
        if (end := data.find(b"\n")) >= 0:
            return position + end + 1
        position += len(data)
    return position


def read_lines(piece: FilePiece, chunk_bytes: int) -> Iterator[bytes]:
    """The text of a piece in chunks of whole lines, about `chunk_bytes` each. Each line ends with a newline."""
    rest = b""
    whole = piece.stop == WHOLE
    with piece.file.stream() if whole else piece.file.open() as stream:
        if whole:
            stream.read(piece.start)
        else:
            stream.seek(piece.start)
        left = None if whole else piece.stop - piece.start
        while data := stream.read(chunk_bytes if left is None else min(left, chunk_bytes)):
            left = None if left is None else left - len(data)
            end = data.rfind(b"\n") + 1
            if end:
                yield rest + data[:end]
                rest = data[end:]
            else:
                rest += data
    if rest:
        yield rest + b"\n"


def lines_before(piece: FilePiece, chunk_bytes: int) -> int:
    """The number of lines of the file before the piece."""
    lines, left = 0, piece.start
    with piece.file.stream() as stream:
        while left > 0:
            data = stream.read(min(left, chunk_bytes))
            lines += data.count(b"\n")
            left -= len(data)
    return lines
