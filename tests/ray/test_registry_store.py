"""The contract of the registry on S3, and processes that publish at once or are killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from recsys.registry.artifact import Artifact
from recsys.registry.bucket import S3Store
from recsys.registry.folder import FolderStore
from recsys.registry.store import Store
from recsys.storage.files import ABANDONED_SECONDS
from tests.support.store_contract import StoreContract, fill, names, read_pointer

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def folder(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "registry")


class TestS3(StoreContract):
    @pytest.fixture
    def store(self, bucket: str) -> S3Store:
        return S3Store(f"{bucket}/models")


def run(code: str, *args: object) -> subprocess.Popen[str]:
    """A process of its own that runs `code` with `args` in sys.argv."""
    return subprocess.Popen([sys.executable, "-c", code, *map(str, args)], cwd=ROOT, stdout=subprocess.PIPE, text=True)


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest) -> Store:
    if request.param == "folder":
        return request.getfixturevalue("folder")
    return S3Store(f"{request.getfixturevalue('bucket')}/models")


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
