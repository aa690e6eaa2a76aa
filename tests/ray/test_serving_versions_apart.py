"""Versions that a service tries in a process of their own before it loads them."""

from pathlib import Path

import pytest

from recsys.registry.folder import FolderStore
from recsys.serving.versions import Versions
from tests.support.bundles import flip_a_byte, halve_ranker, publish, small_bundle

pytestmark = pytest.mark.anyio


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


async def test_a_version_that_would_end_the_process_is_refused(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    publish(store, small_bundle(), "v1")
    halve_ranker(store.path("v1"))
    one = Versions(store, apart=True)
    for refused in (one.survived, one.refused):
        assert "ended a process by SIG" in (await refused("v1") or "")
    assert one.held() == []
