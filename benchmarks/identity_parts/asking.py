"""Who is asked for, and which HTTP requests are made for them."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import httpx
import polars as pl

from recsys.errors import RecsysError

UNKNOWN: Final = 5
"""Ids that no user has."""
TRIALS: Final = 20
PAUSE_SECONDS: Final = 1.0
BUSY: Final = 503

Id = int | str


def draw_users(version: Path, n_users: int) -> list[Id]:
    """Ids of a version's users, evenly spread over its table, and last UNKNOWN ids that it has not."""
    ids = pl.read_ipc(version / "tables" / "users.arrow").to_series()
    if len(ids) < n_users:
        raise RecsysError(f"the version has {len(ids)} users, {n_users} are asked for")
    rows = [place * len(ids) // n_users for place in range(n_users)]
    taken = set(ids.to_list())
    numbered = ids.dtype.is_integer()
    first = int(ids.to_list()[-1]) + 1 if numbered else 0
    unknown: list[Id] = [first + at if numbered else f"nobody-{at}" for at in range(UNKNOWN)]
    if taken & set(unknown):
        raise RecsysError(f"{version}: the ids {unknown} are taken")
    return [*ids.gather(rows).to_list(), *unknown]


def write_users(users: Sequence[Id], file: Path) -> None:
    """The CSV file that `recsys recommend` reads."""
    pl.DataFrame({"visitorid": list(users)}).write_csv(file)


def requests_for(users: Sequence[Id]) -> list[str]:
    """Paths of requests: one for each user, of different kinds, some for unknown ids, some that are errors."""
    *known, first, second, third, fourth, fifth = (quote(str(user), safe="") for user in users)
    paths = [_path(user, at) for at, user in enumerate(known)]
    paths += [f"/recommend/{user}?n=10&cold_start=true" for user in (first, second, third)]
    paths += [f"/recommend/{fourth}?n=10&cold_start=true&explain=true&objective=discover", f"/recommend/{fifth}?n=10"]
    paths += [f"/user/{fifth}/stats", f"/user/{fifth}/events", f"/user/{known[0]}/nothing", "/nothing"]
    wrong = ("n=0", "n=51", "n=many", "objective=none", "repeat_share=2", "explain=perhaps")
    return [*paths, *(f"/recommend/{known[0]}?{query}" for query in wrong), "/health"]


def _path(user: str, at: int) -> str:
    """Half of the users get the plain request, the others one of several kinds each."""
    kinds = (
        f"/recommend/{user}?n=10&explain=true",
        f"/recommend/{user}?n=10&objective=discover",
        f"/recommend/{user}?n=10&objective=repeat&explain=true",
        f"/recommend/{user}?n=10&repeat_share=0.3",
        f"/user/{user}/stats",
        f"/user/{user}/events?limit=20",
    )
    return f"/recommend/{user}?n=10" if at % 2 == 0 else kinds[at // 2 % len(kinds)]


def ask(client: httpx.Client, paths: Sequence[str], file: Path) -> None:
    """Write status and body of each request, made one after the other: a batch's numbers depend on who is in it."""
    answers = {path: _answer(client, path) for path in paths}
    unfinished = file.with_name(f"{file.name}.unfinished")
    unfinished.write_text(json.dumps(answers, indent=1), encoding="utf-8")
    unfinished.replace(file)


def _answer(client: httpx.Client, path: str) -> dict[str, Any]:
    """Of a service that is busy, or whose machine is, the answer that comes later."""
    for _ in range(TRIALS):
        found = client.get(path)
        if found.status_code != BUSY:
            return {"status": found.status_code, "body": found.json()}
        time.sleep(PAUSE_SECONDS)
    raise RecsysError(f"{path}: still {BUSY} after {TRIALS} trials: {found.text[:500]}")
