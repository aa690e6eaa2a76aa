"""Keys and limits of the service on real Ray Serve, behind HAProxy, with two replicas."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from ray import serve

from recsys.registry.folder import FolderStore
from recsys.serving.app import QUIET, build_app
from recsys.serving.run import answers
from recsys.serving.settings import ServeSettings
from tests.support.bundles import publish
from tests.support.keys import ADMIN_KEY, READ_KEY, bearer, entry, keys_file
from tests.support.processes import free_port, wait_until
from tests.support.services import service_bundle

READ = bearer(READ_KEY)
EVERY_REPLICA = 20
"""Requests, each on a connection of its own, that reach both replicas."""


@dataclass(frozen=True, slots=True)
class Running:
    """A service with two replicas; folder: of its file of keys."""

    url: str
    folder: Path

    def statuses(self, headers: dict[str, str], path: str = "/trending") -> set[int]:
        return {httpx.get(self.url + path, headers=headers).status_code for _ in range(EVERY_REPLICA)}


@pytest.fixture(scope="module")
def running(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder, port = tmp_path_factory.mktemp("keys"), free_port()
    store = FolderStore(tmp_path_factory.mktemp("registry"))
    publish(store, service_bundle(), "v1")
    settings = ServeSettings(
        registry=str(store.root),
        topology="fused",
        ingress="2",
        cpus=0,
        keys=str(keys_file(folder)),
        address_limit="5/hour",
        trusted_proxies="127.0.0.1",
    )
    serve.start(http_options={"host": "127.0.0.1", "port": port}, logging_config=QUIET)
    try:
        serve.run(build_app(settings), name="recsys", route_prefix="/")
        wait_until(lambda: answers("127.0.0.1", port))
        yield Running(f"http://127.0.0.1:{port}", folder)
    finally:
        serve.shutdown()


def test_every_replica_asks_for_the_key(running: Running) -> None:
    for path in ("/", "/trending", "/docs", "/nowhere", "//health", "/health/", "/HEALTH"):
        assert running.statuses({}, path) == {401}
    assert running.statuses(READ) == {200}
    assert running.statuses({}, "/health") == {200}
    assert "keys" in httpx.get(f"{running.url}/health", headers=bearer(ADMIN_KEY)).json()


def test_nothing_that_ray_shows_has_a_key_or_its_hash(running: Running) -> None:
    shown = str(serve.status()) + json.dumps(running.url)
    hashes = [entry(key)["sha256"] for key in (READ_KEY, ADMIN_KEY)]
    assert "recsys" in shown
    assert not [secret for secret in (READ_KEY, ADMIN_KEY, *hashes) if secret in shown]


def test_large_headers_and_addresses_are_refused(running: Running) -> None:
    for headers, path, status in (
        ({"a": "x" * 100_000}, "/trending", 400),
        ({}, "/trending?a=" + "x" * 20_000, 400),
        ({"a": "x" * 13_000}, "/trending", 431),
        ({f"a{number}": "x" for number in range(120)}, "/trending", 400),
    ):
        answer = httpx.get(running.url + path, headers=headers | READ)
        assert answer.status_code == status
        if status != 400:  # HAProxy's own
            assert list(answer.json()) == ["detail"]


def test_haproxy_names_the_address_that_it_is_asked_from(running: Running) -> None:
    """Here the trusted proxy's own; what stands before it is the client's."""
    assert running.statuses(READ) == {200}
    for _ in range(2 * 5):  # each replica counts for itself
        httpx.get(f"{running.url}/trending", headers=READ | {"X-Forwarded-For": "203.0.113.9"})
    assert 429 in running.statuses(READ | {"X-Forwarded-For": "203.0.113.9"})


def test_every_replica_takes_changed_keys_without_a_restart(running: Running) -> None:
    keys_file(running.folder, entry(READ_KEY), entry("new"))
    wait_until(lambda: running.statuses(bearer("new")) == {200})
    assert running.statuses(READ) == {200}
    keys_file(running.folder, entry("new"))
    wait_until(lambda: running.statuses(READ) == {401})
    (running.folder / "keys.yaml").write_text("keys: [")
    assert running.statuses(bearer("new")) == {200}
