"""Runners of a request's stages: in this process here, as Serve deployments in `graph_stages`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from recsys.histories import Histories
from recsys.inference.recommender import Recommendations
from recsys.inference.servable import Servable

VersionsByStage = Mapping[str, Sequence[Sequence[str]]]
"""For each stage the versions that each of its replicas has loaded."""


@dataclass(frozen=True, slots=True)
class BatchOptions:
    """Options of a batch of users.

    n: items of each user at most
    objectives: int8 (n_users,), positions in OBJECTIVES
    repeat_caps: float64 (n_users,), NaN for the version's own, see `Recommender.repeat_caps`
    """

    n: int
    objectives: np.ndarray
    repeat_caps: np.ndarray


class StageRunner(Protocol):
    """Runs the stages of a version over a batch of users. Every method may raise Unavailable."""

    async def __call__(
        self, servable: Servable, histories: Histories, now: int, options: BatchOptions
    ) -> Recommendations | None:
        """The best items of each user, or None where a stage has not loaded the version; now: ms."""

    async def load(self, version: str) -> None:
        """Load a version in every replica of every stage; raises RegistryError where one cannot."""

    async def loaded_versions(self) -> VersionsByStage: ...


class LocalStages:
    """All stages in this process, over the version that the service itself has loaded."""

    async def __call__(
        self, servable: Servable, histories: Histories, now: int, options: BatchOptions
    ) -> Recommendations | None:
        return servable.recommender(histories, now, options.n, options.objectives, options.repeat_caps)

    async def load(self, version: str) -> None:
        """Nothing is left to do: the service loads the version."""

    async def loaded_versions(self) -> VersionsByStage:
        return {}
