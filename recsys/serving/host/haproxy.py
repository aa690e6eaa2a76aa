"""HAProxy as this service needs it: Serve starts `main` in HAProxy's place.

Serve writes HAProxy's configuration, then runs the program of RAY_SERVE_HAPROXY_BINARY_PATH. `main` changes the
configuration and becomes HAProxy, in the same process. It runs at every change of the replicas, so this module is a
script that uses the standard library alone.
"""

import ctypes
import os
import re
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

PR_SET_PDEATHSIG: Final = 1
"""Linux's number of the option "send this process a signal when its parent dies"."""
REQUEST_SECONDS: Final = 5
"""Time in which a client has to send a whole request."""
IDLE_SECONDS: Final = 30
"""Time for which a connection without a request is kept."""
NO_REQUEST: Final = "this is not a valid request"
ROUTES: Final = "/-/routes"
"""An address of Serve's own."""
NOT_FOUND: Final = '{"detail":"Not Found"}'
UNAVAILABLE: Final = "the service cannot answer now; try again"
RETRY_SECONDS: Final = 3
"""A client that is sent away comes back after 1 to this many seconds, so that not all come at the same time."""
LAST: Final = ".last"
"""The ending of the file with the last configuration that had replicas."""
ADDRESSES: Final = "recsys_addresses"
"""The table of client addresses."""
SECTIONS: Final = re.compile(r"^(?=\S)", re.MULTILINE)
"""The beginning of a section of a configuration: a line without indentation."""


class ConfigurationError(Exception):
    """Serve's configuration has not the form that is expected here."""


class Limits(NamedTuple):
    """Bounds of the load that reaches a replica of the ingress.

    per_replica: requests under way in one replica; further ones wait in HAProxy
    queue_ms: for so long at most, then they get 503
    response_ms: time that a replica has to answer
    per_address: connections of one client address
    """

    per_replica: int = 64
    queue_ms: int = 1000
    response_ms: int = 5000
    per_address: int = 2048

    @classmethod
    def from_text(cls, text: str) -> "Limits":
        """Limits written as `per_replica=64,queue_ms=1000`; those that are not named keep their defaults."""
        return cls(**{name: int(value) for name, value in (pair.split("=") for pair in text.split(",") if pair)})

    def to_text(self) -> str:
        return ",".join(f"{name}={value}" for name, value in self._asdict().items())


def adapted(configuration: str, limits: Limits) -> str:
    """Serve's configuration, changed; raises ConfigurationError where a part of it is missing.

    The admin socket is private, metrics and statistics are for this host alone. Slow and idle clients are cut off, a
    replica gets as many requests as it can answer in time. Who cannot be served gets JSON, with a time to try again;
    who sends what is not HTTP gets HAProxy's own 400.
    """
    sections = SECTIONS.split(configuration)
    missing = set(CHANGES)
    for position, section in enumerate(sections):
        name = section.split("\n", 1)[0].strip()
        key = "backend" if name.startswith("backend http-") else name
        if key in CHANGES:
            sections[position] = CHANGES[key](section.rstrip("\n"), limits) + "\n"
            missing.discard(key)
    if missing - {"backend"}:  # there is none until Serve knows a replica
        raise ConfigurationError(f"Serve's configuration of HAProxy lacks: {', '.join(sorted(missing))}")
    return "".join(sections)


def _global(section: str, _: Limits) -> str:
    return _replaced(section, r"(stats socket \S+) mode 666 ", r"\1 mode 600 ")


def _defaults(section: str, limits: Limits) -> str:
    kept = re.sub(
        r"^ *(errorfile|timeout (client|server|http-request|http-keep-alive|queue)) .*\n", "", section, flags=re.M
    )
    lines = [
        f"timeout client {IDLE_SECONDS}s",
        f"timeout http-request {REQUEST_SECONDS}s",
        f"timeout http-keep-alive {IDLE_SECONDS}s",
        f"timeout server {limits.response_ms}ms",
        f"timeout queue {limits.queue_ms}ms",
    ]
    again = f' hdr Retry-After "%[rand({RETRY_SECONDS}),add(1)]"'
    for text, statuses, header in ((NO_REQUEST, (400, 408), ""), (UNAVAILABLE, (500, 502, 503, 504), again)):
        lines += [
            f"""http-error status {status} content-type application/json lf-string '{{"detail":"{text}"}}' """
            f"hdr X-Content-Type-Options nosniff{header}"
            for status in statuses
        ]
    return "\n".join((kept, *_indented(lines)))


