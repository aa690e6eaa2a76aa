"""Ports of this host: whether they are free, and who has them."""

import errno
import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import Final

from recsys.errors import ConfigError

LISTENING: Final = "0A"
"""The state of a socket in /proc/net/tcp."""


def check_address(host: str, port: int) -> None:
    """Raise ConfigError for an address that is not an IPv4 one of this machine's, and for a port that is taken."""
    try:
        address = socket.getaddrinfo(host, port, socket.AF_INET, socket.SOCK_STREAM)[0][-1]
        with socket.socket() as opened:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            opened.bind(address)
            opened.listen()
    except (OSError, UnicodeError) as error:
        if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            raise ConfigError(
                f"port {port} of {host} is taken{listener(port)}; choose another one by --port"
            ) from error
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise ConfigError(f"--host {host} --port {port}: nothing can listen there: {reason}") from error


def is_free(port: int, host: str = "") -> bool:
    """Whether a server could listen at a port of this host."""
    with socket.socket() as opened:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            opened.bind((host, port))
        except OSError:
            return False
    return True


def listener(port: int) -> str:
    """ " by NAME (pid N)" of the process that listens at a port, empty where it cannot be seen."""
    inodes = set()
    for table in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in Path(f"/proc/net/{table}").read_text(encoding="ascii").splitlines()[1:]:
                _, local, _, state, *rest = line.split()
                if state == LISTENING and int(local.rpartition(":")[2], 16) == port:
                    inodes.add(f"socket:[{rest[5]}]")
    for descriptor in Path("/proc").glob("[0-9]*/fd/*"):
        with suppress(OSError):
            if os.readlink(descriptor) in inodes:
                process = descriptor.parents[1]
                return f" by {(process / 'comm').read_text(encoding='utf-8').strip()} (pid {process.name})"
    return ""
