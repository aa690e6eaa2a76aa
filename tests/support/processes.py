"""Ports, processes and waiting."""

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import monotonic


def free_port() -> int:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return int(opened.getsockname()[1])


def family(pid: int) -> list[int]:
    """A process and those it started, directly or not."""
    found = [pid]
    for one in found:
        with suppress(FileNotFoundError, ProcessLookupError):
            for path in Path(f"/proc/{one}/task").glob("*/children"):
                found += map(int, path.read_text().split())
    return found


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Ask again until it holds; the event is never set, it paces the asking."""
    pace, end = threading.Event(), monotonic() + seconds
    while not condition():
        if monotonic() > end:
            raise TimeoutError(f"{condition} did not hold within {seconds} s")
        pace.wait(0.05)
