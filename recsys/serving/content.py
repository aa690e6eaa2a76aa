"""The content of a file that the service reads again and again: on disk or on S3."""

from pathlib import Path

from recsys.rules.document import MOST_BYTES
from recsys.storage.address import is_s3
from recsys.storage.files import read_regular
from recsys.storage.filesystem import file_at


def read_content(address: str) -> bytes:
    """The content of a file; of one on S3 one byte more than MOST_BYTES at most.

    Raises OSError, also for a FIFO, a device or a larger file on disk, or DataError.
    """
    if not is_s3(address):
        return read_regular(Path(address), MOST_BYTES)
    with file_at(address).stream() as stream:
        content: bytes = stream.read(MOST_BYTES + 1)
    return content


def reason_of(error: OSError) -> str:
    """Why a file cannot be read."""
    return error.strerror or str(error)
