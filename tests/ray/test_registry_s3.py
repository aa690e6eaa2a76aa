"""The registry on S3 where it differs from a folder: caches on nodes, and an S3 that fails.

Each fault ends in success after another attempt or in one line that names bucket and key; what was in production
stays there.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest

from recsys.errors import RegistryError
from recsys.registry import bucket as registry_s3
from recsys.registry.artifact import Artifact, write
from recsys.registry.bucket import S3Store
from recsys.registry.cache import GIGABYTE, IN_USE_SECONDS, Cache
from recsys.registry.locate import absolute, default_registry, open_store
from recsys.registry.pointer import Pointer
from recsys.registry.store import Store
from recsys.storage import s3
from recsys.storage.s3 import S3Folder
from tests.support.buckets import Kind, Proxy
from tests.support.bundles import flip_a_byte
from tests.support.processes import free_port, wait_until

ROOT = Path(__file__).resolve().parents[2]
LARGE = 3 << 20
"""Elements of an array that travels in parts: 24 MiB."""

Nodes = Callable[[], S3Store]


def filling(size: int = 1000, text: str = "tree") -> Callable[[Path], None]:
    return lambda folder: write(folder, {"factors": np.arange(size)}, {}, {"ranker.txt": text}, {"alpha": 0.1})


fill = filling()


def names(store: Store) -> list[str]:
    return [version.name for version in store.versions()]


def objects(store: S3Store) -> list[str]:
    return [found.name for found in S3Folder(str(store), RegistryError).find()]


@pytest.fixture
def registry(bucket: str) -> str:
    return f"{bucket}/models"


@pytest.fixture
def store(registry: str) -> S3Store:
    return S3Store(registry)


@pytest.fixture
def node(tmp_path: Path, registry: str) -> Nodes:
    """The same registry from a node that holds none of it."""
    return lambda: S3Store(registry, Cache(tmp_path / f"node{len(list(tmp_path.iterdir()))}"))


@pytest.fixture
def old(store: S3Store) -> str:
    """A version that is in production."""
    store.publish(fill, "old")
    store.promote("old")
    return "old"


# Where it is


def test_where_the_registry_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert default_registry() == "registry"
    monkeypatch.setenv("S3_BUCKET", "shop")
    assert default_registry() == "s3://shop/registry"
    assert str(open_store("s3://shop/a/b/")) == "s3://shop/a/b"
    assert absolute("s3://shop/a") == "s3://shop/a"
    assert absolute("registry") == str(tmp_path / "registry")
    for uri in ("s3://", "s3:///models", "s3://Shop/models", "s3://s"):
        with pytest.raises(RegistryError, match=f"{uri}: expected s3://bucket/prefix"):
            open_store(uri)


def test_a_registry_may_fill_its_bucket(bucket: str) -> None:
    store = open_store(bucket)
    store.promote(store.publish(fill, "v1"))
    assert names(store) == [store.production()] == ["v1"]


def test_a_folder_copied_into_a_bucket_is_a_registry(store: S3Store, tmp_path: Path) -> None:
    """And other objects beside it, or below it, are none of its business."""
    folder, objects = open_store(str(tmp_path / "registry")), S3Folder(str(store), RegistryError)
    folder.promote(folder.publish(fill, "v1"))
    for path in (tmp_path / "registry").rglob("*"):
        if path.is_file():
            objects.upload(path, path.relative_to(tmp_path / "registry").as_posix())
    objects.write("versions/", b"")
    objects.write("versions/.keep/me", b"")
    objects.write("notes.txt", b"")
    assert (names(store), store.production()) == (["v1"], "v1")
    assert Artifact.open(store.path()).text("ranker.txt") == "tree"


# Publishing


def test_files_first_then_the_manifest(store: S3Store, faults: Proxy, registry: str) -> None:
    S3Store(registry).publish(fill, "v1")
    puts = [request.split("/models/")[1] for request in faults.requests if request.startswith("PUT ")]
    assert [puts.pop(0) for _ in range(3)] == ["probe"] * 3
    puts = [put.removeprefix("versions/v1/") for put in puts]
    assert (puts[0], puts[-1]) == (".publisher", "manifest.json")
    assert sorted(puts[1:-1]) == ["arrays/factors.npy", "ranker.txt"]


def test_a_large_file_travels_in_parts(store: S3Store, faults: Proxy, registry: str, node: Nodes) -> None:
    S3Store(registry).publish(filling(LARGE), "v1")
    assert faults.count(r"PUT .*factors\.npy\?.*partNumber") == 4
    folder = node().path("v1")
    assert faults.count(r"GET .*factors\.npy") == 4
    assert Artifact.open(folder).array("factors")[-1] == LARGE - 1


KILLED = """
import sys
import numpy as np
from recsys.registry.artifact import write
from recsys.registry.locate import open_store
open_store(sys.argv[1]).publish(
    lambda folder: write(folder, {"factors": np.arange(1000)}, {}, {"ranker.txt": "tree"}, {}), "new"
)
"""


@pytest.mark.parametrize("moment", ["PUT .*/ranker.txt", "PUT .*/manifest.json"])
def test_a_killed_publisher_leaves_nothing_visible(
    store: S3Store, old: str, faults: Proxy, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults.spoil("held", moment, times=1)
    with subprocess.Popen([sys.executable, "-c", KILLED, str(store)], cwd=ROOT) as publisher:
        wait_until(lambda: faults.held.is_set() or publisher.poll() is not None)
        publisher.kill()
    assert publisher.returncode == -signal.SIGKILL
    assert (names(store), store.production()) == ([old], old)
    with pytest.raises(RegistryError, match="no version new"):
        store.path("new")
    left = [key for key in objects(store) if "/new/" in key]
    assert left

    with pytest.raises(
        RegistryError, match=r"version new cannot be published .* another process publishes it, or died"
    ):
        store.publish(fill, "new")
    assert [key for key in objects(store) if "/new/" in key] == left  # a young one may belong to a living publisher
    monkeypatch.setattr(registry_s3, "ABANDONED_SECONDS", 0)
    store.publish(filling(text="another"), "new")
    assert names(store) == [old, "new"]
    assert Artifact.open(store.path("new")).text("ranker.txt") == "another"


@pytest.mark.soak(20)
def test_two_publishers_of_a_name(node: Nodes, store: S3Store) -> None:
    """One wins whatever the order of their requests, and its files are not the other's."""
    ready = Barrier(2)

    def publish(text: str) -> str:
        def fill_together(folder: Path) -> None:
            filling(text=text)(folder)
            ready.wait(60)

        try:
            node().publish(fill_together, "v1")
        except RegistryError as error:
            return str(error)
        return text

    with ThreadPoolExecutor(2) as pool:
        ends = set(pool.map(publish, ("mine", "yours")))
    [winner] = ends & {"mine", "yours"}
    [reason] = ends - {winner}
    assert "version v1 cannot be published" in reason
    assert Artifact.open(store.path("v1")).text("ranker.txt") == winner


