"""The API keys of the service: where they come from, read again and again, and looked up in constant time."""

import asyncio
import hmac
import logging
import os
import time
from dataclasses import dataclass
from typing import Final

from recsys.errors import CONTENT, ConfigError, RecsysError
from recsys.serving.access.document import Key, digest_of, parse_keys
from recsys.serving.access.environment import DOCUMENT, ENVIRONMENT
from recsys.serving.content import read_content, reason_of
from recsys.serving.following import Problem

logger = logging.getLogger(__name__)

PAUSE_SECONDS: Final = 0.5
"""Seconds between two readings of the file."""
LONGEST_KEY: Final = 256
"""Bytes of a key that is hashed; a longer one is none."""


@dataclass(frozen=True, slots=True)
class KeysReport:
    """The state of the keys.

    n_valid: keys that are valid now; problem: why the file as it is now is not used, while the last valid one is
    """

    n_valid: int
    problem: Problem | None


class FollowedKeys:
    """The keys of a replica, kept equal to a file.

    A file that is not valid changes nothing: the keys of before stay. A replica that cannot read its keys at its start
    does not start.
    """

    def __init__(self, address: str) -> None:
        """address: a path, s3://bucket/key, or ENVIRONMENT; raises ConfigError or DataError where there is no key."""
        self._address = address
        try:
            self._content = self._read()
        except OSError as error:
            raise ConfigError(f"the file of keys {address} cannot be read: {reason_of(error)}") from error
        self._keys = parse_keys(self._content, address)
        self.problem: Problem | None = None

    def find(self, given: bytes) -> Key | None:
        """The key that a request gives, None if it is not valid.

        The time it takes tells nothing: keys are compared by their hashes, each in constant time, and all of them.
        """
        if len(given) > LONGEST_KEY:
            return None
        digest, match = digest_of(given), None
        for key in self._keys:
            if hmac.compare_digest(digest, key.digest):
                match = key
        return match if match is not None and match.is_valid() else None

    def report(self) -> KeysReport:
        """The state of the keys."""
        return KeysReport(sum(key.is_valid() for key in self._keys), self.problem)

    def expired(self) -> tuple[str, ...]:
        """The names of the entries whose last day is over."""
        return tuple(key.name for key in self._keys if not key.is_valid())

    async def run(self) -> None:
        """Read the file again and again, until cancelled."""
        while self._address != ENVIRONMENT:
            await asyncio.sleep(PAUSE_SECONDS)
            await self.update()

    async def update(self) -> None:
        """Read the file. Valid keys are used from now on; others are logged, and the keys stay as they are.

        Whatever the file holds, no error leaves this method: later files must be read.
        """
        try:
            content = await asyncio.to_thread(self._read)
            if content != self._content:
                self._keys = await asyncio.to_thread(parse_keys, content, self._address)
                self._content = content
                logger.info("keys loaded", extra={"keys": len(self._keys)})
            self.problem = None
        except OSError as error:
            self._reject(f"{self._address} cannot be read: {reason_of(error)}")
        except RecsysError as error:
            self._reject(str(error))
        except CONTENT as error:  # its text could quote the file
            self._reject(f"{self._address} cannot be used: {type(error).__name__}")

    def _read(self) -> bytes:
        if self._address != ENVIRONMENT:
            return read_content(self._address)
        text = os.environ.get(DOCUMENT, "")
        if not text.strip():
            raise ConfigError(
                f"{DOCUMENT} is not set in the environment of this process; expected the document of keys"
            )
        return text.encode()

    def _reject(self, reason: str) -> None:
        if self.problem is None or self.problem.text != reason:
            logger.error("keys rejected", extra={"reason": reason})
            self.problem = Problem(reason, int(time.time() * 1000))
