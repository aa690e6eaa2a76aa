"""Recommendations: requests become batches, and a batch goes through the stages of one version."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recsys.inference.recommender import Recommendations
from recsys.inference.servable import Servable
from recsys.registry.bundle import Bundle
from recsys.schema import OBJECTIVES, Objective
from recsys.serving.batching import Batcher
from recsys.serving.deadline import deadline
from recsys.serving.errors import HttpError, Unavailable
from recsys.serving.following import Following
from recsys.serving.histories import HistorySource
from recsys.serving.settings import ServeSettings
from recsys.serving.stages import BatchOptions, StageRunner
from recsys.serving.user_ids import UserId, parse_user_id, user_not_found

COLD_START_HINT = "; ask with cold_start=true for popular items"


@dataclass(frozen=True, slots=True)
class Request:
    """A request for recommendations.

    user: the user's id as in the address; n: items at most
    cold_start: whether a user without events gets popular items instead of an error
    repeat_cap: see `Recommender.repeat_caps`; None for the version's own
    """

    user: str
    n: int
    cold_start: bool
    objective: Objective
    repeat_cap: float | None = None


@dataclass(frozen=True, slots=True)
class Response:
    """The recommendations of a batch, of which the user at `position` gets at most `n`."""

    user_id: UserId
    bundle: Bundle
    batch: Recommendations
    position: int
    n: int


class BatchedRecommender:
    """Answers requests in batches, each batch from one version that all stages have loaded."""

    def __init__(
        self, following: Following, stages: StageRunner, histories: HistorySource, settings: ServeSettings
    ) -> None:
        self._following, self._stages, self._histories, self._settings = following, stages, histories, settings
        self._batcher: Batcher[Request, Response] = Batcher(
            self.recommend_batch,
            max_waiting=settings.max_waiting,
            max_batch=settings.max_batch,
            batches=settings.batches,
            max_delay=settings.max_delay_ms / 1000,
        )

    @property
    def waiting(self) -> int:
        """Requests that are in no batch yet."""
        return self._batcher.waiting

    async def recommend(self, request: Request) -> Response:
        """The response to one request; raises BadUserId, UserNotFound or Unavailable."""
        self._following.ready()
        async with deadline(self._settings.deadline_ms):
            return await self._batcher(request)

    async def recommend_batch(self, requests: Sequence[Request]) -> list[Response | HttpError]:
        """The response to each request or its error, from the version served or one before it.

        An older version answers where a stage lacks the newest, as in a replica that has just started.
        Raises Unavailable where there is no common version, and TimeoutError after the deadline.
        """
        # After the deadline no request of the batch waits any longer, and the next batch may go.
        async with asyncio.timeout(self._settings.deadline_ms / 1000):
            for servable in self._following.loaded:
                if (responses := await self.recommend_from(servable, requests)) is not None:
                    return responses
            await self._following.update()
            if (responses := await self.recommend_from(self._following.ready(), requests)) is not None:
                return responses
        raise Unavailable("the stages do not hold a common version yet")

    async def recommend_from(
        self, servable: Servable, requests: Sequence[Request]
    ) -> list[Response | HttpError] | None:
        """The response to each request or its error, from one version; None where a stage has not loaded it."""
        outcomes: dict[int, Response | HttpError] = {}  # by position in `requests`
        user_ids: dict[int, UserId] = {}
        for position, request in enumerate(requests):
            try:
                user_ids[position] = parse_user_id(servable.bundle, request.user)
            except HttpError as error:
                outcomes[position] = error
        positions = list(user_ids)
        if positions:
            users = await self._histories.histories(servable, list(user_ids.values()))
            users.check(len(positions), len(servable.bundle.items))
            exists = users.exists.tolist()
            missing = [p for row, p in enumerate(positions) if not (exists[row] or requests[p].cold_start)]
            if missing:
                outcomes |= {p: user_not_found(requests[p].user, COLD_START_HINT) for p in missing}
                rows = [row for row, p in enumerate(positions) if p not in outcomes]
                users, positions = users.take(rows), [positions[row] for row in rows]
        if positions:
            options = _options([requests[position] for position in positions])
            batch = await self._stages(servable, users.histories, self._now(users.newest), options)
            if batch is None:
                return None
            for row, position in enumerate(positions):
                n = requests[position].n
                outcomes[position] = Response(user_ids[position], servable.bundle, batch, row, n)
        return [outcomes[position] for position in range(len(requests))]

    def _now(self, newest: int) -> int:
        """The present of a batch, ms; newest: of the histories."""
        return newest if self._settings.clock == "data" else max(newest, int(time.time() * 1000))


def _options(requests: Sequence[Request]) -> BatchOptions:
    return BatchOptions(
        max(request.n for request in requests),
        np.array([OBJECTIVES.index(request.objective) for request in requests], np.int8),
        np.array([request.repeat_cap for request in requests], np.float64),  # None becomes NaN
    )
