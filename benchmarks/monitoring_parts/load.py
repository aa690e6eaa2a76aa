"""The load of the monitored service: every kind of request that the dashboard shows."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from serving_parts.load import request_mix, session_mix, write_script

EACH: Final = 300
"""Requests of each kind in the mix."""
CONNECTIONS: Final = 4
SECONDS: Final = 1800
"""Longer than any run."""
KEY: Final = "a key of the load alone"
"""The service has a file of keys with this one."""


def mixed_script(registry: Path, file: Path) -> Path:
    """Users, users with a filter, sessions, similar and trending items, health, an unknown path, a wrong parameter."""
    users, sessions = request_mix(registry, 0.6)[:EACH], session_mix(registry, 0.6)[:EACH]
    mix = []
    for user, session in zip(users, sessions, strict=True):
        mix += [user, f"{user}&exclude_seen=true", session]
    rare = ["/trending", "/new", "/health", "/nowhere", "/recommend/1?n=0", "/users/random"]
    return write_script([*mix, *rare * 5], file)


@contextmanager
def steady(script: Path, port: int) -> Iterator[None]:
    """A few connections that send requests all the time."""
    with load(script, port, CONNECTIONS, SECONDS):
        yield


@contextmanager
def load(script: Path, port: int, connections: int, seconds: int) -> Iterator[None]:
    """wrk with the key of the load, until the block ends."""
    command = ["wrk", "--threads", "1", "--connections", str(connections), "--duration", f"{seconds}s"]
    process = subprocess.Popen(
        [*command, "--header", f"X-API-Key: {KEY}", "--script", str(script), f"http://127.0.0.1:{port}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.terminate()  # at SIGINT, wrk would wait for all its connections
        process.wait(30)
