"""Recommendations: requests become batches, and a batch goes through the stages of one version."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from recsys.arrays import offsets_of
from recsys.errors import RuleError
from recsys.inference.options import BatchOptions
from recsys.inference.recommender import Recommendations
from recsys.inference.servable import Servable
from recsys.inference.session_events import EncodedSession, JoinedHistories, join
from recsys.registry.bundle import Bundle
from recsys.rules.batch import BatchRules
from recsys.rules.request import RequestRules
from recsys.schema import OBJECTIVES, Objective
from recsys.serving.batching import Batcher
from recsys.serving.deadline import deadline
from recsys.serving.errors import BadParameter, HttpError, Unavailable
from recsys.serving.following import Following
from recsys.serving.histories import HistorySource, UserHistories
from recsys.serving.metrics.recorder import Recorder
from recsys.serving.metrics.stages import StageMetrics
from recsys.serving.rules import FollowedRules
from recsys.serving.sessions import Session, SessionEncoder
from recsys.serving.settings import ServeSettings
from recsys.serving.stages import StageRunner
from recsys.serving.user_ids import UserId, parse_user_id, user_not_found

COLD_START_HINT = "; ask with cold_start=true for popular items"


@dataclass(frozen=True, slots=True)
class Request:
    """A request for recommendations.

    user: the user's id as in the address, None for a visitor without one; n: items at most
    cold_start: whether a user without events gets popular items instead of an error
    repeat_cap: see `Recommender.repeat_caps`; None for the version's own
    session: what the visitor did in this visit; a user without events is no error then
    explain: whether the items get explanations
    rules: filters and rules of the request alone
    """

    user: str | None
    n: int
    cold_start: bool
    objective: Objective
    repeat_cap: float | None = None
    session: Session | None = None
    explain: bool = False
    rules: RequestRules | None = None

    @property
    def needs_user(self) -> bool:
        """Whether a user without events is an error."""
        return self.session is None and not self.cold_start


@dataclass(frozen=True, slots=True)
class Response:
    """The recommendations of a batch, of which the request at `position` gets at most `n`.

    user_id: None for a visitor without one
    source_names: the columns of the batch's provenance
    unknown_items: number of the session's events on items that the version does not have
    """

    user_id: UserId | None
    bundle: Bundle
    batch: Recommendations
    position: int
    n: int
    source_names: tuple[str, ...] = ()
    unknown_items: int = 0

    @property
    def note(self) -> str | None:
        """The reason why the list is empty, where rules are at fault."""
        start, end = self.batch.offsets[self.position : self.position + 2].tolist()
        return None if end > start or self.batch.programs is None else self.batch.programs.note(self.position)


@dataclass(frozen=True, slots=True)
class _Admitted:
    """The requests of a batch that have no error so far.

    positions: in the batch; user_ids: None for visitors without one
    sessions: by position in this list
    """

    positions: Sequence[int]
    user_ids: Sequence[UserId | None]
    sessions: Mapping[int, EncodedSession]

    def take(self, rows: Sequence[int]) -> "_Admitted":
        """The requests at some positions in this list."""
        sessions = {new: self.sessions[row] for new, row in enumerate(rows) if row in self.sessions}
        return _Admitted([self.positions[row] for row in rows], [self.user_ids[row] for row in rows], sessions)


class BatchedRecommender:
    """Answers requests in batches, each batch from one version that all stages have loaded."""

    def __init__(
        self,
        following: Following,
        stages: StageRunner,
        histories: HistorySource,
        settings: ServeSettings,
        rules: FollowedRules | None = None,
        metrics: StageMetrics | None = None,
    ) -> None:
        self._following, self._stages, self._histories, self._settings = following, stages, histories, settings
        self._rules = rules
        self._metrics = metrics or StageMetrics(Recorder(), settings.topology)
        self._batcher: Batcher[Request, Response] = Batcher(
            self.recommend_batch,
            max_waiting=settings.max_waiting,
            max_batch=settings.max_batch,
            batches=settings.batches,
            max_delay=settings.max_delay_ms / 1000,
            on_batch=self._metrics.batch,
        )

    @property
    def waiting(self) -> int:
        """Requests that are in no batch yet."""
        return self._batcher.waiting

    def take_most_waiting(self) -> int:
        """See Batcher."""
        return self._batcher.take_most_waiting()

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
        admitted = _admit(servable, requests, outcomes)
        if not admitted.positions:
            return [outcomes[position] for position in range(len(requests))]
        with self._metrics.timed("histories"):
            users = await self._read(servable, admitted.user_ids)
        exists = users.exists.tolist()
        missing = [p for row, p in enumerate(admitted.positions) if requests[p].needs_user and not exists[row]]
        if missing:
            outcomes |= {p: user_not_found(requests[p].user or "", COLD_START_HINT) for p in missing}
            rows = [row for row, p in enumerate(admitted.positions) if p not in outcomes]
            users, admitted = users.take(rows), admitted.take(rows)
        if admitted.positions:
            now = self._now(users.newest)
            joined = join(users.histories, admitted.sessions, now) if admitted.sessions else None
            histories = users.histories if joined is None else joined.histories
            options = self._options([requests[p] for p in admitted.positions], admitted.user_ids, joined)
            batch = await self._stages(servable, histories, now if joined is None else joined.now, options)
            if batch is None:
                return None
            bundle, sources = servable.bundle, servable.recommender.source_names
            lengths = [requests[p].n for p in admitted.positions]
            self._metrics.listed(batch, sources, lengths, admitted.sessions)
            for row, p in enumerate(admitted.positions):
                unknown = admitted.sessions[row].unknown_items if row in admitted.sessions else 0
                outcomes[p] = Response(admitted.user_ids[row], bundle, batch, row, requests[p].n, sources, unknown)
        return [outcomes[position] for position in range(len(requests))]

    async def _read(self, servable: Servable, user_ids: Sequence[UserId | None]) -> UserHistories:
        """The histories of some users; those of visitors without an id are empty."""
        named = [row for row, user_id in enumerate(user_ids) if user_id is not None]
        users = await self._histories.histories(servable, [name for name in user_ids if name is not None])
        users.check(len(named), len(servable.bundle.items))
        if len(named) == len(user_ids):
            return users
        lengths, exists = np.zeros(len(user_ids), np.int64), np.zeros(len(user_ids), bool)
        lengths[named], exists[named] = users.histories.lengths, users.exists
        return UserHistories(replace(users.histories, offsets=offsets_of(lengths)), exists, users.newest)

    def _now(self, newest: int) -> int:
        """The present of a batch, ms; newest: of the histories."""
        return newest if self._settings.clock == "data" else max(newest, int(time.time() * 1000))

    def _options(
        self, requests: Sequence[Request], user_ids: Sequence[UserId | None], joined: JoinedHistories | None
    ) -> BatchOptions:
        lengths = [request.n for request in requests]
        file, now = self._rules.current() if self._rules else None, int(time.time() * 1000)
        explained = np.array([request.n if request.explain else 0 for request in requests])
        return BatchOptions(
            max(lengths),
            np.array([OBJECTIVES.index(request.objective) for request in requests], np.int8),
            np.array([request.repeat_cap for request in requests], np.float64),  # None becomes NaN
            explained if explained.any() else None,
            joined.in_session if joined is not None and joined.in_session.any() else None,
            BatchRules.build([request.rules for request in requests], lengths, user_ids, file, now),
        )


def _admit(servable: Servable, requests: Sequence[Request], outcomes: dict[int, Response | HttpError]) -> _Admitted:
    """The requests that a version understands; the errors of the others go to `outcomes`, by position."""
    bundle = servable.bundle
    encode = SessionEncoder(bundle) if any(request.session for request in requests) else None
    positions: list[int] = []
    user_ids: list[UserId | None] = []
    sessions: dict[int, EncodedSession] = {}
    for position, request in enumerate(requests):
        try:
            user_id = None if request.user is None else parse_user_id(bundle, request.user)
            if request.rules is not None:
                servable.recommender.rules.check(request.rules)
            if request.session is not None and encode is not None:
                sessions[len(positions)] = encode(request.session)
        except HttpError as error:
            outcomes[position] = error
            continue
        except RuleError as error:
            outcomes[position] = BadParameter(str(error))
            continue
        positions.append(position)
        user_ids.append(user_id)
    return _Admitted(positions, user_ids, sessions)