def _http_frontend(section: str, limits: Limits) -> str:
    lines = [
        # A replica gets a request once its body is here, up to 16 KiB; else `timeout http-request` ends it.
        "option http-buffer-request",
        # Serve would let HAProxy itself tell the names of applications, without a key.
        f"http-request return status 404 content-type application/json string '{NOT_FOUND}' if {{ path -i {ROUTES} }}",
        "option forwardfor",  # adds the client's address at the end of X-Forwarded-For
        f"tcp-request connection track-sc0 src table {ADDRESSES}",
        f"tcp-request connection reject if {{ sc0_conn_cur gt {limits.per_address} }}",
        "http-after-response set-status 503 if { status 502 504 }",
    ]
    bound = _replaced(section, r"^( *bind .*)$", lambda match: "\n".join((match[1], *_indented(lines))))
    return f"backend {ADDRESSES}\n    stick-table type ipv6 size 100k expire 60s store conn_cur\n{bound}"


def _default_backend(section: str, _: Limits) -> str:
    """The service has all paths, so a request gets here only while Serve knows no replica: it may try again."""
    lines = "    http-request deny deny_status 400 if !{ path_beg / }\n    http-request deny deny_status 503"
    return _replaced(section, r"^ *http-request return status 404 .*$", lines)


def _backend(section: str, limits: Limits) -> str:
    return _replaced(section, r"^( *server .* check\b.*)$", rf"\1 maxconn {limits.per_replica}")


def _on_this_host(section: str, _: Limits) -> str:
    return _replaced(section, r"^( *bind )\*?:", r"\g<1>127.0.0.1:")


CHANGES: Final[dict[str, Callable[[str, Limits], str]]] = {
    "global": _global,
    "defaults": _defaults,
    "frontend prometheus": _on_this_host,
    "frontend http_frontend": _http_frontend,
    "backend default_backend": _default_backend,
    "backend": _backend,
    "listen stats": _on_this_host,
}
"""What is changed in the sections of the configuration; `backend` stands for those of the replicas."""


def _replaced(section: str, pattern: str, replacement: "str | Callable[[re.Match[str]], str]") -> str:
    changed, count = re.subn(pattern, replacement, section, flags=re.MULTILINE)
    if not count:
        raise ConfigurationError(f"Serve's configuration of HAProxy has no line {pattern!r}: {section[:300]!r}")
    return changed


def _indented(lines: list[str]) -> list[str]:
    return [f"    {line}" for line in lines]


def end_with_parent(parent: int, number: int = signal.SIGKILL) -> None:
    """Have the kernel send this process a signal when its parent ends; parent: its pid"""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:  # it ended before
        os.kill(os.getpid(), number)


def processes(folder: Path) -> list[int]:
    """Pids of this user's HAProxy processes whose configuration lies in the folder."""
    pids = []
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if command.stat().st_uid != os.getuid():
                continue
            program, *arguments = command.read_bytes().split(b"\0")
            if program.endswith(b"haproxy") and any(part.startswith(f"{folder}/".encode()) for part in arguments):
                pids.append(int(command.parent.name))
    return pids


def send(folder: Path, number: int) -> None:
    """Send a signal to the HAProxy processes of a folder."""
    for pid in processes(folder):
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def drain(folder: Path, seconds: float) -> None:
    """Have the HAProxy processes of a folder take no further connection and finish their requests.

    Those that have not finished after `seconds` are left as they are.
    """
    end = time.monotonic() + seconds
    send(folder, signal.SIGUSR1)
    while processes(folder) and time.monotonic() < end:
        time.sleep(0.02)


def write_configuration(path: Path, configuration: str) -> None:
    """Write a configuration, unless it has no replica: then the last one that had any stays in force.

    A manager of Serve that was started anew has to ask for the replicas first. Those of before live on meanwhile, and
    HAProxy itself finds out which do not.
    """
    last = path.with_suffix(LAST)
    if "\nbackend http-" in configuration:
        _replace(last, configuration)
    elif last.exists() and _addresses(before := last.read_text(encoding="utf-8")) == _addresses(configuration):
        configuration = before
    _replace(path, configuration)


def _addresses(configuration: str) -> list[str]:
    """The addresses that HAProxy listens on."""
    return re.findall(r"^ *bind (.*)$", configuration, flags=re.MULTILINE)


def _replace(path: Path, text: str) -> None:
    draft = path.with_suffix(".new")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)


def main() -> None:
    """Change the configuration named by `-f`, and become HAProxy.

    Arguments: the path of HAProxy's program, that of the file with the limits, then the arguments that Serve passes.
    """
    parent = os.getppid()
    program, limits, *arguments = sys.argv[1:]
    os.umask(0o077)
    path = Path(arguments[arguments.index("-f") + 1])
    configuration = path.read_text(encoding="utf-8")
    chosen = Limits.from_text(Path(limits).read_text(encoding="utf-8"))
    write_configuration(path, adapted(configuration, chosen))
    end_with_parent(parent)  # Serve's manager: nothing else would ever stop this HAProxy
    os.execv(program, [program, *arguments])


if __name__ == "__main__":
    main()
