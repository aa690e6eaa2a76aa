"""Versions are opened with care: what is wrong with one is an error, and never the end of the process."""

import subprocess
from pathlib import Path

import pytest

from recsys.errors import RegistryError
from recsys.inference import probe as probing
from recsys.inference.probe import check_here, check_in_subprocess, probe
from recsys.registry.folder import FolderStore
from tests.support.bundles import halve_ranker, publish, small_bundle


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Grows by one with each process that a version is tried in."""
    run, started = subprocess.run, []

    def counted(*arguments: object, **options: object) -> object:
        started.append(arguments)
        return run(*arguments, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(probing.subprocess, "run", counted)
    return started


def test_a_version_is_tried_once_unless_its_promotion_did(store: FolderStore, children: list[object]) -> None:
    probe(store.path("v1"), check_here(store.path("v1")))
    assert not children
    for _ in range(2):
        probe(store.path("v1"), "checked by other libraries")
    assert len(children) == 1


def test_a_version_that_ends_the_process_is_an_error_for_all_and_tried_again_later(
    store: FolderStore, children: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    halve_ranker(store.path("v1"))
    for again in (20.0, 20.0, 0.0):
        monkeypatch.setattr(probing, "RETRY_SECONDS", again)
        with pytest.raises(RegistryError, match=r"v1: the process that opened it ended with SIG\w+: "):
            probe(store.path("v1"))
    assert len(children) == 2
    with pytest.raises(RegistryError, match=r"v1: the process that opened it ended with"):
        check_in_subprocess(store.path("v1"))


def test_a_version_that_lacked_a_file_is_not_taken_for_fit(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    halve_ranker(store.path("v1"))
    ranker = store.path("v1") / "ranker.txt"
    ranker.rename(ranker.with_suffix(".away"))
    with pytest.raises(RegistryError, match=r"ranker\.txt is missing"):
        probe(store.path("v1"))
    ranker.with_suffix(".away").rename(ranker)
    monkeypatch.setattr(probing, "RETRY_SECONDS", 0.0)
    with pytest.raises(RegistryError, match="the process that opened it ended"):
        probe(store.path("v1"))


def test_a_version_that_hangs_is_an_error(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "PROBE_SECONDS", 0.01)  # less than Python needs to start
    with pytest.raises(RegistryError, match=r"v1 could not be opened within 0\.01 s"):
        probe(store.path("v1"))


def test_a_cache_that_cannot_be_written_to_keeps_nothing(
    store: FolderStore, children: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("RECSYS_CACHE", str(tmp_path / "file" / "cache"))
    for _ in range(2):
        probe(store.path("v1"))
    assert len(children) == 2


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FolderStore:
    """v1 in production; a cache of its own."""
    monkeypatch.setenv("RECSYS_CACHE", str(tmp_path / "cache"))
    store = FolderStore(tmp_path / "registry")
    publish(store, small_bundle(), "v1")
    return store
