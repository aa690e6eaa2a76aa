"""Single users: what they did in all, their newest events, and a random one."""

from typing import Annotated

from fastapi import FastAPI, Query
from fastapi.responses import Response
from typing_extensions import TypedDict

from recsys.schema import EVENT_TYPES, PURCHASE, EventType
from recsys.serving.api.errors import responses
from recsys.serving.api.messages import (
    CategoryId,
    Count,
    Fraction,
    ItemId,
    Time,
    UserId,
    UserType,
    categories_of,
    json_response,
    message,
    user_type,
    utc_text,
)
from recsys.serving.api.parameters import Limit, User
from recsys.serving.api.routes import add_user_route
from recsys.serving.api.scopes import needs
from recsys.serving.service import Service
from recsys.serving.users import NewestEvents, UserSummary

WantedType = Annotated[UserType, Query(description="With an event on an item of the factorization, or none")]


@message
class UserStats(TypedDict):
    user_id: UserId
    user_type: UserType
    total_events: Count
    purchases: Count
    conversion_rate: Fraction
    """Purchases per event."""
    unique_items_viewed: Count
    unique_categories_viewed: Count
    first_seen: Time
    last_seen: Time


@message
class UserEvent(TypedDict):
    timestamp: Time
    event: EventType
    itemid: ItemId
    category: CategoryId


@message
class UserEvents(TypedDict):
    user_id: UserId
    events: list[UserEvent]
    """Newest first."""


@message
class UserChoice(TypedDict):
    user_id: UserId
    user_type: UserType


def stats_message(user: UserSummary) -> UserStats:
    """The totals of a user as they go over HTTP."""
    totals = user.totals
    total, purchases = sum(totals.counts), totals.counts[PURCHASE]
    return UserStats(
        user_id=user.user_id,
        user_type=user_type(user.warm),
        total_events=total,
        purchases=purchases,
        conversion_rate=purchases / total,
        unique_items_viewed=totals.items,
        unique_categories_viewed=totals.categories,
        first_seen=utc_text(totals.first),
        last_seen=utc_text(totals.last),
    )


def events_message(newest: NewestEvents) -> UserEvents:
    """The newest events of a user as they go over HTTP."""
    bundle, events = newest.bundle, newest.events
    columns = (
        events.times.tolist(),
        events.events.tolist(),
        bundle.items.to_list(events.items),
        categories_of(bundle, events.items),
    )
    oldest_first = [
        UserEvent(timestamp=utc_text(time), event=EVENT_TYPES[event], itemid=item, category=category)
        for time, event, item, category in zip(*columns, strict=True)
    ]
    return UserEvents(user_id=newest.user_id, events=oldest_first[::-1])


def add_routes(api: FastAPI, service: Service) -> None:
    """Add GET /user/{user_id}/stats and /user/{user_id}/events, both also without the id, and /users/random."""

    @needs("read")
    async def stats(user_id: User) -> Response:
        """Totals of a user's events."""
        return json_response(stats_message(await service.users.summary(user_id)))

    @needs("read")
    async def events(user_id: User, limit: Limit = 50) -> Response:
        """A user's newest events."""
        return json_response(events_message(await service.users.newest_events(user_id, limit)))

    add_user_route(api, "/user/{user_id:path}/stats", stats, responses(UserStats, 400, 404, 503))
    add_user_route(api, "/user/{user_id:path}/events", events, responses(UserEvents, 400, 404, 503))

    @api.get("/users/random", responses=responses(UserChoice, 400, 404, 503), response_model=None)
    @needs("read")
    async def random_user(user_type: WantedType = "warm") -> Response:
        """Some user of a type."""
        user_id = await service.users.random_user(user_type == "warm")
        return json_response(UserChoice(user_id=user_id, user_type=user_type))
