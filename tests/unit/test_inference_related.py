"""Similar items, baskets, trending and new items: what is listed, in which order, and what never is."""

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from recsys.arrays import offsets_of
from recsys.features.attributes import ItemAttributes
from recsys.features.statistics import Statistics, descendants
from recsys.inference.basket import Baskets
from recsys.inference.item_labels import ItemLabels, vector_agreement
from recsys.inference.item_lists import Allowed, ItemLists, Scores, best_items
from recsys.inference.related import RelatedItems
from recsys.inference.shop_lists import ShopLists, popularity_order, trend
from recsys.inference.similar import SimilarItems, cosine
from recsys.models.factors import ItemFactors
from recsys.models.related import RelatedConfig, RelatedTables, SimilarConfig, first_seen
from recsys.models.tables import Tables
from recsys.registry.bundle import Bundle
from recsys.retrieval.generator import RetrievalTables
from recsys.retrieval.neighbours import Neighbours
from recsys.rules.batch import BatchRules
from recsys.rules.request import RequestRules
from recsys.schema import DAY, UNKNOWN
from recsys.specs import Arrays
from tests.support.bundles import attributed_bundle, session_bundle, small_bundle
from tests.support.shop_data import END
from tests.support.world import small_world

EVERY = np.ones(6, bool)
NO_PAIRS = np.zeros(0, np.int64)


def lists(listed: ItemLists) -> list[list[int]]:
    return [part.tolist() for part in np.split(listed.items, listed.offsets[1:-1])]


def neighbours(n_items: int, **scores: dict[int, float]) -> Neighbours:
    """The neighbours of items i0, i1, …"""
    rows = [(int(name[1:]), item, score) for name, own in scores.items() for item, score in own.items()]
    source, item, score = (np.array(column) for column in zip(*rows, strict=True)) if rows else (NO_PAIRS,) * 3
    return Neighbours.build(source, item, score.astype(np.float32), n_items, n_items)


def statistics_of(n_items: int, events: list[int], **others: object) -> Statistics:
    """Items with so many views each, all recent, 0 for an item without an event; without categories by default."""
    items = np.zeros((n_items, 3), np.float32)
    items[:, 0] = items[:, 1] = events
    items[np.array(events) == 0] = np.nan
    category = np.full(n_items, UNKNOWN, np.int32)
    made = Statistics(
        items,
        np.zeros((0, 1), np.float32),
        category,
        np.full((n_items, 2), UNKNOWN, np.int32),
        np.ones(n_items, bool),
        ("item_popularity", "item_views", "item_days_known"),
    )
    return replace(made, **others)  # type: ignore[arg-type]


def tables_of(
    statistics: Statistics, covisitation: Neighbours | None = None, factors: np.ndarray | None = None
) -> Tables:
    n_items = statistics.n_items
    vectors = np.zeros((0, 1), np.float32) if factors is None else factors
    rows = np.full(n_items, UNKNOWN, np.int32) if factors is None else np.arange(n_items, dtype=np.int32)
    sources = {} if covisitation is None else {"covisitation": covisitation.arrays()}
    return Tables(
        END,
        statistics,
        RetrievalTables(sources, False),
        ItemFactors(vectors, rows, np.eye(vectors.shape[1]), np.ones(3), 0.1, 1.0, True),
    )


def similar_of(tables: Tables, learned: Arrays | None = None, **settings: float) -> SimilarItems:
    off = {"covisitation": 0.0, "factors": 0.0, "vectors": 0.0, "attributes": 0.0}
    config = SimilarConfig.model_validate(off | settings)
    return SimilarItems(tables, config, popularity_order(tables.statistics), learned)


# The last stage


def test_the_best_allowed_items_come_first() -> None:
    scored = Scores(np.array([0, 0, 0, 1, 1]), np.array([3, 1, 2, 4, 5]), np.array([1.0, 3.0, 1.0, 0.5, 0.0]), 3)
    allowed = Allowed(np.array([True, True, True, True, True, False]), np.array([6 + 4]))
    best = best_items(scored, 2, allowed, np.array([5, 4, 0]))
    assert lists(best) == [[1, 2], [0], [4, 0]]
    assert best.scores.tolist() == [3 / 4, 1 / 2, 0, 0, 0]


