"""Versions that a service test-opens before it loads them."""

from pathlib import Path

import pytest

from recsys.errors import RegistryError
from recsys.registry.folder import FolderStore
from recsys.serving.loaded_versions import LoadedVersions
from recsys.serving.settings import ServeSettings
from tests.support.bundles import flip_a_byte, halve_ranker, publish, small_bundle

pytestmark = pytest.mark.anyio


def test_a_replica_that_starts_while_production_is_unfit_takes_the_newest_fit_one_before(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    for name in ("v1", "v2", "v3", "v4"):
        publish(store, small_bundle(), name)
    flip_a_byte(store.path("v3") / "ranker.txt")
    halve_ranker(store.path("v4"))  # opened here, it would end the tests
    one = LoadedVersions(store, ServeSettings(registry=str(store)))
    one.load_at_start(None)
    assert one.names() == ["v2"]


async def test_versions_can_be_opened_while_the_pointer_cannot_be_read(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    publish(store, small_bundle(), "v1")
    (store.root / "production").write_text("{")
    one = LoadedVersions(store, ServeSettings(registry=str(store)))
    await one.load("v1")
    assert one.names() == ["v1"]


async def test_a_version_that_would_end_the_process_is_refused(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    publish(store, small_bundle(), "v1")
    halve_ranker(store.path("v1"))
    one = LoadedVersions(store, ServeSettings(registry=str(store)))
    for rejecting in (one.probe, one.load):
        with pytest.raises(RegistryError, match="the process that opened it ended with SIG"):
            await rejecting("v1")
    assert one.names() == []
