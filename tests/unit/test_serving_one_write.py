"""Responses leave in one piece."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
import uvicorn
from fastapi import FastAPI
from fastapi.responses import Response, StreamingResponse

from recsys.serving.one_write import PROTOCOL
from tests.support.processes import wait_until

BODY = b"x" * 700
REQUEST = b"GET /%s HTTP/1.1\r\nHost: shop\r\n%s\r\n"


CHUNKS = 300
"""Of a long response, a megabyte each."""
looks: list[asyncio.Task[None]] = []
written: list[int] = []
"""How many of them were sent, looked at again and again."""


def api() -> FastAPI:
    app = FastAPI()

    @app.get("/endless")
    async def endless() -> Response:
        sent = 0

        async def pieces():  # type: ignore[no-untyped-def]
            nonlocal sent
            while sent < CHUNKS:
                sent += 1
                yield b"x" * 1_000_000

        async def look() -> None:
            while True:
                written.append(sent)
                await asyncio.sleep(0.2)

        looks.append(asyncio.create_task(look()))
        return StreamingResponse(pieces())

    @app.get("/whole")
    async def whole() -> Response:
        return Response(BODY)

    @app.get("/parts")
    async def parts() -> Response:
        async def pieces():  # type: ignore[no-untyped-def]
            for _ in range(3):
                yield BODY
                await asyncio.sleep(0)

        return StreamingResponse(pieces())

    return app


@contextmanager
def serving() -> Iterator[int]:
    """The port of a server with this protocol."""
    server = uvicorn.Server(uvicorn.Config(api(), http=PROTOCOL, port=0, log_config=None, lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_until(lambda: server.started)
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with serving() as port:
        yield port


def test_headers_and_body_arrive_together(port: int) -> None:
    with closing(socket.create_connection(("127.0.0.1", port))) as client:
        for _ in range(200):
            client.sendall(REQUEST % (b"whole", b""))
            received = client.recv(65536)
            assert received.startswith(b"HTTP/1.1 200 OK")
            assert received.endswith(BODY)


@pytest.mark.parametrize(("path", "bodies"), [(b"whole", 1), (b"parts", 3)])
def test_nothing_is_lost_where_the_connection_closes(port: int, path: bytes, bodies: int) -> None:
    with closing(socket.create_connection(("127.0.0.1", port))) as client:
        client.sendall(REQUEST % (path, b"Connection: close\r\n"))
        received = b"".join(iter(lambda: client.recv(65536), b""))
    assert received.count(BODY) == bodies


def test_a_reader_that_is_slow_holds_the_writer_back(port: int) -> None:
    """Else a long response would collect in memory."""
    with closing(socket.create_connection(("127.0.0.1", port))) as client:
        client.sendall(REQUEST % (b"endless", b""))
        wait_until(lambda: len(written) > 2 and written[-1] == written[-3], seconds=20)
    assert written[-1] < CHUNKS


def test_pipelined_requests_are_answered_in_order(port: int) -> None:
    with closing(socket.create_connection(("127.0.0.1", port))) as client:
        client.sendall(REQUEST % (b"whole", b"") * 3 + REQUEST % (b"none", b"Connection: close\r\n"))
        received = b"".join(iter(lambda: client.recv(65536), b""))
    assert [part[:3] for part in received.split(b"HTTP/1.1 ")[1:]] == [b"200", b"200", b"200", b"404"]
