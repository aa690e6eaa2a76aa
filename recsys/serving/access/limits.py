"""Limits of requests by key and by address, in this replica's memory, which is bounded."""

import hashlib
import math
import re
import secrets
import time
from typing import Final

from limits import RateLimitItem, parse_many
from limits.storage import Storage
from limits.strategies import FixedWindowRateLimiter

FORM: Final = "expected one limit, a number of requests and a time such as 100/second or 6000/hour"
NO_TIME: Final = re.compile(r"\b0+ *[a-z]+ *$", re.IGNORECASE)
"""A span of time such as `0 seconds`, which the library takes for one second."""
SLOTS: Final = 1 << 16
"""Counters of addresses. Two addresses may have the same counter; nobody can choose which."""
LONGEST_SECONDS: Final = 86_400
"""Longest time of a limit."""


def parse_limit(text: str) -> RateLimitItem:
    """The limit that a text such as `100/second` spells; raises ValueError."""
    try:
        if NO_TIME.search(text):
            raise ValueError
        [limit] = parse_many(text)  # `parse` would take the first of several and drop the others
    except ValueError:
        raise ValueError(FORM) from None
    if limit.amount < 1 or not 1 <= limit.get_expiry() <= LONGEST_SECONDS:
        raise ValueError(f"{FORM}, at least 1 request, and at most a day")
    return limit


class Counters(Storage):
    """Counters of the library `limits`, for one thread.

    The library's own storage in memory starts a thread every 10 ms that looks at each counter.
    """

    STORAGE_SCHEME = None

    def __init__(self) -> None:
        super().__init__()
        self._counts: dict[str, tuple[int, float]] = {}

    @property
    def base_exceptions(self) -> type[Exception]:
        """See Storage; nothing fails here."""
        return ValueError

    def __len__(self) -> int:
        return len(self._counts)

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Add to a counter, and its number; after `expiry` seconds it begins anew."""
        count, end = self._counts.get(key, (0, 0.0))
        now = time.monotonic()
        if end <= now:
            count, end = 0, now + expiry
        self._counts[key] = count + amount, end
        return count + amount

    def get(self, key: str) -> int:
        """The number of a counter."""
        count, end = self._counts.get(key, (0, 0.0))
        return count if end > time.monotonic() else 0

    def get_expiry(self, key: str) -> float:
        """When the counter begins anew, by `time.monotonic`: a clock that is set back must not hold anybody up."""
        return self._counts.get(key, (0, time.monotonic()))[1]

    def check(self) -> bool:
        """True: the counters are in this process."""
        return True

    def reset(self) -> int:
        """Begin all counters anew."""
        number = len(self._counts)
        self._counts.clear()
        return number

    def clear(self, key: str) -> None:
        """Begin one counter anew."""
        self._counts.pop(key, None)


class RequestLimits:
    """Counts requests by key and by address. A replica counts what it gets itself.

    A limit is for fixed spans of time: each begins with the first request after the one before.
    """

    def __init__(self, per_key: RateLimitItem | None, per_address: RateLimitItem | None) -> None:
        """per_key: for keys without a limit of their own; None for no limit"""
        self._per_key, self._per_address = per_key, per_address
        self.counters = Counters()
        self._limiter = FixedWindowRateLimiter(self.counters)
        self._salt = secrets.token_bytes(16)

    def wait_for_key(self, name: str, limit: RateLimitItem | None) -> int:
        """Count a request of a key; seconds to wait, 0 if it is allowed. limit: the key's own"""
        return self._wait(limit or self._per_key, "key", name)

    def wait_for_address(self, address: str) -> int:
        """Count a request from an address; seconds to wait, 0 if it is allowed."""
        if self._per_address is None:
            return 0
        slot = hashlib.blake2b(address.encode(), digest_size=4, key=self._salt).digest()
        return self._wait(self._per_address, "address", str(int.from_bytes(slot) % SLOTS))

    def _wait(self, limit: RateLimitItem | None, kind: str, name: str) -> int:
        if limit is None or self._limiter.hit(limit, kind, name):
            return 0
        reset = self._limiter.get_window_stats(limit, kind, name).reset_time
        return max(1, math.ceil(reset - time.monotonic()))
