"""Where the stages of a request run: here, or behind an interface that a Serve graph fulfils."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from recsys.errors import RecsysError
from recsys.histories import Histories
from recsys.inference.recommender import Recommendations
from recsys.inference.servable import Loaded
from recsys.serving.versions import Versions

Held = Mapping[str, Sequence[Sequence[str]]]
"""For each stage the versions that each of its replicas holds."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a batch of users is to be shown.

    n: items of each user
    objectives: int8 (n_users,), positions in OBJECTIVES
    repeat_shares: float64 (n_users,), see `Recommender.repeat_shares`
    """

    n: int
    objectives: np.ndarray
    repeat_shares: np.ndarray


class Unavailable(RecsysError):
    """A stage cannot be reached at the moment."""


class Engine(Protocol):
    """Runs the stages of one version over a batch of users. Every method may raise Unavailable."""

    async def __call__(self, loaded: Loaded, histories: Histories, now: int, wishes: Wishes) -> Recommendations | None:
        """The best items of each user, or None where a stage does not hold the version."""

    async def prepare(self, version: str) -> str | None:
        """Have every replica of every stage load a version; the reason why one cannot, or None."""

    async def held(self) -> Held: ...


class LocalEngine:
    """All stages in this process, over the versions that the service itself holds."""

    def __init__(self, versions: Versions) -> None:
        self._versions = versions

    async def __call__(self, loaded: Loaded, histories: Histories, now: int, wishes: Wishes) -> Recommendations | None:
        return loaded.recommender(histories, now, wishes.n, wishes.objectives, wishes.repeat_shares)

    async def prepare(self, version: str) -> str | None:
        return None  # the service has loaded it

    async def held(self) -> Held:
        return {}
