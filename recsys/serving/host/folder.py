"""The private folder of a service on a host: HAProxy's files and sockets, and the ports that the service claims."""

import os
import shutil
import signal
import socket
import stat
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from recsys.errors import ConfigError
from recsys.serving.host import haproxy
from recsys.serving.host.ports import is_free
from recsys.storage.files import locked

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
    lock: a descriptor; the folder belongs to the service while any process has it open
    """

    path: Path
    first_port: int
    lock: int


@contextmanager
def service_folder() -> Iterator[ServiceFolder]:
    """A new folder with a block of ports; the folder is removed at the end.

    What killed services of this user left behind is removed first. Raises ConfigError where no block is free, or where
    the folder of all services belongs to somebody else.
    """
    root = _private_root()
    with ExitStack() as stack:
        claimed, first_port = _claim_ports()
        stack.enter_context(closing(claimed))
        with locked(root):  # a new folder must not look like a leftover before it has its lock
            remove_leftovers(root)
            path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=root))
            stack.callback(shutil.rmtree, path, ignore_errors=True)
            lock = stack.enter_context(locked(path / LOCK))
        _check_path(path)
        stack.callback(haproxy.send, path, signal.SIGKILL)
        yield ServiceFolder(path, first_port, lock)


def remove_leftovers(root: Path) -> None:
    """Remove the folders of services that were killed, after ending the HAProxy processes that they left behind."""
    for path in root.glob(f"{PREFIX}*"):
        with suppress(OSError), locked(path / LOCK, wait=False):  # raises BlockingIOError where the service lives
            haproxy.send(path, signal.SIGKILL)
            shutil.rmtree(path, ignore_errors=True)


def _private_root() -> Path:
    """The folder of all services of this user; raises ConfigError where it is not the user's own."""
    root = Path(tempfile.gettempdir()) / f"recsys-{os.getuid()}"
    with suppress(FileExistsError):
        root.mkdir(mode=0o700)
    status = root.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise ConfigError(f"{root}: expected a folder that belongs to this user alone; remove it, or set TMPDIR")
    return root


def _check_path(path: Path) -> None:
    """Raise ConfigError for a path that HAProxy's configuration or sockets cannot have."""
    if len(str(path)) > LONGEST_PATH or any(character.isspace() for character in str(path)):
        raise ConfigError(
            f"{path}: expected a path of at most {LONGEST_PATH} characters without spaces, for the service's sockets; "
            "set TMPDIR to another folder"
        )


def _claim_ports() -> tuple[socket.socket, int]:
    """The claim on a block of ports and its first port; nothing listens there, and no other service claims it."""
    for first in range(FIRST_PORT, LAST_PORT - BLOCK + 1, BLOCK):
        claimed = claim(f"ports-{first}")
        if claimed is None:
            continue
        if all(is_free(port) for port in range(first, first + BLOCK)):
            return claimed, first
        claimed.close()
    raise ConfigError(
        f"no {BLOCK} free ports in a row between {FIRST_PORT} and {LAST_PORT}, where a service needs them on this host"
    )


def claim(name: str) -> socket.socket | None:
    """Something that one process of this host can have, whoever its user is, until it closes the socket.

    None if another process has it.
    """
    held = socket.socket(socket.AF_UNIX)
    try:
        held.bind(f"\0recsys-{name}")  # an abstract name: it leaves no file, and ends with its process
    except OSError:
        held.close()
        return None
    return held
