"""Columns of a log of events that are facts about the items."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from recsys.data.ingest import DataConfig, with_event_times
from recsys.data.layout.describe import describe
from recsys.data.layout.event_facts import facts_of
from recsys.data.sources import resolve
from recsys.schema import CATEGORY

HEADER = "event_time,event_type,product_id,category_id,category_code,brand,price,user_id,user_session"


def log(n: int = 600) -> list[list[str]]:
    """Rows of a log in the shape of REES46: brand, category and nearly always the price follow from the product."""
    rng = np.random.default_rng(5)
    rows = []
    for number in range(n):
        user, item = int(rng.integers(200)), int(40 * rng.random() ** 2)
        price = 1.5 + item + (rng.random() < 0.05)
        day = 1 + number * 20 // n
        rows.append(
            [
                f"2019-10-{day:02} 00:{number % 60:02}:00 UTC",
                "view",
                str(1000 + item),
                str(10 + item % 7),
                "" if item % 7 else "apparel.glove",
                f"brand{item % 5}" if item % 3 else "",
                f"{price:.2f}",
                str(user),
                f"session-{user}-{day}",
            ]
        )
    return rows


def test_facts_about_items_are_told_from_those_about_events() -> None:
    columns = dict(zip(HEADER.split(","), map(pa.array, zip(*log(), strict=True)), strict=True))
    names = ["event_type", "category_id", "brand", "price", "user_session"]
    assert facts_of(pa.table(columns), "user_id", "product_id", names) == ["category_id", "brand", "price"]


def test_a_column_that_is_nearly_always_the_same_is_no_fact() -> None:
    rows = log()
    country = pa.array(["UK" if number % 20 else "FR" for number in range(len(rows))])
    table = pa.table({"user": [row[7] for row in rows], "item": [row[2] for row in rows], "country": country})
    assert facts_of(table, "user", "item", ["country"]) == []


def test_few_rows_tell_nothing() -> None:
    table = pa.table({"user": ["1", "2"], "item": ["7", "7"], "brand": ["a", "a"]})
    assert facts_of(table, "user", "item", ["brand"]) == []


def test_a_log_alone_gives_categories_and_attributes(tmp_path: Path) -> None:
    lines = [HEADER, *(",".join(row) for row in log())]
    (tmp_path / "events.csv").write_text("\n".join(lines) + "\n")
    config = DataConfig()
    layout = describe(resolve(str(tmp_path), tmp_path), config.events, config.items, config.properties)
    assert layout.events is not None
    [facts] = with_event_times(layout, layout.events).properties
    assert facts.from_events
    assert facts.rules.wide is not None
    assert facts.rules.wide.properties[CATEGORY] == "category_id"
    assert [one.name for one in facts.attributes.values()] == ["brand", "price"]
    off = DataConfig.model_validate({"items": {"attributes": {}}})
    [plain] = describe(resolve(str(tmp_path), tmp_path), off.events, off.items, off.properties).properties
    assert plain.attributes == {}
