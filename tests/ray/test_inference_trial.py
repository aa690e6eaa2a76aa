"""Versions are opened with care: what is wrong with one is an error, and never the end of the process."""

import errno
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from recsys.errors import RegistryError
from recsys.inference import servable, trial
from recsys.inference.servable import open_version
from recsys.inference.trial import check_apart, check_version, try_version
from recsys.registry.folder import FolderStore
from tests.support.bundles import BLEND, halve_ranker, publish, reseal, small_bundle


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FolderStore:
    """v1 in production; a cache of its own."""
    monkeypatch.setenv("RECSYS_CACHE", str(tmp_path / "cache"))
    store = FolderStore(tmp_path / "registry")
    publish(store, small_bundle(), "v1")
    return store


def test_an_open_version_has_its_own_alpha_or_the_one_given(store: FolderStore) -> None:
    for alpha, expected in ((None, BLEND.alpha), (0.0, 0.0), (0.9, 0.9)):
        loaded = open_version(store.path("v1"), alpha)
        assert loaded.bundle.manifest.blend.alpha == expected
        assert loaded.recommender.blends[0].alpha == expected


def empty(folder: Path) -> None:
    (folder / "arrays" / "available.npy").write_bytes(b"")


def zipped(folder: Path) -> None:
    (folder / "arrays" / "available.npy").write_bytes(b"PK\x03\x04" + b"\0" * 100)


def open_header(folder: Path) -> None:
    path = folder / "arrays" / "available.npy"
    path.write_bytes(path.read_bytes().replace(b"}", b" ", 1))


def leaves_without_value(folder: Path) -> None:
    path = folder / "ranker.txt"
    text = re.sub(r"(?<=leaf_value=).*", lambda values: re.sub(r"\S+", "nan", values[0]), path.read_text())
    path.write_text(re.sub(r"tree_sizes=.*\n", "", text))  # which would not be true any more


def bytes_that_are_no_text(folder: Path) -> None:
    path = folder / "tables" / "items.arrow"
    buffers = [None, pa.py_buffer(np.array([0, 2], np.int32)), pa.py_buffer(b"\xff\xfe")]
    ids = pa.Array.from_buffers(pa.string(), 1, buffers)
    with pa.ipc.new_file(path, pa.schema({"id": pa.string()})) as writer:
        writer.write_table(pa.table({"id": ids}))


@pytest.mark.parametrize("damage", [empty, zipped, open_header, leaves_without_value, bytes_that_are_no_text])
def test_whatever_files_hold_is_an_error_of_the_registry(store: FolderStore, damage: Callable[[Path], None]) -> None:
    damage(store.path("v1"))
    reseal(store.path("v1"))
    with pytest.raises(RegistryError):
        check_version(store.path("v1"))


@pytest.mark.parametrize("fault", [MemoryError(), PermissionError(13, "denied"), RecursionError(), AttributeError("x")])
def test_whatever_opening_raises_is_an_error_of_the_registry(
    store: FolderStore, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    def fails(_: Path) -> None:
        raise fault

    monkeypatch.setattr(servable, "read_version", fails)
    with pytest.raises(RegistryError, match=f"v1 does not answer: {type(fault).__name__}"):
        check_version(store.path("v1"))


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Grows by one with each process that a version is tried in."""
    run, started = subprocess.run, []

    def counted(*arguments: object, **options: object) -> object:
        started.append(arguments)
        return run(*arguments, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(trial.subprocess, "run", counted)
    return started


def test_a_version_is_tried_once_unless_its_promotion_did(store: FolderStore, children: list[object]) -> None:
    try_version(store.path("v1"), check_version(store.path("v1")))
    assert not children
    for _ in range(2):
        try_version(store.path("v1"), "checked by other libraries")
    assert len(children) == 1


def test_a_version_that_ends_the_process_is_an_error_for_all_and_tried_again_later(
    store: FolderStore, children: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    halve_ranker(store.path("v1"))
    for again in (20.0, 20.0, 0.0):
        monkeypatch.setattr(trial, "AGAIN_SECONDS", again)
        with pytest.raises(RegistryError, match=r"v1: opening it ended a process by SIG\w+: "):
            try_version(store.path("v1"))
    assert len(children) == 2
    with pytest.raises(RegistryError, match=r"v1: opening it ended a process by"):
        check_apart(store.path("v1"))


def test_a_version_that_lacked_a_file_is_not_taken_for_fit(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    halve_ranker(store.path("v1"))
    ranker = store.path("v1") / "ranker.txt"
    ranker.rename(ranker.with_suffix(".away"))
    with pytest.raises(RegistryError, match=r"ranker\.txt is missing"):
        try_version(store.path("v1"))
    ranker.with_suffix(".away").rename(ranker)
    monkeypatch.setattr(trial, "AGAIN_SECONDS", 0.0)
    with pytest.raises(RegistryError, match="ended a process"):
        try_version(store.path("v1"))


def test_a_version_that_hangs_is_an_error(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "TRIAL_SECONDS", 0.01)  # less than Python needs to start
    with pytest.raises(RegistryError, match=r"v1 is not open after 0\.01 s"):
        try_version(store.path("v1"))


def test_a_cache_that_cannot_be_written_to_keeps_nothing(
    store: FolderStore, children: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("RECSYS_CACHE", str(tmp_path / "file" / "cache"))
    for _ in range(2):
        try_version(store.path("v1"))
    assert len(children) == 2


def test_a_machine_that_can_start_no_process_is_an_error_of_the_registry(
    store: FolderStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(trial.subprocess, "run", fails)
    with pytest.raises(RegistryError, match=r"v1: no process can be started to open it: .*temporarily unavailable"):
        try_version(store.path("v1"))
