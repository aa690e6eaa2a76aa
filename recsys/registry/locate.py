"""The registry of a URI, and the default registry."""

import os
from pathlib import Path
from typing import Final

from recsys.errors import RegistryError
from recsys.registry.folder import FolderStore
from recsys.registry.store import Store
from recsys.storage.address import SCHEME, is_s3

FOLDER: Final = "registry"
"""Folder of the default registry."""


def default_registry() -> str:
    """The URI of the default registry: in the bucket S3_BUCKET if it is set, else a folder."""
    bucket = os.environ.get("S3_BUCKET")
    return f"{SCHEME}{bucket}/{FOLDER}" if bucket else FOLDER


def absolute(uri: str) -> str:
    """The URI, with an absolute path if it is a folder, since other processes have other working folders."""
    return uri if "://" in uri or not uri else str(Path(uri).absolute())


def open_store(uri: str) -> Store:
    """The registry at a folder path or s3://bucket/prefix. It need not exist yet: the first publish makes it.

    Raises RegistryError if the URI is neither of the two.
    """
    if is_s3(uri):
        from recsys.registry.bucket import S3Store  # noqa: PLC0415 - S3's library takes 0.2 s of each replica's start

        return S3Store(uri)
    scheme, separator, _ = uri.partition("://")
    if separator:
        raise RegistryError(
            f"registry {uri}: {scheme}:// is not supported, expected a folder path or s3://bucket/prefix"
        )
    if not uri:
        raise RegistryError("the registry's path is empty, expected a folder path or s3://bucket/prefix")
    return FolderStore(Path(uri))
