"""How this package uses Ray: start or join a cluster, named tasks, the CPUs that are there."""

import logging
import os
import socket
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import ray
from ray.exceptions import AuthenticationError

from recsys.errors import ConfigError

CONNECT_SECONDS = 5


MAX_RETRIES = 10
"""A task whose worker dies runs again, on the same blocks."""


def run_tasks(function: Callable[..., Any], name: str, calls: Iterable[Sequence[Any]]) -> list["ray.ObjectRef[Any]"]:
    """`function(*call)` for each call, as Ray tasks that the dashboard shows as `name`: the results."""
    task = ray.remote(function).options(name=name, max_retries=MAX_RETRIES)
    return [task.remote(*call) for call in calls]


def run_split_tasks(
    function: Callable[..., Sequence[Any]], name: str, calls: Iterable[Sequence[Any]], parts: int
) -> list[list["ray.ObjectRef[Any]"]]:
    """As `run_tasks`, for functions that return `parts` results: the references by part, then by call."""

    def split(*arguments: Any) -> Any:
        results = function(*arguments)
        # Ray unpacks several results, but not one
        return results if parts > 1 else results[0]

    task = ray.remote(split).options(name=name, max_retries=MAX_RETRIES, num_returns=parts)
    results = [task.remote(*call) for call in calls]
    rows = results if parts > 1 else [[result] for result in results]
    return [list(part) for part in zip(*rows, strict=True)]


def node_cpus() -> list[float]:
    """CPUs of each node that is alive, used or not."""
    nodes = ray.nodes()  # type: ignore[no-untyped-call]
    return [node["Resources"].get("CPU", 0) for node in nodes if node["Alive"]]


def free_cpus() -> float:
    """CPUs of the cluster that nobody uses now."""
    return float(ray.available_resources().get("CPU", 0))  # type: ignore[no-untyped-call]


def _check_listener(address: str) -> None:
    """Raises ConfigError where nothing listens at host:port, which Ray finds out after minutes, ending the process."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise ConfigError(f"RAY_ADDRESS={address!r}: no Ray cluster answers there: {error}") from error


def start_ray() -> None:
    """Join the cluster that the environment names, or start Ray here; raises ConfigError where it cannot be joined."""
    if not ray.is_initialized():
        address = os.environ.get("RAY_ADDRESS", "")
        _check_listener(address)
        try:
            ray.init(log_to_driver=False, logging_level=logging.WARNING)
        except (ConnectionError, ValueError, RuntimeError, AuthenticationError) as error:
            raise ConfigError(
                f"Ray cannot be started or joined with RAY_ADDRESS={address!r} and RAY_AUTH_MODE="
                f"{os.environ.get('RAY_AUTH_MODE', '')!r} (token: RAY_AUTH_TOKEN or ~/.ray/auth_token): {error}"
            ) from error
    ray.data.DataContext.get_current().enable_progress_bars = sys.stderr.isatty()
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    # Both say what is meant to be so: no bars outside a terminal, and all CPUs at work when a dataset starts.
    logging.getLogger("ray.data._internal.progress").setLevel(logging.ERROR)
    logging.getLogger("ray.data.dataset").addFilter(_not_about_busy_cpus)


def _not_about_busy_cpus(record: logging.LogRecord) -> bool:
    return "does not have any available CPUs" not in record.getMessage()
