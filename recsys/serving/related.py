"""Lists that need no user: similar items, baskets, trending and new items.

They are computed in this process in every topology. One takes about a millisecond, less than a call of another replica.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from recsys.arrays import offsets_of
from recsys.errors import RuleError
from recsys.inference.item_lists import ItemLists
from recsys.inference.ruled_lists import programs_of
from recsys.inference.servable import Servable
from recsys.registry.bundle import Bundle
from recsys.rules.batch import BatchRules
from recsys.rules.request import RequestRules
from recsys.schema import UNKNOWN
from recsys.serving.errors import BadItem, BadParameter, CategoryNotFound, ItemNotFound
from recsys.serving.following import Following
from recsys.serving.metrics.recorder import Recorder
from recsys.serving.metrics.stages import StageMetrics
from recsys.serving.rules import FollowedRules
from recsys.serving.user_ids import SHOWN

ItemId = int | str
"""As in the shop's data."""


@dataclass(frozen=True, slots=True)
class ItemList:
    """One list from one version.

    listed: of one request
    subject: the id of the item that it is similar to, or of the category that it comes from; None for neither
    unknown: ids of a cart that the version does not know
    note: why the list is empty, where rules are at fault
    """

    bundle: Bundle
    listed: ItemLists
    subject: ItemId | None = None
    unknown: tuple[ItemId, ...] = ()
    note: str | None = None


class Related:
    """Answers requests from the version that is served.

    Every method raises Unavailable where there is no version, or no rules yet, and BadParameter for a filter or rule of
    the request that the version cannot apply.
    """

    def __init__(
        self, following: Following, rules: FollowedRules | None = None, metrics: StageMetrics | None = None
    ) -> None:
        """rules: the rules file of the service, None without one."""
        self._following, self._rules = following, rules
        self._metrics = metrics or StageMetrics(Recorder(), "fused")

    def similar(self, item: str, n: int, rules: RequestRules | None = None) -> ItemList:
        """The items most like one item; raises BadItem or ItemNotFound. item: the id as in the address"""
        servable = self._following.ready()
        item_id = parse_item(servable.bundle, item)
        code = servable.bundle.items.code(item_id)
        if code == UNKNOWN:
            raise ItemNotFound(f"item {item[:SHOWN]} not found")
        holding = self._holding(servable, rules, n)
        with self._metrics.timed("related"):
            listed = servable.related.similar(np.array([code], np.int32), n, holding)
        self._metrics.list("none", len(listed.items), n)
        return ItemList(servable.bundle, listed, item_id, note=_note(servable, listed, holding))

    def basket(self, items: Sequence[ItemId], n: int, rules: RequestRules | None = None) -> ItemList:
        """Items bought together with those of a cart; raises BadItem. Unknown items are left out."""
        servable = self._following.ready()
        ids = [parse_item(servable.bundle, str(item), f"items.{place}") for place, item in enumerate(items)]
        codes = [servable.bundle.items.code(item) for item in ids]
        unknown = tuple(item for item, code in zip(ids, codes, strict=True) if code == UNKNOWN)
        known = np.array([code for code in codes if code != UNKNOWN], np.int32)
        holding = self._holding(servable, rules, n)
        with self._metrics.timed("related"):
            listed = servable.related.basket(offsets_of(np.array([len(known)])), known, n, holding)
        self._metrics.list("none", len(listed.items), n)
        note = _note(servable, listed, holding)
        return ItemList(servable.bundle, listed, None, tuple(dict.fromkeys(unknown)), note)

    def trending(self, n: int, category: str | None, rules: RequestRules | None = None) -> ItemList:
        """The items with the strongest trend; raises BadItem or CategoryNotFound. category: the id as in the address"""
        servable = self._following.ready()
        return self._of_shop(servable, servable.related.lists.trending, n, category, rules)

    def newest(self, n: int, category: str | None, rules: RequestRules | None = None) -> ItemList:
        """The items known for the shortest time; raises BadItem or CategoryNotFound. category: as in `trending`"""
        servable = self._following.ready()
        return self._of_shop(servable, servable.related.lists.newest, n, category, rules)

    def _of_shop(
        self,
        servable: Servable,
        listing: Callable[[int, int | None, BatchRules | None], ItemLists],
        n: int,
        category: str | None,
        rules: RequestRules | None,
    ) -> ItemList:
        category_id, code = find_category(servable, category)
        holding = self._holding(servable, rules, n)
        with self._metrics.timed("related"):
            listed = listing(n, code, holding)
        self._metrics.list("none", len(listed.items), n)
        return ItemList(servable.bundle, listed, category_id, note=_note(servable, listed, holding))

    def _holding(self, servable: Servable, rules: RequestRules | None, n: int) -> BatchRules | None:
        """The rules of one request and of the file; None without any. The request has no user."""
        if rules is not None:
            try:
                servable.recommender.rules.check(rules)
            except RuleError as error:
                raise BadParameter(str(error)) from error
        file = self._rules.current() if self._rules else None
        return BatchRules.build([rules], [n], [None], file, int(time.time() * 1000))


def _note(servable: Servable, listed: ItemLists, holding: BatchRules | None) -> str | None:
    """The reason why a list is empty, where rules are at fault."""
    programs = None if len(listed.items) else programs_of(servable.recommender.rules, holding, 0, 1)
    return None if programs is None else programs.note(0)


def parse_item(bundle: Bundle, text: str, name: str = "item_id") -> ItemId:
    """The id that a text spells; raises BadItem where it does not fit the type of the shop's ids.

    name: of the parameter, for the error
    """
    item_id = bundle.items.parse(text) if text else None
    if item_id is None:
        raise BadItem(f"{name} {text[:SHOWN]!r} does not fit; the ids of items are of type {bundle.items.kind}")
    return item_id


def find_category(servable: Servable, text: str | None) -> tuple[ItemId | None, int | None]:
    """The id and the code of a category, None for None; raises BadItem or CategoryNotFound."""
    if text is None:
        return None, None
    categories = servable.bundle.categories
    category_id = categories.parse(text) if text else None
    if category_id is None:
        raise BadItem(f"category {text[:SHOWN]!r} does not fit; the ids of categories are of type {categories.kind}")
    code = categories.code(category_id)
    if code == UNKNOWN:
        raise CategoryNotFound(f"category {text[:SHOWN]} not found")
    return category_id, code
