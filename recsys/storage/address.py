"""Addresses of files: paths, or s3://bucket/key. This module needs no library of S3."""

from typing import Final

SCHEME: Final = "s3://"


def is_s3(uri: str) -> bool:
    """True if the address begins with s3://."""
    return uri.startswith(SCHEME)
