"""Tables, candidates and features as of a cut: what is after the cut, and how the rows come, must not show."""

import gzip
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import ray

from recsys.data.ingest import ShopData
from recsys.features.statistics import CATEGORY_COLUMNS
from recsys.histories import Histories
from recsys.inference.stages import CandidateStage
from recsys.models.tables import Tables
from recsys.retrieval.neighbours import Neighbours
from recsys.retrieval.preranker import NO_PRERANKERS
from recsys.schema import DAY, UNKNOWN
from recsys.timeline import Cut
from recsys.training.context import Context
from recsys.training.tables import fit_tables
from tests.support.features import CATEGORICAL, NAMES
from tests.support.shop_data import (
    END,
    START,
    Event,
    Property,
    events,
    item_id,
    leaf_id,
    properties,
    tree,
    user_id,
    write_csv,
    write_shop,
)
from tests.support.trained import read_shop
from tests.support.world import small_config

pytestmark = pytest.mark.usefixtures("ray_session")

AGE = 28
CUT = Cut.at(END, AGE)
T = CUT.time
LAST = [row for row in events() if row.timestamp > END - DAY]
"""Ages count from the newest event, so that it stays in place. One event long after the others would be a stray."""


@dataclass(frozen=True)
class Seen:
    """A shop with its tables as of AGE, all by id."""

    shop: ShopData
    tables: Tables

    def items(self, codes: np.ndarray) -> list[Any]:
        return [None if code == UNKNOWN else self.shop.items[int(code)] for code in codes]

    def categories(self, codes: np.ndarray) -> list[Any]:
        return [None if code == UNKNOWN else self.shop.catalog.categories[int(code)] for code in codes]

    def known_items(self) -> np.ndarray:
        """Items with an event before the cut, int64 (n,)."""
        return np.flatnonzero(~np.isnan(self.tables.statistics.item("item_views")))

    def statistics(self) -> dict[str, Any]:
        found, known = self.tables.statistics, self.known_items()
        levels = [tuple(self.categories(row)) for row in found.levels[known]]
        facts = zip(found.items[known], found.category[known], levels, found.available[known], strict=True)
        by_item = {
            item: (row.tobytes(), *self.categories([category]), level, bool(available))
            for item, (row, category, level, available) in zip(self.items(known), facts, strict=True)
        }
        in_tree = [self.shop.catalog.categories.code(category) for category, _ in tree()]
        by_category = {self.categories([code])[0]: found.categories[code].tobytes() for code in in_tree}
        return {"items": by_item, "categories": by_category}

    def neighbours(self, source: str) -> dict[Any, Any]:
        lists, table = {}, Neighbours(**self.tables.retrieval.sources[source])
        for code in np.flatnonzero(table.lengths):
            mine = slice(table.offsets[code], table.offsets[code + 1])
            lists[self.shop.items[int(code)]] = self.items(table.items[mine]), table.scores[mine].tobytes()
        return lists

    def popularity(self) -> dict[str, Any]:
        sources = self.tables.retrieval.sources
        parts = np.split(sources["category"]["items"], sources["category"]["offsets"][1:-1])
        by_category = {self.shop.catalog.categories[at]: self.items(part) for at, part in enumerate(parts) if len(part)}
        lists = {name: self.items(sources[name]["items"]) for name in ("recent", "popular")}
        return lists | {"categories": by_category}

    def factors(self) -> dict[str, Any]:
        factors = self.tables.factors
        known = np.flatnonzero(factors.known)
        rows = [factors.factors[row].tobytes() for row in factors.rows[known]]
        return {
            "items": dict(zip(self.items(known), rows, strict=True)),
            "gram": factors.gram.tobytes(),
            "settings": factors.arrays()["settings"].tolist(),
        }

    def past(self) -> tuple[list[Any], Histories]:
        """Users with an event before the cut by ascending id, and one whom nobody knows."""
        parts = ray.get(list(self.shop.partitions))
        users = pa.concat_arrays([part.users for part in parts])
        histories = Histories.concat([part.histories for part in parts]).until(T)
        rows = np.flatnonzero(histories.lengths)
        rows = rows[np.argsort(users.take(pa.array(rows)).to_numpy())]
        empty = Histories(
            np.zeros(2, np.int64), *(getattr(histories, name)[:0] for name in ("items", "events", "times"))
        )
        return [*users.take(pa.array(rows)).to_pylist(), None], Histories.concat([histories.take(rows), empty])

    def recommended(self) -> dict[Any, Any]:
        """Candidates, their source scores, features and scores of the factorization by (user, item)."""
        users, histories = self.past()
        stage = CandidateStage(self.tables, NO_PRERANKERS, small_config().inference)
        profiles = stage.profile(histories, T)
        candidates = stage(profiles)
        matrix = stage.features(profiles, candidates)
        user_factors, _ = self.tables.factors.fold_in(profiles.histories)
        mf = self.tables.factors.score(user_factors, candidates.users, candidates.items)
        coded = [NAMES.index(name) for name in CATEGORICAL]
        codes = np.where(np.isnan(matrix[:, coded]), UNKNOWN, matrix[:, coded]).astype(int)
        matrix[:, coded] = 0
        keys = zip((users[user] for user in candidates.users), self.items(candidates.items), strict=True)
        rows = zip(candidates.source_scores, matrix, codes, mf, strict=True)
        return {
            key: (scores.tobytes(), features.tobytes(), self.categories(code), factor.tobytes())
            for key, (scores, features, code, factor) in zip(keys, rows, strict=True)
        }

    def everything(self) -> dict[str, Any]:
        return {
            "statistics": self.statistics(),
            "covisitation": self.neighbours("covisitation"),
            "neighbours by factors": self.neighbours("mf_neighbours"),
            "popularity": self.popularity(),
            "factors": self.factors(),
            "candidates and features": self.recommended(),
        }


