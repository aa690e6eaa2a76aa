import asyncio
import json
import threading
from pathlib import Path

import pytest

from recsys.errors import RegistryError
from recsys.inference.servable import Servable, open_servable
from recsys.registry import bundle
from recsys.registry.folder import FolderStore
from recsys.serving import loaded_versions
from recsys.serving.loaded_versions import LoadedVersions
from recsys.serving.settings import ServeSettings
from tests.support.bundles import flip_a_byte, publish, small_bundle

pytestmark = pytest.mark.anyio


def versions_of(store: FolderStore, versions_kept: int = 2) -> LoadedVersions:
    return LoadedVersions(store, ServeSettings(registry=str(store), probe=False, versions_kept=versions_kept))


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
    versions = versions_of(store)
    await versions.load("v1")
    assert await versions.load("v2")
    with pytest.raises(RegistryError, match=reason):
        await versions.load(version)
    assert versions.names() == ["v1", "v2"]


async def test_the_two_versions_wanted_last_are_kept(store: FolderStore) -> None:
    versions = versions_of(store)
    first = await versions.load("v1")
    await versions.load("v2")
    assert await versions.load("v1") is first
    assert versions.names() == ["v2", "v1"]
    await versions.load("v3")
    assert versions.names() == ["v1", "v3"]
    assert versions.get("v2") is None
    assert versions.get("v1") is first


async def test_as_many_versions_are_kept_as_the_setting_tells(store: FolderStore) -> None:
    versions = versions_of(store, versions_kept=3)
    for version in ("v1", "v2", "v3"):
        await versions.load(version)
    assert versions.names() == ["v1", "v2", "v3"]
    assert [servable.bundle.version for servable in versions.newest_first()] == ["v3", "v2", "v1"]


async def test_a_version_in_use_outlives_one_that_nobody_asks_for(store: FolderStore) -> None:
    versions = versions_of(store)
    for version in ("v1", "v2"):
        await versions.load(version)
    versions.get("v1")
    await versions.load("v3")
    assert versions.names() == ["v1", "v3"]


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The versions that were opened, each in a thread."""
    names: list[str] = []

    def open_slowly(folder: Path, alpha: float | None, *, lists: bool) -> Servable:
        assert threading.current_thread() is not threading.main_thread()
        names.append(folder.name)
        return open_servable(folder, alpha, lists=lists)

    monkeypatch.setattr(loaded_versions, "open_servable", open_slowly)
    return names


async def test_a_version_wanted_by_many_at_once_is_opened_once_and_in_a_thread(
    store: FolderStore, opened: list[str]
) -> None:
    versions = versions_of(store)
    loaded = await asyncio.gather(*(versions.load(version) for version in ("v1", "v2", "v1", "v2")))
    assert sorted(opened) == ["v1", "v2"]  # which one comes first depends on the threads
    assert loaded[0] is loaded[2]
    assert loaded[1] is loaded[3]


@pytest.mark.parametrize(("version", "held"), [(None, ["v2"]), ("v3", ["v3"]), ("broken", []), ("odd", [])])
def test_the_first_version_is_the_one_in_production_or_given(
    store: FolderStore, version: str | None, held: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    versions = versions_of(store)
    versions.load_at_start(version)
    assert versions.names() == held
    assert [record.message for record in caplog.records] == ([] if held else ["version rejected at the start"])


def test_versions_that_alternated_are_looked_at_once(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    for name in ("v1", "v2", "v3"):
        publish(store, small_bundle(), name)
    for _ in range(5):
        store.promote("v2")
        store.promote("v3")
    assert versions_of(store).candidates(None) == ["v3", "v2", "v1"]


def test_an_empty_registry_has_no_first_version(tmp_path: Path) -> None:
    versions = versions_of(FolderStore(tmp_path))
    versions.load_at_start(None)
    assert versions.names() == []
