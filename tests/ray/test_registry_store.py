"""Every registry: publishing is atomic, the pointer moves as a whole, errors list what there is.

What holds of folders alone takes the fixture `folder`; test_registry_s3.py has what holds of S3 alone.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recsys.errors import RegistryError
from recsys.registry.artifact import Artifact, write
from recsys.registry.bucket import S3Store
from recsys.registry.folder import FolderStore
from recsys.registry.locate import open_store
from recsys.registry.store import Store, new_version
from recsys.storage.files import ABANDONED_SECONDS
from recsys.storage.filesystem import put
from recsys.storage.s3 import S3Folder

ROOT = Path(__file__).resolve().parents[2]


def fill(folder: Path) -> None:
    write(folder, {"factors": np.ones(3)}, {}, {"ranker.txt": "tree"}, {"alpha": 0.1})


def names(store: Store) -> list[str]:
    return [version.name for version in store.versions()]


@pytest.fixture
def folder(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "registry")


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest) -> Store:
    if request.param == "folder":
        return request.getfixturevalue("folder")
    return S3Store(f"{request.getfixturevalue('bucket')}/models")


def read_pointer(store: Store) -> dict[str, Any]:
    if isinstance(store, S3Store):
        content, _ = S3Folder(str(store), RegistryError).read("production")
        return json.loads(content)
    return json.loads((store.root / "production").read_text())


def write_pointer(store: Store, content: str) -> None:
    put(content.encode(), f"{store}/production")


def drafts(store: Store) -> list[Path]:
    """What publishers left of versions that they did not publish."""
    return [] if isinstance(store, S3Store) else list((store.root / "staging").iterdir())


def run(code: str, *args: object) -> subprocess.Popen[str]:
    """A process of its own that runs `code` with `args` in sys.argv."""
    return subprocess.Popen([sys.executable, "-c", code, *map(str, args)], cwd=ROOT, stdout=subprocess.PIPE, text=True)


def test_publish_then_promote(store: Store) -> None:
    version = store.publish(fill)
    assert names(store) == [version]
    assert store.production() is None
    store.promote(version)
    assert store.production() == version
    assert store.path() == store.path(version)
    assert Artifact.open(store.path()).text("ranker.txt") == "tree"
    assert drafts(store) == []


def test_versions_carry_their_manifest(store: Store) -> None:
    store.publish(fill, "first")
    (found,) = store.versions()
    assert (found.name, found.summary["alpha"]) == ("first", 0.1)
    assert found.created == found.summary["created"]
    assert "files" not in found.summary


def test_versions_are_ordered_by_age(store: Store) -> None:
    for name, created in (("b", "2015-01-02"), ("c", "2015-01-01"), ("a", "2015-01-02")):
        store.publish(lambda folder, created=created: write(folder, {}, {}, {}, {"created": created}), name)
    assert names(store) == ["c", "a", "b"]


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


def test_the_folder_being_filled_is_named_after_the_version(store: Store) -> None:
    seen: list[str] = []

    def note(folder: Path) -> None:
        seen.append(folder.name)
        fill(folder)

    assert [store.publish(note), store.publish(note, "mine")] == seen


def test_new_versions_sort_by_time_and_differ() -> None:
    made = [new_version() for _ in range(100)]
    assert len(set(made)) == 100
    assert [name[:16] for name in made] == sorted(name[:16] for name in made)


def test_a_version_is_never_overwritten(store: Store) -> None:
    store.publish(fill, "v1")
    with pytest.raises(RegistryError, match="version v1 exists already"):
        store.publish(lambda folder: write(folder, {}, {}, {}, {"alpha": 9}), "v1")
    assert store.versions()[0].summary["alpha"] == 0.1


def test_the_second_of_two_publishers_of_a_name_fails(store: Store) -> None:
    def race(folder: Path) -> None:
        fill(folder)
        store.publish(fill, "v1")

    with pytest.raises(RegistryError, match="version v1 cannot be published"):
        store.publish(race, "v1")
    assert names(store) == ["v1"]
    assert drafts(store) == []


@pytest.mark.parametrize("bad", ["", "..", ".hidden", "a/b", "a b", "x" * 101, "v1\n"])
def test_bad_version_names(store: Store, bad: str) -> None:
    with pytest.raises(RegistryError, match="bad version"):
        store.publish(fill, bad)
    with pytest.raises(RegistryError, match="bad version"):
        store.path(bad)


def test_a_failing_fill_publishes_nothing(store: Store) -> None:
    store.publish(fill, "v1")

    def fail(folder: Path) -> None:
        fill(folder)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store.publish(fail)
    with pytest.raises(RegistryError, match=r"has no manifest\.json"):
        store.publish(lambda folder: None)
    assert names(store) == ["v1"]
    assert drafts(store) == []


KILLED = """
import sys, time
from pathlib import Path
import numpy as np
from recsys.registry import artifact
from recsys.registry.folder import FolderStore

