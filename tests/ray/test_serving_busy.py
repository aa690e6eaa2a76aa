"""A Ray Serve graph with more to do than it can: it refuses at once, and whoever goes away frees a place."""

import asyncio
import http.client
import json
import select
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ray import serve

from recsys.registry import bundle
from recsys.registry.folder import FolderStore
from recsys.serving.app import QUIET, assemble
from recsys.serving.deployments import CandidateReplica, FactorReplica, Ingress, RankReplica
from recsys.serving.run import answers
from recsys.serving.settings import ServeSettings
from tests.support.bundles import small_bundle
from tests.support.processes import free_port, wait_until

WAITING = 2
GATE = "gate"


class Gated(CandidateReplica):
    """Answers while the file GATE is not beside the registry's versions."""

    def __init__(self, settings: ServeSettings) -> None:
        super().__init__(settings)
        self._gate = Path(settings.registry) / GATE

    async def __call__(self, *arguments: Any, **options: Any) -> Any:
        while self._gate.exists():
            await asyncio.sleep(0.01)
        return await super().__call__(*arguments, **options)


@dataclass
class Busy:
    """One batch of one request under way, WAITING may wait."""

    port: int
    gate: Path
    user: int

    def request(self) -> http.client.HTTPConnection:
        """A connection that has asked for recommendations."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request("GET", f"/recommend/{self.user}")
        return connection

    def waiting(self) -> http.client.HTTPConnection:
        """The same, once it is sure that it was taken: of three at the same moment the last may be refused."""
        while True:
            connection = self.request()
            if not answered(connection):
                return connection
            connection.close()

    def is_refused(self) -> bool:
        """Whether one more request is refused; if not, it is abandoned."""
        with closing(self.request()) as connection:
            return answered(connection) and connection.getresponse().status == 503


def answered(connection: http.client.HTTPConnection) -> bool:
    """Whether an answer begins within a second."""
    return bool(select.select([connection.sock], [], [], 1.0)[0])


@pytest.fixture(scope="module")
def app(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Busy]:
    store = FolderStore(tmp_path_factory.mktemp("busy"))
    small = small_bundle()
    store.publish(lambda folder: bundle.write(small, folder, {}), small.version)
    store.promote(small.version)
    settings = ServeSettings(
        registry=str(store.root), cpus=0, max_waiting=WAITING, max_batch=1, batches=1, deadline_ms=60_000
    )
    port = free_port()
    serve.start(http_options={"host": "127.0.0.1", "port": port}, logging_config=QUIET)
    try:
        serve.run(assemble(settings, (Gated, FactorReplica, RankReplica), Ingress), name="busy", route_prefix="/")
        busy = Busy(port, store.root / GATE, small.snapshot.users[0])
        wait_until(lambda: answers("127.0.0.1", port))
        yield busy
    finally:
        serve.shutdown()


@pytest.fixture
def busy(app: Busy) -> Iterator[Busy]:
    """The gate is shut and the queue is full."""
    app.gate.touch()
    try:
        yield app
    finally:
        app.gate.unlink(missing_ok=True)


@pytest.mark.soak(10)
def test_a_full_queue_refuses_at_once_and_loses_nothing(busy: Busy) -> None:
    with ExitStack() as stack:
        asked = [stack.enter_context(closing(busy.waiting())) for _ in range(1 + WAITING)]
        with closing(busy.request()) as one_more:
            refusal = one_more.getresponse()
            assert refusal.status == 503
            assert int(refusal.headers["Retry-After"]) >= 1
            assert "waiting" in json.loads(refusal.read())["detail"]
        busy.gate.unlink()
        for connection in asked:
            answer = connection.getresponse()
            assert answer.status == 200
            assert json.loads(answer.read())["recommendations"]


@pytest.mark.soak(10)
def test_a_client_that_goes_away_frees_its_place(busy: Busy) -> None:
    with ExitStack() as stack:
        for _ in range(1 + WAITING):
            stack.enter_context(closing(busy.waiting()))
        wait_until(busy.is_refused)  # a slow machine may take longer than a second to say so
    wait_until(lambda: not busy.is_refused())
    with closing(busy.request()) as connection:
        busy.gate.unlink()
        assert connection.getresponse().status == 200


def test_half_a_request_takes_no_place(busy: Busy) -> None:
    with ExitStack() as stack:
        for _ in range(20):
            half = stack.enter_context(socket.create_connection(("127.0.0.1", busy.port)))
            half.sendall(b"GET /recommend/1 HTTP/1.1\r\nHost: shop\r\n")
        assert not busy.is_refused()
