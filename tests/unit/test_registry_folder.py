"""The registry in a folder."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from recsys.errors import RegistryError
from recsys.registry.folder import FolderStore
from recsys.registry.locate import open_store
from recsys.registry.pointer import BrokenPointer
from recsys.registry.prune import prune
from recsys.registry.store import new_version
from tests.support.store_contract import StoreContract, fill, names


@pytest.fixture
def folder(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "registry")


class TestFolder(StoreContract):
    @pytest.fixture
    def store(self, folder: FolderStore) -> FolderStore:
        return folder


def test_a_broken_version_is_listed_but_not_promoted(folder: FolderStore) -> None:
    folder.publish(fill, "good")
    folder.publish(fill, "bad")
    folder.promote("good")
    (folder.path("bad") / "arrays" / "factors.npy").write_bytes(b"")
    with pytest.raises(RegistryError, match=r"factors\.npy has 0 bytes"):
        folder.promote("bad")
    (folder.path("bad") / "manifest.json").write_bytes(b"")
    broken = next(version for version in folder.versions() if version.name == "bad")
    assert "manifest.json" in broken.summary["broken"]
    assert folder.production() == "good"


def test_new_versions_sort_by_time_and_differ() -> None:
    made = [new_version() for _ in range(100)]
    assert len(set(made)) == 100
    assert [name[:16] for name in made] == sorted(name[:16] for name in made)


def test_rollback_to_a_broken_version_changes_nothing(folder: FolderStore) -> None:
    for name in ("a", "b"):
        folder.publish(fill, name)
        folder.promote(name)
    (folder.path("a") / "ranker.txt").write_text("TREE")
    with pytest.raises(RegistryError, match=r"ranker\.txt has sha256"):
        folder.rollback()
    assert folder.production() == "b"


def test_a_folder_among_the_leases_stops_no_pruning(folder: FolderStore) -> None:
    folder.publish(fill, "a")
    (folder.root / "leases" / "old.json").mkdir(parents=True)
    assert prune(folder, 1).removed == ()


def test_reading_makes_nothing(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "absent"))
    assert store.versions() == []
    assert store.production() is None
    store.check_writable()
    assert not list(tmp_path.iterdir())


def test_a_failed_first_publication_leaves_no_registry(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "deep" / "registry")

    def fail(folder: Path) -> None:
        fill(folder)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store.publish(fail)
    assert not list(tmp_path.iterdir())


def test_another_folder_is_no_registry(tmp_path: Path) -> None:
    for path, lacking in ((tmp_path, "versions"), (tmp_path / "absent", "absent")):
        with pytest.raises(RegistryError, match=rf"no registry at .*: there is no folder .*/{lacking}$"):
            FolderStore(path).check_exists()


def fill_up(path: Path) -> None:
    with path.open("ab") as file:
        file.truncate(50_000_000)


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("damage", "reason"), [(pipe, "it is not a regular file"), (fill_up, "it has 50,000,000 bytes")]
)
def test_a_pointer_that_is_no_small_file_is_repaired_by_a_promotion(
    folder: FolderStore, damage: Callable[[Path], None], reason: str
) -> None:
    folder.publish(fill, "v1")
    folder.promote("v1")
    damage(folder.root / "production")
    with pytest.raises(BrokenPointer, match=f"production is broken, expected JSON with a version: {reason}"):
        folder.production()
    folder.promote("v1")
    assert folder.production() == "v1"


def test_a_pointer_that_cannot_be_replaced_is_one_line(folder: FolderStore) -> None:
    folder.publish(fill, "v1")
    (folder.root / "production").mkdir()
    with pytest.raises(RegistryError, match=r"production cannot be written: Is a directory"):
        folder.promote("v1")


def test_open_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    version = open_store("registry").publish(fill)
    assert names(open_store(str(tmp_path / "registry"))) == [version]
    with pytest.raises(RegistryError, match=r"registry file:///tmp/x: file:// is not supported, expected a folder"):
        open_store("file:///tmp/x")
    with pytest.raises(RegistryError, match=r"s3://: expected s3://bucket/prefix"):
        open_store("s3://")
    with pytest.raises(RegistryError, match="path is empty"):
        open_store("")
    (tmp_path / "file").write_text("x")
    with pytest.raises(RegistryError, match="cannot make a registry at"):
        open_store("file").publish(fill)