def pause():
    print("ready", flush=True)
    time.sleep(600)

def fill(folder):
    if sys.argv[2] == "between files":
        (folder / "ranker.txt").write_text("tree")
        pause()
    if sys.argv[2] == "before the manifest":
        artifact.sync = lambda *paths: pause()
    artifact.write(folder, {"factors": np.ones(3)}, {}, {}, {})
    pause()

FolderStore(Path(sys.argv[1])).publish(fill)
"""


@pytest.mark.parametrize("moment", ["between files", "before the manifest", "filled"])
@pytest.mark.soak(20)
def test_a_killed_publisher_leaves_the_old_version(folder: FolderStore, moment: str) -> None:
    folder.publish(fill, "old")
    folder.promote("old")
    process = run(KILLED, folder.root, moment)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert names(folder) == ["old"]
    assert folder.production() == "old"
    Artifact.open(folder.path())

    (left,) = (folder.root / "staging").iterdir()
    folder.publish(fill, "new")
    assert left.exists(), "a young staging folder may belong to a living publisher"
    old = time.time() - ABANDONED_SECONDS - 1
    os.utime(left, (old, old))
    folder.publish(fill, "newer")
    assert not left.exists()
    assert names(folder) == ["old", "new", "newer"]


PUBLISHER = """
import sys
import numpy as np
from recsys.registry.artifact import write
from recsys.registry.locate import open_store
store = open_store(sys.argv[1])
for n in range(5):
    version = store.publish(lambda folder: write(folder, {"factors": np.full(9, n)}, {}, {}, {}))
    store.promote(version)
    print(version, flush=True)
"""


@pytest.mark.soak(20)
def test_concurrent_publishers_and_promoters(store: Store) -> None:
    processes = [run(PUBLISHER, store) for _ in range(2)]
    printed = [process.communicate(timeout=60)[0].split() for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    published = sorted(printed[0] + printed[1])
    assert len(set(published)) == 10
    assert sorted(names(store)) == published
    pointer = read_pointer(store)
    # No promotion is lost: together the pointer and its history hold every version once.
    assert sorted([pointer["version"], *pointer["history"]]) == published
    for name in published:
        Artifact.open(store.path(name))


@pytest.mark.soak(20)
def test_readers_never_see_a_torn_pointer(store: Store) -> None:
    for name in ("a", "b"):
        store.publish(fill, name)
    store.promote("a")
    stop, seen = threading.Event(), set[str | None]()

    def read() -> None:
        while not stop.is_set():
            seen.add(store.production())

    reader = threading.Thread(target=read)
    reader.start()
    for name in ("b", "a") * 20:
        store.promote(name)
    stop.set()
    reader.join()
    assert seen <= {"a", "b"}
    assert store.production() == "a"


def test_rollback_walks_back_through_promotions(store: Store) -> None:
    for name in ("a", "b", "c"):
        store.publish(fill, name)
    for name in ("a", "b", "b", "c", "a"):
        store.promote(name)
    assert [store.rollback() for _ in range(3)] == ["c", "b", "a"]
    with pytest.raises(RegistryError, match=r"nothing to roll back to .* before a; versions: a, b, c"):
        store.rollback()
    assert store.production() == "a"
    store.promote("c")
    assert store.rollback() == "a"


def test_rollback_to_a_broken_version_changes_nothing(folder: FolderStore) -> None:
    for name in ("a", "b"):
        folder.publish(fill, name)
        folder.promote(name)
    (folder.path("a") / "ranker.txt").write_text("TREE")
    with pytest.raises(RegistryError, match=r"ranker\.txt has sha256"):
        folder.rollback()
    assert folder.production() == "b"


def test_errors_list_versions(store: Store) -> None:
    with pytest.raises(RegistryError, match=r"no registry at|nothing to roll back to"):
        store.rollback()
    with pytest.raises(RegistryError, match=r"no version is in production in .*; it holds no versions"):
        store.path()
    for n in range(7):
        store.publish(fill, f"v{n}")
    with pytest.raises(RegistryError, match=r"no version v9 in .*; versions: v2, v3, v4, v5, v6 and 2 older"):
        store.path("v9")
    with pytest.raises(RegistryError, match="no version v9"):
        store.promote("v9")
    with pytest.raises(RegistryError, match="nothing to roll back to"):
        store.rollback()


@pytest.mark.parametrize("content", ["", "{}", '{"version": 3}', "v1"])
def test_a_broken_pointer_is_named(store: Store, content: str) -> None:
    store.publish(fill, "v1")
    write_pointer(store, content)
    with pytest.raises(RegistryError, match="production is broken, expected JSON with a version"):
        store.production()


def test_reading_makes_nothing(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "absent"))
    assert store.versions() == []
    assert store.production() is None
    assert not list(tmp_path.iterdir())


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
