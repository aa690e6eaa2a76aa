"""A service with canned answers, for the page's tests: the HTTP contract without a model behind it."""

import random
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import uvicorn
from fastapi import FastAPI, HTTPException

from recsys.serving.api import page
from tests.support.features import SOURCES

ALPHA = 0.3
VERSION = "20260301-101500-4f1c"
WARM, COLD, ODD = 257597, 1001, "<b>&\"' /é"
"""The users of the stub. ODD is warm too, and its id must survive URL and markup."""
END = datetime(2015, 9, 18, 2, 59, 47, 788000)


def create_stub() -> FastAPI:
    api = FastAPI(docs_url=None, redoc_url=None)

    page.add_routes(api, None)  # type: ignore[arg-type]

    @api.get("/health")
    def health() -> dict[str, Any]:
        return HEALTH

    @api.get("/recommend/{user_id:path}")
    def recommend(user_id: str, n: int = 5, cold_start: bool = False, explain: bool = False) -> dict[str, Any]:
        user = None if cold_start else known(user_id)
        rows = recommendations(user, n)
        if not explain:
            rows = [{key: value for key, value in row.items() if key not in {"sources", "category"}} for row in rows]
        return {
            "user_id": user_id if user is None else user,
            "user_type": user_type(user),
            "model_version": VERSION,
            "recommendations": rows,
            "total_candidates_scored": 200,
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
    found = {str(user): user for user in (WARM, COLD, ODD)}.get(user_id)
    if found is None:
        raise HTTPException(404, f"user {user_id} not found")
    return found


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
            }
        )
    return sorted(rows, key=lambda row: -row["score"])


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
