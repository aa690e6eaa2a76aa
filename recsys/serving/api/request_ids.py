"""The id of a request: taken from its header, or made."""

import re
import uuid
from collections.abc import Iterable
from typing import Final

HEADER: Final = "X-Request-ID"
RAW_HEADER: Final = HEADER.lower().encode()
SAFE_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}")
"""Ids that are taken. Any other could forge a line of a log, or fill it."""


def request_id(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The id that a client or a proxy has given, if it is safe; else a new one. headers: of an ASGI scope"""
    for name, value in headers:
        if name == RAW_HEADER and SAFE_ID.fullmatch(value):
            return value.decode("ascii")
    return uuid.uuid4().hex
