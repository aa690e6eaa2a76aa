"""A random shop with tastes: the visits from which the files of `public_shapes` are written. Nothing here needs Ray."""

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Final

import numpy as np
import polars as pl

from recsys.schema import EVENT_TYPES

USERS, ITEMS, TASTES = 220, 96, 8
PER_TASTE: Final = ITEMS // TASTES
COLOURS: Final = ("Black", "White", "Light Pink", "Dark Blue", "Beige")
THINGS: Final = ("LANTERN", "T-LIGHT HOLDER", "CAKE STAND", "NOTEBOOK, RULED", 'MUG "DAISY"', "HOT WATER BOTTLE")


@dataclass(frozen=True, slots=True)
class PublicShop:
    """A shop's log.

    baskets: a row for each visit and item, by time: visit, time (Datetime, ms), user, item, pieces (1 to 6)
    journeys: the same rows as views, and those of carts and purchases after them, with `event`, a type of EVENT_TYPES
    items: a row for each item: item, taste, title, colour, price
    """

    baskets: pl.DataFrame
    journeys: pl.DataFrame
    items: pl.DataFrame


@cache
def public_shop(seed: int = 0, start: datetime | None = None, days: int = 70, visits: int = 1500) -> PublicShop:
    """The shop of a seed; users and items are numbers from 0. start: its first day, else 2010-12-01."""
    rng = np.random.default_rng(seed)
    first = int((start or datetime(2010, 12, 1, tzinfo=UTC)).timestamp() * 1000)
    minutes = rng.integers(0, days, visits) * 1440 + rng.integers(8 * 60, 20 * 60, visits)
    times = np.sort(minutes * 60_000)
    users = (USERS * rng.random(visits) ** 1.4).astype(int)
    own: dict[int, list[int]] = {}
    rows = []
    for visit, (time, user) in enumerate(zip(times.tolist(), users.tolist(), strict=True)):
        for position in range(int(rng.integers(1, 5))):
            had = own.setdefault(user, [])
            taste = user % TASTES if rng.random() < 0.8 else int(rng.integers(TASTES))
            fresh = taste * PER_TASTE + int(PER_TASTE * rng.random() ** 2)
            item = had[int(rng.integers(len(had)))] if had and rng.random() < 0.35 else fresh
            had.append(item)
            second = first + time + 11_000 * position
            rows.append((visit, second, user, item, int(rng.integers(1, 7)), rng.random()))
    names = ["visit", "time", "user", "item", "pieces", "zeal"]
    log = pl.DataFrame(rows, names, orient="row").unique(["visit", "item"], keep="first", maintain_order=True)
    baskets = log.with_columns(pl.col("time").cast(pl.Datetime("ms")))
    steps = [
        baskets.filter(pl.col("zeal") < zeal).with_columns(
            pl.lit(event).alias("event"), pl.col("time") + pl.duration(seconds=3 * step)
        )
        for step, (event, zeal) in enumerate(zip(EVENT_TYPES, (1.1, 0.45, 0.3), strict=True))
    ]
    journeys = pl.concat(steps).sort("time", "user", "item").drop("zeal")
    return PublicShop(baskets.drop("zeal"), journeys, _items(rng))


def _items(rng: np.random.Generator) -> pl.DataFrame:
    numbers = np.arange(ITEMS)
    titles = [f"{COLOURS[n % len(COLOURS)].upper()} {THINGS[n % len(THINGS)]} No.{n // 6}" for n in numbers.tolist()]
    return pl.DataFrame(
        {
            "item": numbers,
            "taste": numbers // PER_TASTE,
            "title": titles,
            "colour": [COLOURS[n % len(COLOURS)] for n in numbers.tolist()],
            "price": (numbers // PER_TASTE * 10 + rng.integers(1, 9, ITEMS) + 0.95).round(2),
        }
    )