@pytest.mark.parametrize("seed", range(20))
def test_lists_hold_n_allowed_items_while_there_are_so_many(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n_items, n_requests, n = 40, 7, int(rng.integers(1, 30))
    keys = np.unique(rng.integers(0, n_items * n_requests, 60))
    forbidden = np.unique(rng.integers(0, n_items * n_requests, 40))
    allowed = Allowed(rng.random(n_items) < 0.5, forbidden)
    requests, items = np.divmod(keys, n_items)
    best = best_items(Scores(requests, items, rng.random(len(keys)), n_requests), n, allowed, rng.permutation(n_items))
    for request, listed in enumerate(lists(best)):
        permitted = [i for i in range(n_items) if allowed.items[i] and request * n_items + i not in forbidden]
        assert set(listed) <= set(permitted)
        assert len(set(listed)) == len(listed) == min(n, len(permitted))
        scores = best.scores[best.offsets[request] : best.offsets[request + 1]]
        assert (np.diff(scores) <= 0).all()
        assert ((scores >= 0) & (scores < 1)).all()


# Similar items


def test_covisitation_orders_similar_items() -> None:
    tables = tables_of(statistics_of(4, [1, 1, 1, 1]), neighbours(4, i0={2: 0.5, 3: 0.9}))
    listed = similar_of(tables, covisitation=1)(np.array([0]), 2)
    assert lists(listed) == [[3, 2]]
    assert listed.scores.tolist() == pytest.approx([0.9 / 1.9, 0.5 / 1.5])


def test_a_popular_neighbour_weighs_more() -> None:
    tables = tables_of(statistics_of(4, [1, 1, 10_000, 1]), neighbours(4, i0={2: 0.5, 3: 0.9}))
    assert lists(similar_of(tables, covisitation=1, popularity_power=0.25)(np.array([0]), 2)) == [[2, 3]]
    assert lists(similar_of(tables, covisitation=1, popularity_power=0)(np.array([0]), 2)) == [[3, 2]]


def test_factors_order_the_neighbours() -> None:
    factors = np.array([[1, 0], [1, 0.1], [0.1, 1], [-1, 0]], np.float32)
    tables = tables_of(statistics_of(4, [1, 1, 1, 1]), neighbours(4, i0={1: 0.1, 2: 0.1, 3: 0.1}), factors)
    listed = similar_of(tables, factors=1)(np.array([0]), 3)
    assert lists(listed) == [[1, 2, 3]]
    assert listed.scores[2] == 0  # the other way round: a cosine below 0 counts nothing


def test_session_vectors_bring_their_own_neighbours() -> None:
    tables = tables_of(statistics_of(4, [9, 1, 1, 1]))
    vectors = {
        "matrix": np.array([[1, 0], [0, 1], [0.8, 0.6]]),
        "rows": np.array([0, UNKNOWN, 1, 2], np.int32),
        **neighbours(4, i0={2: 0.1, 3: 0.8}).arrays(),
    }
    listed = similar_of(tables, vectors, vectors=1)(np.array([0]), 2)
    assert lists(listed)[0][0] == 3
    assert listed.scores[0] == pytest.approx(0.8 / 1.8)


def test_an_item_without_events_has_similar_items_by_its_attributes() -> None:
    """Label 0 is frequent, label 1 is of items 0 and 3 alone; item 0 has no event."""
    offsets, values = offsets_of(np.array([2, 1, 1, 1])), np.array([0, 1, 0, 0, 1], np.int32)
    attributes = ItemAttributes(
        ("style",), np.array([0, 2]), offsets, values, (), np.array([0]), np.zeros((4, 0), np.float32)
    )
    statistics = statistics_of(4, [0, 9, 9, 1], attributes=attributes)
    listed = similar_of(tables_of(statistics), attributes=1)(np.array([0, 2]), 2)
    assert lists(listed) == [[3, 1], [1, 0]]


def test_items_of_the_same_category_are_alike() -> None:
    """Leaves 2 and 3 are below 0, leaf 4 below 1."""
    levels = np.array([[0, 2], [0, 3], [1, 4], [0, 2], [UNKNOWN, UNKNOWN]], np.int32)
    statistics = statistics_of(
        5, [1, 1, 9, 1, 9], category=levels[:, 1], levels=levels, categories=np.zeros((5, 1), np.float32)
    )
    listed = similar_of(tables_of(statistics), attributes=1)(np.array([0]), 4)
    assert lists(listed) == [[3, 1, 2, 4]]
    assert listed.scores[:2].tolist() == sorted(listed.scores[:2].tolist(), reverse=True)
    assert listed.scores[2:].tolist() == [0, 0]  # popular items fill the list up


def test_vectors_alone_make_items_alike() -> None:
    matrix = np.array([[1, 0], [0.6, 0.8], [0, 1], [0, 0]], np.float32)
    attributes = ItemAttributes(
        (), np.array([0]), np.zeros(5, np.int64), np.zeros(0, np.int32), ("look",), np.array([0, 2]), matrix
    )
    statistics = statistics_of(4, [0, 0, 9, 9], attributes=attributes)
    listed = similar_of(tables_of(statistics), attributes=1)(np.array([0]), 3)
    assert lists(listed) == [[1, 2, 3]]
    assert vector_agreement(attributes, np.array([0, 1, 0]), np.array([1, 2, 3])) == pytest.approx([0.6, 0.8, 0])


@cache
def bundle() -> Bundle:
    return small_bundle()


def test_the_vectors_of_the_session_model_count() -> None:
    opened = session_bundle()
    without = RelatedItems.from_bundle(replace(opened, sessions=None))
    every = np.arange(len(opened.items))
    assert lists(RelatedItems.from_bundle(opened).similar(every, 5)) != lists(without.similar(every, 5))


@pytest.mark.parametrize("made", [small_bundle, attributed_bundle, session_bundle])
def test_no_unavailable_item_and_not_the_item_itself(made: object) -> None:
    opened: Bundle = made()  # type: ignore[operator]
    available = opened.tables.statistics.available
    assert not available.all()
    n_items = len(opened.items)
    listed = RelatedItems.from_bundle(opened).similar(np.arange(n_items), 20)
    for item, own in enumerate(lists(listed)):
        assert item not in own
        assert len(set(own)) == len(own) == 20
        assert available[own].all()


def test_a_batch_gives_what_single_requests_give() -> None:
    related = RelatedItems.from_bundle(attributed_bundle())
    items = np.array([5, 0, 3, 5])
    together = related.similar(items, 7)
    alone = ItemLists.concat([related.similar(np.array([item]), 7) for item in items])
    assert together.items.tolist() == alone.items.tolist()
    assert together.scores.tolist() == alone.scores.tolist()


def rules_of(*requests: dict[str, Any], n: int = 10) -> BatchRules | None:
    wanted = [RequestRules.model_validate(request) for request in requests]
    return BatchRules.build(wanted, [n] * len(wanted), [None] * len(wanted), None, END)


def test_a_filter_acts_before_a_list_is_cut() -> None:
    related, n_items = RelatedItems.from_bundle(bundle()), len(bundle().items)
    allowed = np.arange(n_items) % 2 == 1
    rules = rules_of({"exclude": bundle().items.to_list(np.flatnonzero(~allowed))})
    carts = np.array([0, 2]), np.array([0, 2])
    every = (
        related.similar(np.array([0]), 10, rules),
        related.basket(*carts, 10, rules),
        related.lists.trending(10, None, rules),
        related.lists.newest(10, None, rules),
    )
    for listed in every:
        assert len(listed.items) == 10
        assert allowed[listed.items].all()


def test_rules_that_change_nothing_leave_a_list_as_it_is() -> None:
    related = RelatedItems.from_bundle(bundle())
    rules = rules_of({"exclude": ["999999"]})
    some = np.array([0]), 10
    carts = np.array([0, 2]), np.array([0, 2]), 10
    pairs = (
        (related.similar(*some), related.similar(*some, rules)),
        (related.basket(*carts), related.basket(*carts, rules)),
        (related.lists.trending(10), related.lists.trending(10, None, rules)),
        (related.lists.newest(10), related.lists.newest(10, None, rules)),
    )
    for plain, ruled in pairs:
        assert ruled.items.tolist() == plain.items.tolist()
        assert ruled.scores.tolist() == plain.scores.tolist()


def test_rules_in_a_batch_are_those_of_single_requests() -> None:
    """The batch is longer than what is handled at a time."""
    related, n_items = RelatedItems.from_bundle(bundle()), len(bundle().items)
    items = np.arange(450) % n_items
    requests = [{"exclude": bundle().items.to_list(np.arange(k, n_items, 2))} for k in (0, 1)] * 225
    together = related.similar(items, 10, rules_of(*requests))
    for request in (0, 1, 201, 449):
        alone = related.similar(items[[request]], 10, rules_of(requests[request]))
        own = slice(*together.offsets[request : request + 2])
        assert together.items[own].tolist() == alone.items.tolist()
        assert together.scores[own].tolist() == alone.scores.tolist()


def test_agreement_weighs_rare_labels_more() -> None:
    offsets = offsets_of(np.array([2, 2, 1]))
    labels = ItemLabels(
        offsets, np.array([0, 1, 0, 1, 0], np.int32), np.array([0, 0, 0]), np.zeros(0, np.int32), np.array([1.0, 3.0])
    )
    assert labels.agreement(np.array([0]), np.array([0, 0]), np.array([1, 2])).tolist() == [1.0, 0.25]


def test_cosine_of_items_without_a_vector_is_zero() -> None:
    vectors, rows = np.array([[3.0, 4.0], [0.0, 0.0]]), np.array([0, UNKNOWN, 1])
    assert cosine(vectors, rows, np.array([0, 0, 0]), np.array([0, 1, 2])).tolist() == [1.0, 0.0, 0.0]


# Baskets


def baskets(bought: Neighbours, alike: Neighbours | None = None, available: np.ndarray = EVERY) -> Baskets:
    orders = np.array([6, 5, 4, 3, 2, 1])
    tables = RelatedTables(bought, alike or neighbours(6), orders, np.full(6, UNKNOWN))
    return Baskets(tables, available)


def test_scores_of_a_cart_add_up() -> None:
    basket = baskets(neighbours(6, i0={3: 0.5, 4: 0.6}, i1={3: 0.5}))
    listed = basket(np.array([0, 2, 3, 3]), np.array([1, 0, 0]), 2)
    assert lists(listed) == [[3, 4], [4, 3], [0, 1]]
    assert listed.scores.tolist() == pytest.approx([1 / 2, 0.6 / 1.6, 0.6 / 1.6, 0.5 / 1.5, 0, 0])


def test_an_item_counts_once_however_often_it_is_in_the_cart() -> None:
    basket = baskets(neighbours(6, i0={3: 0.5}, i1={4: 0.6}))
    assert lists(basket(np.array([0, 4]), np.array([0, 0, 0, 1]), 2)) == [[4, 3]]


def test_neither_the_cart_nor_unavailable_items_are_proposed() -> None:
    basket = baskets(neighbours(6, i0={1: 0.9, 2: 0.8, 3: 0.1}), available=np.arange(6) != 2)
    assert lists(basket(np.array([0, 2]), np.array([0, 1]), 6)) == [[3, 4, 5]]


def test_a_substitute_for_one_item_is_not_proposed_for_another() -> None:
    basket = baskets(neighbours(6, i0={3: 0.9}), neighbours(6, i1={3: 2.0, 2: 1.0}))
    assert lists(basket(np.array([0, 1]), np.array([0]), 3)) == [[3, 1, 2]]
    assert lists(basket(np.array([0, 2]), np.array([0, 1]), 3)) == [[4, 5]]  # nor to fill the list up


def test_baskets_in_a_batch_are_those_of_single_carts() -> None:
    related = RelatedItems.from_bundle(bundle())
    rng = np.random.default_rng(0)
    carts = [rng.choice(len(bundle().items), size, replace=False) for size in (1, 0, 5, 30)]
    together = related.basket(offsets_of(np.array([len(cart) for cart in carts])), np.concatenate(carts), 10)
    alone = [related.basket(np.array([0, len(cart)]), cart, 10) for cart in carts]
    assert together.items.tolist() == ItemLists.concat(alone).items.tolist()
    for cart, listed in zip(carts, lists(together), strict=True):
        assert not set(cart.tolist()) & set(listed)


@pytest.mark.parametrize("seed", range(10))
def test_baskets_are_those_of_plain_loops(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n_items, n = 12, 5
    bought = {item: {int(o): float(rng.random()) for o in rng.choice(n_items, 4) if o != item} for item in range(12)}
    alike = {item: {int(o): 1.0 for o in rng.choice(n_items, 2) if o != item} for item in range(12)}
    orders, available = rng.integers(0, 50, n_items), rng.random(n_items) < 0.8
    tables = RelatedTables(
        neighbours(n_items, **{f"i{item}": own for item, own in bought.items()}),
        neighbours(n_items, **{f"i{item}": own for item, own in alike.items()}),
        orders,
        np.full(n_items, UNKNOWN),
    )
    carts = [rng.choice(n_items, int(rng.integers(0, 5)), replace=False).tolist() for _ in range(6)]
    flat = np.array([item for cart in carts for item in cart], np.int64)
    listed = Baskets(tables, available)(offsets_of(np.array([len(cart) for cart in carts])), flat, n)
    for cart, own in zip(carts, lists(listed), strict=True):
        never = {*cart, *(other for item in cart for other in alike[item]), *np.flatnonzero(~available).tolist()}
        scores = {i: sum(np.float32(bought[item].get(i, 0)) for item in cart) for i in range(n_items) if i not in never}
        expected = sorted(scores, key=lambda i: (-scores[i], -orders[i] if not scores[i] else 0, i))[:n]
        assert own == expected


@pytest.mark.parametrize("seed", range(10))
def test_similar_items_are_those_of_plain_loops(seed: int) -> None:
    """Covisitation, factors and labels together, with the default weights."""
    rng = np.random.default_rng(seed)
    n_items, n, settings = 10, 9, SimilarConfig()
    together = {item: {int(o): float(rng.random()) for o in rng.choice(n_items, 3) if o != item} for item in range(10)}
    factors = rng.normal(size=(n_items, 3)).astype(np.float32)
    labels = [sorted(set(rng.choice(5, 2).tolist())) for _ in range(n_items)]
    attributes = ItemAttributes(
        ("style",),
        np.array([0, 5]),
        offsets_of(np.array([len(own) for own in labels])),
        np.concatenate(labels).astype(np.int32),
        (),
        np.array([0]),
        np.zeros((n_items, 0), np.float32),
    )
    events, available = rng.integers(1, 1000, n_items), rng.random(n_items) < 0.8
    statistics = statistics_of(n_items, events.tolist(), attributes=attributes, available=available)
    table = neighbours(n_items, **{f"i{item}": own for item, own in together.items()})
    listed = SimilarItems(tables_of(statistics, table, factors), settings, popularity_order(statistics))(
        np.arange(n_items), n
    )
    counts = [sum(label in own and a for own, a in zip(labels, available, strict=True)) for label in range(5)]
    idf = [np.log((n_items + 1) / max(count, 1)) for count in counts]

    def score(item: int, other: int) -> float:
        common, every = set(labels[item]) & set(labels[other]), set(labels[item]) | set(labels[other])
        pooled = other in together[item] or common
        a, b = factors[item].astype(float), factors[other].astype(float)
        angle = max(a @ b / np.linalg.norm(a) / np.linalg.norm(b), 0)
        agreement = sum(idf[label] for label in common) / sum(idf[label] for label in every)
        covisitation = float(np.float32(together[item].get(other, 0))) * events[other] ** settings.popularity_power
        total = settings.covisitation * covisitation + settings.factors * angle + settings.attributes * agreement / 2
        return total if pooled else 0

    for item, own in enumerate(lists(listed)):
        others = [other for other in range(n_items) if available[other] and other != item]
        scores = {other: round(score(item, other), 12) for other in others}
        expected = sorted(others, key=lambda o: (-scores[o], -events[o] if not scores[o] else 0, o))
        assert own == expected
        rows = listed.scores[listed.offsets[item] : listed.offsets[item + 1]]
        assert rows.tolist() == pytest.approx([scores[o] / (1 + scores[o]) for o in expected])


# Lists of the shop


def test_trending_items_gained_more_than_the_shop() -> None:
    """Every item has 100 views of all time; item 2 has most of the recent ones."""
    statistics = statistics_of(4, [100, 100, 100, 0])
    items = statistics.items.copy()
    items[:3, 0] = [10, 20, 60]
    statistics = replace(statistics, items=items)
    assert trend(statistics)[:3] == pytest.approx([(p - 30) / np.sqrt(31) for p in (10, 20, 60)])
    shop = ShopLists(statistics, np.full(4, UNKNOWN), np.zeros(0, np.int32), END)
    listed = shop.trending(10)
    assert lists(listed) == [[2, 1, 0, 3]]  # an item without events has no trend
    assert listed.scores[0] > 0.5 > listed.scores[1] > listed.scores[2] > listed.scores[3] == 0
    steady = replace(statistics, items=np.column_stack([items[:, 1] / 10, items[:, 1:]]))
    assert ShopLists(steady, np.full(4, UNKNOWN), np.zeros(0, np.int32), END).trending(1).scores.tolist() == [0.5]


def test_new_items_come_by_the_time_since_they_are_known() -> None:
    statistics = statistics_of(5, [1, 9, 0, 5, 5], available=np.array([True, True, True, False, True]))
    first = np.array([END - 30 * DAY, END - 30 * DAY, END, END, UNKNOWN])
    listed = ShopLists(statistics, first, np.zeros(0, np.int32), END).newest(5)
    assert lists(listed) == [[2, 1, 0, 4]]  # of equal age the more popular first, and at the end without a time
    assert listed.scores.tolist() == pytest.approx([1.0, 0.5, 0.5, 0.0])


def test_a_category_has_its_descendants() -> None:
    parents = np.array([UNKNOWN, 0, 1, UNKNOWN, 2], np.int32)
    assert descendants(parents, np.array([0])).tolist() == [True, True, True, False, True, False]
    assert descendants(parents, np.array([2])).tolist() == [False, False, True, False, True, False]
    category = np.array([4, 3, 1, UNKNOWN, 2], np.int32)
    statistics = statistics_of(5, [1, 2, 3, 4, 5], category=category, levels=category[:, None])
    statistics = replace(statistics, categories=np.zeros((5, 1), np.float32))
    shop = ShopLists(statistics, np.arange(5) * DAY, parents, 9 * DAY)
    assert lists(shop.newest(5, 1)) == [[4, 2, 0]]
    assert set(shop.trending(5, 2).items.tolist()) == {0, 4}
    assert lists(shop.newest(5)) == [[4, 3, 2, 1, 0]]


def test_an_item_is_known_from_its_first_record_or_event() -> None:
    world = small_world()
    n_items = len(world.items)
    days = np.full(n_items, np.nan)
    days[0] = 2
    first = first_seen(world.catalog, days, END)
    log = world.catalog.availability_log
    dated = [int(log.times[log.items == item].min()) for item in range(n_items)]
    assert first[1:].tolist() == [min([time, *_categories(item)]) for item, time in enumerate(dated)][1:]
    assert first[0] == min(dated[0], END - 2 * DAY)
    undated = replace(world.catalog, n_items=n_items + 1)
    assert first_seen(undated, np.append(days, np.nan), END)[-1] == UNKNOWN


def _categories(item: int) -> list[int]:
    log = small_world().catalog.category_log
    return log.times[log.items == item].tolist()


def test_records_after_the_cut_and_from_the_beginning_have_no_time() -> None:
    world = small_world()
    log = world.catalog.availability_log
    early = replace(log, times=np.zeros_like(log.times))
    bare = replace(
        world.catalog,
        availability_log=early,
        category_log=replace(
            world.catalog.category_log, times=early.times[:0], items=log.items[:0], values=log.values[:0]
        ),
    )
    assert (first_seen(bare, np.full(len(world.items), np.nan), END) == UNKNOWN).all()
    late = replace(bare, availability_log=replace(log, times=np.full_like(log.times, END + 1)))
    assert (first_seen(late, np.full(len(world.items), np.nan), END) == UNKNOWN).all()


# Versions


def test_a_version_from_before_baskets_has_every_list() -> None:
    older = replace(bundle(), related=None, manifest=bundle().manifest.model_copy(update={"related": None}))
    related = RelatedItems.from_bundle(older)
    purchases = older.tables.statistics.item("item_purchases")
    listed = related.basket(np.array([0, 1]), np.array([0]), 5)
    assert len(listed.items) == 5
    assert listed.scores.tolist() == [0] * 5
    assert (np.diff(purchases[listed.items]) <= 0).all()
    assert related.lists.newest(5).items.tolist()
    expected = RelatedItems.from_bundle(bundle()).similar(np.array([0]), 5)
    assert related.similar(np.array([0]), 5).items.tolist() == expected.items.tolist()


def test_settings_are_part_of_the_version() -> None:
    config = RelatedConfig(similar=SimilarConfig(covisitation=0, factors=0, attributes=0))
    changed = replace(bundle(), manifest=bundle().manifest.model_copy(update={"related": config}))
    listed = RelatedItems.from_bundle(changed).similar(np.array([0]), 5)
    assert listed.scores.tolist() == [0] * 5
