"""The small shop on Ray: read, in partitions, and trained on once."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import ray

from recsys import cli
from recsys.config import TrainConfig
from recsys.data.catalog import TreeProblems
from recsys.data.ingest import ShopData, ingest
from recsys.data.shop import PropertyQuality, Quality, UserPartition
from recsys.data.sources import resolve
from recsys.registry.folder import FolderStore
from recsys.schema import DAY, EVENT_TYPES
from tests.support.once import once
from tests.support.shop_data import END, START, train_arguments, write_shop
from tests.support.world import small_config, small_world

SESSIONS = "sessions.publish=always"
"""The setting of the trained shop beside those of `train_arguments`."""


def read_shop(folder: Path, config: TrainConfig | None = None) -> ShopData:
    """The shop that training reads from a folder; needs Ray."""
    config = config or small_config()
    source = resolve(str(folder), folder / "work")
    return ingest(source, config.data, END + DAY, folder / "quarantine.parquet")


def world_shop(n_partitions: int) -> ShopData:
    """`small_world` as a shop whose users are dealt out in turns to partitions; needs Ray."""
    world = small_world()
    everyone = np.arange(len(world.partition.users))
    parts = [everyone[start::n_partitions] for start in range(n_partitions)]
    quality = Quality(0, 0, {}, 0, 0, PropertyQuality(0, 0, 0, 0, {}, {}, TreeProblems()))
    return ShopData(
        world.items,
        "int64",
        tuple(
            ray.put(UserPartition(world.partition.users.take(pa.array(part)), world.partition.histories.take(part)))
            for part in parts
        ),
        len(everyone),
        dict(zip(EVENT_TYPES, world.partition.histories.counts().sum(axis=0).tolist(), strict=True)),
        START,
        END,
        world.daily,
        world.catalog,
        quality,
        "",
        "small",
    )


@dataclass(frozen=True)
class Trained:
    """A registry with one version in production, trained on the small shop in `data`."""

    data: Path
    registry: Path

    @cached_property
    def version(self) -> str:
        [version] = FolderStore(self.registry).versions()
        return version.name

    @property
    def path(self) -> Path:
        return FolderStore(self.registry).path()

    @cached_property
    def metrics(self) -> dict[str, Any]:
        return metrics_of(self.registry)


def metrics_of(registry: Path) -> dict[str, Any]:
    """metrics.json of the version in production."""
    content: dict[str, Any] = json.loads((FolderStore(registry).path() / "metrics.json").read_text())
    return content


def trained_shop(factory: pytest.TempPathFactory) -> Trained:
    """The trained shop. The first call of a test run trains; no test may change the folders."""
    if not ray.is_initialized():  # whoever trains would start another Ray, which later files stumble over
        raise RuntimeError("a test of the trained shop needs the fixture ray_session")
    folder = once(factory, "trained", _train)
    return Trained(folder / "data", folder / "registry")


def _train(folder: Path) -> None:
    if cli.main(["train", *train_arguments(write_shop(folder / "data"), folder / "registry", SESSIONS)]):
        raise RuntimeError("training on the small shop failed; its error is on stderr")


def written_report(factory: pytest.TempPathFactory) -> Path:
    """The folder that `python -m recsys report` writes of the trained shop; written once a test run."""
    registry = trained_shop(factory).registry

    def write(folder: Path) -> None:
        arguments = ["report", "--registry", str(registry), "--out", str(folder / "deep" / "er")]
        if cli.main(arguments):
            raise RuntimeError("the report of the small shop was not written; the error is on stderr")

    return once(factory, "report", write) / "deep" / "er"
