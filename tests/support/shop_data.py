"""The rows of a small shop in the Retailrocket format, the same every time; nothing here needs Ray."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from recsys.schema import DAY

START = 1_430_438_400_000
"""2015-05-01 00:00 UTC, ms."""


DAYS = 90


END = START + DAYS * DAY


USERS, ITEMS, LEAVES, ROOTS = 200, 60, 6, 2


SETTINGS = (
    "factorization.factors=8",
    "factorization.confidence=0.03",
    "factorization.iterations=3",
    "inference.candidates.size=20",
    "inference.candidates.exclude_purchased=false",
    "inference.candidates.sources.recent.size=20",
    "inference.candidates.sources.popular.size=20",
    "ranker.max_trees=15",
    "ranker.num_leaves=7",
    "ranker.min_child_samples=10",
    "ranker.threads=1",
    "examples.cuts=2",
    "examples.negatives=10",
    "evaluation.bootstrap_samples=100",
    "evaluation.seeds=2",
    "evaluation.page=false",
    "hybrid.max_drift=1",
    "sessions.publish=never",
    "sessions.ranker.max_trees=5",
    "sessions.ranker.min_child_samples=5",
    "sessions.vectors.dimensions=8",
    "sessions.compared_prefixes=50",
    "data.partitions=3",
)
"""Settings of a training run that takes seconds."""


ODD_IDS = (
    "a/b",
    "/",
    "a/stats",
    'say "hi"',
    "it's'); DROP TABLE users; --",
    "<b>bold</b>",
    "naïve café",
    "日本語",
    "two  words ",
    "100%",
    "a+b&c=d?e#f",
    "007",
    "tab\there",
    "nul\0",
    "😀" * 100,
)
"""Ids that look like something else."""
DOT_IDS = (".", "..")
"""Ids that no path can hold, since clients resolve them as folders."""


class Event(NamedTuple):
    """One row of events.csv."""

    timestamp: int
    visitorid: int
    event: str
    itemid: int
    transactionid: str = ""


class Property(NamedTuple):
    """One row of item_properties.csv."""

    timestamp: int
    itemid: int
    property: str
    value: str


def item_id(number: int) -> int:
    return 500 + 3 * number


def user_id(number: int) -> int:
    return 1000 + 7 * number


def leaf_id(number: int) -> int:
    return 10 + number


def events() -> list[Event]:
    """Visits of users who prefer one leaf category each; the last 20 of them come after day 76, 15 after day 48.

    The first event is at START and the last one at END.
    """
    rng = np.random.default_rng(7)
    rows = [Event(START, user_id(0), "view", item_id(0)), Event(END, user_id(0), "view", item_id(0))]
    for user in range(USERS):
        first_day = 76 if user >= 180 else 48 if user >= 165 else 0
        for _ in range(1 + rng.poisson(6)):
            time = START + int(rng.integers(first_day * DAY, DAYS * DAY - 7_200_000))
            for _ in range(1 + rng.poisson(2)):
                rows += _visit(rng, user, time)
                time += 60_000 * int(rng.integers(1, 20))
    return sorted(rows)


def _visit(rng: np.random.Generator, user: int, time: int) -> list[Event]:
    """A view of one item that may lead to the cart and to a purchase; low item numbers are popular."""
    per_leaf = ITEMS // LEAVES
    leaf = user % LEAVES if rng.random() < 0.8 else int(rng.integers(LEAVES))
    item = item_id(leaf + LEAVES * int(per_leaf * rng.random() ** 2))
    rows = [Event(time, user_id(user), "view", item)]
    if rng.random() < 0.5:
        rows.append(Event(time + 10_000, user_id(user), "addtocart", item))
        if rng.random() < 0.6:
            rows.append(Event(time + 20_000, user_id(user), "transaction", item, str(time)))
    return rows


def properties() -> list[Property]:
    """Item i starts in leaf i % LEAVES; every tenth item changes it on day 40 and on day 80.

    Items 7 and 17 are sold out from day 30 on, item 27 from day 30 to day 50. Four items have no category.
    """
    rows = []
    for item in range(ITEMS):
        rows += [Property(START + day * DAY, item_id(item), "790", f"n{day}.000") for day in (0, 30, 60)]
        rows.append(Property(START - DAY, item_id(item), "available", "1"))
        if item < ITEMS - 4:
            rows.append(Property(START - DAY, item_id(item), "categoryid", str(leaf_id(item % LEAVES))))
        if item % 10 == 3:
            rows += [
                Property(START + day * DAY, item_id(item), "categoryid", str(leaf_id((item + step) % LEAVES)))
                for step, day in ((1, 40), (2, 80))
            ]
    rows += [Property(START + 30 * DAY, item_id(item), "available", "0") for item in (7, 17, 27)]
    rows.append(Property(START + 50 * DAY, item_id(27), "available", "1"))
    return rows


def tree() -> list[tuple[int, str]]:
    """Rows (category, parent): the leaves under the roots 1 and 2."""
    roots = [(1 + root, "") for root in range(ROOTS)]
    return roots + [(leaf_id(leaf), str(1 + leaf % ROOTS)) for leaf in range(LEAVES)]


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([",".join(header), *(",".join(map(str, row)) for row in rows), ""]), encoding="utf-8")


def write_shop(
    folder: Path, event_rows: Sequence[Event] | None = None, property_rows: Sequence[Property] | None = None
) -> Path:
    """Write a source, by default with the shop's own rows; returns its folder."""
    write_csv(folder / "events.csv", Event._fields, events() if event_rows is None else event_rows)
    chosen = properties() if property_rows is None else property_rows
    write_csv(folder / "item_properties.csv", Property._fields, chosen)
    write_csv(folder / "category_tree.csv", ("categoryid", "parentid"), tree())
    return folder


def train_arguments(data: Path | str, registry: Path | str, *settings: str) -> list[str]:
    """Arguments of `recsys train`."""
    options = [option for setting in (*SETTINGS, *settings) for option in ("--set", setting)]
    return ["--data", str(data), "--registry", str(registry), *options]
