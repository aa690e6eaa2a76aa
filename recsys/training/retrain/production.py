"""The version in production as an opponent: opened, with its settings, and its lists for users of a test window."""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import ray
from pydantic import ValidationError

from recsys.cluster import run_tasks
from recsys.config import TrainConfig
from recsys.errors import RegistryError
from recsys.evaluation.protocol import TestCases
from recsys.histories import Histories
from recsys.ids import Ids
from recsys.inference.batch import open_version
from recsys.inference.recommender import Recommendations
from recsys.inference.stages import chunks
from recsys.registry import bundle
from recsys.registry.bundle import CONFIG, Bundle
from recsys.registry.store import Store
from recsys.schema import UNKNOWN
from recsys.training.scoring import CHUNK

WITHOUT: Final = "`recsys train` trains without a comparison"


@dataclass(frozen=True, slots=True)
class Production:
    """The version in production, opened.

    settings: those of its training; None if this code does not accept them
    problem: why it does not
    """

    opened: Bundle
    settings: TrainConfig | None
    problem: str = ""

    @property
    def config(self) -> TrainConfig:
        """The settings of its training; raises RegistryError if this code does not accept them."""
        if self.settings is None:
            raise RegistryError(f"production's settings cannot be refitted: {self.problem}; {WITHOUT}")
        return self.settings

    @property
    def version(self) -> str:
        """The name of the version."""
        return self.opened.version

    @property
    def watermark(self) -> int:
        """The time of the newest event that the version has seen, ms."""
        return self.opened.manifest.live_watermark

    @property
    def is_learned(self) -> bool:
        """Whether anything was learned from its data."""
        return self.opened.manifest.not_learned is None


def open_production(store: Store) -> Production | None:
    """The version in production; None if nothing was promoted yet. Raises RegistryError if it cannot be opened."""
    version = store.production()
    if version is None:
        return None
    try:
        folder = store.path(version)
        opened = bundle.read(folder)
    except RegistryError as error:
        raise RegistryError(f"nothing can be compared with production: {error}; {WITHOUT}") from error
    try:
        return Production(opened, TrainConfig.model_validate_json((folder / CONFIG).read_bytes()))
    except OSError as error:
        return Production(opened, None, f"{folder / CONFIG}: {error.strerror}")
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        return Production(opened, None, f"{folder / CONFIG}: setting {where}: {first['msg']}")


@dataclass(frozen=True, slots=True)
class Codes:
    """Item codes of a shop's data in those of a version, and back: int32, UNKNOWN for items that the other lacks.

    Codes ascend with the ids in both, so histories stay in their order.
    """

    to_version: np.ndarray
    to_shop: np.ndarray

    @classmethod
    def between(cls, shop: Ids, version: Ids) -> "Codes":
        """The codes of two sets of ids of the same type."""
        return cls(version.encode(shop.values), shop.encode(version.values))

    def of_version(self, histories: Histories) -> Histories:
        """The histories in the version's codes, without events on items that it does not have, as the service does."""
        known = histories.where(self.to_version[histories.items] != UNKNOWN)
        return replace(known, items=self.to_version[known.items])

    def lists(self, ranked: Recommendations, depth: int) -> np.ndarray:
        """The lists in the shop's codes, int32 (n_users, depth), padded with UNKNOWN."""
        lengths = np.diff(ranked.offsets)
        matrix = np.full((len(lengths), depth), UNKNOWN, np.int32)
        rows = np.repeat(np.arange(len(lengths)), lengths)
        matrix[rows, np.arange(len(rows)) - ranked.offsets[rows]] = self.to_shop[ranked.items]
        return matrix


def version_lists(production: Production, registry: str, items: Ids, cases: TestCases, now: int, k: int) -> np.ndarray:
    """The lists that the version in production gives to the users of a test window, int32 (n_users, k).

    It sees each history up to the cut, as the service does through live events, and no cap on repeats.
    registry: a URI that is valid on every node; items: of the shop's data; now: time of the cut, ms
    """
    codes = ray.put(Codes.between(items, production.opened.items))
    calls = [
        (registry, production.version, codes, cases.histories.take(users), now, k)
        for users in chunks(cases.histories, CHUNK)
    ]
    return np.concatenate(ray.get(run_tasks(recommend_chunk, "recommend from production", calls)))


def recommend_chunk(registry: str, version: str, codes: Codes, histories: Histories, now: int, k: int) -> np.ndarray:
    """The lists of one chunk of users, see `version_lists`."""
    _, recommender = open_version(registry, version)
    uncapped = np.ones(len(histories))
    return codes.lists(recommender(codes.of_version(histories), now, k, repeat_caps=uncapped), k)