def see(folder: Path, *settings: str) -> Seen:
    config = small_config("inference.candidates.exclude_purchased=null", *settings)
    shop = read_shop(folder, config)
    assert shop.end == END
    return Seen(shop, ray.get(fit_tables(Context.create(shop, config, work=""), [CUT])[CUT]))


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory, ray_session: None) -> dict[str, Any]:
    seen = see(write_shop(tmp_path_factory.mktemp("original")))
    found = seen.everything()
    assert len(found["statistics"]["items"]) == len(found["factors"]["items"]) == 60
    assert len(found["covisitation"]) > 50
    assert len(found["candidates and features"]) > 3000
    return found


def assert_same(seen: Seen, original: dict[str, Any]) -> None:
    for name, facts in seen.everything().items():
        assert facts.keys() == original[name].keys(), name
        for key, value in facts.items():
            assert value == original[name][key], f"{name}: {key}"


def past(rows: Sequence[Any]) -> list[Any]:
    return [row for row in rows if row.timestamp <= T]


def future(rows: Sequence[Any]) -> list[Any]:
    return [row for row in rows if row.timestamp > T]


def deleted() -> tuple[list[Event], list[Property]]:
    """Users who came later are gone with their ids."""
    return past(events()) + LAST, past(properties())


def shuffled() -> tuple[list[Event], list[Property]]:
    """Users, items and types of the future change places."""
    rng = np.random.default_rng(1)
    rows = [row for row in future(events()) if row not in LAST]
    columns = [[row[at] for row in rows] for at in range(4)]
    users, kinds, items = ([columns[at][i] for i in rng.permutation(len(rows))] for at in (1, 2, 3))
    mixed = [Event(*row) for row in zip(columns[0], users, kinds, items, strict=True)]
    return past(events()) + mixed + LAST, properties()


def edited() -> tuple[list[Event], list[Property]]:
    """New items and categories, before, between and behind the old ones, and new users; everything changes category.

    Codes of items, users and categories shift, events become many more, and everything is sold out in the end.
    """
    rng = np.random.default_rng(2)
    new_items = [1, 2, 501, 611, 900, 2**40]
    rows = [
        Event(T + 1 + int(time), int(user), "transaction", int(item))
        for time, user, item in zip(
            rng.integers(0, AGE * DAY - 2, 3000),
            rng.choice([-7, 3, 1001, user_id(3), user_id(99), 10**12], 3000),
            rng.choice([*new_items, item_id(3), item_id(30)], 3000),
            strict=True,
        )
    ]
    all_items = [*new_items, *map(item_id, range(60))]
    changes = [
        row
        for item in all_items
        for row in (
            Property(T + 1, item, "categoryid", str([3, 11, leaf_id(0), 99, -4][item % 5])),
            Property(T + DAY, item, "available", "0"),
        )
    ]
    return past(events()) + rows + future(events()), past(properties()) + changes


