"""Single users: their totals, their newest events, and a random one."""

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Final

from recsys.histories import Histories
from recsys.inference.servable import Servable
from recsys.models.snapshot import UserTotals
from recsys.registry.bundle import Bundle
from recsys.serving.deadline import deadline
from recsys.serving.errors import UserNotFound
from recsys.serving.following import Following
from recsys.serving.histories import HistorySource, UserHistories
from recsys.serving.settings import ServeSettings
from recsys.serving.user_ids import UserId, parse_user_id, user_not_found

RANDOM_TRIES: Final = 500
"""Random users among which one of a type is looked for."""
TRIES_AT_ONCE: Final = 20
"""Random users whose events are read together."""


@dataclass(frozen=True, slots=True)
class UserSummary:
    """One user; warm: whether an event is on an item with a factor; totals: of all events."""

    user_id: UserId
    warm: bool
    totals: UserTotals


@dataclass(frozen=True, slots=True)
class NewestEvents:
    """The newest events of one user, oldest first; items are codes of the bundle."""

    user_id: UserId
    bundle: Bundle
    events: Histories


class Users:
    """Reads single users from the source of histories, each request within the deadline."""

    def __init__(self, following: Following, histories: HistorySource, settings: ServeSettings) -> None:
        self._following, self._histories, self._settings = following, histories, settings

    async def summary(self, user: str) -> UserSummary:
        """The totals of a user; raises BadUserId, UserNotFound or Unavailable. user: the id as in the address"""
        servable = self._following.ready()
        user_id = parse_user_id(servable.bundle, user)
        async with self._deadline():
            totals = await self._histories.totals(servable, user_id)
            if totals is None:
                raise user_not_found(user)
            [warm] = _warm(servable, await self._histories.histories(servable, [user_id]))
        return UserSummary(user_id, warm, totals)

    async def newest_events(self, user: str, limit: int) -> NewestEvents:
        """At most `limit` events of a user; raises BadUserId, UserNotFound or Unavailable."""
        servable = self._following.ready()
        user_id = parse_user_id(servable.bundle, user)
        async with self._deadline():
            users = await self._histories.histories(servable, [user_id])
        if not users.exists[0]:
            raise user_not_found(user)
        return NewestEvents(user_id, servable.bundle, users.histories.latest(limit))

    async def random_user(self, warm: bool) -> UserId:
        """A random user who is warm, or one who is not; raises UserNotFound or Unavailable."""
        servable = self._following.ready()
        async with self._deadline():
            drawn = await self._histories.random_users(servable, RANDOM_TRIES)
            for start in range(0, len(drawn), TRIES_AT_ONCE):
                some = drawn[start : start + TRIES_AT_ONCE]
                of_type = _warm(servable, await self._histories.histories(servable, some))
                if warm in of_type:
                    return some[of_type.index(warm)]
        raise UserNotFound(f"no {'warm' if warm else 'cold'} user among {RANDOM_TRIES} drawn at random")

    def _deadline(self) -> AbstractAsyncContextManager[None]:
        return deadline(self._settings.deadline_ms)


def _warm(servable: Servable, users: UserHistories) -> list[bool]:
    """Whether each user has an event on an item with a factor."""
    warm: list[bool] = servable.bundle.tables.factors.warm(users.histories).tolist()
    return warm
