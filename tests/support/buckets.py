"""An S3 server over HTTP for the tests, and a proxy in front of it that makes requests fail."""

import http.client
import re
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

Kind = Literal["500", "403", "cut", "slow", "corrupt", "lost", "held", "careless", "unmatched"]
"""How the proxy treats a request:

500, 403: it responds with this status and does not pass the request on
cut: it sends half of the body, then it breaks the connection; slow: half of the body, then nothing more
corrupt: it changes a byte of the body
lost: it passes the request on, but not the response
held: it passes the request on once `release` is called
careless: it passes the request on without If-Match and If-None-Match; unmatched: without If-Match
"""
PASSED_OVER: dict[Kind | None, tuple[str, ...]] = {
    "careless": ("if-match", "if-none-match"),
    "unmatched": ("if-match",),
}
FOR_EVER = 1 << 30

SERVER = """
import sys, threading
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import run_simple

moto, writing = DomainDispatcherApplication(create_backend_app), threading.Lock()

def server(environ, start_response):
    if environ["REQUEST_METHOD"] == "GET":
        return moto(environ, start_response)
    with writing:  # moto looks at a condition and writes in two steps, S3 in one
        return moto(environ, start_response)

run_simple("127.0.0.1", int(sys.argv[1]), server, threaded=True, request_handler=MotoRequestHandler)
"""


def is_up(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False


@contextmanager
def server(url: str, log: Path) -> Iterator[None]:
    """Run moto in a process at a URL of this machine, until the end of the block."""
    command = [sys.executable, "-c", SERVER, str(urlsplit(url).port)]
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file)
        try:
            while process.poll() is None and not is_up(url):
                with suppress(subprocess.TimeoutExpired):
                    process.wait(0.05)
            if process.poll() is not None:  # another program may answer at the same port
                raise RuntimeError(f"the S3 server ended:\n{log.read_text()}")
            yield
        finally:
            process.terminate()
            process.wait()


@dataclass
class Fault:
    """What the proxy does to the first `times` requests whose line matches a pattern."""

    kind: Kind
    pattern: str
    times: int = FOR_EVER


@dataclass
class Proxy:
    """A proxy that passes requests on, except for its faults.

    requests: a line for each that came, "METHOD /bucket/key?query bytes=…"
    """

    target: str
    url: str = ""
    faults: list[Fault] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    held: threading.Event = field(default_factory=threading.Event)
    over: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def spoil(self, kind: Kind, pattern: str, times: int = FOR_EVER) -> Fault:
        """Add a fault; its `times` is how many requests are left to it."""
        self.faults.append(Fault(kind, pattern, times))
        return self.faults[-1]

    def release(self) -> None:
        """Let go of the requests that are held."""
        self.over.set()

    def count(self, pattern: str) -> int:
        return sum(bool(re.search(pattern, request)) for request in self.requests)

    def note(self, request: str) -> Kind | None:
        with self._lock:
            self.requests.append(request)
            for fault in self.faults:
                if fault.times and re.search(fault.pattern, request):
                    fault.times -= 1
                    return fault.kind
        return None

    def pass_on(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> tuple[int, list, bytes]:
        connection = http.client.HTTPConnection(urlsplit(self.target).netloc, timeout=60)
        try:
            connection.request(method, path, body, dict(headers))
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            connection.close()


@contextmanager
def proxy(target: str) -> Iterator[Proxy]:
    """A proxy on a free port, until the end of the block."""
    proxied = Proxy(target)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_one(self) -> None:
            handle(self, proxied)

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = handle_one

        def log_message(self, format: str, *arguments: object) -> None:
            """Write no log."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listener:
        proxied.url = f"http://127.0.0.1:{listener.server_port}"
        thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield proxied
        finally:
            proxied.release()
            listener.shutdown()
            thread.join()


def handle(request: BaseHTTPRequestHandler, proxied: Proxy) -> None:
    body = read_body(request)
    kind = proxied.note(f"{request.command} {request.path} {request.headers.get('Range', '')}".rstrip())
    if kind in ("500", "403"):
        code = {"500": "InternalError", "403": "AccessDenied"}[kind]
        content = f"<Error><Code>{code}</Code><Message>injected</Message></Error>".encode()
        answer(request, int(kind), [("Content-Type", "application/xml")], content, len(content))
        return
    if kind == "held":
        proxied.held.set()
        proxied.over.wait(60)
    dropped = (*HOP, *PASSED_OVER.get(kind, ()))
    headers = {name: value for name, value in request.headers.items() if name.lower() not in dropped}
    status, found, content = proxied.pass_on(request.command, request.path, headers, body)
    size = int({name.lower(): value for name, value in found}.get("content-length", len(content)))
    if kind == "lost":
        request.close_connection = True
    elif kind == "corrupt":
        answer(request, status, found, bytes([content[0] ^ 1]) + content[1:], size)
    elif kind in ("cut", "slow"):
        answer(request, status, found, content[: len(content) // 2], size)
        request.close_connection = True
        if kind == "slow":
            proxied.over.wait(60)
    else:
        answer(request, status, found, content, size)


HOP = ("connection", "content-length", "transfer-encoding", "expect")


def read_body(request: BaseHTTPRequestHandler) -> bytes:
    if "chunked" not in request.headers.get("Transfer-Encoding", ""):
        return request.rfile.read(int(request.headers.get("Content-Length", 0)))
    body = b""
    while size := int(request.rfile.readline(), 16):
        body += request.rfile.read(size)
        request.rfile.readline()
    request.rfile.readline()
    return body


def answer(
    request: BaseHTTPRequestHandler, status: int, headers: list[tuple[str, str]], content: bytes, size: int
) -> None:
    request.send_response_only(status)
    for name, value in headers:
        if name.lower() not in HOP:
            request.send_header(name, value)
    request.send_header("Content-Length", str(size))
    request.end_headers()
    if request.command != "HEAD":
        with suppress(BrokenPipeError, ConnectionResetError):  # the client has gone
            request.wfile.write(content)
