"""Random shops, requests and rules files: what rules promise holds for every list."""

from collections.abc import Callable, Set
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies

from recsys.inference import mixed
from recsys.inference.options import BatchOptions
from recsys.inference.recommender import Recommendations, Recommender
from recsys.inference.related import RelatedItems
from recsys.rules.batch import BatchRules
from recsys.rules.file import Rule, RulesFile
from recsys.rules.request import Cap, Pin, RequestRules, Target
from recsys.schema import OBJECTIVES, UNKNOWN
from recsys.sessions.tables import ItemFacts
from tests.support.rule_shops import BRANDS, ITEM, N_USERS, PARENT, TAGS, Item, RuleShop, rule_shop
from tests.support.shop_data import END
from tests.support.soak import scaled
from tests.support.toy_sessions import ToySessions

pytestmark = pytest.mark.slow

CASES = scaled(2_000, 100_000)

ITEM_IDS = strategies.integers(-1, 46).map(lambda number: ITEM + 3 * number)
"""One at each end is unknown."""
ITEM_SETS = strategies.tuples(strategies.integers(1, 12), strategies.integers(0, 1000)).map(
    lambda drawn: tuple((ITEM - 3 + 3 * np.random.default_rng(drawn[1]).permutation(48)[: drawn[0]]).tolist())
)
"""One draw for many ids, since a draw of each takes longer than all that is tested."""
PRICES = strategies.sampled_from([None, 5.0, 9.99, 10.1, 20.0, 49.0])


def some(ids: Any, most: int = 4) -> Any:
    return strategies.lists(ids, min_size=1, max_size=most).map(tuple)


TARGETS = strategies.one_of(
    strategies.builds(Target, items=ITEM_SETS),
    strategies.builds(Target, categories=some(strategies.sampled_from([*PARENT, 77]), 3)),
    strategies.builds(
        Target, attribute=strategies.just("brand"), values=some(strategies.sampled_from([*BRANDS, 7, "?"]))
    ),
    strategies.builds(Target, attribute=strategies.just("tags"), values=some(strategies.sampled_from(TAGS), 2)),
    strategies.tuples(PRICES, PRICES)
    .filter(any)
    .map(lambda two: two if None in two else tuple(sorted(two)))
    .map(lambda between: Target(attribute="price", between=between)),
)
FACTORS = strategies.sampled_from([1.0, 2.0, 50.0])
BOOSTS = strategies.fixed_dictionaries({"factor": FACTORS, "where": TARGETS})
PER = strategies.sampled_from(["category", "brand", "tags"])
CAPS = strategies.one_of(
    strategies.builds(Cap, at_most=strategies.integers(0, 3), per=PER),
    strategies.builds(Cap, at_most=strategies.integers(0, 3), where=TARGETS),
)
PINS = strategies.builds(Pin, item=ITEM_IDS, position=strategies.integers(1, 12))


def few(values: Any, most: int = 2) -> Any:
    return strategies.lists(values, max_size=most).map(tuple)


REQUESTS = strategies.builds(
    RequestRules,
    exclude_purchased=strategies.booleans(),
    exclude_seen=strategies.sampled_from([False, False, True]),
    exclude=strategies.one_of(strategies.just(()), ITEM_SETS),
    only=few(TARGETS, 1),
    without=few(TARGETS),
    availability=strategies.sampled_from(["available", "available", "any"]),
    boost=few(BOOSTS),
    bury=few(BOOSTS, 1),
    cap=few(CAPS),
    diversity=strategies.sampled_from([None, None, 0.0, 0.3, 1.0]),
    pin=few(PINS, 3),
)
FRACTIONS = strategies.sampled_from([1.0, 0.5])
ACTIONS = strategies.one_of(
    strategies.fixed_dictionaries({"filter": strategies.sampled_from(["only", "without"]), "where": TARGETS}),
    strategies.fixed_dictionaries({"boost": FACTORS, "where": TARGETS}),
    strategies.fixed_dictionaries({"cap": strategies.integers(0, 3), "per": PER}),
    strategies.fixed_dictionaries({"cap": strategies.integers(0, 3), "where": TARGETS}),
    strategies.fixed_dictionaries(
        {"pin": strategies.integers(1, 6), "where": strategies.builds(Target, items=ITEM_SETS)}
    ),
    strategies.fixed_dictionaries({"diversity": strategies.sampled_from([0.2, 1.0])}),
)


@strategies.composite
def files(draw: Callable[..., Any]) -> RulesFile:
    actions = draw(strategies.lists(ACTIONS, max_size=3))
    rules = [Rule(name=f"rule {n}", fraction=draw(FRACTIONS), **action) for n, action in enumerate(actions)]
    return RulesFile(tuple(rules), tuple(range(len(rules))), str(hash(tuple(rules))))


