"""What goes over HTTP: the shapes of answers, and errors with a status."""

from datetime import UTC, datetime
from typing import Literal

from pydantic import BaseModel

from recsys.errors import RecsysError

Id = int | str
UserType = Literal["warm", "cold"]
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


class Problem(BaseModel):
    detail: str


class Recommendation(BaseModel):
    itemid: Id
    score: float
    """(1 - alpha) * lgb_score + alpha * mf_score, or lgb_score alone."""
    lgb_score: float
    mf_score: float | None
    sources: list[str] | None = None
    """With `explain`: the candidate sources that proposed the item."""
    category: Id | None = None
    """With `explain`: the item's category."""


class Recommendations(BaseModel):
    user_id: Id
    user_type: UserType
    model_version: str
    recommendations: list[Recommendation]
    total_candidates_scored: int


class UserStats(BaseModel):
    user_id: Id
    user_type: UserType
    total_events: int
    purchases: int
    conversion_rate: float
    """Purchases per event."""
    unique_items_viewed: int
    unique_categories_viewed: int
    first_seen: str
    last_seen: str


class UserEvent(BaseModel):
    timestamp: str
    event: str
    itemid: Id
    category: Id | None


class UserEvents(BaseModel):
    user_id: Id
    events: list[UserEvent]
    """Newest first."""


class UserChoice(BaseModel):
    user_id: Id
    user_type: UserType


class DateRange(BaseModel):
    start: str
    end: str


class DataStats(BaseModel):
    total_events: int
    unique_users: int
    unique_items: int
    date_range: DateRange


class ModelStats(BaseModel):
    version: str
    created: str
    features: int
    mf_users: int
    mf_items: int
    hybrid_alpha: float
    metrics: dict[str, float | None]


class Refused(BaseModel):
    version: str
    reason: str


class Health(BaseModel):
    status: Literal["healthy", "unavailable"]
    service: str
    version: str
    mode: str
    model_version: str
    stats: DataStats
    model: ModelStats
    stages: dict[str, list[list[str]]]
    """For each stage the versions that each of its replicas holds."""
    refused: Refused | None


def spoken_time(time: int) -> str:
    """2015-08-01 07:10:35.296000, UTC, from ms."""
    return datetime.fromtimestamp(time / 1000, UTC).replace(tzinfo=None).isoformat(" ", "microseconds")
