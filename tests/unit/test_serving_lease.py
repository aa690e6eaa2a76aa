"""The lease of a service: what it holds is not pruned, and a registry that cannot be written harms nobody."""

import logging
from dataclasses import replace
from pathlib import Path

import pytest

from recsys.registry.folder import FolderStore
from recsys.registry.leases import leased
from recsys.registry.prune import prune
from recsys.storage.small_files import LOCK
from tests.support.bundles import publish, small_bundle
from tests.support.services import health, http, service_of, until

pytestmark = pytest.mark.anyio


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    """A registry with the versions v0 to v3, the last one in production, and v2 before it."""
    store = FolderStore(tmp_path / "registry")
    bundle = small_bundle()
    for number in range(4):
        manifest = bundle.manifest.model_copy(update={"fingerprint": str(number) * 64})
        publish(store, replace(bundle, manifest=manifest), f"v{number}")
    return store


async def test_versions_that_a_service_holds_are_not_pruned(store: FolderStore) -> None:
    pinned = service_of(store, version="v0", poll_seconds=0.01)
    async with http(pinned):
        await until(lambda: leased(store))
        assert list(leased(store)) == ["v0"]
        done = prune(store, 1)
        assert done.removed == ("v1",)
        assert done.kept["v0"].startswith("a service holds it: ")


async def test_a_lease_follows_what_is_loaded(store: FolderStore) -> None:
    service = service_of(store, poll_seconds=0.01)
    async with http(service):
        await until(lambda: list(leased(store)) == ["v3"])
        store.promote("v1")
        await until(lambda: list(leased(store)) == ["v1", "v3"])


async def test_a_service_serves_on_where_it_cannot_write_a_lease(
    store: FolderStore, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (store.root / "leases").write_text("a file where the folder should be")
    monkeypatch.setattr(logging.getLogger("recsys"), "propagate", True)
    service = service_of(store, poll_seconds=0.01)
    async with http(service):
        await until(lambda: "no lease written" in caplog.text)
        assert (await health(service))["model_version"] == "v3"
        before = caplog.text.count("no lease written")
        await service.lease.update()
        assert caplog.text.count("no lease written") == before


async def test_a_lease_needs_no_right_but_that_to_its_folder(store: FolderStore) -> None:
    (store.root / LOCK).symlink_to(store.root / "absent" / LOCK)  # nobody can open it, root neither
    async with http(service_of(store, poll_seconds=0.01)):
        await until(lambda: list(leased(store)) == ["v3"])
