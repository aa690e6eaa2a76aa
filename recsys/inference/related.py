"""Everything that a version lists without a user: similar items, baskets, trending and new items."""

from dataclasses import dataclass

from recsys.inference.basket import Baskets
from recsys.inference.recommender import items_of
from recsys.inference.shop_lists import ShopLists, popularity_order
from recsys.inference.similar import SimilarItems
from recsys.models.related import RelatedConfig, RelatedTables
from recsys.registry.bundle import Bundle
from recsys.rules.book import RuleBook


@dataclass(frozen=True, slots=True)
class RelatedItems:
    """The lists of one version. They are the same in every process that opens the version."""

    similar: SimilarItems
    basket: Baskets
    lists: ShopLists

    @classmethod
    def from_bundle(cls, opened: Bundle, book: RuleBook | None = None) -> "RelatedItems":
        """The lists of a version. One from before baskets has no items bought together; purchases fill its baskets.

        book: the rule book of the version, by default a new one
        """
        book = RuleBook(items_of(opened)) if book is None else book
        statistics, manifest = opened.tables.statistics, opened.manifest
        end = manifest.date_range.end
        tables = opened.related or RelatedTables.without_orders(statistics, end)
        config = manifest.related or RelatedConfig()
        popular = popularity_order(statistics)
        vectors = None if opened.sessions is None else opened.sessions.tables.vectors
        return cls(
            SimilarItems(opened.tables, config.similar, popular, vectors, book),
            Baskets(tables, statistics.available, book),
            ShopLists(statistics, tables.first, opened.parents, end, book),
        )
