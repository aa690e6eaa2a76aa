"""Unit tests start no process: no Ray, no browser, no server. Tests that do lie in tests/ray and tests/browser."""

import sys
from collections.abc import AsyncIterator, Generator
from typing import Any

import pytest
from httpx import AsyncClient

from recsys.registry.bundle import Bundle
from recsys.registry.folder import FolderStore
from tests.support.bundles import publish
from tests.support.services import http, service_of

STARTS = {
    "os.exec",
    "os.fork",
    "os.forkpty",
    "os.posix_spawn",
    "os.spawn",
    "os.system",
    "pty.spawn",
    "subprocess.Popen",
}
"""What Python tells its audit hooks before a process starts."""

_guarded: list[str] = []
"""The unit test under way; empty while tests of other folders run in the same process."""


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    if _guarded and event in STARTS:
        raise RuntimeError(f"{_guarded[0]} starts a process ({event}: {arguments[:2]}): it belongs into tests/ray")


sys.addaudithook(_refuse)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None]:
    """A fixture that starts a process fails the test that asks for it."""
    _guarded.append(item.nodeid)
    try:
        return (yield)
    finally:
        _guarded.clear()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    """A test that starts a process fails."""
    _guarded.append(item.nodeid)
    try:
        return (yield)
    finally:
        _guarded.clear()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, bundle: Bundle) -> FolderStore:
    """A registry with version v1 of the module's own fixture `bundle`, in production."""
    store = FolderStore(tmp_path_factory.mktemp("registry"))
    publish(store, bundle, "v1")
    return store


@pytest.fixture(scope="module")
async def client(store: FolderStore) -> AsyncIterator[AsyncClient]:
    """A client of a service over `store`, in this process."""
    async with http(service_of(store)) as client:
        yield client