def inside(target: Target, item: Item) -> bool:
    """Whether an item belongs to a target, in plain Python."""
    if target.items is not None:
        return item.id in target.items
    if target.categories is not None:
        return bool(item.categories & set(target.categories))
    if target.between is not None:
        low, high = (None if bound is None else np.float32(bound) for bound in target.between)
        price = None if item.price is None else np.float32(item.price)
        return price is not None and (low is None or low <= price) and (high is None or price <= high)
    words = {str(value) for value in target.values or ()}
    return item.brand in words if target.attribute == "brand" else bool(item.tags & words)


def values_of(per: str, item: Item) -> set[Any]:
    values = {"category": {item.category}, "brand": {item.brand}, "tags": set(item.tags)}[per]
    return values - {None}


class Expected:
    """What one user may get, in plain Python."""

    def __init__(
        self,
        shop: RuleShop,
        user: int | None,
        request: RequestRules,
        rules: list[Rule],
        objective: str,
        n: int,
        without_items: Set[int] = frozenset(),
    ) -> None:
        """user: None for a list without one; without_items: items that the list leaves out in any case"""
        seen, bought = (set(), set()) if user is None else (shop.seen[user], shop.bought[user])
        only = [*request.only, *(rule.where for rule in rules if rule.filter == "only")]
        without = [*request.without, *(rule.where for rule in rules if rule.filter == "without")]
        left_out = {*request.exclude, *without_items}
        left_out |= seen if request.exclude_seen or objective == "discover" else set()
        exclude = request.exclude_purchased or (shop.bundle.manifest.exclude_purchased and objective != "repeat")
        left_out |= bought if exclude else set()
        self.allowed = {
            code: item
            for code, item in shop.items.items()
            if (item.available or request.availability == "any")
            and code not in left_out
            and (objective != "repeat" or code in seen)
            and all(inside(target, item) for target in only)
            and not any(inside(target, item) for target in without)
        }
        self.caps: list[tuple[int, Callable[[Item], set[Any]]]] = []
        for cap in (*request.cap, *(Cap(at_most=r.cap, per=r.per, where=r.where) for r in rules if r.cap is not None)):
            per, where = cap.per, cap.where
            if per is not None:
                self.caps.append((cap.at_most, lambda item, per=per: values_of(per, item)))
            else:
                self.caps.append((cap.at_most, lambda item, where=where: {True} if inside(where, item) else set()))
        self.pins: dict[int, int] = {}
        pins = [(pin.item, pin.position) for pin in request.pin if pin.item in shop.items]
        for rule in rules:
            if rule.pin is not None:
                pins += [(item, rule.pin + k) for k, item in enumerate(rule.where.items) if item in shop.items]
        for item, position in pins:
            if position not in self.pins and item not in self.pins.values():
                self.pins[position] = item
        self.pins = {position: item for position, item in self.pins.items() if position <= n and item in self.allowed}

    def over(self, items: list[int]) -> bool:
        """Whether a cap is exceeded by items that are not pinned."""
        for at_most, groups in self.caps:
            counts: dict[Any, int] = {}
            pinned: dict[Any, int] = {}
            for code in items:
                for group in groups(self.allowed[code]):
                    counts[group] = counts.get(group, 0) + 1
                    pinned[group] = pinned.get(group, 0) + (code in self.pins.values())
            if any(count > max(at_most, pinned[group]) for group, count in counts.items()):
                return True
        return False

    def longest(self) -> int | None:
        """The number of items under the caps, where it does not depend on the order of the items."""
        if not self.caps:
            return len(self.allowed)
        if len(self.caps) > 1 or self.pins or any(len(self.caps[0][1](item)) > 1 for item in self.allowed.values()):
            return None
        at_most, groups = self.caps[0]
        counts: dict[Any, int] = {}
        for code, item in self.allowed.items():
            group = next(iter(groups(item)), ("free", code))
            counts[group] = counts.get(group, 0) + 1
        return sum(count if isinstance(group, tuple) else min(count, at_most) for group, count in counts.items())


def check(expected: Expected, items: list[int], n: int) -> None:
    assert len(set(items)) == len(items) <= n
    assert set(items) <= set(expected.allowed)
    assert not expected.over(items)
    for position, item in expected.pins.items():
        assert item in items
        assert position > len(items) or items[position - 1] == item
    if (longest := expected.longest()) is not None:
        assert len(items) == min(n, longest)
    if len(items) < n:  # no further allowed item fits under the caps
        assert all(expected.over([*items, code]) for code in set(expected.allowed) - set(items))


def listed(shop: RuleShop, batch: Recommendations, user: int) -> list[int]:
    return shop.bundle.items.to_list(batch.items[slice(*batch.offsets[user : user + 2])])


@settings(max_examples=CASES, deadline=None, suppress_health_check=list(HealthCheck), database=None, derandomize=True)
@given(
    seed=strategies.integers(0, 40),
    requests=strategies.lists(REQUESTS, min_size=1, max_size=3),
    first=strategies.integers(0, N_USERS - 3),
    n=strategies.sampled_from([1, 3, 6, 15, 60]),
    file=files(),
    objective=strategies.sampled_from(["all", *OBJECTIVES]),
)
def test_lists_keep_what_rules_promise(
    seed: int, requests: list[RequestRules], first: int, n: int, file: RulesFile, objective: str
) -> None:
    shop = rule_shop(seed)
    users = list(range(first, first + len(requests)))
    ids = [user + 1 for user in users]
    lengths = [n + k for k in range(len(users))]
    rules = BatchRules.build(requests, lengths, ids, file, END)
    codes = np.full(len(users), OBJECTIVES.index(objective), np.int8)
    batch = shop.recommender(shop.histories.take(np.array(users)), END, max(lengths), codes, rules=rules)
    check_batch(shop, batch, users, requests, file, objective, lengths)


