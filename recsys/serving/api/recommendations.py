"""Recommendations to a user."""

from itertools import compress
from math import isnan
from typing import Annotated, Any, Final, NotRequired

import numpy as np
from fastapi import FastAPI, Query
from fastapi import Request as HttpRequest
from fastapi.responses import Response as HttpResponse
from pydantic import Field
from typing_extensions import TypedDict

from recsys import schema
from recsys.inference.sentences import Templates
from recsys.serving.api.errors import responses
from recsys.serving.api.explanations import Explanation, explanation_messages
from recsys.serving.api.messages import (
    CategoryId,
    Count,
    Fraction,
    Image,
    ItemId,
    Note,
    Title,
    UserId,
    UserType,
    VersionName,
    add_note,
    add_texts,
    categories_of,
    json_response,
    message,
    user_type,
)
from recsys.serving.api.parameters import FLAG_WORDS, Flag, Language, Limit, PlainFraction, User
from recsys.serving.api.routes import add_user_route
from recsys.serving.api.rules import documented, rules_of
from recsys.serving.api.scopes import needs
from recsys.serving.recommendations import Request, Response
from recsys.serving.service import Service
from recsys.serving.sessions import Session, SessionEvent

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
ContextItem = Annotated[
    str | None,
    Query(
        description="The item that the user views now, as the newest event; also for a user without other events",
        examples=["48030"],
    ),
]
Explain = Annotated[
    Flag,
    Query(description=f"Explain each item: its sources, its category and the reasons: {FLAG_WORDS}", examples=[True]),
]
SentenceLanguage = Annotated[
    Language | None,
    Query(
        alias="language",
        description="With `explain`: the language of the sentences. Of a language without sentences, and without this "
        "parameter, the header Accept-Language decides, then a setting of the service; Content-Language names it",
        examples=["de"],
    ),
]
ACCEPT_LANGUAGE: Final[dict[str, Any]] = {
    "name": "accept-language",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "examples": ["de-AT, en;q=0.5"]},
    "description": "With `explain`: see `language`",
}
"""The header in the OpenAPI document of a route; it is read where there are explanations alone."""


@message
class Recommendation(TypedDict):
    itemid: ItemId
    score: Fraction
    """(1 - alpha) * lgb_score + alpha * mf_score, or lgb_score alone."""
    lgb_score: Fraction
    mf_score: Fraction | None
    title: NotRequired[Title]
    image: NotRequired[Image]
    sources: NotRequired[Annotated[list[str], Field(examples=[["own", "covisitation"]])]]
    """With `explain`: the candidate sources that proposed the item."""
    category: NotRequired[CategoryId]
    """With `explain`: the item's category."""
    explanation: NotRequired[Explanation]
    """With `explain`: the reasons for the recommendation."""


@message
class Recommendations(TypedDict):
    user_id: UserId | None
    """The user; null for a session without one."""
    user_type: UserType
    model_version: VersionName
    recommendations: list[Recommendation]
    total_candidates_scored: Count
    note: NotRequired[Note]


def recommendations_message(response: Response, templates: Templates | None = None) -> Recommendations:
    """A response as it goes over HTTP; templates: of the sentences of explanations, None for no explanations."""
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
    add_texts(listed, bundle, batch.items[rows])
    if templates is not None:
        categories = categories_of(bundle, batch.items[rows])
        for row, category, provenance in zip(listed, categories, batch.provenance[rows].tolist(), strict=True):
            row["sources"] = list(compress(response.source_names, provenance))
            row["category"] = category
        if batch.explanations is not None:
            parts = explanation_messages(batch.explanations, response.position, response.n, bundle, templates)
            for recommendation, part in zip(listed, parts, strict=False):
                recommendation["explanation"] = part
            _name_rules(listed, response, rows)
    message = Recommendations(
        user_id=response.user_id,
        user_type=user_type(bool(batch.warm[response.position])),
        model_version=bundle.version,
        recommendations=listed,
        total_candidates_scored=int(batch.n_candidates[response.position]),
    )
    add_note(message, response.note)
    return message


def _name_rules(listed: list[Recommendation], response: Response, rows: slice) -> None:
    """Add to each explanation the rules that moved its item."""
    batch = response.batch
    if batch.programs is None:
        return
    users = np.full(len(batch.items[rows]), response.position)
    for recommendation, names in zip(listed, batch.programs.names(users, batch.items[rows]), strict=True):
        if names and "explanation" in recommendation:
            recommendation["explanation"]["rules"] = list(names)


def explained_in(
    service: Service, explain: bool, language: str | None, http: HttpRequest
) -> tuple[Templates | None, dict[str, str]]:
    """The templates of a response and its headers; None and no header for a response without explanations.

    language: asked for, or None
    """
    if not explain:
        return None, {}
    sentences, accept_language = service.sentences, http.headers.get("accept-language", "")
    chosen = sentences.accepted(f"{language}, {accept_language}" if language else accept_language)
    return sentences.templates[chosen], {"Content-Language": chosen, "Vary": "Accept-Language"}


def add_routes(api: FastAPI, service: Service) -> None:
    """Add GET /recommend/{user_id}, and /recommend for ids that a path cannot have."""

    @needs("read")
    async def recommend(
        http: HttpRequest,
        user_id: User,
        n: Limit = 5,
        cold_start: ColdStart = False,
        explain: Explain = False,
        objective: Objective = "all",
        repeat_cap: RepeatCap = None,
        item_id: ContextItem = None,
        language: SentenceLanguage = None,
    ) -> HttpResponse:
        """The items a user is most likely to want, with both models' scores."""
        rules = rules_of(http.query_params) if http.scope["query_string"] else None
        session = None if item_id is None else Session([SessionEvent(item_id)], known_items=True)
        request = Request(user_id, n, cold_start, objective, repeat_cap, session, explain, rules)
        response = await service.recommender.recommend(request)
        templates, headers = explained_in(service, explain, language, http)
        return json_response(recommendations_message(response, templates), headers=headers)

    extra = {"parameters": [*documented()["parameters"], ACCEPT_LANGUAGE]}
    add_user_route(api, "/recommend/{user_id:path}", recommend, responses(Recommendations, 400, 404, 503), extra)
