import asyncio
import json
import re
import threading
from pathlib import Path

import pytest

from recsys.inference.servable import Loaded, open_version
from recsys.registry import bundle
from recsys.registry.folder import FolderStore
from recsys.serving import versions
from recsys.serving.versions import Versions
from tests.support.bundles import flip_a_byte, halve_ranker, publish, small_bundle

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FolderStore:
    """v1, v2 and v3, of which v2 is in production; `broken` has a flipped byte, `odd` settings that are none, and
    `renamed` the manifest of v1."""
    store = FolderStore(tmp_path_factory.mktemp("registry"))
    for name in ("v1", "v2", "v3", "broken", "odd"):
        publish(store, small_bundle(), name, promote=name == "v2")
    flip_a_byte(store.path("broken") / "ranker.txt")
    manifest = store.path("odd") / "manifest.json"  # which has no hash
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"inference": {"history": "short"}}))
    store.publish(lambda folder: bundle.write(small_bundle(), folder, {}), "renamed")
    return store


@pytest.mark.parametrize(
    ("version", "reason"),
    [
        ("broken", r"ranker\.txt has sha256"),
        ("odd", "inference.history"),
        ("renamed", "its manifest is of version 'v1'"),
        ("v9", "no version v9"),
    ],
)
async def test_a_version_that_cannot_be_opened_is_refused_with_the_reason(
    store: FolderStore, version: str, reason: str
) -> None:
    held = Versions(store)
    await held.load("v1")
    assert await held.refused("v2") is None
    assert re.search(reason, await held.refused(version) or "")
    assert held.held() == ["v1", "v2"]


async def test_the_two_versions_wanted_last_are_kept(store: FolderStore) -> None:
    held = Versions(store)
    first = await held.load("v1")
    await held.load("v2")
    assert await held.load("v1") is first
    assert held.held() == ["v2", "v1"]
    await held.load("v3")
    assert held.held() == ["v1", "v3"]
    assert held.get("v2") is None
    assert held.get("v1") is first


async def test_a_version_in_use_outlives_one_that_nobody_asks_for(store: FolderStore) -> None:
    held = Versions(store)
    for version in ("v1", "v2"):
        await held.load(version)
    held.get("v1")
    await held.load("v3")
    assert held.held() == ["v1", "v3"]


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The versions that were opened, each in a thread."""
    names: list[str] = []

    def open_slowly(folder: Path, alpha: float | None) -> Loaded:
        assert threading.current_thread() is not threading.main_thread()
        names.append(folder.name)
        return open_version(folder, alpha)

    monkeypatch.setattr(versions, "open_version", open_slowly)
    return names


async def test_a_version_wanted_by_many_at_once_is_opened_once_and_in_a_thread(
    store: FolderStore, opened: list[str]
) -> None:
    held = Versions(store)
    loaded = await asyncio.gather(*(held.load(version) for version in ("v1", "v2", "v1", "v2")))
    assert opened == ["v1", "v2"]
    assert loaded[0] is loaded[2]
    assert loaded[1] is loaded[3]


@pytest.mark.parametrize(("version", "held"), [(None, ["v2"]), ("v3", ["v3"]), ("broken", []), ("odd", [])])
def test_the_first_version_is_the_one_in_production_or_given(
    store: FolderStore, version: str | None, held: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    one = Versions(store)
    one.load_first(version)
    assert one.held() == held
    assert [record.message for record in caplog.records] == ([] if held else ["version unfit at the start"])


def test_a_replica_that_starts_while_production_is_unfit_takes_the_newest_fit_one_before(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    for name in ("v1", "v2", "v3", "v4"):
        publish(store, small_bundle(), name)
    flip_a_byte(store.path("v3") / "ranker.txt")
    halve_ranker(store.path("v4"))  # opened here, it would end the tests
    one = Versions(store, apart=True)
    one.load_first(None)
    assert one.held() == ["v2"]


async def test_versions_can_be_opened_while_the_pointer_cannot_be_read(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    publish(store, small_bundle(), "v1")
    (store.root / "production").write_text("{")
    one = Versions(store, apart=True)
    assert await one.refused("v1") is None
    assert one.held() == ["v1"]


def test_versions_that_alternated_are_looked_at_once(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    for name in ("v1", "v2", "v3"):
        publish(store, small_bundle(), name)
    for _ in range(5):
        store.promote("v2")
        store.promote("v3")
    assert Versions(store).wanted(None) == ["v3", "v2", "v1"]


async def test_a_version_that_would_end_the_process_is_refused(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    publish(store, small_bundle(), "v1")
    halve_ranker(store.path("v1"))
    one = Versions(store, apart=True)
    for refused in (one.survived, one.refused):
        assert "ended a process by SIG" in (await refused("v1") or "")
    assert one.held() == []


def test_an_empty_registry_has_no_first_version(tmp_path: Path) -> None:
    one = Versions(FolderStore(tmp_path))
    one.load_first(None)
    assert one.held() == []
