"""Versions that a service tries before it loads them."""

import os
from contextlib import suppress
from pathlib import Path

import pytest

from recsys.errors import RegistryError
from recsys.inference import probe as probing
from recsys.inference.probe import check_here
from recsys.registry.folder import FolderStore
from recsys.serving.loaded_versions import LoadedVersions
from recsys.serving.settings import ServeSettings
from tests.support.bundles import flip_a_byte, halve_ranker, publish, small_bundle, tie_ranker
from tests.support.processes import family
from tests.support.services import health, service_bundle, service_of, until

pytestmark = pytest.mark.anyio


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FolderStore:
    """An empty registry; a cache of its own."""
    monkeypatch.setenv("RECSYS_CACHE", str(tmp_path / "cache"))
    return FolderStore(tmp_path / "registry")


def versions_of(store: FolderStore) -> LoadedVersions:
    return LoadedVersions(store, ServeSettings(registry=str(store)))


def test_a_replica_that_starts_while_production_is_unfit_takes_the_newest_fit_one_before(store: FolderStore) -> None:
    for name in ("v1", "v2", "v3", "v4"):
        publish(store, small_bundle(), name)
    flip_a_byte(store.path("v3") / "ranker.txt")
    halve_ranker(store.path("v4"))  # opened here, it would end the tests
    one = versions_of(store)
    one.load_at_start(None)
    assert one.names() == ["v2"]


def test_a_replica_that_starts_waits_for_no_trial(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither for one of the version in production, nor for one of a version that was served on this machine."""
    for name in ("v1", "v2"):
        publish(store, small_bundle(), name, promote=False)
    store.promote("v1", check_here)
    monkeypatch.setattr(probing, "run_trial", None)  # whoever calls it fails
    for promote in (lambda: None, lambda: store.promote("v2")):
        promote()
        one = versions_of(store)
        one.load_at_start(None)
        assert one.names() == ["v1"]


async def test_versions_can_be_opened_while_the_pointer_cannot_be_read(store: FolderStore) -> None:
    publish(store, small_bundle(), "v1")
    (store.root / "production").write_text("{")
    one = versions_of(store)
    await one.load("v1")
    assert one.names() == ["v1"]


async def test_a_version_that_would_end_the_process_is_refused(store: FolderStore) -> None:
    publish(store, small_bundle(), "v1")
    halve_ranker(store.path("v1"))
    one = versions_of(store)
    for rejecting in (one.probe, one.load):
        with pytest.raises(RegistryError, match="the process that opened it ended with SIG"):
            await rejecting("v1")
    assert one.names() == []


def trial_of(version: str) -> list[int]:
    """The subprocesses that try a version."""
    found = []
    for pid in family(os.getpid())[1:]:
        with suppress(FileNotFoundError, ProcessLookupError):
            if f"/versions/{version}\0".encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
    return found


async def test_a_service_follows_on_while_a_version_is_tried(store: FolderStore) -> None:
    """A version whose prediction never ends delays neither the start, nor a promotion, nor a rollback."""
    for name in ("v1", "v2", "v3"):
        publish(store, service_bundle(), name, promote=False)
    tie_ranker(store.path("v2"))
    store.promote("v1", check_here)
    store.promote("v2")  # by its hashes alone
    versions_of(store).load_at_start("v1")

    service = service_of(store, probe=True, probe_seconds=600)
    await service.following.start()
    assert (await health(service))["model_version"] == "v1"
    await until(lambda: trial_of("v2"))
    store.promote("v3")
    await service.following.update()
    assert (await health(service))["model_version"] == "v3"
    await until(lambda: not trial_of("v2"))

    store.promote("v2")
    await service.following.read()
    await until(lambda: trial_of("v2"))
    store.rollback()
    await service.following.read()
    assert (await health(service))["model_version"] == "v3"
    await until(lambda: not trial_of("v2"))


async def test_a_trial_that_takes_too_long_is_told(store: FolderStore) -> None:
    for name in ("v1", "v2"):
        publish(store, service_bundle(), name, promote=False)
    tie_ranker(store.path("v2"))
    store.promote("v1", check_here)
    service = service_of(store, probe=True, probe_seconds=2)
    await service.following.start()
    store.promote("v2")
    await service.following.update()
    found = await health(service)
    assert (found["status"], found["model_version"]) == ("healthy", "v1")
    assert found["refused"] == {"version": "v2", "reason": f"{store.path('v2')} could not be opened within 2 s"}
