"""Whether a service answers, which decides the exit code of a stop while it starts."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

from recsys.serving.run import answers


@contextmanager
def service(status: int) -> Iterator[int]:
    """The port of a server with this answer to all requests."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/health" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_service_answers_once_it_is_healthy() -> None:
    with service(200) as port:
        assert answers("127.0.0.1", port)
        assert answers("0.0.0.0", port)
    with service(503) as starting:
        assert not answers("127.0.0.1", starting)
    assert not answers("127.0.0.1", port)
