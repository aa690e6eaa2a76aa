"""The lock of a registry: at most one retraining at a time, across machines, also after `kill -9`.

retraining.lock    {"owner": …, "token": …, "acquired": …, "expires": …}; an owner that is done sets `released`

An owner renews the lock while it lives. Who finds an expired lock takes it over by a conditional write, which only one
of several can win. The expiry is compared with the clock of the machine that looks, so clocks may differ by less than
two thirds of the lock's time.
"""

import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from pydantic import ConfigDict, Field, ValidationError

from recsys.errors import RegistryError
from recsys.registry.store import Store
from recsys.schema import LATEST, Config

logger = logging.getLogger(__name__)

LOCK: Final = "retraining.lock"
RENEWALS: Final = 3
"""Renewals within the time after which a lock expires."""


class LockTaken(RegistryError):
    """Another process holds the lock."""


class LockLost(RegistryError):
    """The lock expired, since its owner could not renew it in time, and another process took it."""


class LockEntry(Config):
    """The content of a lock.

    owner: host and process; token: random, so that no two owners have the same entry
    acquired, expires: ms since 1970 UTC
    """

    model_config = ConfigDict(extra="ignore")

    owner: str
    token: str
    acquired: int = Field(ge=0, le=LATEST)
    expires: int = Field(ge=0, le=LATEST)
    released: bool = False

    def is_free(self, now: int) -> bool:
        """Whether another process may take the lock; now: ms."""
        return self.released or self.expires <= now

    def dump(self) -> bytes:
        """The entry as the text of a file."""
        return f"{self.model_dump_json()}\n".encode()


class Lock:
    """The lock, held by this process."""

    def __init__(self, store: Store, entry: LockEntry, etag: str, seconds: float) -> None:
        """etag: of the stored entry; seconds: after which it expires unless it is renewed"""
        self._store, self._entry, self._etag, self._seconds = store, entry, etag, seconds
        self._changing = threading.Lock()

    def renew(self) -> None:
        """Put the expiry off. Raises LockLost if another process took the lock, RegistryError if it cannot be written.

        A process that was suspended beyond the expiry so learns that another run began, be it over by now. Called right
        before a promotion, it makes sure that none did.
        """
        with self._changing:
            self._write(self._entry.model_copy(update={"expires": _now() + _ms(self._seconds)}))

    def release(self) -> None:
        """Free the lock. Where that fails, it expires by itself; what the block did stays as it is."""
        with self._changing:
            try:
                self._write(self._entry.model_copy(update={"released": True}))
            except RegistryError as error:
                logger.warning("lock not released", extra={"reason": str(error)})

    def _write(self, entry: LockEntry) -> None:
        content = entry.dump()
        if not self._store.files.replace(LOCK, content, self._etag):
            # An earlier write of this process may have come through though its answer or the reading after it failed.
            self._etag = self._own()[1]
            if not self._store.files.replace(LOCK, content, self._etag):
                raise self._lost()
        self._entry, self._etag = self._own()

    def _own(self) -> tuple[LockEntry, str]:
        """The stored entry and its tag; raises LockLost if it is not this process's."""
        stored = self._store.files.read(LOCK)
        if stored is None or (entry := _parse(self._store, stored[0])).token != self._entry.token:
            raise self._lost()
        return entry, stored[1]

    def _lost(self) -> LockLost:
        return LockLost(
            f"the lock {self._store}/{LOCK} expired, and another process took it; this run was suspended or cut off "
            "from the registry, and promotes nothing"
        )


@contextmanager
def held(store: Store, seconds: float) -> Iterator[Lock]:
    """Hold the lock during the block; a thread renews it.

    seconds: after which the lock of a process that has died may be taken over
    Raises LockTaken at once if another process holds it, RegistryError if it cannot be read or written.
    """
    lock = _acquire(store, seconds)
    done = threading.Event()
    renewing = threading.Thread(target=_renew, args=(lock, seconds, done), name="retrain lock", daemon=True)
    renewing.start()
    try:
        yield lock
    finally:
        done.set()
        renewing.join()
        lock.release()


def _acquire(store: Store, seconds: float) -> Lock:
    stored = store.files.read(LOCK)
    now = _now()
    if stored is not None and not (current := _parse(store, stored[0])).is_free(now):
        raise LockTaken(
            f"another retraining runs: {current.owner} holds {store}/{LOCK} since {_clock(current.acquired)}; "
            f"it expires at {_clock(current.expires)} UTC unless it is renewed"
        )
    owner = f"{socket.gethostname()}, process {os.getpid()}"
    entry = LockEntry(owner=owner, token=secrets.token_hex(8), acquired=now, expires=now + _ms(seconds))
    if not store.files.replace(LOCK, entry.dump(), None if stored is None else stored[1]):
        raise LockTaken(f"another retraining has just begun: it took {store}/{LOCK}")
    again = store.files.read(LOCK)
    if again is None or again[0] != entry.dump():
        raise LockTaken(f"another retraining has just begun: it took {store}/{LOCK}")
    return Lock(store, entry, again[1], seconds)


def _renew(lock: Lock, seconds: float, done: threading.Event) -> None:
    """Renew the lock again and again until `done` is set or the lock is lost."""
    while not done.wait(seconds / RENEWALS):
        try:
            lock.renew()
        except LockLost as error:
            logger.error("lock lost", extra={"reason": str(error)})
            return
        except RegistryError as error:  # the next renewal may succeed
            logger.warning("lock not renewed", extra={"reason": str(error)})


def _parse(store: Store, content: bytes) -> LockEntry:
    try:
        return LockEntry.model_validate_json(content)
    except ValidationError as error:
        raise RegistryError(
            f"{store}/{LOCK} is broken, expected JSON with owner and expiry: {error.errors()[0]['msg']}; "
            "remove it if no retraining runs"
        ) from error


def _now() -> int:
    return int(time.time() * 1000)


def _ms(seconds: float) -> int:
    return int(seconds * 1000)


def _clock(time_ms: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(time_ms / 1000))
