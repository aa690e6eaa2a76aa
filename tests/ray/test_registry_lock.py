"""The lock of retraining between processes: one holds it, also after kill -9; a suspended owner notices its loss."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from recsys.registry.folder import FolderStore
from recsys.registry.lock import LOCK, LockEntry, LockTaken, held
from tests.support.processes import wait_until

ROOT = Path(__file__).resolve().parents[2]
HOLDER = """
import sys
from pathlib import Path
from recsys.registry.folder import FolderStore
from recsys.registry.lock import LockLost, held

with held(FolderStore(Path(sys.argv[1])), float(sys.argv[2])) as lock:
    print("held", flush=True)
    sys.stdin.readline()
    try:
        lock.renew()
        print("renewed", flush=True)
    except LockLost as error:
        print(error, flush=True)
"""


@contextmanager
def holder(root: Path, seconds: float) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the lock, and renews it once more after a line on its stdin."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(root), str(seconds)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def free(store: FolderStore) -> bool:
    """Whether the lock can be taken."""
    try:
        with held(store, 60):
            return True
    except LockTaken:
        return False


def answer(process: subprocess.Popen[str]) -> str:
    out, _ = process.communicate("\n", timeout=60)
    return out


def test_a_process_that_was_killed_loses_the_lock_only_when_it_expires(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    with holder(tmp_path, 2) as process:
        with pytest.raises(LockTaken, match=f"process {process.pid} holds"), held(store, 60):
            pass
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        content, _ = store.files.read(LOCK) or (b"", "")
        assert not LockEntry.model_validate_json(content).released
        wait_until(lambda: free(store))


def test_a_process_that_lives_keeps_the_lock_beyond_its_time(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    with holder(tmp_path, 1) as process:
        content, _ = store.files.read(LOCK) or (b"", "")
        first = LockEntry.model_validate_json(content)

        def renewed() -> LockEntry:
            content, _ = store.files.read(LOCK) or (b"", "")
            return LockEntry.model_validate_json(content)

        wait_until(lambda: renewed().expires > first.expires + 1000)
        assert not free(store)
        assert answer(process) == "renewed\n"
    assert free(store)


def test_a_suspended_process_notices_that_it_lost_the_lock(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    with holder(tmp_path, 1) as process:
        os.kill(process.pid, signal.SIGSTOP)
        wait_until(lambda: free(store))  # it is taken, and released
        os.kill(process.pid, signal.SIGCONT)
        assert "expired, and another process took it" in answer(process)