@pytest.mark.soak(20)
def test_two_publishers_that_replace_the_pointer_at_once(
    store: S3Store, old: str, faults: Proxy, registry: str
) -> None:
    """Both have read the same pointer; one is refused, reads again and adds to what the other wrote."""
    stores = {name: S3Store(registry) for name in ("a", "b")}
    for name, writer in stores.items():
        writer.publish(fill, name)
    faults.requests.clear()
    faults.spoil("held", "PUT .*/production", times=1)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(stores["a"].promote, "a")
        assert faults.held.wait(60)  # it has read the pointer, and what it writes is under way
        stores["b"].promote("b")
        faults.release()
        first.result()
    assert faults.count("PUT .*/production") == 3
    assert [store.production(), *[store.rollback() for _ in range(2)]] == ["a", "b", old]
    assert names(store) == [old, "a", "b"]


def test_a_pointer_that_others_keep_changing(store: S3Store, old: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store.publish(fill, "new")
    monkeypatch.setattr(S3Folder, "replace", lambda *_: False)
    with pytest.raises(RegistryError, match=f"{store}/production: not replaced in 100 attempts"):
        store.promote("new")
    assert store.production() == old


# S3 that fails


@pytest.mark.parametrize("kind", ["500", "cut", "corrupt", "lost"])
def test_reading_gets_over_a_passing_fault(store: S3Store, old: str, faults: Proxy, node: Nodes, kind: str) -> None:
    for what in ("manifest.json", "production", "ranker.txt", "factors.npy"):
        faults.spoil(kind, f"GET .*/{what}", times=2)
    assert Artifact.open(node().path()).text("ranker.txt") == "tree"
    assert not any(fault.times for fault in faults.faults)


@pytest.mark.parametrize("kind", ["500", "lost"])
def test_writing_gets_over_a_passing_fault(store: S3Store, old: str, faults: Proxy, registry: str, kind: str) -> None:
    """Also where a write on a condition arrived and its answer was lost: the second attempt finds its own."""
    for what in ("probe", r"\.publisher", "ranker.txt", "manifest.json", "production"):
        faults.spoil(kind, f"PUT .*/{what}", times=1)
    writer = S3Store(registry)
    writer.promote(writer.publish(fill, "new"))
    assert not any(fault.times for fault in faults.faults)
    assert store.production() == "new"
    assert store.rollback() == old


def test_a_part_that_fails_is_sent_and_fetched_again(faults: Proxy, registry: str, node: Nodes) -> None:
    for kind, pattern in (
        ("500", "PUT .*partNumber=2"),
        ("lost", "PUT .*partNumber=3"),
        ("cut", r"GET .*factors\.npy"),
    ):
        faults.spoil(kind, pattern, times=1)
    S3Store(registry).publish(filling(LARGE), "v1")
    assert Artifact.open(node().path("v1")).array("factors")[-1] == LARGE - 1
    assert [fault.times for fault in faults.faults] == [0, 0, 0]


@pytest.mark.parametrize("what", ["manifest.json", "ranker.txt"])
def test_a_read_that_stalls_is_given_up_and_repeated(
    store: S3Store, old: str, faults: Proxy, node: Nodes, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3, "READ_SECONDS", 0.3)
    fault = faults.spoil("slow", f"GET .*/{what}", times=2)
    assert Artifact.open(node().path()).text("ranker.txt") == "tree"
    assert fault.times == 0


@pytest.mark.parametrize(
    ("kind", "pattern", "message"),
    [
        ("500", "GET .*/production", "models/production: GetObject failed 2 times: InternalError injected"),
        ("403", "GET .*/production", "models/production: access denied: the credentials do not permit GetObject"),
        ("500", "GET .*/ranker.txt", "models/versions/old/ranker.txt: .* failed 2 times: InternalError injected"),
        ("403", "GET .*/ranker.txt", "models/versions/old/ranker.txt: access denied: .* not permit GetObject"),
        ("cut", "GET .*/ranker.txt", "models/versions/old/ranker.txt: it did not arrive in 2 attempts: "),
        ("slow", "GET .*/ranker.txt", "models/versions/old/ranker.txt: it did not arrive in 2 attempts: .* timeout"),
        ("slow", "GET .*/manifest.json", "models/versions/old/manifest.json: Read timeout"),
        ("corrupt", "GET .*/ranker.txt", "models/versions/old/ranker.txt: .* did not match"),
        ("corrupt", r"GET .*/factors\.npy", r"models/versions/old/arrays/factors\.npy: it has sha256 \w+, expected"),
    ],
)
def test_a_lasting_fault_is_one_line(
    store: S3Store,
    old: str,
    faults: Proxy,
    node: Nodes,
    kind: str,
    pattern: str,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing half fetched is opened, and once it is over the same node opens the version."""
    monkeypatch.setattr(s3, "READ_SECONDS", 0.3)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    if "factors" in pattern:  # in parts, which have no checksum of the server's
        monkeypatch.setattr(s3, "PART_BYTES", 1000)
    faults.spoil(kind, pattern)
    reader = node()
    with pytest.raises(RegistryError, match=message) as caught:
        reader.path()
    assert str(caught.value).startswith("s3://shop-")
    assert "\n" not in str(caught.value)
    faults.faults.clear()
    assert Artifact.open(reader.path()).text("ranker.txt") == "tree"


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        ("403", r"\.publisher"),
        ("403", "ranker.txt"),
        ("403", "manifest.json"),
        ("403", "probe"),
        ("403", "production"),
        ("500", "manifest.json"),
        ("500", "production"),
    ],
)
def test_writing_that_fails_leaves_what_was(
    store: S3Store, old: str, faults: Proxy, registry: str, what: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    faults.spoil(kind, f"PUT .*/{what}")
    writer = S3Store(registry)
    with pytest.raises(RegistryError, match=f"s3://shop-.*/{what}: (access denied|PutObject failed 2 times)"):
        writer.promote(writer.publish(fill, "new"))
    assert store.production() == old
    assert names(store) == ([old, "new"] if what == "production" else [old])


def test_a_version_removed_right_before_the_pointer_moves_is_not_in_production(
    store: S3Store, old: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.publish(fill, "new")
    replace = S3Folder.replace

    def late(folder: S3Folder, name: str, content: bytes, etag: str | None) -> bool:
        if b'"new"' in content:
            store.remove("new")
        return replace(folder, name, content, etag)

    monkeypatch.setattr(S3Folder, "replace", late)
    with pytest.raises(RegistryError, match="no version new"):
        store.promote("new")
    pointer = store.pointer()
    assert pointer is not None
    assert (pointer.version, pointer.history) == (old, ())


def test_a_promotion_in_force_is_no_failure_where_s3_fails_afterwards(
    store: S3Store, old: str, faults: Proxy, registry: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    store.publish(fill, "new")
    writer, replace = S3Store(registry), S3Folder.replace

    def then_fail(folder: S3Folder, name: str, content: bytes, etag: str | None) -> bool:
        done = replace(folder, name, content, etag)
        faults.spoil("403", "GET .*/new/manifest")
        return done

    monkeypatch.setattr(S3Folder, "replace", then_fail)
    writer.promote("new")
    assert store.production() == "new"
    assert writer.rollback() == old


def test_a_removed_version_leaves_the_history(store: S3Store, old: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the promotion finds out, somebody promotes another one."""
    for name in ("new", "other"):
        store.publish(fill, name)
    replace = S3Folder.replace

    def late(folder: S3Folder, name: str, content: bytes, etag: str | None) -> bool:
        monkeypatch.undo()
        store.remove("new")
        done = replace(folder, name, content, etag)
        store.promote("other")
        return done

    monkeypatch.setattr(S3Folder, "replace", late)
    with pytest.raises(RegistryError, match="no version new"):
        store.promote("new")
    assert store.rollback() == old


def test_a_version_promoted_during_its_removal_stays(store: S3Store, old: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store.publish(fill, "new")
    remove = S3Folder.remove

    def slow(folder: S3Folder, *keys: str) -> None:
        remove(folder, *keys)
        folder.write("production", Pointer(version="new").dump())

    monkeypatch.setattr(S3Folder, "remove", slow)
    with pytest.raises(RegistryError, match="new is in production"):
        store.remove("new")
    assert names(store) == [old, "new"]


def test_a_version_that_is_damaged_for_good_is_not_promoted(store: S3Store, old: str, node: Nodes) -> None:
    store.publish(fill, "new")
    S3Folder(str(store), RegistryError).write("versions/new/ranker.txt", b"TREE")
    S3Folder(str(store), RegistryError).write("versions/new/arrays/factors.npy", b"")
    with pytest.raises(RegistryError, match=r"versions/new/\S+: it has sha256 \w+, expected"):
        node().promote("new")
    S3Folder(str(store), RegistryError).write("versions/new/manifest.json", b"{}")
    assert "versions/new/manifest.json" in next(v for v in store.versions() if v.name == "new").summary["broken"]
    assert store.production() == old


def test_objects_that_are_too_large_are_not_read(store: S3Store, old: str, node: Nodes) -> None:
    objects = S3Folder(str(store), RegistryError)
    objects.write(f"versions/{old}/manifest.json", b"x" * 50_000_000)
    objects.write("production", b"x" * 2_000_000)
    for call, problem in (
        (lambda: node().path(old), "old/manifest.json has 50,000,000 bytes, expected at most 1,048,576"),
        (node().pointer, "production has 2,000,000 bytes, expected at most 1,048,576"),
    ):
        with pytest.raises(RegistryError, match=problem):
            call()
    assert "has 50,000,000 bytes" in store.versions()[0].summary["broken"]


def test_a_long_download_does_not_delay_another_version(
    store: S3Store, old: str, faults: Proxy, registry: str, tmp_path: Path
) -> None:
    store.publish(filling(text="new"), "new")
    reader = S3Store(registry, Cache(tmp_path / "shared"))
    faults.spoil("held", r"GET .*/new/ranker\.txt", times=1)
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(reader.path, "new")
        assert faults.held.wait(60)
        assert Artifact.open(reader.path(old)).text("ranker.txt") == "tree"
        assert not slow.done()
        faults.release()
        assert Artifact.open(slow.result()).text("ranker.txt") == "new"


def test_what_is_wrong_with_the_place_is_said(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    unused_port = free_port()
    missing = "s3://no-such-bucket-here/models"
    for call in (S3Store.check_writable, S3Store.versions, S3Store.production):
        with pytest.raises(RegistryError, match=rf"{missing}/\S*: no such bucket$"):
            call(S3Store(missing))
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{unused_port}")
    with pytest.raises(RegistryError, match=f"{bucket}/production: Could not connect .*127.0.0.1:{unused_port}"):
        S3Store(bucket).production()
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "minio")
    with pytest.raises(RegistryError, match=f"{bucket}: Invalid endpoint: minio"):
        S3Store(bucket).production()
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(RegistryError, match=f"{bucket}/production: no credentials: set AWS_ACCESS_KEY_ID"):
        S3Store(bucket).production()
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(RegistryError, match=f"{bucket}: .*nobody"):
        S3Store(bucket).production()


@pytest.mark.parametrize(("kind", "condition"), [("careless", "If-None-Match"), ("unmatched", "If-Match")])
def test_a_server_without_conditions_is_refused(
    store: S3Store, old: str, faults: Proxy, registry: str, kind: Kind, condition: str
) -> None:
    faults.spoil(kind, "PUT ")
    with pytest.raises(RegistryError, match=f"{registry}: the server ignores {condition},"):
        S3Store(registry).check_writable()
    assert store.production() == old


# The cache of a node


def test_a_node_downloads_a_version_once(store: S3Store, old: str, faults: Proxy, node: Nodes) -> None:
    store.publish(filling(text="another"), "next")
    reader = node()
    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(lambda _: reader.path(old), range(4)))) == 1
    assert reader.path("next") != reader.path(old)
    assert faults.count("GET .*/ranker.txt") == 2
    assert faults.count(r"GET .*/factors\.npy") == 1  # the same in both versions


def test_the_cache_mends_itself(store: S3Store, old: str, node: Nodes) -> None:
    reader = node()
    folder = reader.path()
    flip_a_byte(folder / "ranker.txt")
    (folder / "arrays" / "factors.npy").unlink()
    assert Artifact.open(reader.path()).text("ranker.txt") == "tree"
    shutil.rmtree(folder)
    assert Artifact.open(reader.path()).text("ranker.txt") == "tree"


def test_a_version_held_is_opened_while_s3_is_away(store: S3Store, old: str, faults: Proxy, node: Nodes) -> None:
    reader = node()
    folder = reader.path(old)
    faults.spoil("403", "GET ")
    assert reader.path(old) == folder
    flip_a_byte(folder / "ranker.txt")
    with pytest.raises(RegistryError, match="access denied"):
        reader.path(old)


def test_the_least_recently_used_version_goes(store: S3Store, tmp_path: Path) -> None:
    """Not while somebody may be opening it; arrays that are mapped already stay readable."""
    for version in "abc":
        store.publish(lambda folder, version=version: filling(100_000, version)(folder), version)
    store.publish(filling(200_000), "large")
    cache = Cache(tmp_path, bound=1_000_000 / GIGABYTE)
    reader = S3Store(str(store), cache)
    folders = {version: reader.path(version) for version in "abc"}  # one array of 0.8 MB in all
    assert all(folder.is_dir() for folder in folders.values())
    mapped = Artifact.open(folders["a"]).array("factors")

    def age(**seconds: int) -> None:
        for version, ago in seconds.items():
            then = time.time() - ago
            os.utime(folders[version], (then, then))

    age(a=IN_USE_SECONDS - 60, b=IN_USE_SECONDS - 60, c=IN_USE_SECONDS - 60)
    folders["large"] = reader.path("large")
    assert all(folder.is_dir() for folder in folders.values())
    age(a=3 * IN_USE_SECONDS, b=2 * IN_USE_SECONDS, c=IN_USE_SECONDS + 60)
    reader.path("b")
    assert {version for version, folder in folders.items() if folder.is_dir()} == {"b", "large"}
    age(b=IN_USE_SECONDS + 60)
    reader.path("large")
    assert {version for version, folder in folders.items() if folder.is_dir()} == {"large"}
    assert sum(path.stat().st_size for path in (tmp_path / "files").iterdir()) > 1_000_000  # it alone is too large
    assert len(list((tmp_path / "files").iterdir())) == 2
    assert mapped[-1] == 99_999


@pytest.mark.parametrize("text", ["much", "0", "-1", "nan"])
def test_a_bad_bound(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECSYS_CACHE_GB", text)
    with pytest.raises(RegistryError, match=f"RECSYS_CACHE_GB is '{text}'"):
        Cache.from_environment()


def test_a_cache_that_cannot_be_written(store: S3Store, old: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RegistryError, match=r"version old cannot be stored in .*file.* \(RECSYS_CACHE\)"):
        S3Store(str(store), Cache(tmp_path / "file")).path()
