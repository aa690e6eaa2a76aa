"""The private folder of a service on a host: HAProxy's files and sockets, and the ports that the service claims."""

import fcntl
import os
import shutil
import signal
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from recsys.errors import ConfigError
from recsys.serving.host import haproxy
from recsys.serving.host.ports import is_free

FIRST_PORT: Final = 20_000
LAST_PORT: Final = 25_000
"""Between the ports of Ray's workers, to 19999, and those that Serve gives replicas by default, from 30000 on."""
BLOCK: Final = 64
"""Ports of a service beside the one of its requests."""
REPLICAS: Final = 30
"""Ports of a block for replicas of the ingress, and again as many for their gRPC servers."""
LOCK: Final = "lock"
PREFIX: Final = "s-"
"""Of the names of the folders."""
LONGEST_PATH: Final = 36
"""Characters of a folder's path. HAProxy's socket is in a folder of Ray's node in it, and Linux takes 107 in all."""


@dataclass(frozen=True, slots=True)
class ServiceFolder:
    """A folder that only this user can read, and a block of ports, both for as long as the service lives.

    first_port: of BLOCK ports on which nothing else listens
    """

    path: Path
    first_port: int


@contextmanager
def service_folder() -> Iterator[ServiceFolder]:
    """A new folder with a block of ports; the folder is removed at the end.

    What killed services of this user left behind is removed first. Raises ConfigError where no block is free, or where
    the folder of all services belongs to somebody else.
    """
    root = _private_root()
    remove_leftovers(root)
    path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=root))
    if len(str(path)) > LONGEST_PATH:
        path.rmdir()
        raise ConfigError(f"{path}: the path of the service's sockets would be too long; set TMPDIR to a shorter one")
    lock = _try_lock(path / LOCK)
    port_lock, first_port = _claim_ports(root)
    try:
        yield ServiceFolder(path, first_port)
    finally:
        end_haproxy(path)
        shutil.rmtree(path, ignore_errors=True)
        for descriptor in (lock, port_lock):
            if descriptor is not None:
                os.close(descriptor)


def remove_leftovers(root: Path) -> None:
    """Remove the folders of services that were killed, after ending the HAProxy processes that they left behind."""
    for path in root.glob(f"{PREFIX}*"):
        lock = _try_lock(path / LOCK)
        if lock is None:  # this service lives
            continue
        end_haproxy(path)
        shutil.rmtree(path, ignore_errors=True)
        os.close(lock)


def end_haproxy(folder: Path) -> None:
    """Kill the HAProxy processes whose configuration lies in the folder."""
    for pid in haproxy.processes(folder):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _private_root() -> Path:
    """The folder of all services of this user; raises ConfigError where it is not the user's own."""
    root = Path(tempfile.gettempdir()) / f"recsys-{os.getuid()}"
    with suppress(FileExistsError):
        root.mkdir(mode=0o700)
    status = root.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise ConfigError(f"{root}: expected a folder that belongs to this user alone; remove it, or set TMPDIR")
    return root


def _claim_ports(root: Path) -> tuple[int, int]:
    """The lock and the first port of a block that no service of this user has, and where nothing listens."""
    for first in range(FIRST_PORT, LAST_PORT - BLOCK + 1, BLOCK):
        lock = _try_lock(root / f"ports-{first}")
        if lock is None:
            continue
        if all(is_free(port) for port in range(first, first + BLOCK)):
            return lock, first
        os.close(lock)
    raise ConfigError(
        f"no {BLOCK} free ports in a row between {FIRST_PORT} and {LAST_PORT}, where a service needs them on this host"
    )


def _try_lock(path: Path) -> int | None:
    """An open descriptor that holds the lock of a file until it is closed; None if another process holds it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor
