"""Writing files so that a process killed in between leaves nothing half done, and nothing behind."""

import fcntl
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

ABANDONED_SECONDS: Final = 86_400
"""Drafts untouched for longer belong to writers that died."""


def sync(*paths: Path) -> None:
    """Force files, and the entries of folders, onto the disk."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def remove_abandoned(drafts: Iterable[Path]) -> None:
    """Remove those of the folders whose writers died."""
    for draft in drafts:
        try:
            age = time.time() - draft.stat().st_mtime
        except FileNotFoundError:  # its writer has just finished
            continue
        if age > ABANDONED_SECONDS:
            shutil.rmtree(draft, ignore_errors=True)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of a file, which is made if absent, or of a folder; it ends with the process, however that dies."""
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
