"""Recommendations to a user."""

from itertools import compress
from math import isnan
from typing import Annotated, NotRequired

from fastapi import FastAPI, Query
from fastapi.responses import Response as HttpResponse
from pydantic import Field
from typing_extensions import TypedDict

from recsys import schema
from recsys.serving.api.errors import responses
from recsys.serving.api.messages import (
    CategoryId,
    Count,
    Fraction,
    ItemId,
    UserId,
    UserType,
    VersionName,
    category_of,
    json_response,
    message,
    user_type,
)
from recsys.serving.api.parameters import FLAG_WORDS, Flag, Limit, PlainFraction, User, add_user_route
from recsys.serving.recommendations import Request, Response
from recsys.serving.service import Service

ColdStart = Annotated[
    Flag, Query(description=f"Popular items for a user without events: {FLAG_WORDS}", examples=[True])
]
Objective = Annotated[
    schema.Objective,
    Query(
        description="All items, only those new to the user, or only those the user had before", examples=["discover"]
    ),
]
RepeatCap = Annotated[
    PlainFraction | None,
    Query(
        alias="repeat_share",
        description="With objective=all: the fraction of the list that may be items the user had before, by default "
        "the version's own",
        examples=[0.5],
    ),
]
Explain = Annotated[Flag, Query(description=f"Name candidate sources and categories: {FLAG_WORDS}", examples=[True])]


@message
class Recommendation(TypedDict):
    itemid: ItemId
    score: Fraction
    """(1 - alpha) * lgb_score + alpha * mf_score, or lgb_score alone."""
    lgb_score: Fraction
    mf_score: Fraction | None
    sources: NotRequired[Annotated[list[str], Field(examples=[["own", "covisitation"]])]]
    """With `explain`: the candidate sources that proposed the item."""
    category: NotRequired[CategoryId]
    """With `explain`: the item's category."""


@message
class Recommendations(TypedDict):
    user_id: UserId
    user_type: UserType
    model_version: VersionName
    recommendations: list[Recommendation]
    total_candidates_scored: Count


def recommendations_message(response: Response, explain: bool) -> Recommendations:
    """A response as it goes over HTTP; explain: with sources and categories."""
    batch, bundle = response.batch, response.bundle
    start, end = batch.offsets[response.position : response.position + 2].tolist()
    rows = slice(start, min(end, start + response.n))
    scores, lgb_scores = batch.scores[rows].tolist(), batch.lgb_scores[rows].tolist()
    mf_scores = [None if isnan(score) else score for score in batch.mf_scores[rows].tolist()]  # NaN is not JSON
    items = bundle.items.to_list(batch.items[rows])
    listed: list[Recommendation] = [  # dict displays, since a call for each item takes twice the time
        {"itemid": item, "score": score, "lgb_score": lgb_score, "mf_score": mf_score}
        for item, score, lgb_score, mf_score in zip(items, scores, lgb_scores, mf_scores, strict=True)
    ]
    if explain:
        for recommendation, code, provenance in zip(listed, batch.items[rows], batch.provenance[rows], strict=True):
            recommendation["sources"] = list(compress(bundle.manifest.sources, provenance))
            recommendation["category"] = category_of(bundle, code)
    return Recommendations(
        user_id=response.user_id,
        user_type=user_type(bool(batch.warm[response.position])),
        model_version=bundle.version,
        recommendations=listed,
        total_candidates_scored=int(batch.n_candidates[response.position]),
    )


def add_routes(api: FastAPI, service: Service) -> None:
    """Add GET /recommend/{user_id}, and /recommend for ids that a path cannot have."""

    async def recommend(
        user_id: User,
        n: Limit = 5,
        cold_start: ColdStart = False,
        explain: Explain = False,
        objective: Objective = "all",
        repeat_cap: RepeatCap = None,
    ) -> HttpResponse:
        """The items a user is most likely to want, with both models' scores."""
        response = await service.recommender.recommend(Request(user_id, n, cold_start, objective, repeat_cap))
        return json_response(recommendations_message(response, explain))

    add_user_route(api, "/recommend/{user_id:path}", recommend, responses(Recommendations, 400, 404, 503))
