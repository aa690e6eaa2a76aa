"""What goes over HTTP: the shapes of answers, and errors with a status."""

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from recsys.errors import RecsysError
from recsys.schema import EventType

UserId = Annotated[int | str, Field(examples=[3])]
ItemId = Annotated[int | str, Field(examples=[48030])]
CategoryId = Annotated[int | str | None, Field(examples=[1173])]
UserType = Literal["warm", "cold"]
Time = Annotated[str, Field(examples=["2015-08-01 07:10:35.296000"])]
"""UTC."""
Version = Annotated[str, Field(examples=["v20261123-083501-3fa9c1"])]
Count = Annotated[int, Field(ge=0, examples=[200])]
Share = Annotated[float, Field(ge=0, le=1, examples=[0.42])]
RETRY_AFTER_SECONDS = 1


class HttpError(RecsysError):
    """An answer other than 200."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status, self.detail = status, detail

    @property
    def headers(self) -> dict[str, str]:
        """503 says when to come back."""
        return {"Retry-After": str(RETRY_AFTER_SECONDS)} if self.status == 503 else {}


class Message(BaseModel):
    """Base of what is sent; the texts under its fields appear in the documentation."""

    model_config = ConfigDict(use_attribute_docstrings=True)


class Problem(Message):
    detail: str = Field(examples=["user 3 not found; ask with cold_start=true for popular items"])


class Recommendation(Message):
    itemid: ItemId
    score: Share
    """(1 - alpha) * lgb_score + alpha * mf_score, or lgb_score alone."""
    lgb_score: Share
    mf_score: Share | None
    sources: list[str] | None = Field(None, examples=[["own", "covisitation"]])
    """With `explain`: the candidate sources that proposed the item."""
    category: CategoryId = None
    """With `explain`: the item's category."""


class Recommendations(Message):
    user_id: UserId
    user_type: UserType
    model_version: Version
    recommendations: list[Recommendation]
    total_candidates_scored: Count


class UserStats(Message):
    user_id: UserId
    user_type: UserType
    total_events: Count
    purchases: Count
    conversion_rate: Share
    """Purchases per event."""
    unique_items_viewed: Count
    unique_categories_viewed: Count
    first_seen: Time
    last_seen: Time


class UserEvent(Message):
    timestamp: Time
    event: EventType
    itemid: ItemId
    category: CategoryId


class UserEvents(Message):
    user_id: UserId
    events: list[UserEvent]
    """Newest first."""


class UserChoice(Message):
    user_id: UserId
    user_type: UserType


class DateRange(Message):
    start: Time
    end: Time


class DataStats(Message):
    total_events: Count
    unique_users: Count
    unique_items: Count
    date_range: DateRange


class ModelStats(Message):
    version: Version
    created: str = Field(examples=["2026-11-23T08:35:01.120+00:00"])
    features: Count
    mf_users: Count
    mf_items: Count
    hybrid_alpha: Share
    metrics: dict[str, float | None] = Field(examples=[{"ndcg@10 all": 0.12, "ndcg@10 cold": None}])
    """Of the evaluated model."""


class Refused(Message):
    version: Version
    reason: str = Field(examples=["ranker.txt has 0 bytes, expected 48219"])


class Health(Message):
    status: Literal["healthy", "unavailable"]
    service: str = Field(examples=["E-Commerce Recommendation API"])
    version: str = Field(examples=["0.1.0"])
    """Of the code."""
    mode: str = Field(examples=["Hybrid (LGB + MF with fold-in), graph"])
    model_version: Version
    stats: DataStats
    model: ModelStats
    stages: dict[str, list[list[str]]] = Field(examples=[{"ingress": [["v1", "v2"]], "rank": [["v1", "v2"]]}])
    """For each stage the versions that each of its replicas holds; of the ingress only the replica that answers."""
    refused: Refused | None
    """A version that is in production but cannot be served, and why."""
    problem: str | None = Field(examples=[None])
    """Why it is not known now which version is in production, or whether the stages hold it."""


def spoken_time(time: int) -> str:
    """2015-08-01 07:10:35.296000, UTC, from ms."""
    return datetime.fromtimestamp(time / 1000, UTC).replace(tzinfo=None).isoformat(" ", "microseconds")
