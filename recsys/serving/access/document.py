"""The document of API keys: YAML or JSON, checked. No message has a value of it, since it could be a key."""

import hashlib
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final, Literal, get_args

from limits import RateLimitItem
from pydantic import ValidationError, field_validator

from recsys.errors import ConfigError, RuleError
from recsys.rules.document import Document
from recsys.schema import DAY, Config
from recsys.serving.access.limits import parse_limit

Scope = Literal["read", "admin"]
SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)
"""`read` is for recommendations, users and the documentation, `admin` for what shows how the service is run."""
MOST_KEYS: Final = 100
"""Each request is compared with every key."""
PREFIX: Final = "rk_"
"""Beginning of new keys, so that programs which search for secrets find them."""
KEY_BYTES: Final = 32
"""Random bytes of a new key. Nobody can guess 256 bits, so a fast hash without salt hides them."""
DIGEST: Final = re.compile(r"[0-9a-f]{64}")
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
FORM: Final = "expected one key, `keys`, with a list of entries that have name, sha256 and scopes"


class KeyEntry(Config):
    """An entry of the document."""

    name: str
    """Who uses the key. Entries of one name count as one for limits, so that a key can be changed for another."""
    sha256: str
    """SHA-256 of the key, 64 lower-case hexadecimal digits."""
    scopes: tuple[Scope, ...]
    """What the key allows."""
    limit: str | None = None
    """Requests allowed in a time, such as 100/second, instead of the service's `key_limit`."""
    expires: date | None = None
    """The last day on which the key is valid, UTC."""

    @field_validator("name")
    @classmethod
    def _named(cls, name: str) -> str:
        if not NAME.fullmatch(name):
            raise ValueError("expected up to 64 letters, digits, dots, dashes and underscores")
        return name

    @field_validator("sha256")
    @classmethod
    def _hashed(cls, digest: str) -> str:
        if not DIGEST.fullmatch(digest):
            raise ValueError("expected the SHA-256 of the key, 64 hexadecimal digits in lower case, and not the key")
        return digest

    @field_validator("scopes")
    @classmethod
    def _scoped(cls, scopes: tuple[Scope, ...]) -> tuple[Scope, ...]:
        if not scopes:
            raise ValueError(f"expected at least one of: {', '.join(SCOPES)}")
        return scopes

    @field_validator("limit")
    @classmethod
    def _limited(cls, limit: str | None) -> str | None:
        if limit is not None:
            parse_limit(limit)
        return limit


@dataclass(frozen=True, slots=True)
class Key:
    """A key that the service takes.

    digest: SHA-256 of the key; limit: its own, None for that of the service
    until: ms since 1970 UTC at which it is not valid any more, None without an end
    """

    name: str
    digest: bytes = field(repr=False)
    scopes: frozenset[Scope]
    limit: RateLimitItem | None
    until: int | None

    def is_valid(self) -> bool:
        """Whether its last day is not over."""
        return self.until is None or time.time() * 1000 < self.until


def parse_keys(content: bytes, name: str) -> tuple[Key, ...]:
    """The keys of a document; name: of the file, for messages

    Raises ConfigError with the line of the first fault, and with no value of the document.
    """
    try:
        document = Document(content, name)
    except RuleError as error:
        line = re.search(r", line \d+", str(error))  # the rest of the message may quote the document
        raise ConfigError(f"{name}{line[0] if line else ''}: not YAML or JSON; {FORM}") from None
    tree = document.tree
    if not isinstance(tree, Mapping) or set(tree) != {"keys"} or not isinstance(tree["keys"], list):
        raise ConfigError(f"{name}, line 1: {FORM}")
    entries = tree["keys"]
    if not 1 <= len(entries) <= MOST_KEYS:
        raise ConfigError(f"{name}: {len(entries):,} keys; expected 1 to {MOST_KEYS}")
    keys: dict[bytes, Key] = {}
    for number, entry in enumerate(entries):
        where = f"{name}, line {document.line(('keys', number))}: key {number + 1}"
        key = _key(entry, where)
        if key.digest in keys:
            raise ConfigError(f"{where}: sha256: an entry before it has the same")
        if any(other.name == key.name and other.limit != key.limit for other in keys.values()):
            raise ConfigError(f"{where}: limit: an entry of the same name before it has another; expected one limit")
        keys[key.digest] = key
    return tuple(keys.values())


def _key(entry: Any, where: str) -> Key:
    try:
        checked = KeyEntry.model_validate(entry)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        raise ConfigError(f"{where}: {_fault(problem)}") from None
    until = None
    if checked.expires is not None:
        until = ((checked.expires - date(1970, 1, 1)).days + 1) * DAY
    limit = parse_limit(checked.limit) if checked.limit is not None else None
    return Key(checked.name, bytes.fromhex(checked.sha256), frozenset(checked.scopes), limit, until)


def _fault(problem: Any) -> str:
    """The fault of an entry. The name of an unknown field is left out: it could be a key in the wrong place."""
    if problem["type"] == "extra_forbidden":
        return f"there is an unknown field; expected: {', '.join(KeyEntry.model_fields)}"
    message = str(problem["msg"]).removeprefix("Value error, ")
    field_name = str(problem["loc"][0]) if problem["loc"] else "entry"
    return f"{field_name}: {message}"


def new_key() -> str:
    """A random key."""
    return PREFIX + secrets.token_urlsafe(KEY_BYTES)


def digest_of(key: bytes) -> bytes:
    """SHA-256 of a key."""
    return hashlib.sha256(key).digest()
