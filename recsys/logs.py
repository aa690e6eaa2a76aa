"""Structured log records, one line each, with the ids of the requests that they are about."""

import json
import logging
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}
_REQUESTS: Final[ContextVar[tuple[str, ...]]] = ContextVar("requests", default=())


def request_ids() -> tuple[str, ...]:
    """The ids of the requests that this task works for; several for a batch, none outside of a request."""
    return _REQUESTS.get()


def set_request_ids(ids: Sequence[str]) -> None:
    """From now on this task, and the tasks that it starts, work for these requests."""
    _REQUESTS.set(tuple(ids))


@contextmanager
def for_requests(ids: Sequence[str]) -> Iterator[None]:
    """A context in which records are about these requests."""
    before = _REQUESTS.set(tuple(ids))
    try:
        yield
    finally:
        _REQUESTS.reset(before)


class _Structured(logging.Formatter):
    """Formats a record and its `extra` fields as one line: JSON, or key=value pairs.

    The JSON has the same six keys in every record: time, level, logger, message, request_id, fields. The id is null
    outside of a request. Records about a batch list its ids with commas, which no id contains.
    """

    def __init__(self, as_json: bool) -> None:
        super().__init__()
        self.as_json = as_json

    def format(self, record: logging.LogRecord) -> str:
        head: Mapping[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        # A name with a leading underscore is private to a library: Ray adds such a field to every record.
        fields = {k: v for k, v in vars(record).items() if k not in _STANDARD and not k.startswith("_")}
        if record.exc_info:
            fields = {**fields, "exception": self.formatException(record.exc_info)}
        ids = ",".join(_REQUESTS.get()) or None
        if self.as_json:
            return json.dumps({**head, "request_id": ids, "fields": fields}, ensure_ascii=False, default=str)
        named = {} if ids is None else {"request_id": ids}
        return " ".join(f"{key}={_quoted(value)}" for key, value in {**head, **named, **fields}.items())


def _quoted(value: object) -> str:
    """The value as text, in quotes if it is empty or has spaces, quotes, equals signs or line breaks."""
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if not text or any(c in text for c in ' "=\n') else text


def configure_logging(as_json: bool = False, level: int = logging.INFO) -> None:
    """Send the log records of this package to stderr, one line each. Another call replaces the handler."""
    # Ray Serve replaces sys.stderr by a logger that drops records below warnings. It does not replace sys.__stderr__.
    handler = logging.StreamHandler(sys.__stderr__ if as_json else None)
    handler.setFormatter(_Structured(as_json))
    logger = logging.getLogger("recsys")
    logger.handlers[:] = [handler]
    logger.setLevel(level)
    logger.propagate = False
