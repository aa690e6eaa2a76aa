"""Versions are opened with care: what is wrong with one is an error, and never the end of the process."""

import subprocess
from pathlib import Path

import pytest
from shops import BLEND, halve_ranker, publish, small_bundle

from recsys.errors import RegistryError
from recsys.inference import versions
from recsys.inference.versions import check_version, open_version, try_version
from recsys.registry.store import FolderStore


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
        assert loaded.bundle.about.blend.alpha == expected
        assert loaded.recommender.blend.alpha == expected


@pytest.mark.parametrize("fault", [IndexError("row 7"), MemoryError(), PermissionError(13, "denied"), KeyError("x")])
def test_whatever_opening_raises_is_an_error_of_the_registry(
    store: FolderStore, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    def fails(_: Path) -> None:
        raise fault

    monkeypatch.setattr(versions, "read_version", fails)
    with pytest.raises(RegistryError, match=f"v1 does not answer: {type(fault).__name__}"):
        check_version(store.path("v1"))


def test_a_version_is_tried_once(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    run, runs = subprocess.run, []

    def counted(*arguments: object, **options: object) -> object:
        runs.append(arguments)
        return run(*arguments, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(versions.subprocess, "run", counted)
    try_version(store.path("v1"), check_version(store.path("v1")))  # checked when it was promoted
    assert not runs
    for _ in range(2):
        try_version(store.path("v1"), "checked by other libraries")
    assert len(runs) == 1
    store.path("v1").joinpath("manifest.json").write_text("{}")  # others say what is wrong with it
    try_version(store.path("v1"))
    assert len(runs) == 2


def test_a_version_that_ends_the_process_is_an_error_each_time(store: FolderStore) -> None:
    halve_ranker(store.path("v1"))
    for _ in range(2):
        with pytest.raises(RegistryError, match=r"v1: opening it ended a process by SIG\w+: .*LightGBM"):
            try_version(store.path("v1"))


def test_a_version_that_hangs_is_an_error(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "TRIAL_SECONDS", 0.01)  # less than Python needs to start
    with pytest.raises(RegistryError, match=r"v1 is not open after 0\.01 s"):
        try_version(store.path("v1"))
