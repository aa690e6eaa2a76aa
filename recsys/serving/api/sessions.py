"""Recommendations to a session, which travels in its request."""

import math
import time
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from fastapi import FastAPI
from fastapi import Request as HttpRequest
from fastapi.responses import Response
from pydantic import BeforeValidator, Field, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from recsys.inference.session_events import DEFAULT_EVENT, NOW
from recsys.schema import LATEST, Objective
from recsys.serving.api.bodies import Body, RuledBody, whole
from recsys.serving.api.errors import responses
from recsys.serving.api.messages import Count, json_response, message
from recsys.serving.api.parameters import Language
from recsys.serving.api.recommendations import (
    ACCEPT_LANGUAGE,
    Recommendations,
    explained_in,
    recommendations_message,
)
from recsys.serving.api.scopes import needs
from recsys.serving.recommendations import Request
from recsys.serving.service import Service
from recsys.serving.sessions import Session, SessionEvent

MAX_EVENTS: Final = 500
"""Events of one session at most."""
EARLIEST: Final = 315_532_800_000
"""The beginning of 1980, ms. An earlier time is a number of seconds, or a mistake."""
AHEAD: Final = 5 * 60_000
"""ms by which an event may be later than this machine's clock, since another machine's may differ."""


def _id(value: Any) -> int | str:
    """An id of the shop's data: an integer or a text that UTF-8 can write."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise PydanticCustomError("id", "expected a text of whole characters") from None
        return value
    value = whole(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise PydanticCustomError("id", "expected an id, an integer or a text")
    return value


def _time(value: Any) -> int:
    """ms since 1970 UTC from a number of ms or a date of ISO 8601, NOW for None."""
    if value is None:
        return NOW
    ms = _iso(value) if isinstance(value, str) else _milliseconds(value)
    if ms < EARLIEST:
        raise PydanticCustomError("time", "it is before 1980; expected milliseconds since 1970")
    if ms > min(int(time.time() * 1000) + AHEAD, LATEST):
        raise PydanticCustomError("time", "it is later than now; expected a time of the past")
    return ms


def _milliseconds(value: Any) -> int:
    endless = isinstance(value, float) and not math.isfinite(value)  # an integer may be too large for this question
    if isinstance(value, bool) or not isinstance(value, int | float) or endless:
        raise PydanticCustomError("time", "expected milliseconds since 1970, or a text such as 2015-08-01T07:10:35Z")
    return int(value)


def _iso(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise PydanticCustomError(
            "time", "expected a date of ISO 8601 such as 2015-08-01T07:10:35Z, or milliseconds since 1970"
        ) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1000)


ID_TYPES: Final = ({"type": "integer"}, {"type": "string"})
TIME_TYPES: Final = ({"type": "integer", "minimum": EARLIEST}, {"type": "string", "format": "date-time"})
NULL: Final = {"type": "null"}

Id = Annotated[Any, PlainValidator(_id), WithJsonSchema({"anyOf": [*ID_TYPES]}), Field(examples=[48030])]
OptionalId = Annotated[
    Any,
    PlainValidator(lambda value: None if value is None else _id(value)),
    WithJsonSchema({"anyOf": [*ID_TYPES, NULL]}),
    Field(examples=[3]),
]
EventTime = Annotated[
    Any,
    PlainValidator(_time),
    WithJsonSchema({"anyOf": [*TIME_TYPES, NULL]}),
    Field(validate_default=True, examples=[1438413035296, "2015-08-01T07:10:35Z"]),
]


class Event(Body):
    """Something that a visitor did."""

    itemid: Id
    """The item, as in the shop's data. Events on items that the version does not have are passed over."""
    event: Annotated[str | None, Field(examples=["view"])] = DEFAULT_EVENT
    """`view`, `addtocart`, `transaction`, or a word of the shop's own log."""
    timestamp: EventTime = None
    """Milliseconds since 1970, or a date of ISO 8601; UTC where it names no zone. By default the event happens now, and
    events of now keep their order."""

    @property
    def word(self) -> str:
        """The word of the event; null is a view."""
        return DEFAULT_EVENT if self.event is None else self.event


class SessionRequest(RuledBody):
    """A session, what is wanted for it, and filters and rules."""

    events: Annotated[list[Event], Field(max_length=MAX_EVENTS, examples=[[{"itemid": 48030, "event": "view"}]])]
    """What the visitor did in this visit. The newest events count most. They are not stored."""
    user_id: OptionalId = None
    """The user, whose history counts too; an unknown user is no error."""
    n: Annotated[int, Field(ge=1, le=50, examples=[5]), BeforeValidator(whole)] = 5
    """How many at most."""
    objective: Annotated[Objective, Field(examples=["discover"])] = "all"
    """All items, only those new to the visitor, or only those of the session and the history."""
    repeat_cap: Annotated[float | None, Field(ge=0, le=1, alias="repeat_share", examples=[0.5])] = None
    """With objective=all: the fraction of the list that may be items of the session and the history, by default the
    version's own."""
    explain: Annotated[bool, Field(examples=[True])] = False
    """Explain each item: its sources, its category and the reasons."""
    language: Annotated[Language | None, Field(examples=["de"])] = None
    """With `explain`: the language of the sentences, before that of the header Accept-Language."""
    cold_start: Annotated[bool, Field(examples=[True])] = True
    """Without effect: a session without a known item gets popular items in any case."""

    def request(self) -> Request:
        """The same for the service."""
        events = [SessionEvent(event.itemid, event.word, event.timestamp) for event in self.events]
        user = None if self.user_id is None else str(self.user_id)
        session, rules = Session(events), self.rules()
        return Request(user, self.n, self.cold_start, self.objective, self.repeat_cap, session, self.explain, rules)


@message
class SessionRecommendations(Recommendations):
    unknown_items: Count
    """Events on items that the version does not have. They were passed over."""


def add_routes(api: FastAPI, service: Service) -> None:
    """Add POST /recommend."""

    @api.post(
        "/recommend",
        responses=responses(SessionRecommendations, 400, 408, 413, 503),
        response_model=None,
        openapi_extra={"parameters": [ACCEPT_LANGUAGE]},
    )
    @needs("read")
    async def recommend_session(body: SessionRequest, http: HttpRequest) -> Response:
        """The items that a visitor is most likely to want next, from what the visitor did in this visit."""
        response = await service.recommender.recommend(body.request())
        templates, headers = explained_in(service, body.explain, body.language, http)
        listed = recommendations_message(response, templates)
        return json_response(SessionRecommendations(**listed, unknown_items=response.unknown_items), headers=headers)
