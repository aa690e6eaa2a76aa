"""Lists that need no user: similar items, baskets, trending and new items."""

from typing import Annotated, NotRequired

from fastapi import FastAPI, Query, Request
from fastapi.responses import Response
from pydantic import BeforeValidator, Field
from typing_extensions import TypedDict

from recsys.rules.request import Id
from recsys.serving.api.bodies import RuledBody, whole
from recsys.serving.api.errors import responses
from recsys.serving.api.messages import (
    CategoryId,
    Fraction,
    Image,
    ItemId,
    Note,
    Title,
    VersionName,
    add_note,
    add_texts,
    json_response,
    message,
)
from recsys.serving.api.parameters import Item, Limit
from recsys.serving.api.routes import add_user_route
from recsys.serving.api.rules import documented, rules_of
from recsys.serving.api.scopes import needs
from recsys.serving.related import ItemList
from recsys.serving.service import Service

Category = Annotated[
    str | None, Query(description="Only items of this category and of those below it", examples=["1173"])
]


class Cart(RuledBody):
    """The items of a cart, how many items to propose, and filters and rules."""

    items: Annotated[list[Id], Field(max_length=500, examples=[[48030, 461686]])]
    """Ids as in the data. Items that the version does not know are passed over."""
    n: Annotated[int, Field(ge=1, le=50, examples=[5]), BeforeValidator(whole)] = 5
    """How many at most."""


@message
class ListedItem(TypedDict):
    itemid: ItemId
    score: Fraction
    """The order of the list, on [0, 1]. 0: an item that fills up the list by its popularity."""
    title: NotRequired[Title]
    image: NotRequired[Image]


@message
class SimilarItems(TypedDict):
    itemid: ItemId
    model_version: VersionName
    recommendations: list[ListedItem]
    note: NotRequired[Note]


@message
class CartItems(TypedDict):
    model_version: VersionName
    unknown_items: Annotated[list[int | str], Field(examples=[[999]])]
    """Items of the cart that the version does not know."""
    recommendations: list[ListedItem]
    note: NotRequired[Note]


@message
class ShopItems(TypedDict):
    category: CategoryId
    model_version: VersionName
    recommendations: list[ListedItem]
    note: NotRequired[Note]


def listed_items(answer: ItemList) -> list[ListedItem]:
    """The rows of a list as they go over HTTP."""
    bundle, listed = answer.bundle, answer.listed
    rows: list[ListedItem] = [
        {"itemid": item, "score": score}
        for item, score in zip(bundle.items.to_list(listed.items), listed.scores.tolist(), strict=True)
    ]
    add_texts(rows, bundle, listed.items)
    return rows


def similar_message(answer: ItemList) -> SimilarItems:
    """Similar items as they go over HTTP."""
    item = "" if answer.subject is None else answer.subject
    listed = SimilarItems(itemid=item, model_version=answer.bundle.version, recommendations=listed_items(answer))
    add_note(listed, answer.note)
    return listed


def cart_message(answer: ItemList) -> CartItems:
    """Items for a cart as they go over HTTP."""
    listed = CartItems(
        model_version=answer.bundle.version,
        unknown_items=list(answer.unknown),
        recommendations=listed_items(answer),
    )
    add_note(listed, answer.note)
    return listed


def shop_message(answer: ItemList) -> ShopItems:
    """A list of the shop or of a category as it goes over HTTP."""
    version = answer.bundle.version
    listed = ShopItems(category=answer.subject, model_version=version, recommendations=listed_items(answer))
    add_note(listed, answer.note)
    return listed


def add_routes(api: FastAPI, service: Service) -> None:
    """Add GET /items/{item_id}/similar, also without the id in its path, POST /basket, GET /trending and /new."""

    @needs("read")
    async def similar(http: Request, item_id: Item, n: Limit = 5) -> Response:
        """The items most like an item, for its page."""
        return json_response(similar_message(service.related.similar(item_id, n, rules_of(http.query_params))))

    add_user_route(api, "/items/{item_id:path}/similar", similar, responses(SimilarItems, 400, 404, 503), documented())

    @api.post("/basket", responses=responses(CartItems, 400, 408, 413, 503), response_model=None)
    @needs("read")
    async def basket(cart: Cart) -> Response:
        """Items that are bought together with those of a cart; neither these nor substitutes for them."""
        return json_response(cart_message(service.related.basket(cart.items, cart.n, cart.rules())))

    shop_responses = responses(ShopItems, 400, 404, 503)

    @api.get("/trending", responses=shop_responses, response_model=None, openapi_extra=documented())
    @needs("read")
    async def trending(http: Request, n: Limit = 5, category: Category = None) -> Response:
        """Items whose recent popularity is highest against that of all time. Score 1/2: as popular as ever."""
        return json_response(shop_message(service.related.trending(n, category, rules_of(http.query_params))))

    @api.get("/new", responses=shop_responses, response_model=None, openapi_extra=documented())
    @needs("read")
    async def new(http: Request, n: Limit = 5, category: Category = None) -> Response:
        """Items that the shop has known for the shortest time. The score halves every 30 days."""
        return json_response(shop_message(service.related.newest(n, category, rules_of(http.query_params))))
