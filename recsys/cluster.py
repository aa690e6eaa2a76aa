"""Ray for this package: start or join a cluster, run named tasks, read blocks, count CPUs."""

import logging
import os
import socket
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import ray
from ray._common.utils import get_ray_address_file
from ray.exceptions import AuthenticationError, RayError, RayTaskError

from recsys.errors import ConfigError, RecsysError, first_line

CONNECT_SECONDS: Final = 5
"""Timeout of the check that something listens at RAY_ADDRESS."""
MAX_RETRIES: Final = 10
"""Largest number of further runs of a task after its worker died. Each run gets the same input."""


def run_tasks(function: Callable[..., Any], name: str, calls: Iterable[Sequence[Any]]) -> list["ray.ObjectRef[Any]"]:
    """References to the results of `function(*call)`, in the order of the calls. The dashboard shows `name`."""
    task = ray.remote(function).options(name=name, max_retries=MAX_RETRIES)
    return [task.remote(*call) for call in calls]


def run_split_tasks(
    function: Callable[..., Sequence[Any]], name: str, calls: Iterable[Sequence[Any]], parts: int
) -> list[list["ray.ObjectRef[Any]"]]:
    """References to the parts of the results of `function(*call)`: one list for each part, in the order of the calls.

    parts: the number of results that `function` returns. The dashboard shows `name`.
    """

    def split(*arguments: Any) -> Any:
        results = function(*arguments)
        # Ray unpacks a sequence of several results, but not a sequence of one.
        return results if parts > 1 else results[0]

    task = ray.remote(split).options(name=name, max_retries=MAX_RETRIES, num_returns=parts)
    results = [task.remote(*call) for call in calls]
    rows = results if parts > 1 else [[result] for result in results]
    return [list(part) for part in zip(*rows, strict=True)]


def read_blocks(
    pieces: Sequence[Any], parse: Callable[..., Iterator[pa.Table]], name: str, **settings: Any
) -> list["ray.ObjectRef[pa.Table]"]:
    """References to the tables that `parse(piece, number, **settings)` yields for all pieces, in any order.

    number: int, the position of the piece in `pieces`. Ray Data reads the pieces, and the dashboard shows `name`.
    """

    def read(batch: pa.Table) -> Iterator[pa.Table]:
        for number in batch["number"].to_pylist():
            yield from parse(pieces[number], number, **settings)

    # The dashboard shows the name of the function.
    read.__name__ = read.__qualname__ = parse.__name__
    numbers = ray.data.from_items(
        [{"number": number} for number in range(len(pieces))], override_num_blocks=len(pieces)
    )
    dataset = numbers.map_batches(read, batch_size=1, batch_format="pyarrow")
    dataset.set_name(name)
    return dataset.to_arrow_refs()


def node_cpus() -> list[float]:
    """The number of CPUs of each living node, busy or not."""
    nodes = ray.nodes()  # type: ignore[no-untyped-call]
    return [node["Resources"].get("CPU", 0) for node in nodes if node["Alive"]]


def free_cpus() -> float:
    """The number of idle CPUs of the cluster."""
    return float(ray.available_resources().get("CPU", 0))  # type: ignore[no-untyped-call]


def has_own_ray() -> bool:
    """Whether this process has started the Ray that it uses, which then ends with it."""
    return bool(ray.get_runtime_context().worker.node.all_processes)


def _check_listener(address: str) -> None:
    """Raise OSError if nothing listens at host:port. Ray itself would end the process after minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
    except OverflowError as error:
        raise OSError(f"port {port}: {error}") from error


def ray_address() -> str:
    """The address for `ray.init`: RAY_ADDRESS, else the cluster that was last started on this machine, else "local".

    Raises ConfigError where no cluster answers at RAY_ADDRESS. Without RAY_ADDRESS, a cluster that is gone is passed
    over: one that was killed leaves its address behind, and Ray would wait for it.
    """
    given = os.environ.get("RAY_ADDRESS", "")
    last = Path(get_ray_address_file(None))
    address = given
    if given in ("", "auto") and last.exists():
        address = last.read_text(encoding="utf-8").strip()
    try:
        _check_listener(address)
    except OSError as error:
        if not given:
            return "local"
        raise ConfigError(f"RAY_ADDRESS={given!r}: no Ray cluster answers at this address: {error}") from error
    return address or "local"


def start_ray(metrics_port: int | None = None) -> None:
    """Join the cluster of `ray_address`, or start Ray on this machine. Raises ConfigError if neither works.

    metrics_port: of the exporter for Prometheus of a Ray that is started here, by default a free one
    """
    if not ray.is_initialized():
        address = ray_address()
        # Ray warns in every run that its token authentication is on, which is its default.
        logging.getLogger("ray._private.authentication").setLevel(logging.ERROR)
        try:
            ray.init(address, log_to_driver=False, logging_level=logging.WARNING, _metrics_export_port=metrics_port)
        except (ConnectionError, ValueError, RuntimeError, AuthenticationError) as error:
            raise ConfigError(
                f"Ray cannot be started or joined at the address {address!r} with RAY_AUTH_MODE="
                f"{os.environ.get('RAY_AUTH_MODE', '')!r} (token: RAY_AUTH_TOKEN or ~/.ray/auth_token): {error}"
            ) from error
    keep_token_private()
    # A command ends with the first error that it reads. Ray would print the tracebacks of all other tasks that failed.
    os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = sys.stderr.isatty()
    # So an error of this package in a task of Ray Data is that error, which `console.guarded` prints as one line.
    context.raise_original_map_exception = True
    for part in ("_internal.execution.streaming_executor_state", "exceptions"):
        # They log the traceback of an error that is raised as well.
        logging.getLogger(f"ray.data.{part}").setLevel(logging.CRITICAL)
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    # Ray Data warns of missing progress bars outside a terminal, and of busy CPUs when a dataset starts.
    # Both are intended here.
    logging.getLogger("ray.data._internal.progress").setLevel(logging.ERROR)
    logging.getLogger("ray.data.dataset").addFilter(_not_about_busy_cpus)


@contextmanager
def failures_in_one_line() -> Iterator[None]:
    """A context in which a RecsysError stands for a failure of Ray itself, such as a worker without memory.

    An error that a task raises stays as it is.
    """
    try:
        yield
    except RayTaskError as error:
        if isinstance(error.cause, RayError) and not isinstance(error.cause, RayTaskError):
            raise RecsysError(f"Ray: {first_line(error.cause)}") from error
        raise
    except RayError as error:
        raise RecsysError(f"Ray: {first_line(error)}") from error


def keep_token_private() -> None:
    """Let this user alone read the file with Ray's token, which Ray makes readable for all."""
    with suppress(OSError, RuntimeError):  # there is none, it is somebody else's, or the user has no home
        Path("~/.ray/auth_token").expanduser().chmod(0o600)


def _not_about_busy_cpus(record: logging.LogRecord) -> bool:
    """A filter of log records: False for the warning that no CPU is idle."""
    return "does not have any available CPUs" not in record.getMessage()
