"""The synthetic shop has its published shape and planted behaviour. The oracle uses no event after the cut."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recsys import schema
from recsys.data.synthetic import Oracle, events_hash, generate, oracle
from recsys.data.synthetic.settings import BEHAVIOUR, DAYS, END, START, Shape
from recsys.errors import ConfigError
from recsys.histories import Histories
from recsys.schema import CART, DAY, PURCHASE, VIEW

SCALE = 0.02
CUT = END - 14 * DAY
FILES = ("events.csv", "item_properties_part1.csv", "item_properties_part2.csv", "category_tree.csv")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shop")
    generate(folder, SCALE, 0)
    return folder


@pytest.fixture(scope="module")
def events(shop: Path) -> pl.DataFrame:
    return pl.read_csv(shop / "events.csv")


@pytest.fixture(scope="module")
def properties(shop: Path) -> pl.DataFrame:
    return pl.concat([pl.read_csv(shop / name, schema_overrides={schema.VALUE: pl.String}) for name in FILES[1:3]])


@pytest.fixture(scope="module")
def known(shop: Path) -> Oracle:
    return Oracle.load(shop)


def ndcg(ranked: np.ndarray, truth: list[list[int]]) -> float:
    gains = 1 / np.log2(np.arange(2, 12))
    scores = [gains[np.isin(r, t)].sum() / gains[: len(t)].sum() for r, t in zip(ranked, truth, strict=True)]
    return float(np.mean(scores))


def buyers(events: pl.DataFrame) -> pl.DataFrame:
    """The users with purchases after CUT of items seen before: visitorid, list of itemid."""
    past = events.filter(pl.col(schema.TIME) <= CUT)
    bought = events.filter((pl.col(schema.TIME) > CUT) & (pl.col(schema.EVENT) == "transaction"))
    return (
        bought.join(past, on=schema.ITEM, how="semi")
        .group_by(schema.USER)
        .agg(pl.col(schema.ITEM).unique())
        .sort(schema.USER)
    )


def test_same_seed_same_bytes(shop: Path, tmp_path: Path) -> None:
    generate(tmp_path / "again", SCALE, 0)
    for name in FILES:
        assert (tmp_path / "again" / name).read_bytes() == (shop / name).read_bytes(), name
    assert events_hash(tmp_path / "again") == events_hash(shop)


def test_attributes_leave_the_other_files_as_they_are(shop: Path, tmp_path: Path) -> None:
    """And they tell of an item's cell, which the item's buyers share: most items of a cell have the same style."""
    generate(tmp_path, SCALE, 0, attributes=True)
    for name in FILES:
        assert (tmp_path / name).read_bytes() == (shop / name).read_bytes(), name
    assert not (shop / "items.csv").exists()
    items = pl.read_csv(tmp_path / "items.csv")
    assert items.columns == [schema.TIME, schema.ITEM, "style", "price"]
    assert items[schema.ITEM].n_unique() == Shape.scaled(SCALE).catalogue
    assert (items["price"] > 0).all()
    known = Oracle.load(tmp_path)
    cells = pl.DataFrame({schema.ITEM: known.items, "cell": known.shelves.cells_on(DAYS - 1)})
    last = items.sort(schema.TIME).unique(schema.ITEM, keep="last").join(cells, on=schema.ITEM)
    by_cell = last.group_by("cell").agg(
        pl.col("style").value_counts(sort=True).first().struct.field("count").alias("most"),
        pl.len(),
        pl.col("price").log().std().alias("spread"),
    )
    assert by_cell["most"].sum() > 0.75 * by_cell["len"].sum()
    assert by_cell["spread"].mean() < 0.4 * last["price"].log().std()


def test_another_seed_is_another_shop(shop: Path, tmp_path: Path) -> None:
    generate(tmp_path, SCALE, 1)
    assert events_hash(tmp_path) != events_hash(shop)


def test_events_have_the_published_shape(events: pl.DataFrame) -> None:
    shape = Shape.scaled(SCALE)
    counts = dict(events[schema.EVENT].value_counts().iter_rows())
    assert counts["addtocart"] == shape.carts
    assert counts["transaction"] == shape.purchases
    assert counts["view"] == pytest.approx(shape.views, rel=0.02)
    assert events[schema.USER].n_unique() == shape.visitors
    assert events[schema.ITEM].n_unique() == shape.items
    per_visitor = events[schema.USER].value_counts()["count"]
    assert per_visitor.median() == 1
    assert per_visitor.max() > 100


def test_events_fill_the_period_in_disorder(events: pl.DataFrame) -> None:
    times = events[schema.TIME]
    assert START <= times.min() < START + DAY / 24
    assert END - DAY / 24 < times.max() < END
    assert (END - START) / DAY == DAYS
    assert not times.is_sorted()


def test_most_test_visitors_and_some_test_items_are_new(events: pl.DataFrame) -> None:
    ordered = events.sort(schema.TIME)
    train, test = ordered[: int(0.8 * len(ordered))], ordered[int(0.8 * len(ordered)) :]
    new = {
        key: 1 - test[key].unique().is_in(train[key].unique().implode()).mean() for key in (schema.USER, schema.ITEM)
    }
    assert new[schema.USER] == pytest.approx(0.92, abs=0.02)
    assert new[schema.ITEM] == pytest.approx(0.19, abs=0.02)


def test_only_purchases_carry_a_transaction_id(events: pl.DataFrame) -> None:
    bought = pl.col(schema.EVENT) == "transaction"
    assert events.filter(bought)[schema.TRANSACTION].null_count() == 0
    assert events.filter(~bought)[schema.TRANSACTION].is_null().all()
    orders = events.filter(bought).group_by(schema.TRANSACTION).agg(pl.col(schema.USER).n_unique())
    assert orders[schema.USER].max() == 1


def test_purchases_follow_a_view_and_a_cart(events: pl.DataFrame) -> None:
    first = events.group_by(schema.USER, schema.ITEM, schema.EVENT).agg(pl.col(schema.TIME).min())
    table = first.pivot(schema.EVENT, index=[schema.USER, schema.ITEM], values=schema.TIME)
    bought = table.filter(pl.col("transaction").is_not_null())
    assert (bought["addtocart"] < bought["transaction"]).mean() > 0.99
    assert (bought["view"] < bought["transaction"]).mean() > 0.99


def test_no_event_occurs_twice(events: pl.DataFrame) -> None:
    assert events.unique().height == events.height


def test_properties_have_the_published_shape(properties: pl.DataFrame, events: pl.DataFrame) -> None:
    shape = Shape.scaled(SCALE)
    counts = dict(properties[schema.PROPERTY].value_counts().iter_rows())
    assert len(properties) == shape.properties
    assert counts[schema.CATEGORY] == shape.category_rows
    assert counts[schema.AVAILABLE] == shape.available_rows
    assert properties[schema.ITEM].n_unique() == shape.catalogue
    assert events[schema.ITEM].is_in(properties[schema.ITEM].unique().implode()).all()
    available = properties.filter(pl.col(schema.PROPERTY) == schema.AVAILABLE)
    assert set(available[schema.VALUE]) == {"0", "1"}
    assert (available.group_by(schema.ITEM).agg(pl.col(schema.VALUE).n_unique())[schema.VALUE] == 2).mean() > 0.2


def test_few_items_change_category(properties: pl.DataFrame) -> None:
    rows = properties.filter(pl.col(schema.PROPERTY) == schema.CATEGORY)
    assert rows.select(schema.ITEM, schema.TIME).is_unique().all()
    categories = rows.group_by(schema.ITEM).agg(pl.col(schema.VALUE).n_unique())
    assert categories.height == Shape.scaled(SCALE).catalogue
    assert (categories[schema.VALUE] > 1).mean() == pytest.approx(BEHAVIOUR.moved_fraction, abs=0.02)


def test_category_tree_is_a_forest_that_holds_every_category(shop: Path, properties: pl.DataFrame) -> None:
    tree = pl.read_csv(shop / "category_tree.csv")
    parent = dict(tree.select(schema.CATEGORY, schema.PARENT).iter_rows())
    assert len(parent) == tree.height == 1669
    assert sum(up is None for up in parent.values()) == 25
    for category in parent:
        path = [category]
        while (up := parent[path[-1]]) is not None:
            assert up not in path
            path.append(up)
    used = properties.filter(pl.col(schema.PROPERTY) == schema.CATEGORY)[schema.VALUE].cast(pl.Int64)
    assert used.is_in(list(parent)).all()


@pytest.mark.parametrize("scale", [0.0, -1.0, 0.001, 1e6, float("nan")])
def test_a_scale_without_a_shop_is_refused(tmp_path: Path, scale: float) -> None:
    with pytest.raises(ConfigError, match=r"expected 0\.005 to 100"):
        generate(tmp_path, scale)
    assert not list(tmp_path.iterdir())


def test_oracle_beats_popularity_and_lists_no_item_twice(known: Oracle, events: pl.DataFrame) -> None:
    cases = buyers(events)
    ranked = known.rank(cases[schema.USER].to_numpy(), CUT, 10)
    recent = events.filter(
        (pl.col(schema.EVENT) == "transaction") & pl.col(schema.TIME).is_between(CUT - 30 * DAY, CUT)
    )
    counts = recent[schema.ITEM].value_counts().sort(["count", schema.ITEM], descending=[True, False])
    popular = np.tile(counts[schema.ITEM][:10].to_numpy(), (len(cases), 1))
    truth = cases[schema.ITEM].to_list()
    assert ndcg(ranked, truth) > 1.5 * ndcg(popular, truth)
    assert all(len(set(row)) == 10 for row in ranked.tolist())


def test_oracle_ignores_events_after_the_cut(shop: Path, known: Oracle, events: pl.DataFrame, tmp_path: Path) -> None:
    users = buyers(events)[schema.USER].to_numpy()
    (tmp_path / oracle.FOLDER).symlink_to(shop / oracle.FOLDER)
    events.filter(pl.col(schema.TIME) <= CUT).write_csv(tmp_path / "events.csv")
    np.testing.assert_array_equal(Oracle.load(tmp_path).rank(users, CUT, 20), known.rank(users, CUT, 20))


def test_oracle_gives_the_marginal_ranking_to_those_without_a_past(known: Oracle, events: pl.DataFrame) -> None:
    first = events.group_by(schema.USER).agg(pl.col(schema.TIME).min())
    late = first.filter(pl.col(schema.TIME) > CUT)[schema.USER].sort()[:3].to_list()
    early = first.sort(schema.TIME)[schema.USER][0]
    nobody = int(events[schema.USER].max()) + 1
    ranked = known.rank(np.array([*late, nobody, early]), CUT, 10)
    rates = known.moment(CUT).cold_start
    for row in ranked[:4]:
        np.testing.assert_array_equal(row, known.top(rates, 10))
        assert np.all(np.diff(rates[np.argsort(known.items)[np.searchsorted(np.sort(known.items), row)]]) <= 0)
    assert ranked[4].tolist() != ranked[0].tolist()


def one_history(item: int, *pairs: tuple[int, float]) -> Histories:
    """The history of one user with one item; pairs: event, days before CUT."""
    kinds, ages = (np.array(column) for column in zip(*pairs, strict=True))
    n = len(pairs)
    times = (CUT - ages * DAY).astype(np.int64)
    return Histories.build(np.zeros(n, np.int64), np.full(n, item), kinds, times, 1)


def test_a_fresh_cart_counts_more_than_an_old_one_or_a_view(known: Oracle) -> None:
    intent = np.full(len(known.items), 0.02)

    def waiting(*pairs: tuple[int, float]) -> float:
        return float(known.pending(one_history(0, *pairs), intent, CUT)[1].sum())

    assert waiting((CART, 1.0)) > waiting((CART, 20.0)) > 0
    assert waiting((CART, 1.0)) > 5 * waiting((VIEW, 1.0))
    assert waiting((CART, 3.0), (PURCHASE, 2.0)) == 0


def test_staples_alone_are_bought_again_most_likely_when_due(known: Oracle) -> None:
    staple, durable = int(np.argmax(known.shelves.staple)), int(np.argmin(known.shelves.staple))

    def again(item: int, age: float) -> float:
        return float(known.repeats(one_history(item, (PURCHASE, age)), CUT)[1].sum())

    assert again(durable, 14) == 0
    assert again(staple, 14) > again(staple, 0.5) > 0
    assert again(staple, 14) > again(staple, 90)


def test_draws_passed_over_follow_the_closed_form() -> None:
    rng = np.random.default_rng(0)
    law, seen = np.array([0.5, 0.3, 0.2]), np.array([0.9, 0.0, 0.5])
    drawn = rng.choice(3, 200_000, p=law)
    for _ in range(2):
        over = rng.random(len(drawn)) < seen[drawn]
        drawn[over] = rng.choice(3, int(over.sum()), p=law)
    np.testing.assert_allclose(oracle.passing_over(law, seen), np.bincount(drawn) / len(drawn), atol=0.005)
    assert oracle.passing_over(law, seen).sum() == pytest.approx(1)
