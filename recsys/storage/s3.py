"""Objects under a prefix of an S3 bucket, through boto3.

boto3 takes endpoint, region and credentials from its usual sources: AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL, AWS_REGION
or AWS_DEFAULT_REGION, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, profiles, roles. A failed request is sent again, up
to AWS_MAX_ATTEMPTS times in all, after random pauses that grow.
"""

import hashlib
import os
import random
import re
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Final, TypeVar

import botocore.loaders
import botocore.session
from boto3.exceptions import Boto3Error
from boto3.s3.transfer import TransferConfig
from boto3.session import Session
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    FlexibleChecksumError,
    IncompleteReadError,
    NoCredentialsError,
    PartialCredentialsError,
    ReadTimeoutError,
    ResponseStreamingError,
)
from s3transfer.exceptions import RetriesExceededError, S3DownloadFailedError

from recsys.errors import RecsysError
from recsys.storage.address import SCHEME, is_s3

CONNECT_SECONDS: Final = 5.0
READ_SECONDS: Final = 15.0
"""Seconds without a byte from the server until a request fails."""
ATTEMPTS: Final = 8
"""Attempts of a request unless AWS_MAX_ATTEMPTS is set. The pauses between them add up to 3 s on average."""
DAMAGED_ATTEMPTS: Final = 3
"""Downloads of a file that arrives complete but with a wrong hash."""
PAUSE_SECONDS: Final = 0.05
CONNECTIONS: Final = 32
PART_BYTES: Final = 8 << 20
"""A larger file is moved in parts of this size, several at a time."""
SMALL_BYTES: Final = 1 << 20
"""Largest size of an object that is read into memory."""

_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_MISSING: Final = ("NoSuchKey", "404", "NotFound")
_NOT_MET: Final = ("PreconditionFailed", "412", "ConditionalRequestConflict", "409")
_BROKEN_BODY: Final = (IncompleteReadError, ReadTimeoutError, ResponseStreamingError, FlexibleChecksumError)
_FAULTS: Final = (BotoCoreError, Boto3Error, ClientError, RetriesExceededError, S3DownloadFailedError)
_DENIED: Final = "access denied: the credentials do not permit {operation}"
_REFUSED: Final = "the credentials are refused: {code}"
_MESSAGES: Final = {
    "NoSuchBucket": "no such bucket",
    **dict.fromkeys(_MISSING, "no such object"),
    **dict.fromkeys(("AccessDenied", "AllAccessDisabled", "Forbidden", "403"), _DENIED),
    **dict.fromkeys(("InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken"), _REFUSED),
    "NotImplemented": "the server does not support {operation} with a condition",
}
"""Messages for error codes of S3."""

T = TypeVar("T")


def endpoint() -> str | None:
    """The URL of an S3 server other than Amazon's, from the environment; None without one."""
    url = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
    return url.rstrip("/") or None


def region() -> str | None:
    """The region, from the environment or the profile; None if neither names one."""
    return os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or Session().region_name


def attempts() -> int:
    """The highest number of attempts of a request."""
    text = os.environ.get("AWS_MAX_ATTEMPTS", "")
    return int(text) if text.isdecimal() and int(text) else ATTEMPTS


def split(uri: str, error: type[RecsysError]) -> tuple[str, str]:
    """Bucket and prefix of s3://bucket/prefix, the prefix without outer slashes. Raises `error` for other addresses."""
    bucket, _, prefix = uri.removeprefix(SCHEME).partition("/")
    if not is_s3(uri) or not _BUCKET.fullmatch(bucket):
        raise error(f"{uri}: expected s3://bucket/prefix, the bucket of lower-case letters, digits, '.' and '-'")
    return bucket, prefix.strip("/")


@dataclass(frozen=True, slots=True)
class S3Object:
    """An object: its name below the prefix, its size in bytes, and the time it was written."""

    name: str
    size: int
    modified: datetime


