"""The registry on S3, over HTTP: atomic for readers, one winner among writers, and what it does when S3 fails."""

import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from buckets import Proxy

from recsys import s3
from recsys.errors import RegistryError
from recsys.registry import s3 as registry_s3
from recsys.registry.artifact import Artifact, write
from recsys.registry.cache import Cache
from recsys.registry.s3 import S3Store
from recsys.registry.store import Store, default_registry, open_store
from recsys.s3 import S3Folder

ROOT = Path(__file__).resolve().parent.parent
MEGABYTES = 1 << 20


def fill(folder: Path, size: int = 1000, text: str = "tree") -> None:
    write(folder, {"factors": np.arange(size)}, {}, {"ranker.txt": text}, {"alpha": 0.1})


def names(store: Store) -> list[str]:
    return [version.name for version in store.versions()]


def objects(bucket: str) -> list[str]:
    return [found.name for found in S3Folder(bucket, RegistryError).find()]


@pytest.fixture
def store(bucket: str) -> S3Store:
    return S3Store(f"{bucket}/models")


@pytest.fixture
def fresh(tmp_path: Path, bucket: str) -> Callable[[], S3Store]:
    """The same registry from a node that holds none of it."""
    return lambda: S3Store(f"{bucket}/models", Cache(tmp_path / f"cache{len(list(tmp_path.iterdir()))}"))


def test_publish_promote_open_roll_back(store: S3Store) -> None:
    assert (store.versions(), store.production()) == ([], None)
    versions = [store.publish(fill), store.publish(fill)]
    assert sorted(names(store)) == sorted(versions)
    assert store.production() is None
    for version in versions:
        store.promote(version)
        assert store.production() == version
    assert store.path().name == versions[1]
    assert Artifact.open(store.path()).array("factors").tolist() == list(range(1000))
    assert store.rollback() == versions[0]
    with pytest.raises(RegistryError, match=rf"nothing to roll back to in {store}: no .* before {versions[0]}"):
        store.rollback()
