"""The verdicts of a machine about versions. Its processes share them, so that one process tries a version for all."""

import fcntl
import hashlib
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from recsys.errors import TransientError
from recsys.inference.trial import CHECK_SECONDS, Verdict
from recsys.registry.artifact import read_manifest
from recsys.registry.cache import cache_root
from recsys.schema import Config
from recsys.storage.files import read_regular

RETRY_SECONDS: Final = 20.0
"""Pause after a rejection that is not final. Each further one doubles the pause."""
LONGEST_RETRY_SECONDS: Final = 3600.0
"""Longest pause."""
KEPT_BYTES: Final = 1 << 16
"""Largest size of a kept verdict."""


class Kept(Config):
    """A verdict in a file; the file's time is that of the trial.

    files: see `_files`
    failures: number of rejections of these files so far
    """

    reason: str
    final: bool
    files: str
    failures: int


def accepted(fingerprint: str) -> bool:
    """Whether a trial on this machine has opened the version with this fingerprint."""
    kept = _read(_path(fingerprint))
    return kept is not None and not kept.reason


def accept(fingerprint: str) -> None:
    """Keep that the version opens, as its promotion found out."""
    if not accepted(fingerprint):
        with suppress(OSError):
            _write(_path(fingerprint), Kept(reason="", final=True, files="", failures=0))


def shared_verdict(directory: Path, fingerprint: str, attempt: Callable[[], Verdict], stop: threading.Event) -> Verdict:
    """The kept verdict about a version, if it still counts, else that of `attempt`, which is kept.

    A final rejection counts until the files of the version change; another rejection counts for a pause that grows.
    stop: another thread sets it to end the wait for the trial of another process, which raises TransientError
    """
    path = _path(fingerprint)
    verdict = _counting(path, directory)
    if verdict is not None:
        return verdict
    with suppress(OSError):  # the verdict cannot be kept, for example on a read-only disk
        path.parent.mkdir(parents=True, exist_ok=True)
        with _turn(path.with_suffix(".lock"), stop):
            verdict = _counting(path, directory)
            if verdict is None:
                verdict = attempt()
                before, files = _read(path), _files(directory)
                failures = 1 + (before.failures if before and before.files == files else 0)
                _write(path, Kept(reason=verdict.reason, final=verdict.final, files=files, failures=failures))
    return attempt() if verdict is None else verdict


def _path(fingerprint: str) -> Path:
    return cache_root() / "probed" / f"{fingerprint}.json"


@contextmanager
def _turn(path: Path, stop: threading.Event) -> Iterator[None]:
    """Hold the lock of a version's trials; while another process holds it, `stop` ends the wait."""
    with path.open("ab") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if stop.wait(CHECK_SECONDS):
                    raise TransientError("the wait for the trial of another process was ended") from None
        yield


def _counting(path: Path, directory: Path) -> Verdict | None:
    """The kept verdict; None if there is none, or if a new attempt is due."""
    kept = _read(path)
    if kept is None:
        return None
    pause = min(RETRY_SECONDS * 2 ** min(kept.failures - 1, 30), LONGEST_RETRY_SECONDS)
    if kept.reason and (kept.files != _files(directory) or not (kept.final or _age(path) < pause)):
        return None
    return Verdict(kept.reason, kept.final)


def _age(path: Path) -> float:
    """Seconds since the file was written."""
    return time.time() - path.stat().st_mtime


def _read(path: Path) -> Kept | None:
    try:
        return Kept.model_validate_json(read_regular(path, KEPT_BYTES))
    except (OSError, ValidationError):
        return None


def _write(path: Path, kept: Kept) -> None:
    """Replace a kept verdict as a whole; raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, draft = tempfile.mkstemp(dir=path.parent)
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(kept.model_dump_json())
        os.replace(draft, path)
    except OSError:
        os.unlink(draft)
        raise


def _files(directory: Path) -> str:
    """A hash of the sizes and times of the version's files. It changes when a file is mended or arrives."""
    _, files = read_manifest(directory)
    return hashlib.sha256("\n".join(_state(directory / name) for name in sorted(files)).encode()).hexdigest()


def _state(path: Path) -> str:
    try:
        status = path.stat()
    except OSError:
        return f"{path.name} absent"
    return f"{path.name} {status.st_size} {status.st_mtime_ns}"
