"""Ports, processes and waiting."""

import random
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import monotonic

PORTS = range(25_000, 30_000)
"""Below the ports that the kernel gives to clients, and between those of services and of Serve's replicas.

A port that the kernel has just given and taken back may go to a client before the server of a test listens.
"""
_given: set[int] = set()


def free_port() -> int:
    """A port of this host where nothing listens; each call returns another one."""
    while True:
        port = random.SystemRandom().choice(PORTS)  # processes of one test run must not draw the same ports
        with socket.socket() as opened, suppress(OSError):
            opened.bind(("127.0.0.1", port))
            if port not in _given:
                _given.add(port)
                return port


def family(pid: int) -> list[int]:
    """The pids of a process and of those that it started, directly or not."""
    found = [pid]
    for one in found:
        with suppress(FileNotFoundError, ProcessLookupError):
            for path in Path(f"/proc/{one}/task").glob("*/children"):
                found += map(int, path.read_text().split())
    return found


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Check a condition until it holds; raises TimeoutError. The event is never set, it paces the checks."""
    pace, end = threading.Event(), monotonic() + seconds
    while not condition():
        if monotonic() > end:
            raise TimeoutError(f"{condition} did not hold within {seconds} s")
        pace.wait(0.05)
