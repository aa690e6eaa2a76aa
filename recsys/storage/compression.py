"""Reading of compressed files, with a limit on how far their content expands."""

from types import TracebackType
from typing import Final

import pyarrow as pa

CODECS: Final = {".gz": "gzip", ".zst": "zstd", ".zstd": "zstd"}
"""Arrow's name of the compression, by the ending of a file's name."""
FREE_BYTES: Final = 64 << 20
"""Bytes of content that any file may have, however small it is."""
MAX_RATIO: Final = 200
"""Bytes of content a byte of the file, beyond FREE_BYTES. Logs reach 100 at most; a file made to fill the memory of its
reader reaches 1,000 with gzip, and 220 with its fastest level."""
BUFFER_BYTES: Final = 1 << 20
"""Bytes of the file that are read at a time."""


def codec_of(name: str) -> str | None:
    """Arrow's name of a file's compression, by the ending of the file's name; None for a file as it is."""
    ending = next((ending for ending in CODECS if name.lower().endswith(ending)), None)
    return None if ending is None else CODECS[ending]


class Decompressed:
    """The content of a compressed file. Raises OSError if the file is damaged or expands beyond MAX_RATIO."""

    def __init__(self, raw: pa.NativeFile, codec: str) -> None:
        """raw: the file as it is, open for reading at any position; it is closed with this stream"""
        self._raw = raw
        self._stream = pa.CompressedInputStream(pa.BufferedInputStream(raw, BUFFER_BYTES), codec)
        self._size = 0

    def __enter__(self) -> "Decompressed":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()
        self._raw.close()

    def read(self, size: int = -1) -> bytes:
        """The next bytes, at most `size`, or all of them; none at the end."""
        data = self._stream.read(None if size < 0 else size)
        self._size += len(data)
        consumed = self._raw.tell()
        if self._size > max(FREE_BYTES, MAX_RATIO * consumed):
            raise OSError(
                f"it is a decompression bomb: {consumed:,} bytes expand to {self._size:,}; "
                f"expected at most {MAX_RATIO} times the size"
            )
        return data
