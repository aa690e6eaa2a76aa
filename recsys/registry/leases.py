"""Leases: services tell the registry which versions they hold, so that nobody removes these.

leases/ID.json    {"owner": …, "versions": […], "expires": …}; one of each service process, renewed while it runs
"""

import os
import secrets
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from pydantic import ConfigDict, ValidationError

from recsys.registry.store import Store
from recsys.schema import Config

LEASES: Final = "leases/"
LEASE_SECONDS: Final = 1800.0
"""Time after which a lease ends unless it is renewed. A service that restarts within it finds its versions."""
RENEWALS: Final = 6
"""Renewals within this time."""


class LeaseEntry(Config):
    """The content of a lease.

    owner: host and process; versions: those it holds; expires: ms since 1970 UTC
    """

    model_config = ConfigDict(extra="ignore")  # a later release may add entries

    owner: str
    versions: tuple[str, ...]
    expires: int


class Lease:
    """The lease of this process."""

    def __init__(self, store: Store, seconds: float = LEASE_SECONDS) -> None:
        self._store, self._seconds = store, seconds
        self._owner = f"{socket.gethostname()}, process {os.getpid()}"
        self._name = f"{LEASES}{secrets.token_hex(8)}.json"
        self._versions: tuple[str, ...] = ()
        self._renewed = float("-inf")

    def is_due(self, versions: Sequence[str]) -> bool:
        """Whether the lease has to be written: others are held now, or a part of its time is over."""
        if not versions:
            return False
        return tuple(versions) != self._versions or time.monotonic() >= self._renewed + self._seconds / RENEWALS

    def renew(self, versions: Sequence[str]) -> None:
        """Write the lease of these versions. Raises RegistryError; then it is due again after a part of its time."""
        self._versions, self._renewed = tuple(versions), time.monotonic()
        expires = int((time.time() + self._seconds) * 1000)
        entry = LeaseEntry(owner=self._owner, versions=self._versions, expires=expires)
        self._store.files.write(self._name, f"{entry.model_dump_json()}\n".encode())


def leased(store: Store) -> Mapping[str, str]:
    """The owner of a lease of each leased version. Raises RegistryError."""
    leases = [entry for _, entry in _entries(store) if entry.expires > _now()]
    return {version: entry.owner for entry in leases for version in entry.versions}


def remove_ended(store: Store) -> None:
    """Remove the leases that have ended. Raises RegistryError."""
    store.files.remove(*[name for name, entry in _entries(store) if entry.expires <= _now()])


def _entries(store: Store) -> Iterator[tuple[str, LeaseEntry]]:
    """The leases that can be read, by name."""
    for name in store.files.names(LEASES):
        stored = store.files.read(name)
        if stored is None:
            continue
        try:
            entry = LeaseEntry.model_validate_json(stored[0])
        except ValidationError:  # no service of this release wrote it
            continue
        yield name, entry


def _now() -> int:
    return int(time.time() * 1000)
