"""A service with canned answers, for the page's tests: the HTTP contract without a model behind it."""

import random
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import uvicorn
from fastapi import FastAPI, HTTPException, Request, Response

from recsys.serving.api import page
from tests.support.features import SOURCES

ALPHA, DISCOVERY_ALPHA = 0.3, 0.5
VERSION = "20260301-101500-4f1c"
WARM, COLD, ODD = 257597, 1001, "<b>&\"' /é"
"""The users of the stub. ODD is warm too, and its id must survive URL and markup."""
TITLED = 31337
"""A user whose items have the titles TITLE and the IMAGES, by turns."""
TITLE = "<b>Tea</b> & milk"
IMAGES = ("/picture.svg", "picture.svg", "http://elsewhere.invalid/x.png", "javascript:alert(1)", "http://[", None)
"""The first two may be shown."""
EXPLAINED = {"sources", "category", "explanation"}
"""Fields that a response has only with `explain`."""
END = datetime(2015, 9, 18, 2, 59, 47, 788000)


def create_stub() -> FastAPI:
    api = FastAPI(docs_url=None, redoc_url=None)

    page.add_page(api, lambda: True)

    @api.get("/picture.svg")
    def picture() -> Response:
        return Response('<svg xmlns="http://www.w3.org/2000/svg"/>', media_type="image/svg+xml")

    @api.get("/health")
    def health() -> dict[str, Any]:
        return HEALTH

    @api.get("/recommend/{user_id:path}")
    def recommend(user_id: str, n: int = 5, cold_start: bool = False, explain: bool = False) -> dict[str, Any]:
        user = None if cold_start else known(user_id)
        rows = recommendations(user, n)
        if not explain:
            rows = [{key: value for key, value in row.items() if key not in EXPLAINED} for row in rows]
        return {
            "user_id": user_id if user is None else user,
            "user_type": user_type(user),
            "model_version": VERSION,
            "recommendations": rows,
            "total_candidates_scored": 200,
        }

    @api.post("/recommend")
    async def recommend_session(request: Request) -> dict[str, Any]:
        """Each session has a list of its own; an item whose id does not begin with a digit is unknown."""
        body = await request.json()
        listed = [event for event in body["events"] if str(event["itemid"])[:1].isdigit()]
        rows = recommendations(WARM, body["n"]) if listed else recommendations(None, body["n"])
        if listed:
            rows[0]["itemid"] = int(listed[-1]["itemid"]) + 1
        return {
            "user_id": None,
            "user_type": "warm" if listed else "cold",
            "model_version": VERSION,
            "recommendations": rows,
            "total_candidates_scored": 200,
            "unknown_items": len(body["events"]) - len(listed),
        }

    @api.get("/user/{user_id:path}/stats")
    def stats(user_id: str) -> dict[str, Any]:
        user = known(user_id)
        history = events(user)
        bought = sum(event["event"] == "transaction" for event in history)
        return {
            "user_id": user,
            "user_type": user_type(user),
            "total_events": len(history),
            "purchases": bought,
            "conversion_rate": bought / len(history),
            "unique_items_viewed": len({event["itemid"] for event in history}),
            "unique_categories_viewed": len({event["category"] for event in history} - {None}),
            "first_seen": history[-1]["timestamp"],
            "last_seen": history[0]["timestamp"],
        }

    @api.get("/user/{user_id:path}/events")
    def newest(user_id: str, limit: int = 50) -> dict[str, Any]:
        user = known(user_id)
        return {"user_id": user, "events": events(user)[:limit]}

    @api.get("/items/similar")
    def similar(item_id: str, n: int = 5) -> dict[str, Any]:
        if item_id == "424242":
            raise HTTPException(404, f"item {item_id} not found")
        return {"itemid": item_id, **listed(f"like {item_id}", n)}

    @api.get("/trending")
    def trending(n: int = 5, category: str | None = None) -> dict[str, Any]:
        return {"category": category, **listed(f"trending in {category}", n)}

    @api.get("/new")
    def new(n: int = 5, category: str | None = None) -> dict[str, Any]:
        return {"category": category, **listed(f"new in {category}", n)}

    @api.post("/basket")
    async def basket(request: Request) -> dict[str, Any]:
        cart = await request.json()
        return {"unknown_items": [], **listed(f"with {', '.join(cart['items'])}", cart["n"])}

    @api.get("/users/random")
    def anyone(user_type: str = "warm") -> dict[str, Any]:
        return {"user_id": COLD if user_type == "cold" else WARM, "user_type": user_type}

    return api


