"""Functions that wait to be killed in a worker of Ray, and the killer."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any


def waiting_once(function: Callable[..., Any], marker: Path) -> Callable[..., Any]:
    """The function, except that its first call writes down the worker's pid and waits to be killed."""

    def wait_once(*arguments: Any, **settings: Any) -> Any:
        try:
            with marker.open("x") as file:
                file.write(f"{os.getpid()}\n")
        except FileExistsError:
            return function(*arguments, **settings)
        Event().wait(60)
        raise RuntimeError("nobody killed this worker")

    return wait_once


@contextmanager
def killer(markers: list[Path]) -> Iterator[list[int]]:
    """Kill each worker that writes its pid into one of the files; yields the list of the killed pids."""
    killed: list[int] = []
    over = Event()

    def watch() -> None:
        left = list(markers)
        while left and not over.wait(0.01):
            for marker in list(left):
                if marker.exists() and (text := marker.read_text()).endswith("\n"):
                    os.kill(int(text), signal.SIGKILL)
                    killed.append(int(text))
                    left.remove(marker)

    thread = Thread(target=watch)
    thread.start()
    try:
        yield killed
    finally:
        over.set()
        thread.join()