class S3Folder:
    """A prefix of a bucket. The names of objects are relative to it. Threads may share one S3Folder.

    Every method raises `error` if S3 cannot be reached or denies the request: one line with bucket and key.
    """

    def __init__(self, uri: str, error: type[RecsysError]) -> None:
        self.error = error
        self.bucket, prefix = split(uri, error)
        self._prefix = f"{prefix}/" if prefix else ""

    def __str__(self) -> str:
        return f"{SCHEME}{self.bucket}/{self._prefix}".rstrip("/")

    def address(self, name: str) -> str:
        """s3://bucket/key of an object."""
        return f"{SCHEME}{self.bucket}/{self._prefix}{name}"

    def find(self, name: str = "", deep: bool = True) -> Iterator[S3Object]:
        """The objects whose names begin with `name`, in the order of names.

        deep: False leaves out names with a slash after `name`
        """
        pages = self._client.get_paginator("list_objects_v2")
        below = {} if deep else {"Delimiter": "/"}
        with self._explained(name):
            for page in pages.paginate(Bucket=self.bucket, Prefix=self._prefix + name, **below):
                for entry in page.get("Contents", ()):
                    yield S3Object(entry["Key"].removeprefix(self._prefix), entry["Size"], entry["LastModified"])

    def names(self, name: str) -> list[str]:
        """The names of the objects that begin with `name`, ascending."""
        return [entry.name for entry in self.find(name)]

    def read(self, name: str) -> tuple[bytes, str] | None:
        """The content and the ETag of an object of at most SMALL_BYTES; None if there is no such object."""

        def read() -> tuple[bytes, str]:
            response = self._client.get_object(**self._location(name))
            if (size := response["ContentLength"]) > SMALL_BYTES:
                response["Body"].close()
                raise self.error(f"{self.address(name)} has {size:,} bytes, expected at most {SMALL_BYTES:,}")
            return response["Body"].read(), response["ETag"]

        with self._explained(name):
            try:
                return _repeated(read, _BROKEN_BODY, attempts())
            except ClientError as error:
                if _code(error) in _MISSING:
                    return None
                raise

    def write(self, name: str, content: bytes) -> None:
        """Write an object, over an older one if there is one."""
        with self._explained(name):
            self._client.put_object(**self._location(name), Body=content)

    def replace(self, name: str, content: bytes, etag: str | None) -> bool:
        """Write an object if the stored one still has this ETag. True if it was written.

        etag: None to write only if there is no such object
        """
        writer = uuid.uuid4().hex
        condition = {"IfNoneMatch": "*"} if etag is None else {"IfMatch": etag}
        with self._explained(name):
            try:
                self._client.put_object(**self._location(name), Body=content, Metadata={"writer": writer}, **condition)
            except ClientError as error:
                if _code(error) in _MISSING:  # deleted since
                    return False
                if _code(error) not in _NOT_MET:
                    raise
                # An earlier attempt may have been stored although its response was lost.
                return self._writer(name) == writer
        return True

    def _writer(self, name: str) -> str | None:
        """The mark of the process that wrote an object; None if there is no such object or no mark."""
        try:
            return self._client.head_object(**self._location(name))["Metadata"].get("writer")
        except ClientError as error:
            if _code(error) in _MISSING:
                return None
            raise

    def upload(self, path: Path, name: str) -> None:
        """Write an object from a file of any size, a large one in parts."""
        with self._explained(name), path.open("rb") as file:
            self._client.upload_fileobj(file, self.bucket, self._prefix + name, Config=_transfers())

    def download(self, name: str, path: Path, sha256: str) -> None:
        """Write a file from an object of any size, a large one in parts. A wrong hash repeats the download."""

        def download() -> None:
            with path.open("w+b") as file:
                self._client.download_fileobj(self.bucket, self._prefix + name, file, Config=_transfers())
                file.seek(0)
                actual = hashlib.file_digest(file, "sha256").hexdigest()
            if actual != sha256:
                raise FlexibleChecksumError(error_msg=f"it has sha256 {actual}, expected {sha256}")

        with self._explained(name):
            _repeated(download, (FlexibleChecksumError,), DAMAGED_ATTEMPTS)

    def remove(self, *names: str) -> None:
        """Delete objects. Names without an object are no error."""
        for name in names:
            with self._explained(name):
                self._client.delete_object(**self._location(name))

    def _location(self, name: str) -> dict[str, str]:
        """Arguments of boto3 that name an object."""
        return {"Bucket": self.bucket, "Key": self._prefix + name}

    @cached_property
    def _client(self) -> Any:
        config = Config(
            connect_timeout=CONNECT_SECONDS,
            read_timeout=READ_SECONDS,
            retries={"mode": "standard", "total_max_attempts": attempts()},
            max_pool_connections=CONNECTIONS,
        )
        try:
            return _session().client("s3", region_name=region(), config=config)
        except (BotoCoreError, ValueError) as error:  # ValueError if the endpoint is no URL
            raise self.error(f"{self}: {_reason(error)}") from error

    @contextmanager
    def _explained(self, name: str) -> Iterator[None]:
        """Turns errors of boto3 into `error`."""
        try:
            yield
        except _FAULTS as error:
            raise self.error(f"{self.address(name)}: {_reason(error)}") from error


def _session() -> Session:
    """A new session, as threads must not share one. Sessions share the descriptions of services, which take 0.1 s."""
    core = botocore.session.get_session()
    core.register_component("data_loader", _descriptions())
    return Session(botocore_session=core)


@cache
def _descriptions() -> Any:
    """The loader that reads the descriptions of services and keeps them."""
    return botocore.loaders.create_loader()


def _transfers() -> TransferConfig:
    return TransferConfig(
        multipart_threshold=PART_BYTES,
        multipart_chunksize=PART_BYTES,
        num_download_attempts=attempts(),
        preferred_transfer_client="classic",
    )


def _repeated(action: Callable[[], T], faults: tuple[type[Exception], ...], times: int) -> T:
    """The result of `action`, run up to `times` times until it raises none of `faults`.

    boto3 repeats requests, but not a response whose body is cut off or damaged.
    """
    for attempt in range(times - 1):
        try:
            return action()
        except faults:
            time.sleep(random.uniform(0, PAUSE_SECONDS * 2**attempt))
    return action()


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _reason(error: Exception) -> str:
    """The error in words for a person."""
    if isinstance(error, RetriesExceededError):
        return f"it did not arrive in {attempts()} attempts: {error.last_exception}"
    if isinstance(error, NoCredentialsError | PartialCredentialsError):
        return "no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or AWS_PROFILE, or use a role"
    if not isinstance(error, ClientError):
        return str(error)
    operation, code = error.operation_name, _code(error)
    if code in _MESSAGES:
        return _MESSAGES[code].format(operation=operation, code=code)
    times = error.response.get("ResponseMetadata", {}).get("RetryAttempts", 0) + 1
    message = error.response.get("Error", {}).get("Message", "")
    return f"{operation} failed {times} times: {code} {message}".rstrip()
