"""Helpers to write folders completely or not at all, even if the process is killed."""

import fcntl
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

ABANDONED_SECONDS: Final = 86_400
"""A draft that nobody changed for this long belongs to a writer that died."""


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
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of a folder, or of a file, which is created if absent. The lock ends with the process."""
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def file_in_place_of(folder: Path) -> Path | None:
    """The file for which a folder with this path cannot be made; None if the folder exists, or can be made."""
    nearest = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    return None if nearest.is_dir() else nearest
