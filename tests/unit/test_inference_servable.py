"""What is wrong with a version is an error of the registry."""

import errno
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from recsys.errors import RegistryError, TransientError
from recsys.inference import servable, trial
from recsys.inference.probe import check_here, probe
from recsys.inference.servable import open_servable
from recsys.registry.folder import FolderStore
from tests.support.bundles import BLEND, publish, reseal, small_bundle


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FolderStore:
    """v1 in production; a cache of its own."""
    monkeypatch.setenv("RECSYS_CACHE", str(tmp_path / "cache"))
    store = FolderStore(tmp_path / "registry")
    publish(store, small_bundle(), "v1")
    return store


def test_an_open_version_has_its_own_alpha_or_the_one_given(store: FolderStore) -> None:
    for alpha, expected in ((None, BLEND.alpha), (0.0, 0.0), (0.9, 0.9)):
        loaded = open_servable(store.path("v1"), alpha)
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
        check_here(store.path("v1"))


@pytest.mark.parametrize(
    ("fault", "passing"),
    [
        (MemoryError(), True),
        (PermissionError(13, "denied"), True),
        (RuntimeError("can't start new thread"), True),
        (OSError("Invalid IPC message"), False),
        (RecursionError(), False),
        (AttributeError("x"), False),
    ],
)
def test_whatever_opening_raises_is_an_error_of_the_registry(
    store: FolderStore, monkeypatch: pytest.MonkeyPatch, fault: Exception, passing: bool
) -> None:
    """Another moment may change some of them."""

    def fails(_: Path) -> None:
        raise fault

    monkeypatch.setattr(servable, "read_version", fails)
    with pytest.raises(RegistryError, match=f"v1 cannot recommend: {type(fault).__name__}") as caught:
        check_here(store.path("v1"))
    assert (type(caught.value) is TransientError) == passing


def test_a_machine_that_can_start_no_process_is_an_error_of_the_registry(
    store: FolderStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(trial.subprocess, "Popen", fails)
    with pytest.raises(TransientError, match=r"v1: no process can be started to open it: .*temporarily unavailable"):
        probe(store.path("v1"))


def test_a_version_that_recommends_nothing_is_refused(store: FolderStore) -> None:
    manifest = store.path("v1") / "manifest.json"  # which has no hash
    content = json.loads(manifest.read_text())
    for settings in content["inference"]["candidates"]["sources"].values():
        settings["weight"] = 0
    manifest.write_text(json.dumps(content))
    with pytest.raises(RegistryError, match="recommends nothing, neither to a user with events nor to one without"):
        open_servable(store.path("v1"))
