"""Versions are tried with care: what is wrong with one is an error, and never the end of the process."""

import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from recsys.errors import RegistryError, TransientError
from recsys.inference import probe as probing
from recsys.inference import trial, verdicts
from recsys.inference.probe import check_here, check_in_subprocess, probe, ready_path
from recsys.inference.trial import Verdict, run_trial
from recsys.registry.folder import FolderStore
from tests.support.bundles import halve_ranker, publish, reseal, small_bundle, tie_ranker
from tests.support.processes import family, wait_until


@pytest.fixture
def trials(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Grows by the version's folder with each trial."""
    begun: list[Path] = []

    def counted(directory: Path, seconds: float, stop: threading.Event) -> Verdict:
        begun.append(directory)
        return run_trial(directory, seconds, stop)

    monkeypatch.setattr(probing, "run_trial", counted)
    return begun


def refused(store: FolderStore, reason: str, kind: type[RegistryError] = RegistryError) -> None:
    """Probe v1, which must be refused for this reason; a TransientError only where `kind` is that."""
    with pytest.raises(RegistryError, match=reason) as caught:
        probe(store.path("v1"))
    assert type(caught.value) is kind


def test_a_version_is_tried_once(store: FolderStore, trials: list[Path]) -> None:
    for _ in range(2):
        probe(store.path("v1"), "checked by other libraries")
    assert len(trials) == 1


def test_a_version_that_its_promotion_tried_is_not_tried_again(store: FolderStore, trials: list[Path]) -> None:
    assert ready_path(store, "v1") is None
    store.promote("v1", check_here)
    assert ready_path(store, "v1") == store.path("v1")
    probe(store.path("v1"), check_here(store.path("v1")))
    publish(store, small_bundle(), "v2")
    assert ready_path(store, "v1") == store.path("v1")  # although the pointer tells of v2 alone now
    assert not trials


def test_a_version_that_ends_the_process_is_an_error_for_all_and_tried_again_later(
    store: FolderStore, trials: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    halve_ranker(store.path("v1"))
    for again in (20.0, 20.0, 0.0):
        monkeypatch.setattr(verdicts, "RETRY_SECONDS", again)
        refused(store, r"v1: the process that opened it ended with SIG\w+: ", TransientError)
    assert len(trials) == 2
    with pytest.raises(RegistryError, match=r"v1: the process that opened it ended with"):
        check_in_subprocess(store.path("v1"))


def test_a_version_with_wrong_content_is_not_tried_again(
    store: FolderStore, trials: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = store.path("v1") / "arrays" / "factorization_factors.npy"
    np.save(path, np.full_like(np.load(path), np.nan))
    reseal(store.path("v1"))
    monkeypatch.setattr(verdicts, "RETRY_SECONDS", 0.0)
    for _ in range(3):
        refused(store, r"v1: array factorization_factors has NaN, expected numbers alone")
    assert len(trials) == 1
    assert ready_path(store, "v1") is None


def test_a_mended_version_is_tried_again_at_once(store: FolderStore, trials: list[Path]) -> None:
    """As after a copy that was still under way: the files had their size, and no content yet."""
    path = store.path("v1") / "arrays" / "available.npy"
    content = path.read_bytes()
    path.write_bytes(bytes(len(content)))
    for _ in range(2):
        refused(store, r"available\.npy is not a NumPy array")
    path.write_bytes(content)
    os.utime(path, ns=(0, 1))  # the clock of the file system may not have moved on
    probe(store.path("v1"))
    assert len(trials) == 2


def test_the_pause_after_a_rejection_grows(
    store: FolderStore, trials: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    (store.path("v1") / "ranker.txt").unlink()
    monkeypatch.setattr(verdicts, "RETRY_SECONDS", 0.0)
    for _ in range(5):
        refused(store, r"ranker\.txt is missing", TransientError)
    assert len(trials) == 5
    monkeypatch.setattr(verdicts, "RETRY_SECONDS", 10.0)  # now a pause of 160 s
    refused(store, r"ranker\.txt is missing", TransientError)
    assert len(trials) == 5


def test_a_version_that_lacked_a_file_is_not_taken_for_fit(store: FolderStore) -> None:
    halve_ranker(store.path("v1"))
    ranker = store.path("v1") / "ranker.txt"
    ranker.rename(ranker.with_suffix(".away"))
    refused(store, r"ranker\.txt is missing", TransientError)
    ranker.with_suffix(".away").rename(ranker)
    refused(store, "the process that opened it ended", TransientError)


def test_a_version_that_hangs_is_an_error(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "PROBE_SECONDS", 0.01)  # less than Python needs to start
    refused(store, r"v1 could not be opened within 0\.01 s", TransientError)


def test_a_prediction_that_never_ends_is_an_error(store: FolderStore) -> None:
    tie_ranker(store.path("v1"))
    with pytest.raises(TransientError, match=r"v1 could not be opened within 3 s"):
        probe(store.path("v1"), seconds=3.0)
    assert not processes_of(store)


def test_a_version_that_takes_all_memory_is_an_error(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table of a few kilobytes on the disk that takes 800 MB in memory."""
    monkeypatch.setattr(trial, "MEMORY_BYTES", 500 << 20)
    zeros = pa.table({"id": np.zeros(10_000_000, np.int64)})
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    path = store.path("v1") / "tables" / "items.arrow"
    with pa.ipc.new_file(path, zeros.schema, options=options) as writer:
        for _ in range(10):
            writer.write_table(zeros)
    assert path.stat().st_size < 1_000_000
    reseal(store.path("v1"))
    refused(store, r"malloc of size \d+ failed; the limit of the trial is \d+ MB", TransientError)


def test_a_cache_that_cannot_be_written_to_keeps_nothing(
    store: FolderStore, trials: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("RECSYS_CACHE", str(tmp_path / "file" / "cache"))
    for _ in range(2):
        probe(store.path("v1"))
    assert len(trials) == 2


def processes_of(store: FolderStore) -> list[int]:
    """The subprocesses that try a version of this registry."""
    found = []
    for pid in family(os.getpid())[1:]:
        with suppress(FileNotFoundError, ProcessLookupError):
            if str(store.root).encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
    return found


@contextmanager
def probing_beside(store: FolderStore) -> Iterator[tuple["Future[None]", threading.Event]]:
    """A probe of v1 in a thread, and the event that ends it."""
    stop = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        try:
            yield pool.submit(probe, store.path("v1"), None, 60.0, stop), stop
        finally:
            stop.set()


def test_a_trial_that_nobody_needs_any_more_ends_at_once(store: FolderStore, trials: list[Path]) -> None:
    """So does the wait of another one, which leaves the first alone."""
    tie_ranker(store.path("v1"))
    with probing_beside(store) as (first, _):
        wait_until(lambda: bool(processes_of(store)))
        begun = time.monotonic()
        with probing_beside(store) as (second, stop):
            stop.set()
            with pytest.raises(TransientError, match="the wait for the trial of another process was ended"):
                second.result()
        assert not first.done()
    with pytest.raises(TransientError, match="v1: its trial was ended"):
        first.result()
    assert time.monotonic() - begun < 10
    assert not processes_of(store)
    assert len(trials) == 1
    with probing_beside(store):  # nothing was kept
        wait_until(lambda: len(trials) == 2)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FolderStore:
    """v1 in production; a cache of its own."""
    monkeypatch.setenv("RECSYS_CACHE", str(tmp_path / "cache"))
    store = FolderStore(tmp_path / "registry")
    publish(store, small_bundle(), "v1")
    return store
