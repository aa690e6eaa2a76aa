"""A load whose clients check every answer: each user is told what the same service told them before the fault."""

import http.client
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Final, NamedTuple, Self

PAUSE_SECONDS: Final = 0.02
"""A client whose request failed waits for so long."""
TIMEOUT_SECONDS: Final = 10.0


class Failure(NamedTuple):
    """A request that got no right answer; ended: seconds on the monotonic clock."""

    ended: float
    kind: str


class Client:
    """One connection to the service, kept between requests unless `fresh`."""

    def __init__(self, port: int, fresh: bool = False) -> None:
        self._port, self._fresh = port, fresh
        self._connection: http.client.HTTPConnection | None = None

    def get(self, path: str) -> tuple[int, bytes]:
        """Status and body; raises ConnectionRefusedError where nothing listens, other OSErrors, HTTPException."""
        if self._connection is None:
            self._connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=TIMEOUT_SECONDS)
            self._connection.connect()
            self._connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self._connection.request("GET", path)
            response = self._connection.getresponse()
            answer = response.status, response.read()
        except (OSError, http.client.HTTPException):
            self.close()
            raise
        if self._fresh or response.will_close:
            self.close()
        return answer

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def expected_answers(port: int, users: Sequence[str]) -> dict[str, bytes]:
    """The bodies of the answers, by path."""
    client = Client(port)
    answers = {}
    for user in users:
        path = f"/recommend/{user}?n=5"
        status, body = client.get(path)
        if status != 200:
            raise RuntimeError(f"{path}: status {status}: {body[:200]!r}")
        answers[path] = body
    client.close()
    return answers


class CheckedLoad:
    """Clients that ask again and again, as a context.

    fresh: a connection for each request. A refused connection then counts as `elsewhere`: a load balancer would have
    sent the client to another service. So does one that the kernel reset since it stood in the queue of a listener that
    closed: nobody has read its request, and the next connection is refused. A service that reads a request and dies
    closes the connection without a reset.
    """

    def __init__(self, port: int, expected: dict[str, bytes], clients: int = 8, fresh: bool = False) -> None:
        self._port, self._expected, self._clients, self._fresh = port, expected, clients, fresh
        self.answered = self.elsewhere = 0
        self.failures: list[Failure] = []
        self.seconds: list[float] = []
        """Of each right answer."""
        self._over = threading.Event()

    def __enter__(self) -> Self:
        self._pool = ThreadPoolExecutor(self._clients)
        self._running = [self._pool.submit(self._ask, number) for number in range(self._clients)]
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for running in self._running:
            running.result(timeout=60)
        self._pool.shutdown()

    def kinds(self, since: int = 0) -> dict[str, int]:
        """The number of failures of each kind; since: failures at the beginning that do not count"""
        return dict(Counter(failure.kind for failure in self.failures[since:]))

    def last_failure(self) -> float | None:
        """When the last failed request ended, on the monotonic clock."""
        return max((failure.ended for failure in self.failures), default=None)

    def is_right(self, path: str, body: bytes) -> bool:
        """Whether the body of an answer of 200 is the expected one."""
        return body == self._expected[path]

    def _ask(self, number: int) -> None:
        client = Client(self._port, self._fresh)
        paths = [*self._expected]
        position = number
        while not self._over.is_set():
            position += self._clients
            path = paths[position % len(paths)]
            started = time.monotonic()
            kind = self._failure(client, path)
            if kind is None:
                self.answered += 1
                self.seconds.append(time.monotonic() - started)
            elif kind == "elsewhere":
                self.elsewhere += 1
                self._over.wait(PAUSE_SECONDS)
            else:
                self.failures.append(Failure(time.monotonic(), kind))
                self._over.wait(PAUSE_SECONDS)
        client.close()

    def _is_closed(self) -> bool:
        """Whether nothing listens on the port."""
        try:
            socket.create_connection(("127.0.0.1", self._port), TIMEOUT_SECONDS).close()
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
        return False

    def _without_answer(self, error: Exception) -> str:
        """The kind of a request that got no answer."""
        refused = isinstance(error, ConnectionRefusedError)
        if self._fresh and (refused or (isinstance(error, ConnectionResetError) and self._is_closed())):
            return "elsewhere"
        if refused:
            return "connection refused"
        return "no answer in time" if isinstance(error, TimeoutError) else type(error).__name__

    def _failure(self, client: Client, path: str) -> str | None:
        """The kind of a request's failure, None for a right answer."""
        try:
            status, body = client.get(path)
        except (OSError, http.client.HTTPException) as error:
            return self._without_answer(error)
        if status == 200:
            return None if self.is_right(path, body) else "wrong answer"
        with suppress(ValueError, TypeError, KeyError):
            if json.loads(body)["detail"]:
                return f"status {status}"
        return f"status {status}, not our JSON"
