"""Each filter and each rule on a shop of twenty items: a test fails where one is ignored."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from recsys.errors import RuleError
from recsys.histories import Histories
from recsys.inference.recommender import Recommendations, items_of
from recsys.retrieval.restrictions import Additions, Further, Pool
from recsys.rules.batch import BatchRules
from recsys.rules.book import RuleBook
from recsys.rules.file import Rule, RulesFile
from recsys.rules.request import MOST_CAPS, RequestRules
from recsys.schema import CART, DAY, OBJECTIVES, PURCHASE, VIEW
from tests.support.rule_shops import BRANDS, N_USERS, Item, RuleShop, item_ids, shop_of
from tests.support.shop_data import END

N = 20
LEAVES = (100, 101, 11, 12)
SOLD_OUT = 19
"""The number of the item that is not available."""


@cache
def shop() -> RuleShop:
    """Item k has the leaf category k % 4, the brand k % 3, the price 10 + k; item 3 has no facts.

    User 0 viewed items 0 to 5 and bought 0 and 4. Item 18 is the most popular one, since all others bought it.
    """
    items = {
        code: Item(
            code,
            None if k == 3 else LEAVES[k % 4],
            None if k == 3 else BRANDS[k % 3],
            frozenset(["new"] if k % 2 else ["new", "sale"]) if k % 5 == 0 else frozenset(),
            None if k == 3 else 10.0 + k,
            k != SOLD_OUT,
        )
        for k, code in enumerate(item_ids(N))
    }
    rows = [(0, k, VIEW, k) for k in range(6)] + [(0, 0, PURCHASE, 7), (0, 4, PURCHASE, 8)]
    rows += [(user, 18, PURCHASE, 10 * user) for user in range(1, N_USERS - 1)]
    rows += [(user, user + 6, CART, 10 * user + 1) for user in range(1, N_USERS - 1)]
    rows += [(1, SOLD_OUT, VIEW, 5)]
    users, codes, events, hours = np.array(rows).T
    histories = Histories.build(users, codes, events, END - DAY + 3_600_000 * hours // 100, N_USERS)
    return shop_of(items, histories, np.random.default_rng(0))


def recommended(
    request: dict[str, Any] | None,
    n: int = N,
    users: Sequence[int] = (0,),
    file: RulesFile | None = None,
    objective: str = "all",
    caps: np.ndarray | None = None,
    now: int = END,
) -> Recommendations:
    rules = None
    if request is not None or file is not None:
        wanted = None if request is None else RequestRules.model_validate(request)
        rules = BatchRules.build([wanted] * len(users), [n] * len(users), [user + 1 for user in users], file, now)
    codes = np.full(len(users), OBJECTIVES.index(objective), np.int8)
    return shop().recommender(shop().histories.take(np.array(users)), END, n, codes, caps, rules=rules)


def numbers(request: dict[str, Any] | None, n: int = N, **options: Any) -> list[int]:
    """The numbers of the recommended items."""
    return recommended(request, n, **options).items.tolist()


def file_of(*rules: dict[str, Any]) -> RulesFile:
    checked = [Rule.model_validate({"name": f"rule {number}", **rule}) for number, rule in enumerate(rules)]
    return RulesFile(tuple(checked), tuple(range(1, len(checked) + 1)), str(rules))


def ids(*some: int) -> list[int]:
    return [item_ids(N)[number] for number in some]


ALL = set(range(N)) - {SOLD_OUT}
IN_10 = {k for k in ALL if k % 4 < 2 and k != 3}
"""The items below category 10."""

FILTERS = {
    "exclude_purchased": ({"exclude_purchased": True}, ALL - {0, 4}),
    "exclude_seen": ({"exclude_seen": True}, ALL - {0, 1, 2, 3, 4, 5}),
    "exclude": ({"exclude": [*ids(1, 18), 1, 999_999]}, ALL - {1, 18}),
    "only a leaf": ({"only": [{"categories": [100]}]}, {0, 4, 8, 12, 16}),
    "only a category with those below": ({"only": [{"categories": [10]}]}, IN_10),
    "only a root": ({"only": [{"categories": [1]}]}, {k for k in ALL if k % 4 < 3 and k != 3}),
    "without a category": ({"without": [{"categories": [10]}]}, ALL - IN_10),
    "only a value": ({"only": [{"attribute": "brand", "values": ["Bolt"]}]}, {k for k in ALL if k % 3 == 1}),
    "only one of two values": (
        {"only": [{"attribute": "brand", "values": ["Bolt", "Café"]}]},
        {k for k in ALL if k % 3 and k != 3},
    ),
    "only a tag": ({"only": [{"attribute": "tags", "values": ["sale"]}]}, {0, 10}),
    "without a value": ({"without": [{"attribute": "brand", "values": ["Acme"]}]}, {k for k in ALL if k % 3} | {3}),
    "between": ({"only": [{"attribute": "price", "between": [12, 15]}]}, {2, 4, 5}),
    "from a number on": ({"only": [{"attribute": "price", "between": [26, None]}]}, {16, 17, 18}),
    "without a range": ({"without": [{"attribute": "price", "between": [None, 26]}]}, {3, 17, 18}),
    "only items": ({"only": [{"items": ids(7, 9, SOLD_OUT)}]}, {7, 9}),
    "availability": ({"availability": "any"}, ALL | {SOLD_OUT}),
    "two filters": ({"only": [{"categories": [10]}, {"attribute": "brand", "values": ["Acme"]}]}, {0, 9, 12}),
}


@pytest.mark.parametrize("name", FILTERS)
def test_a_filter_leaves_what_it_allows_and_all_of_it(name: str) -> None:
    request, expected = FILTERS[name]
    assert set(numbers(request)) == expected
    assert len(numbers(request, 3)) == min(3, len(expected))


@pytest.mark.parametrize("name", [name for name, (request, _) in FILTERS.items() if {"only", "without"} & set(request)])
def test_the_file_has_the_same_filters(name: str) -> None:
    request, expected = FILTERS[name]
    rules = [{"filter": kind, "where": target} for kind in ("only", "without") for target in request.get(kind, ())]
    assert set(numbers(None, file=file_of(*rules))) == expected


def test_no_filter_and_no_rule_changes_nothing() -> None:
    plain = recommended(None, 6, users=range(N_USERS))
    for other in (recommended({}, 6, users=range(N_USERS)), recommended({}, 6, users=range(N_USERS), file=file_of())):
        for name in ("items", "scores", "lgb_scores", "mf_scores", "provenance"):
            np.testing.assert_array_equal(getattr(other, name), getattr(plain, name))


def test_rules_keep_the_scores() -> None:
    plain = recommended(None, 10)
    scores = dict(zip(plain.items.tolist(), plain.scores.tolist(), strict=True))
    boost = [{"factor": 9, "where": {"items": ids(plain.items[5])}}]
    ruled = recommended({"boost": boost, "cap": [{"at_most": 2, "per": "category"}], "diversity": 0.5}, 10)
    assert ruled.items.tolist() != plain.items.tolist()
    both = [k for k in ruled.items.tolist() if k in scores]
    assert len(both) > 5
    listed = dict(zip(ruled.items.tolist(), ruled.scores.tolist(), strict=True))
    assert [listed[k] for k in both] == [scores[k] for k in both]


def test_filters_come_before_candidates_are_cut_to_size() -> None:
    """A user has ten candidates; the other items are ranked where these are excluded."""
    best = numbers({}, 10)
    assert set(numbers({"exclude": ids(*best)})) == ALL - set(best)


def test_the_newest_category_then_all_categories_fill_a_list_up() -> None:
    """User 9 has met items 15 and 18; the newest is 15, of category 12. No source proposes the items 6 and 11."""
    order = recommended({"without": [{"items": ids(18, *range(7, 11), *range(12, 17))}]}, 3, users=[9])
    assert len(order.items) == 3
    assert 3 not in order.items
    named = recommended({"only": [{"items": ids(2, 6, 7, 11)}], "exclude": ids(7)}, 2, users=[9])
    assert 11 in named.items  # of the newest category


def test_users_without_events_get_the_fill_up_by_popularity() -> None:
    known = numbers({"exclude": [1]}, 19, users=[N_USERS - 1])  # an unknown item
    assert set(known) == ALL
    popularity = shop().bundle.tables.statistics.item("item_popularity")
    filled = [k for k in known if np.isnan(popularity[k])]
    assert known[0] == 18
    assert known[-len(filled) :] == filled


def test_a_boost_moves_up_and_a_burial_moves_down() -> None:
    plain = numbers({}, 8)
    last = plain[-1]
    assert numbers({"boost": [{"factor": 1e6, "where": {"items": ids(last)}}]}, 8)[0] == last
    assert numbers({"bury": [{"factor": 1e6, "where": {"items": ids(plain[0])}}]}, 8) != plain
    assert numbers({"bury": [{"factor": 1e6, "where": {"items": ids(plain[0])}}]}, N)[-1] == plain[0]
    for rule in ({"boost": 1e6, "where": {"items": ids(last)}},):
        assert numbers(None, 8, file=file_of(rule))[0] == last
    assert numbers(None, N, file=file_of({"bury": 1e6, "where": {"items": ids(plain[0])}}))[-1] == plain[0]


def test_a_boost_multiplies_the_odds() -> None:
    programs = shop().recommender.rules.programs(
        BatchRules.build(
            [RequestRules.model_validate({"boost": [{"factor": 3, "where": {"categories": [10]}}]})],
            [5],
            [1],
            None,
            END,
        ),
        shop().histories.take(np.array([0])),
    )
    users, items = np.zeros(3, np.int64), np.array([0, 4, 2], np.int32)
    adjusted = programs.adjusted(users, items, np.array([0.5, 0.2, 0.5]))
    np.testing.assert_allclose(adjusted / (1 - adjusted), [3, 0.75, 1])


def test_the_size_of_a_factor_counts() -> None:
    """A small boost of a weak item does not bring it to the top."""
    last = numbers({}, 8)[-1]
    assert numbers({"boost": [{"factor": 1.01, "where": {"items": ids(last)}}]}, 8)[0] != last


def test_boosts_of_one_item_multiply() -> None:
    where = {"items": ids(5)}
    programs = shop().recommender.rules.programs(
        BatchRules.build(
            [RequestRules.model_validate({"boost": [{"factor": 3, "where": where}]})],
            [5],
            [1],
            file_of({"boost": 2, "where": where}, {"bury": 12, "where": {"categories": [1]}}),
            END,
        ),
        shop().histories.take(np.array([0])),
    )
    adjusted = programs.adjusted(np.zeros(1, np.int64), np.array([5], np.int32), np.array([0.5]))
    np.testing.assert_allclose(adjusted, [1 / 3])


CAPPED = [
    {"cap": [{"at_most": 1, "per": "category"}]},
    {"cap": [{"at_most": 1, "per": "brand"}]},
    {"cap": [{"at_most": 2, "per": "tags"}]},
    {"cap": [{"at_most": 2, "where": {"categories": [10]}}]},
    {"cap": [{"at_most": 0, "where": {"attribute": "brand", "values": ["Acme"]}}]},
]


@pytest.mark.parametrize("request_", CAPPED)
def test_caps_bound_the_items_of_a_kind(request_: dict[str, Any]) -> None:
    [cap] = request_["cap"]
    rule = {"cap": cap["at_most"], **{name: cap[name] for name in ("per", "where") if name in cap}}
    for items in (numbers(request_, 12), numbers(None, 12, file=file_of(rule))):
        facts = [list(shop().items.values())[k] for k in items]
        groups = {
            "category": lambda item: [item.category],
            "brand": lambda item: [item.brand],
            "tags": lambda item: list(item.tags),
            None: lambda item: ["in"] * (10 in item.categories if "categories" in str(cap) else item.brand == "Acme"),
        }[cap.get("per")]
        counts: dict[Any, int] = {}
        for item in facts:
            for group in groups(item):
                counts[group] = counts.get(group, 0) + 1
        counts.pop(None, None)
        assert max(counts.values(), default=0) == cap["at_most"]


def test_a_capped_list_is_filled_up_from_other_categories() -> None:
    """All candidates may be of one category; a list of four categories still has four items, and item 3 has none."""
    request = {"cap": [{"at_most": 1, "per": "category"}], "without": [{"items": ids(3)}]}
    for user in range(N_USERS):
        items = numbers(request, 4, users=[user])
        assert len({k % 4 for k in items}) == 4


def test_pins_stand_at_their_positions_if_they_are_allowed_and_available() -> None:
    assert numbers({"pin": [{"item": ids(17)[0], "position": 2}]}, 5)[1] == 17
    assert numbers({"pin": [{"item": ids(17)[0], "position": 5}, {"item": ids(13)[0], "position": 1}]}, 5)[::4] == [
        13,
        17,
    ]
    assert numbers(None, 5, file=file_of({"pin": 2, "where": {"items": ids(17, 16)}}))[1:3] == [17, 16]
    plain = numbers({}, 5)
    assert numbers({"pin": [{"item": ids(SOLD_OUT)[0], "position": 1}]}, 5) == plain
    assert numbers({"pin": [{"item": ids(17)[0], "position": 1}], "exclude": ids(17)}, 5) == plain
    assert numbers({"pin": [{"item": 1, "position": 1}]}, 5) == plain
    assert numbers({"pin": [{"item": ids(17)[0], "position": 6}]}, 5) == plain


def test_a_request_pins_before_the_file_does() -> None:
    file = file_of({"pin": 1, "where": {"items": ids(16)}})
    assert numbers({"pin": [{"item": ids(17)[0], "position": 1}]}, 3, file=file)[0] == 17


def test_caps_make_way_for_pins() -> None:
    request = {"pin": [{"item": ids(17)[0], "position": 3}], "cap": [{"at_most": 1, "per": "category"}]}
    items = numbers(request, 4)
    assert items[2] == 17
    assert [k % 4 for k in items].count(1) == 1


def test_diversity_brings_other_categories_forward() -> None:
    def kinds(diversity: float) -> int:
        return len({k % 4 for k in numbers({"diversity": diversity}, 4)})

    assert numbers({"diversity": 0.0}, 8) == numbers({}, 8)
    assert kinds(1.0) == 4
    assert numbers({"diversity": 1.0}, 8)[0] == numbers({}, 8)[0]
    assert numbers(None, 8, file=file_of({"diversity": 1.0})) == numbers({"diversity": 1.0}, 8)
    assert numbers({"diversity": 0.0}, 8, file=file_of({"diversity": 1.0})) == numbers({}, 8)


def test_a_rule_holds_from_its_first_moment_to_its_last() -> None:
    rule = {"filter": "without", "where": {"items": ids(18)}}
    spans = {
        (None, None): (True, True, True),
        ("2015-07-29", None): (True, True, True),
        ("2015-07-30T00:00:00.001", None): (False, False, True),
        (None, "2015-07-30T00:00:00"): (True, False, False),
        (None, "2015-07-29"): (True, False, False),
        ("2015-07-30T02:00:00+02:00", "2015-07-30T00:00:00.001Z"): (False, True, False),
    }
    for (start, until), expected in spans.items():
        dated = {**rule, **({"from": start} if start else {}), **({"until": until} if until else {})}
        file = file_of(dated)
        assert tuple(18 not in numbers(None, file=file, now=END + ms) for ms in (-1, 0, 1)) == expected, (start, until)


def test_a_fraction_of_the_users_is_the_same_every_time_and_another_for_each_name() -> None:
    file = file_of(*({"name": name, "diversity": 0.5, "fraction": 0.3} for name in ("one", "two")))
    users = [f"user {number}" for number in range(4000)]
    active = file.active(users, END)
    np.testing.assert_allclose(active.mean(axis=0), 0.3, atol=0.03)
    np.testing.assert_allclose(active.all(axis=1).mean(), 0.09, atol=0.02)
    assert (file.active(users[::-1], END)[::-1] == active).all()
    assert not file.active([None], END).any()
    more = file_of({"name": "one", "diversity": 0.5, "fraction": 0.6}).active(users, END)
    assert more[active[:, 0]].all()  # a larger fraction keeps the users of a smaller one


def test_a_rule_for_a_fraction_changes_the_lists_of_these_users_alone() -> None:
    file = file_of({"filter": "without", "where": {"items": ids(18)}, "fraction": 0.5})
    users = range(N_USERS)
    active = file.active([user + 1 for user in users], END)[:, 0]
    assert 0 < active.sum() < N_USERS
    batch = recommended(None, file=file, users=users)
    has = [18 in batch.items[slice(*batch.offsets[user : user + 2])] for user in users]
    assert has == (~active).tolist()


def test_the_other_users_of_a_batch_do_not_matter() -> None:
    requests = [
        RequestRules.model_validate(one)
        for one in ({}, {"only": [{"categories": [10]}]}, {"cap": [{"at_most": 1, "per": "brand"}]}, {"diversity": 0.4})
    ]
    file = file_of({"boost": 5, "where": {"attribute": "brand", "values": ["Bolt"]}, "fraction": 0.5})
    users = np.arange(N_USERS)
    asked, lengths = [requests[user % 4] for user in users], [1 + user for user in users.tolist()]
    every = BatchRules.build(asked, lengths, (users + 1).tolist(), file, END)
    together = shop().recommender(shop().histories, END, N_USERS, rules=every)
    for user in users.tolist():
        rules = BatchRules.build([asked[user]], [lengths[user]], [user + 1], file, END)
        alone = shop().recommender(shop().histories.take(np.array([user])), END, N_USERS, rules=rules)
        own = slice(*together.offsets[user : user + 2])
        assert together.items[own].tolist() == alone.items[: lengths[user]].tolist()
        assert together.scores[own].tolist() == alone.scores[: lengths[user]].tolist()


def test_repeat_caps_hold_with_rules_too() -> None:
    caps = np.array([0.5])
    for request in ({"exclude": ids(18)}, {"cap": [{"at_most": 3, "per": "category"}]}, {"diversity": 0.2}):
        items = numbers(request, 6, caps=caps)
        assert len(items) == 6
        for p in range(1, 7):
            assert sum(k < 6 for k in items[:p]) <= np.ceil(0.5 * p)


def test_objectives_hold_with_rules_too() -> None:
    assert set(numbers({"without": [{"items": ids(18)}]}, objective="discover")) == ALL - {0, 1, 2, 3, 4, 5, 18}
    assert set(numbers({"without": [{"items": ids(1)}]}, objective="repeat")) == {0, 2, 3, 4, 5}


NOTES = [
    ({"only": [{"categories": [77]}]}, "no item of this version passes the filter only categories 77"),
    (
        {"only": [{"categories": [100]}, {"attribute": "brand", "values": ["?"]}]},
        "no item of this version passes the filter only brand ?",
    ),
    ({"only": [{"categories": [100]}, {"categories": [101]}]}, "no available item passes all filters together"),
    (
        {"only": [{"items": ids(0)}], "exclude_seen": True},
        "no available item that passes the filters is left for this request",
    ),
]


@pytest.mark.parametrize(("request_", "note"), NOTES)
def test_an_empty_list_says_why(request_: dict[str, Any], note: str) -> None:
    batch = recommended(request_)
    assert batch.items.tolist() == []
    assert batch.programs is not None
    assert batch.programs.note(0) == note


WRONG = [
    ({"exclude": ["x"]}, "exclude 'x' does not fit; the ids of this shop are of type int64"),
    ({"only": [{"categories": ["x"]}]}, "category 'x' does not fit"),
    ({"pin": [{"item": "x", "position": 1}]}, "pin 'x' does not fit"),
    ({"only": [{"attribute": "colour", "values": ["red"]}]}, "no attribute 'colour'; it has price, brand, tags"),
    ({"only": [{"attribute": "price", "values": ["red"]}]}, "attribute price is a number; expected between"),
    ({"only": [{"attribute": "brand", "between": [1, 2]}]}, "attribute brand has words as values; expected values"),
    ({"cap": [{"at_most": 1, "per": "price"}]}, "attribute price is a number"),
    ({"cap": [{"at_most": 1, "per": "colour"}]}, "no attribute 'colour'"),
    ({"boost": [{"factor": 2, "where": {"attribute": "colour", "values": ["red"]}}]}, "no attribute 'colour'"),
]


@pytest.mark.parametrize(("request_", "text"), WRONG)
def test_a_filter_that_a_version_cannot_apply_is_an_error_that_names_it(request_: dict[str, Any], text: str) -> None:
    with pytest.raises(RuleError) as error:
        shop().recommender.rules.check(RequestRules.model_validate(request_))
    assert text in str(error.value)


def test_a_version_without_words_cannot_filter_by_them() -> None:
    book = RuleBook(items_of(replace(shop().bundle, words=None)))
    with pytest.raises(RuleError, match="does not keep the words of attribute brand: train again"):
        book.check(RequestRules.model_validate({"only": [{"attribute": "brand", "values": ["Acme"]}]}))
    book.check(RequestRules.model_validate({"cap": [{"at_most": 1, "per": "brand"}]}))


def test_a_rule_of_the_file_that_a_version_cannot_apply_is_named_and_the_others_hold() -> None:
    file = file_of(
        {"filter": "only", "where": {"attribute": "colour", "values": ["red"]}},
        {"filter": "without", "where": {"items": ids(18)}},
    )
    table = shop().recommender.rules.prepare(file)
    [problem] = table.problems
    assert problem.startswith("line 1: rule 'rule 0': this version has no attribute 'colour'")
    assert set(numbers(None, file=file)) == ALL - {18}


def test_the_rules_that_moved_an_item_are_named() -> None:
    file = file_of(
        {"name": "up", "boost": 2, "where": {"categories": [10]}},
        {"name": "down", "bury": 2, "where": {"attribute": "brand", "values": ["Acme"]}},
        {"name": "first", "pin": 1, "where": {"items": ids(9)}},
        {"name": "none", "filter": "without", "where": {"items": ids(18)}},
    )
    batch = recommended(None, file=file)
    assert batch.programs is not None
    names = batch.programs.names(np.zeros(4, np.int64), np.array([0, 1, 2, 9], np.int32))
    assert names == [("up", "down"), ("up",), (), ("up", "down", "first")]
    request = {
        "boost": [{"factor": 2, "where": {"categories": [10]}}],
        "pin": [{"item": ids(2)[0], "position": 1}],
        "rules_file": False,
    }
    batch = recommended(request, file=file)
    assert batch.programs is not None
    names = batch.programs.names(np.zeros(2, np.int64), np.array([0, 2], np.int32))
    assert names == [("boost categories 10",), ("pin",)]


def test_a_pin_that_does_not_hold_is_not_named() -> None:
    file = file_of(
        {"name": "p", "pin": 1, "where": {"items": ids(9, 4)}},
        {"name": "q", "pin": 2, "where": {"items": ids(5)}},
        {"name": "r", "pin": 3, "where": {"items": ids(9)}},
        {"name": "late", "pin": 40, "where": {"items": ids(2)}},
    )
    batch = recommended({"pin": [{"item": ids(2)[0], "position": 41}]}, file=file)
    assert batch.programs is not None
    names = batch.programs.names(np.zeros(4, np.int64), np.array([9, 4, 5, 2], np.int32))
    assert names == [("p",), ("p",), (), ()]


def test_a_filter_of_the_file_that_no_item_passes_is_named() -> None:
    file = file_of({"name": "nothing", "filter": "only", "where": {"categories": [4711]}})
    batch = recommended(None, file=file)
    assert batch.programs is not None
    assert batch.programs.note(0) == "no item of this version passes the filter of rule 'nothing'"


@pytest.mark.parametrize(
    "where", [{"categories": [10]}, {"attribute": "brand", "values": ["Acme"]}, {"items": ids(0, 1)}]
)
def test_of_caps_about_the_same_items_the_smallest_holds(where: dict[str, Any]) -> None:
    bounds = (3, 1, 2)
    smallest = numbers({"cap": [{"at_most": 1, "where": where}]})
    assert numbers({"cap": [{"at_most": bound, "where": where} for bound in bounds]}) == smallest
    assert numbers(None, file=file_of(*({"cap": bound, "where": where} for bound in bounds))) == smallest
    per = numbers({"cap": [{"at_most": 1, "per": "brand"}]})
    assert numbers({"cap": [{"at_most": bound, "per": "brand"} for bound in bounds]}) == per
    assert numbers(None, file=file_of(*({"cap": bound, "per": "brand"} for bound in bounds))) == per


def test_an_item_falls_under_a_bounded_number_of_caps() -> None:
    """For k caps k times as many items are ranked. The first rules of the file hold."""
    file = file_of(
        *({"cap": number % 3 + 1, "where": {"items": ids(0, number + 1)}} for number in range(MOST_CAPS + 2))
    )
    table = shop().recommender.rules.prepare(file)
    assert [text.split(": ")[1] for text in table.problems] == [
        f"rule 'rule {MOST_CAPS}'",
        f"rule 'rule {MOST_CAPS + 1}'",
    ]
    assert "an item falls under more than 16 caps" in table.problems[0]
    assert len(numbers(None, file=file)) == len(ALL) - 1  # items 0 and 1 are not both in a list
    same = file_of(*({"cap": number + 1, "where": {"items": ids(0, 1)}} for number in range(MOST_CAPS + 2)))
    assert not shop().recommender.rules.prepare(same).problems


def test_ids_and_words_that_the_version_lacks_are_named() -> None:
    file = file_of(
        {"name": "a", "filter": "without", "where": {"attribute": "brand", "values": ["Acme", "Acmee"]}},
        {"name": "b", "boost": 2, "where": {"categories": [10, 4711]}},
        {"name": "c", "bury": 2, "where": {"items": [*ids(3), 999_999]}},
        {"name": "d", "bury": 2, "where": {"attribute": "price", "between": [1, 2]}},
    )
    assert [text.split(": ", 1)[1] for text in shop().recommender.rules.prepare(file).unknown] == [
        "rule 'a': this version has no brand 'Acmee'",
        "rule 'b': this version has no category 4711",
        "rule 'c': this version has no item 999999",
    ]


def test_a_request_may_leave_the_file_out() -> None:
    file = file_of({"filter": "without", "where": {"items": ids(18)}})
    assert 18 not in numbers(None, file=file)
    assert numbers({"rules_file": False}, file=file) == numbers(None)
    assert recommended({"rules_file": False}, file=file).programs is None
    both = recommended({"rules_file": False}, users=[0, 1], file=file)
    assert both.programs is None


def additions_of(request: dict[str, Any], n: int, pool: Sequence[int], rest: Sequence[int], newest: int) -> Additions:
    """The additions to a pool of user 11, who has no event; newest: id of a category."""
    rules = BatchRules.build([RequestRules.model_validate(request)], [n], [12], None, END)
    assert rules is not None
    programs = shop().recommender.rules.programs(rules, shop().histories.take(np.array([11])))
    code = shop().bundle.categories.code(newest)
    items = [np.array(some, np.int32) for some in (pool, rest)]
    users = [np.zeros(len(some), np.int64) for some in items]
    further = Further(users[1], items[1], np.array([code], np.int32))
    return programs.additions(Pool(users[0], items[0], lambda: further, programs.allows))


def test_a_short_pool_gets_other_proposals_then_the_newest_category_then_the_whole_catalogue() -> None:
    """The item k has the category 101 if k is 1 modulo 4."""
    popular = [int(k) for k in np.argsort(-np.nan_to_num(popularity()), kind="stable") if k != SOLD_OUT]
    more = additions_of({"exclude": ids(18, 9)}, 8, [2], [6, 9, 3], 101)
    allowed = [k for k in popular if k not in {18, 9, 2, 6, 3}]
    near = [k for k in allowed if k % 4 == 1]
    expected = near + [k for k in allowed if k % 4 != 1]
    assert more.items.tolist() == [6, 3, *expected[:5]]
    assert more.place.tolist() == [0, 0, 1, 2, 3, 4, 5]


def test_a_pool_that_is_long_enough_gets_nothing() -> None:
    assert not len(additions_of({"exclude": ids(18)}, 3, [2, 4, 5], [6, 9, 3], 101).items)
    capped = {"cap": [{"at_most": 1, "per": "category"}]}
    assert not len(additions_of(capped, 3, [0, 1, 2], [6, 9, 3], 101).items)


def test_a_pool_under_a_cap_gets_other_kinds_alone() -> None:
    """The pool and the rest have the categories 100 and 101; user 11 wants four items, and item 3 has no category."""
    capped = {"cap": [{"at_most": 1, "per": "category"}]}
    more = additions_of(capped, 4, [0, 4, 8], [12, 5, 1], 100)
    assert more.items.tolist()[0] == 5
    assert len(more.items) == 3
    assert {k % 4 if k != 3 else None for k in more.items.tolist()} < {1, 2, 3, None}
    assert set(additions_of(capped, 9, [0], [], 100).items.tolist()) > {3}


def test_under_two_caps_every_combination_is_there_where_a_list_may_come_out_short() -> None:
    """The items 0 and 4 share a category. Whichever leads, the list needs an item of the other brand and category."""
    request = {
        "only": [{"categories": [10]}, {"attribute": "brand", "values": ["Acme", "Bolt"]}],
        "cap": [{"at_most": 1, "per": "category"}, {"at_most": 1, "per": "brand"}],
    }
    more = set(additions_of(request, 2, [0, 4], [], 100).items.tolist())
    assert 9 in more
    assert more & {1, 13}


def popularity() -> np.ndarray:
    return shop().bundle.tables.statistics.item("item_popularity")
