"""Helpers to read regular files only, and to write folders completely or not at all, even if the process is killed."""

import errno
import fcntl
import os
import shutil
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from typing import Final

ABANDONED_SECONDS: Final = 86_400
"""A draft that nobody changed for this long belongs to a writer that died."""


class UnexpectedFile(OSError):
    """A path leads to something else than a regular file of a permitted size."""


def open_regular(path: Path) -> BufferedReader:
    """A regular file, open for reading.

    Raises OSError, and UnexpectedFile for a folder, a FIFO or a device: to open or to read these could wait forever.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a FIFO opens at once with O_NONBLOCK
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UnexpectedFile(errno.EINVAL, "it is not a regular file", str(path))
    return os.fdopen(descriptor, "rb")


def read_regular(path: Path, limit: int) -> bytes:
    """The content of a regular file of at most `limit` bytes.

    Raises the errors of `open_regular`, and UnexpectedFile for a larger file, of which nothing is read.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > limit:
            raise UnexpectedFile(errno.EFBIG, f"it has {size:,} bytes, expected at most {limit:,}", str(path))
        return file.read(limit)


@contextmanager
def new_folders(*folders: Path) -> Iterator[None]:
    """Makes folders where they are absent. After an error in the block, the new ones are removed again if still empty.

    As soon as one of them has content, it stays, and so do those after it.
    """
    made: list[Path] = []
    try:
        for folder in folders:
            made += [path for path in (folder, *folder.parents) if path not in made and not path.exists()]
            folder.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        with suppress(OSError):
            for path in sorted(made, key=lambda path: len(path.parts), reverse=True):
                path.rmdir()
        raise


def sync(*paths: Path) -> None:
    """Force the content of files, and the entries of folders, onto the disk."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def remove_abandoned(drafts: Iterable[Path]) -> None:
    """Remove the draft folders whose writers died."""
    for draft in drafts:
        try:
            age = time.time() - draft.stat().st_mtime
        except FileNotFoundError:  # its writer has just renamed it
            continue
        if age > ABANDONED_SECONDS:
            shutil.rmtree(draft, ignore_errors=True)


@contextmanager
def locked(path: Path, wait: bool = True) -> Iterator[int]:
    """Hold the lock of a folder, or of a file, which is created if absent; its descriptor.

    The lock ends with the last process that has the descriptor. wait: for another process that has the lock; without
    it BlockingIOError is raised
    """
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield descriptor
    finally:
        os.close(descriptor)


def file_in_place_of(folder: Path) -> Path | None:
    """The file for which a folder with this path cannot be made; None if the folder exists, or can be made."""
    nearest = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    return None if nearest.is_dir() else nearest
