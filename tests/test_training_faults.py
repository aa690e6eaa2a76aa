"""Workers that die while tables and features are built change nothing."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
import shops
from shops import metrics_of, train_arguments

from recsys import cli
from recsys.training import examples, tables

VICTIMS = [(tables, "sample_users"), (tables, "count_partition"), (tables, "fit_cut"), (examples, "make_examples")]
"""Functions that run in Ray's workers, plain tasks and the one of Ray Data."""


def waiting_once(function: Callable[..., Any], marker: Path) -> Callable[..., Any]:
    """The function, but its first call writes down the worker's pid and waits to be killed."""

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
    """Kills each worker that writes its pid into one of the files; yields the pids as they die."""
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


@pytest.mark.usefixtures("ray_session")
def test_killed_workers_change_no_metric(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = shops.trained(tmp_path_factory)
    markers = [tmp_path / f"{name}.pid" for _, name in VICTIMS]
    for (module, name), marker in zip(VICTIMS, markers, strict=True):
        monkeypatch.setattr(module, name, waiting_once(getattr(module, name), marker))
    registry = tmp_path / "registry"
    with killer(markers) as killed:
        assert cli.main(["train", *train_arguments(undisturbed.data, registry)]) == 0
    assert len(set(killed)) == len(VICTIMS)
    assert os.getpid() not in killed
    assert metrics_of(registry) == undisturbed.metrics
