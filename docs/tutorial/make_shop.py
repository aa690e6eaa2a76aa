"""Writes the log of a tiny tea shop for the tutorial: `python docs/tutorial/make_shop.py FOLDER`."""

import csv
import random
import sys
from pathlib import Path

DAY = 24 * 60 * 60 * 1000  # ms
START = 1_704_067_200_000  # 2024-01-01 00:00 UTC, ms
DAYS = 90
TEAS = {"green": 20, "black": 20, "herbal": 20, "pots": 10, "cups": 10}  # items of each category
ROOTS = {"green": "tea", "black": "tea", "herbal": "tea", "pots": "ware", "cups": "ware"}


def events() -> list[tuple[int, str, str, str, str]]:
    """Views, add-to-carts and purchases of 400 customers, oldest first; each customer prefers one category."""
    rng = random.Random(0)
    rows = []
    for customer in range(400):
        favourite = rng.choice(list(TEAS))
        for visit in range(1 + int(rng.expovariate(1 / 8))):
            time = START + rng.randrange(DAYS * DAY)
            for _ in range(1 + int(rng.expovariate(1 / 3))):
                category = favourite if rng.random() < 0.7 else rng.choice(list(TEAS))
                number = int(TEAS[category] * rng.random() ** 2)  # low numbers are popular
                item, user = f"{category}-{number}", f"customer-{customer}"
                rows.append((time, user, "view", item, ""))
                if rng.random() < 0.4:
                    rows.append((time + 20_000, user, "addtocart", item, ""))
                    if rng.random() < 0.7:
                        rows.append((time + 60_000, user, "transaction", item, f"order-{customer}-{visit}"))
                time += rng.randrange(30_000, 300_000)
    return sorted(rows)


def write(path: Path, header: list[str], rows: list[tuple[object, ...]]) -> None:
    """One CSV file."""
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])


def main(folder: Path) -> None:
    """The three files of a shop."""
    folder.mkdir(parents=True, exist_ok=True)
    items = [(f"{category}-{number}", category) for category, size in TEAS.items() for number in range(size)]
    write(folder / "events.csv", ["timestamp", "visitorid", "event", "itemid", "transactionid"], events())
    write(
        folder / "item_properties.csv",
        ["timestamp", "itemid", "property", "value"],
        [(START, item, "categoryid", category) for item, category in items],
    )
    tree = [*((root, "") for root in sorted(set(ROOTS.values()))), *ROOTS.items()]
    write(folder / "category_tree.csv", ["categoryid", "parentid"], tree)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
