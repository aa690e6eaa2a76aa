"""Files of similar items and of baskets, through Ray Data, from a version that a training run published."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recsys.errors import DataError, RuleError
from recsys.inference.list_rules import ListRules
from recsys.inference.related import RelatedItems
from recsys.inference.related_batch import prepare_baskets, prepare_similar, write
from recsys.registry import bundle
from recsys.registry.bundle import Bundle
from recsys.rules.request import RequestRules, Target
from tests.support.bundles import related_tables
from tests.support.shop_data import events, item_id
from tests.support.trained import Trained, trained_shop
from tests.support.world import small_config, small_world

N = 4


@pytest.fixture(scope="module")
def trained(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return trained_shop(tmp_path_factory)


@pytest.fixture(scope="module")
def opened(trained: Trained) -> Bundle:
    return bundle.read(trained.path)


def test_training_learns_from_orders(opened: Bundle) -> None:
    """Each purchase of the small shop is an order of its own, so nothing is bought together."""
    related = opened.related
    assert related is not None
    purchases = [row.itemid for row in events() if row.event == "transaction"]
    orders = {(row.visitorid, row.itemid, row.transactionid) for row in events() if row.event == "transaction"}
    assert related.orders.sum() == len(orders) <= len(purchases)
    assert related.bought.lengths.sum() == 0
    by_day = related_tables(small_world(), opened.tables, small_config())  # of a log without orders
    assert by_day.bought.lengths.sum() > 0
    assert (related.first == by_day.first).all()


def test_similar_items_of_a_file_and_of_the_shop(trained: Trained, opened: Bundle, tmp_path: Path) -> None:
    source, out = tmp_path / "items.csv", tmp_path / "similar.parquet"
    source.write_text(f"itemid\n{item_id(5)}\n7\n{item_id(2)}\n{item_id(5)}\n")
    requests = prepare_similar(str(trained.registry), None, source, N, out)
    assert requests.unknown == 1
    write(requests)
    table = pl.read_parquet(out)
    assert table.columns == ["itemid", "rank", "similar_itemid", "score"]
    assert table["itemid"].to_list() == [item_id(5)] * N + [item_id(2)] * N
    assert table["rank"].to_list() == [1, 2, 3, 4] * 2
    codes = np.array([opened.items.code(item_id(number)) for number in (5, 2)])
    listed = RelatedItems.from_bundle(opened).similar(codes, N)
    assert table["similar_itemid"].to_list() == opened.items.to_list(listed.items)
    assert table["score"].to_list() == listed.scores.tolist()

    rules = ListRules(RequestRules(exclude=(item_id(2),)), None, 0)
    write(prepare_similar(str(trained.registry), trained.version, None, 1, tmp_path / "every.csv", rules))
    every = pl.read_csv(tmp_path / "every.csv")
    available = np.flatnonzero(opened.tables.statistics.available)
    assert every["itemid"].to_list() == opened.items.to_list(available)
    assert item_id(2) not in every["similar_itemid"].to_list()


def test_baskets_of_a_file(trained: Trained, opened: Bundle, tmp_path: Path) -> None:
    source, out = tmp_path / "carts.csv", tmp_path / "baskets.parquet"
    rows = [("b", item_id(5)), ("a", item_id(2)), ("b", item_id(1)), ("c", 7)]
    source.write_text("\n".join(["cart,itemid", *(f"{cart},{item}" for cart, item in rows), ""]))
    wrong = ListRules(RequestRules(only=(Target(attribute="colour", values=("red",)),)), None, 0)
    with pytest.raises(RuleError, match="no attribute 'colour'"):
        prepare_baskets(str(trained.registry), None, source, N, out, wrong)
    requests = prepare_baskets(str(trained.registry), None, source, N, out)
    assert requests.unknown == 1
    write(requests)
    table = pl.read_parquet(out)
    assert table.columns == ["cart", "rank", "itemid", "score"]
    assert table["cart"].to_list() == ["b"] * N + ["a"] * N + ["c"] * N
    codes = np.array([opened.items.code(item_id(number)) for number in (5, 1, 2)])
    listed = RelatedItems.from_bundle(opened).basket(np.array([0, 2, 3, 3]), codes, N)
    assert table["itemid"].to_list() == opened.items.to_list(listed.items)


def test_bad_input_is_named_before_anything_runs(trained: Trained, tmp_path: Path) -> None:
    carts, registry = tmp_path / "carts.csv", str(trained.registry)
    carts.write_text("cart,itemid\na,x\n")
    with pytest.raises(DataError, match="row 2: itemid is 'x'; expected an id of type int64"):
        prepare_baskets(registry, None, carts, N, tmp_path / "out.csv")
    carts.write_text("itemid\n5\n")
    with pytest.raises(DataError, match="no column cart; found itemid"):
        prepare_baskets(registry, None, carts, N, tmp_path / "out.csv")
    with pytest.raises(DataError, match="n is 0; expected 1 to 1000"):
        prepare_similar(registry, None, None, 0, tmp_path / "out.csv")
    with pytest.raises(DataError, match="its ending"):
        prepare_similar(registry, None, None, N, tmp_path / "out.txt")
    with pytest.raises(DataError, match="is the file that is read"):
        prepare_similar(registry, None, carts, N, carts)