def check_batch(
    shop: RuleShop,
    batch: Recommendations,
    users: list[int],
    requests: list[RequestRules],
    file: RulesFile,
    objective: str,
    lengths: list[int],
) -> None:
    ids = [user + 1 for user in users]
    for row, (user, request) in enumerate(zip(users, requests, strict=True)):
        active = file.active([ids[row]], END)[0]
        holding = [rule for rule, holds in zip(file.rules, active.tolist(), strict=True) if holds]
        plain = request == RequestRules() and not holding
        items = listed(shop, batch, row)
        if not plain:
            check(Expected(shop, user, request, holding, objective, lengths[row]), items, lengths[row])


@lru_cache(64)
def with_visits(seed: int) -> Recommender:
    bundle = rule_shop(seed).bundle
    facts = ItemFacts.create(bundle.tables.statistics)
    return Recommender.from_bundle(replace(bundle, sessions=ToySessions(len(bundle.items), facts=facts)))


@settings(
    max_examples=scaled(400, 20_000),
    deadline=None,
    suppress_health_check=list(HealthCheck),
    database=None,
    derandomize=True,
)
@given(
    seed=strategies.integers(0, 40),
    requests=strategies.lists(REQUESTS, min_size=1, max_size=3),
    first=strategies.integers(0, N_USERS - 3),
    n=strategies.sampled_from([1, 3, 6, 15, 60]),
    file=files(),
    objective=strategies.sampled_from(["all", *OBJECTIVES]),
    visit=strategies.integers(1, 4),
)
def test_lists_of_sessions_keep_what_rules_promise(
    seed: int, requests: list[RequestRules], first: int, n: int, file: RulesFile, objective: str, visit: int
) -> None:
    """The session is the newest part of each history, so that everything the user did counts as before."""
    shop = rule_shop(seed)
    users = list(range(first, first + len(requests)))
    lengths = [n + k for k in range(len(users))]
    histories = shop.histories.take(np.array(users))
    from_end = np.repeat(histories.offsets[1:], histories.lengths) - np.arange(len(histories.items))
    options = BatchOptions(
        max(lengths),
        np.full(len(users), OBJECTIVES.index(objective), np.int8),
        in_session=from_end <= visit,
        rules=BatchRules.build(requests, lengths, [user + 1 for user in users], file, END),
    )
    batch = mixed.recommend(with_visits(seed), histories, END, options)
    check_batch(shop, batch, users, requests, file, objective, lengths)


@lru_cache(64)
def related_items(seed: int) -> RelatedItems:
    return RelatedItems.from_bundle(rule_shop(seed).bundle)


@settings(
    max_examples=scaled(400, 20_000),
    deadline=None,
    suppress_health_check=list(HealthCheck),
    database=None,
    derandomize=True,
)
@given(
    seed=strategies.integers(0, 40),
    request=REQUESTS,
    n=strategies.sampled_from([1, 3, 6, 15, 60]),
    file=files(),
    kind=strategies.sampled_from(["similar", "basket", "trending", "newest"]),
    cart=strategies.lists(strategies.integers(0, 44), min_size=1, max_size=3, unique=True),
    category=strategies.sampled_from([None, None, *PARENT]),
)
def test_lists_without_a_user_keep_what_rules_promise(
    seed: int, request: RequestRules, n: int, file: RulesFile, kind: str, cart: list[int], category: int | None
) -> None:
    shop, related = rule_shop(seed), related_items(seed)
    rules = BatchRules.build([request], [n], [None], file, END)
    if rules is None:
        return
    active = file.active([None], END)[0]
    holding = [rule for rule, holds in zip(file.rules, active.tolist(), strict=True) if holds]
    codes = np.unique(np.array(cart, np.int32) % len(shop.items))
    outside: set[int] = set()
    if kind == "similar":
        codes = codes[:1]
        listed = related.similar(codes, n, rules)
    elif kind == "basket":
        listed = related.basket(np.array([0, len(codes)]), codes, n, rules)
    else:
        code = UNKNOWN if category is None else shop.bundle.categories.code(category)
        known = None if code == UNKNOWN else code
        listed = getattr(related.lists, kind)(n, known, rules)
        if known is not None:
            outside = {one for one, item in shop.items.items() if category not in item.categories}
    if kind in ("similar", "basket"):
        outside = set(shop.bundle.items.to_list(codes))
    assert ((listed.scores >= 0) & (listed.scores <= 1)).all()
    check(Expected(shop, None, request, holding, "all", n, outside), shop.bundle.items.to_list(listed.items), n)