@pytest.mark.parametrize("change", [deleted, shuffled, edited])
def test_the_future_does_not_show(
    original: dict[str, Any], tmp_path: Path, change: Callable[[], tuple[list[Event], list[Property]]]
) -> None:
    assert_same(see(write_shop(tmp_path, *change())), original)


def test_the_comparison_notices_a_change_of_the_past(original: dict[str, Any], tmp_path: Path) -> None:
    """The test of the test: without some users of the past every table differs."""
    gone = set(map(user_id, range(1, 20)))
    rows = [row for row in events() if row.visitorid not in gone]
    found = see(write_shop(tmp_path, rows)).everything()
    assert [name for name, facts in found.items() if facts == original[name]] == []


def test_order_of_rows_files_and_partitions_do_not_matter(original: dict[str, Any], tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    rows, changes = events(), properties()
    rows = [rows[i] for i in rng.permutation(len(rows))]
    write_shop(tmp_path, [], [changes[i] for i in rng.permutation(len(changes))])
    (tmp_path / "events.csv").unlink()
    third = len(rows) // 3
    write_csv(tmp_path / "events" / "b.csv", Event._fields, rows[:third])
    write_csv(tmp_path / "events" / "a.csv", Event._fields, rows[third:])
    text = (tmp_path / "events" / "b.csv").read_bytes()
    (tmp_path / "events" / "b.csv").unlink()
    (tmp_path / "events" / "c.csv.gz").write_bytes(gzip.compress(text))
    assert_same(see(tmp_path, "data.partitions=5"), original)


def test_a_sample_of_users_is_the_same_whatever_the_partitions(tmp_path: Path) -> None:
    write_shop(tmp_path)
    settings = ["factorization.max_users_for_examples=90", "factorization.confidence=null"]
    one, other = (see(tmp_path, *settings, f"data.partitions={n}").factors() for n in (1, 4))
    assert one == other


def test_properties_never_multiply_events(tmp_path: Path) -> None:
    """Items change category, and every row of properties comes three times, at different times."""
    again = [row._replace(timestamp=row.timestamp + hours) for row in properties() for hours in (0, 1, 2)]
    seen = see(write_shop(tmp_path, property_rows=again))
    found = seen.tables.statistics
    kept = past(events())
    for name, kind in (("item_views", "view"), ("item_carts", "addtocart"), ("item_purchases", "transaction")):
        assert np.nansum(found.item(name)) == sum(row.event == kind for row in kept)
    member = found.category != UNKNOWN
    views = found.categories[:, CATEGORY_COLUMNS.index("category_views")]
    assert views.sum() == np.nansum(found.item("item_views")[member])
    assert sum(seen.shop.event_counts.values()) == len(events())
    assert len(found.items) == len(seen.shop.items) == 60


def test_items_have_the_category_and_availability_of_their_time(tmp_path: Path) -> None:
    """Item 3 starts in leaf 3, is in leaf 4 from day 40 and in leaf 5 from day 80; item 27 comes back on day 50."""
    shop = read_shop(write_shop(tmp_path))
    days = {30: leaf_id(3), 40: leaf_id(4), 79: leaf_id(4), 80: leaf_id(5)}
    for day, leaf in days.items():
        state = shop.catalog.as_of(START + day * DAY)
        assert shop.catalog.categories[int(state.category[shop.items.code(item_id(3))])] == leaf
    tables = ray.get(
        list(fit_tables(Context.create(shop, small_config(), work=""), [Cut.at(END, 45), Cut.at(END, 28)]).values())
    )
    sold_out = [{shop.items[int(code)] for code in np.flatnonzero(~t.statistics.available)} for t in tables]
    assert sorted(map(len, sold_out)) == [2, 3]
    assert {item_id(7), item_id(17)} == sold_out[0] & sold_out[1]


def test_unavailable_items_are_in_no_candidate_list(original: dict[str, Any]) -> None:
    assert not {item for _, item in original["candidates and features"]} & {item_id(7), item_id(17)}
