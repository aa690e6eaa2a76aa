"""Items that are bought together with the items of a cart."""

import numpy as np

from recsys.arrays import rows_of, runs
from recsys.inference.item_lists import Allowed, ItemLists, Scores, best_items
from recsys.inference.ruled_lists import Demand, arranged, programs_of
from recsys.models.related import RelatedTables
from recsys.rules.batch import BatchRules
from recsys.rules.book import RuleBook
from recsys.rules.programs import Programs
from recsys.schema import UNKNOWN

CHUNK = 500
"""Carts handled at a time; bounds the memory."""


class Baskets:
    """Completes carts from the tables of a version."""

    def __init__(self, tables: RelatedTables, available: np.ndarray, book: RuleBook | None = None) -> None:
        """available: bool (n_items,); book: None if no request has rules."""
        self._tables, self._available, self._book = tables, available, book
        self._often_bought = np.lexsort((np.arange(len(tables.orders)), -tables.orders))

    def __call__(self, offsets: np.ndarray, items: np.ndarray, n: int, rules: BatchRules | None = None) -> ItemLists:
        """The `n` items that orders hold together with those of each cart; items bought often fill a list up.

        The score of an item is the sum over the items of the cart, see `bought_together`. Never listed are items of the
        cart, substitutes of one of them, and items that are not available, unless the rules of the cart allow these.
        offsets: int64 (n_carts + 1,); items: int (n,), item codes; cart c holds items[offsets[c]:offsets[c + 1]]
        rules: filters and rules of the carts; a list then has at most the n of its own cart. Raises RuleError
        """
        parts = []
        for start in range(0, max(len(offsets) - 1, 1), CHUNK):
            borders = offsets[start : start + CHUNK + 1]
            programs = programs_of(self._book, rules, start, len(borders) - 1)
            parts.append(self._complete(borders - borders[0], items[borders[0] : borders[-1]], n, programs))
        return ItemLists.concat(parts)

    def _complete(self, offsets: np.ndarray, items: np.ndarray, n: int, programs: Programs | None) -> ItemLists:
        n_carts, n_items = len(offsets) - 1, np.int64(len(self._available))
        carts = np.arange(n_carts).repeat(np.diff(offsets))
        cells = np.unique(carts * n_items + items)  # an item counts once for a cart
        carts, items = np.divmod(cells, n_items)
        tables = self._tables
        index, lengths = rows_of(items, tables.bought.offsets)
        keys = carts.repeat(lengths) * n_items + tables.bought.items[index]
        order = keys.argsort(kind="stable")
        starts, run = runs(keys[order])
        sums = np.bincount(run, tables.bought.scores[index][order], len(starts))
        alike, alike_lengths = rows_of(items, tables.substitutes.offsets)
        substitutes = carts.repeat(alike_lengths) * n_items + tables.substitutes.items[alike]
        forbidden = np.unique(np.concatenate([cells, substitutes]))
        requests, proposed = np.divmod(keys[order][starts], n_items)
        allowed = Allowed(self._available, forbidden, programs)
        best = best_items(Scores(requests, proposed, sums, n_carts), n, allowed, self._often_bought, programs)
        if programs is None:
            return best
        # Of the cart's own categories there are substitutes rather than what is bought together.
        return arranged(best, Demand(programs, allowed, np.full(n_carts, UNKNOWN, np.int32)))