@contextmanager
def running(api: FastAPI | None = None) -> Iterator[str]:
    """The address of an application, by default of the stub, which runs in a thread.

    It listens before its thread starts, so no test has to wait for it.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(api or create_stub(), log_level="warning", ws="none"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


def known(user_id: str) -> int | str:
    found = {str(user): user for user in (WARM, COLD, ODD, TITLED)}.get(user_id)
    if found is None:
        raise HTTPException(404, f"user {user_id} not found")
    return found


def listed(name: str, n: int) -> dict[str, Any]:
    """A list of items that bear its name."""
    rows = [{"itemid": f"{name}, {place}", "score": 1 / place} for place in range(1, n + 1)]
    return {"model_version": VERSION, "recommendations": rows}


def user_type(user: int | str | None) -> str:
    return "cold" if user in (None, COLD) else "warm"


def events(user: int | str) -> list[dict[str, Any]]:
    """Events of a few visits, the newest first. A visit is a handful of views and sometimes ends in a purchase."""
    if user == COLD:
        return [event(END - timedelta(hours=7), "view", 9_000_001, None)]
    draw = random.Random(str(user))
    found, at = [], END - timedelta(hours=3)
    for _ in range(7):
        items = item_ids(draw, draw.randint(1, 4), user)
        found += [event(at - timedelta(minutes=2 * k), "view", item, 1000 + 7 * k) for k, item in enumerate(items)]
        if draw.random() < 0.6:
            found[-1:] = [
                event(at - timedelta(minutes=5), "transaction", items[0], 1000),
                event(at - timedelta(minutes=6), "addtocart", items[0], 1000),
                event(at - timedelta(minutes=8), "view", items[0], 1000),
                event(at - timedelta(minutes=9), "view", items[0], 1000),
            ]
        at -= timedelta(hours=draw.choice([2, 30, 75]))
    return sorted(found, key=lambda one: one["timestamp"], reverse=True)


def event(at: datetime, name: str, item: int | str, category: int | None) -> dict[str, Any]:
    return {
        "timestamp": at.isoformat(" ", "microseconds"),
        "event": name,
        "itemid": item,
        "category": category,
    }


def item_ids(draw: random.Random, n: int, user: int | str | None) -> list[int | str]:
    ids = draw.sample(range(1_000, 460_000), n)
    return [f"<i>{item}</i>&amp;" for item in ids] if user == ODD else list(ids)


def recommendations(user: int | str | None, n: int) -> list[dict[str, Any]]:
    """Items, the best first. A warm user's list begins with items of their own; every fifth item has no factors."""
    draw = random.Random(f"items of {user}")
    warm = user_type(user) == "warm"
    own = list(dict.fromkeys(one["itemid"] for one in events(user))) if warm and user is not None else []
    items = (own[:3] + item_ids(draw, n, user))[:n]
    rows = []
    for place, item in enumerate(items):
        lgb = 0.78 / (1 + 0.3 * place) * draw.uniform(0.8, 1)
        mf = draw.uniform(0.2, 0.9) / (1 + 0.2 * place) if warm and place % 5 != 4 else None
        sources = ["own", "covisitation"] if item in own else draw.sample(SOURCES[1:], draw.randint(1, 3))
        rows.append(
            {
                "itemid": item,
                "score": lgb if mf is None else (1 - ALPHA) * lgb + ALPHA * mf,
                "lgb_score": lgb,
                "mf_score": mf,
                "sources": [source for source in SOURCES if source in (sources if warm else SOURCES[3:5])],
                "category": None if place % 7 == 6 else draw.choice([1000, 1007, 1014, 1051, 342]),
                "explanation": explanation(place, own[0] if own else None),
            }
        )
    if user == TITLED:
        for place, row in enumerate(rows):
            row |= {"title": TITLE if place else None, "image": IMAGES[place % len(IMAGES)]}
    return sorted(rows, key=lambda row: -row["score"])


def explanation(place: int, followed: int | str | None) -> dict[str, Any]:
    """A reason whose parts add up; without an item to follow that of a user without events."""
    if followed is None:
        numbers = {"features": [], "other_features": None, "bias": None, "raw_score": None}
        return {"sentence": f"Number {place + 1} <b>of all.", "because_of": None, "position": place + 1, **numbers}
    parts = [("score of the <i>source", 0.25, 0.5), ("the item's category", None, -0.125), ("rank", 3.0, 0.0625)]
    names = ("meaning", "value", "contribution")
    return {
        "sentence": f"Because you bought “{followed}”.",
        "because_of": followed,
        "position": None,
        "features": [{"name": f"f{at}", **dict(zip(names, part, strict=True))} for at, part in enumerate(parts)],
        "other_features": 0.25,
        "bias": -1.5,
        "raw_score": -0.8125,
        "rules": ["boost <tea>"],
    }


HEALTH = {
    "status": "healthy",
    "service": "E-Commerce Recommendation API",
    "version": "0.1.0",
    "mode": "Hybrid (LightGBM + MF)",
    "model_version": VERSION,
    "stats": {
        "total_events": 2965031,
        "unique_users": 1407580,
        "unique_items": 235061,
        "date_range": {"start": "2015-05-03 03:00:04.384000", "end": END.isoformat(" ", "microseconds")},
    },
    "model": {
        "version": VERSION,
        "features": 16,
        "mf_users": 1123767,
        "mf_items": 212916,
        "hybrid_alpha": ALPHA,
        "discovery_alpha": DISCOVERY_ALPHA,
        "not_learned": None,
        "created": datetime(2026, 3, 1, 10, 15, tzinfo=UTC).isoformat(),
        "metrics": {
            f"{metric} {group}": value
            for metric, values in {
                "ndcg@10": (0.336, 0.341, None),
                "recall@10": (0.124, 0.131, None),
                "hit@10": (0.789, 0.802, None),
            }.items()
            for group, value in zip(("all", "warm", "cold"), values, strict=True)
        },
    },
    "stages": {
        "ingress": [[VERSION], [VERSION]],
        "candidates": [[VERSION, "20260222-093012-88ab"]],
        "factors": [[VERSION]],
        "rank": [[VERSION], [VERSION]],
    },
    "refused": None,
    "problem": None,
    "problem_since": None,
}
