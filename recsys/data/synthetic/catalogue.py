"""The goods: category tree, items with their latents, stock, and the distribution of views over items."""

from dataclasses import dataclass

import numpy as np

from recsys.arrays import offsets_of
from recsys.data.synthetic.settings import CATEGORIES, DAYS, ROOTS, WEEKS, Behaviour, Shape
from recsys.schema import UNKNOWN

BESTSELLERS = 50
"""Items at the head of the shelf. They are in the shop from the beginning and never out of stock."""


@dataclass(frozen=True, slots=True)
class Tree:
    """The category tree.

    ids: int64 (CATEGORIES,)
    parents: int32 (CATEGORIES,), positions in `ids`, UNKNOWN for roots
    leaves: int32, positions in `ids`
    """

    ids: np.ndarray
    parents: np.ndarray
    leaves: np.ndarray

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Tree":
        """A random tree."""
        ids = rng.permutation(CATEGORIES + 30)[:CATEGORIES].astype(np.int64)
        parents = np.full(CATEGORIES, UNKNOWN, np.int32)
        # Parents come from the first quarter. So about three in four categories are leaves, a few levels deep.
        later = np.arange(ROOTS, CATEGORIES)
        parents[ROOTS:] = (rng.random(len(later)) * np.maximum(ROOTS, later // 4)).astype(np.int32)
        leaves = np.setdiff1d(np.arange(CATEGORIES, dtype=np.int32), parents)
        return cls(ids, parents, rng.permutation(leaves))


@dataclass(frozen=True, slots=True)
class Goods:
    """All n items of the catalogue. The first Shape.items of them have events.

    ids: int64 (n,), unique, unordered
    leaf, next_leaf: int32 (n,), positions in Tree.ids before and from day `moved`
    style, next_style: int32 (n,), within the leaf
    moved: int32 (n,), day of the change of category, DAYS for items that keep theirs
    born: int32 (n,), first day in the shop, UNKNOWN for items that are older than the log
    available: bool (WEEKS, n), in stock in that week
    """

    ids: np.ndarray
    leaf: np.ndarray
    next_leaf: np.ndarray
    style: np.ndarray
    next_style: np.ndarray
    moved: np.ndarray
    born: np.ndarray
    available: np.ndarray

    @classmethod
    def draw(cls, shape: Shape, behaviour: Behaviour, tree: Tree, rng: np.random.Generator) -> "Goods":
        """Random items in the categories of a tree."""
        n = shape.catalogue
        used = int(np.clip(shape.items / behaviour.leaf_size, 20, len(tree.leaves)))
        size = rng.lognormal(0, behaviour.leaf_spread, used)
        size /= size.sum()
        styles = np.maximum(1, np.round(size * shape.items / behaviour.cell_size)).astype(np.int64)
        leaf, next_leaf = rng.choice(used, (2, n), p=size)
        style, next_style = (rng.random((2, n)) * styles[np.stack([leaf, next_leaf])]).astype(np.int32)
        moves = rng.random(n) < behaviour.moved_fraction
        moved = np.where(moves, 7 * rng.integers(2, WEEKS - 1, n), DAYS)
        born = np.where(rng.random(n) < behaviour.born_fraction, rng.integers(0, DAYS - 2, n), UNKNOWN)
        born[:BESTSELLERS] = UNKNOWN
        return cls(
            ids=rng.permutation(round(1.12 * n))[:n].astype(np.int64),
            leaf=tree.leaves[leaf],
            next_leaf=tree.leaves[np.where(moves, next_leaf, leaf)],
            style=style,
            next_style=np.where(moves, next_style, style),
            moved=moved.astype(np.int32),
            born=born.astype(np.int32),
            available=draw_stock(shape, behaviour, rng),
        )


def draw_stock(shape: Shape, behaviour: Behaviour, rng: np.random.Generator) -> np.ndarray:
    """Whether each item is in stock each week, bool (WEEKS, n), by one Markov chain for each item.

    Items without views are mostly out of stock.
    """
    n = shape.catalogue
    usual = behaviour.restock_rate / (behaviour.restock_rate + behaviour.outage_rate)
    live = np.arange(n) < shape.items
    state = rng.random(n) < np.where(live, usual, 0.2)
    outage = np.where(np.arange(n) < BESTSELLERS, 0, behaviour.outage_rate)
    restock = np.where(live, behaviour.restock_rate, 0.02)
    state[:BESTSELLERS] = True
    stock = np.empty((WEEKS, n), bool)
    for week in range(WEEKS):
        stock[week] = state
        luck = rng.random(n)
        state = np.where(state, luck >= outage, luck < restock)
    return stock


@dataclass(frozen=True, slots=True)
class Shelves:
    """The distribution of views over the n items with events: within cells, and on the bestseller shelf.

    A cell is a style of a leaf category; a taste is for one cell. An item that changes category has an entry in two
    cells. So entries are the unit of sampling. They are ordered by cell.

    entry_item, entry_from, entry_to: int32 (n_entries,); in the cell on days [from, to)
    cell_start: int64 (n_cells + 1,), borders of cells among the entries
    interest: float64 (n_cells,), probability that a taste is for the cell
    weight, shelf, conversion, drift: float64 (n,), latents of items
    staple: bool (n,); born: int32 (n,); available: bool (WEEKS, n)
    """

    entry_item: np.ndarray
    entry_from: np.ndarray
    entry_to: np.ndarray
    cell_start: np.ndarray
    interest: np.ndarray
    weight: np.ndarray
    shelf: np.ndarray
    conversion: np.ndarray
    drift: np.ndarray
    staple: np.ndarray
    born: np.ndarray
    available: np.ndarray

    @classmethod
    def draw(cls, goods: Goods, shape: Shape, behaviour: Behaviour, rng: np.random.Generator) -> "Shelves":
        """Random latents of the items with events."""
        n = shape.items
        weight = rng.lognormal(0, behaviour.popularity_spread, n)
        # Without bounds a few lucky items would decide the quality of a ranking by popularity.
        conversion = np.exp(behaviour.conversion_spread * np.clip(rng.normal(0, 1, n), -2, 2))
        conversion /= conversion.mean()
        # Items are numbered by their rank on the shelf, which is close to their rank by sales.
        order = np.argsort(-weight * conversion * rng.lognormal(0, 0.5, n))
        weight, conversion = weight[order], conversion[order]
        moved = np.flatnonzero(goods.moved[:n] < DAYS).astype(np.int32)
        item = np.concatenate([np.arange(n, dtype=np.int32), moved])
        key = np.concatenate(
            [
                goods.leaf[:n] * np.int64(1 << 20) + goods.style[:n],
                goods.next_leaf[moved] * np.int64(1 << 20) + goods.next_style[moved],
            ]
        )
        names, cell = np.unique(key, return_inverse=True)
        by_cell = np.argsort(cell, kind="stable")
        interest = np.bincount(cell[:n], weight, len(names)) * rng.lognormal(0, behaviour.cell_spread, len(names))
        staples = rng.random(CATEGORIES) < behaviour.staple_fraction
        return cls(
            entry_item=item[by_cell],
            entry_from=np.concatenate([np.zeros(n, np.int32), goods.moved[moved]])[by_cell],
            entry_to=np.concatenate([goods.moved[:n], np.full(len(moved), DAYS, np.int32)])[by_cell],
            cell_start=offsets_of(np.bincount(cell, minlength=len(names))),
            interest=interest / interest.sum(),
            weight=weight,
            shelf=(np.arange(n) + 1 + behaviour.shelf_head) ** -behaviour.shelf_exponent,
            conversion=conversion,
            drift=rng.normal(0, behaviour.drift_spread, n),
            staple=staples[goods.leaf[:n]],
            born=goods.born[:n],
            available=goods.available[:, :n],
        )

    def on(self, day: int, behaviour: Behaviour, appeal: float | np.ndarray = 1.0) -> tuple[np.ndarray, np.ndarray]:
        """The weights of a day: of entries within their cells (n_entries,), and of items on the shelf (n,).

        appeal: as in `sample`
        """
        stock = np.where(self.available[day // 7], 1.0, behaviour.outage_views)
        factor = appeal * np.where(self.born <= day, stock, 0) * np.exp(self.drift * (day / DAYS - 0.5))
        here = (self.entry_from <= day) & (day < self.entry_to)
        return np.where(here, (self.weight * factor)[self.entry_item], 0), self.shelf * factor

    def cells_on(self, day: int) -> np.ndarray:
        """The cell of each item on a day, int32 (n,)."""
        here = (self.entry_from <= day) & (day < self.entry_to)
        cells = np.empty(len(self.weight), np.int32)
        cells[self.entry_item[here]] = np.repeat(np.arange(len(self.interest)), np.diff(self.cell_start))[here]
        return cells

    def sample(
        self,
        days: np.ndarray,
        cells: np.ndarray,
        behaviour: Behaviour,
        rng: np.random.Generator,
        appeal: float | np.ndarray = 1.0,
    ) -> np.ndarray:
        """A random item for each view, int32 (m,).

        days, cells: int (m,); the cell UNKNOWN means the shelf
        appeal: a factor on the weights of the items, float64 (n,) or one for all
        """
        luck = rng.random(len(days))
        items = np.empty(len(days), np.int32)
        order = np.argsort(days, kind="stable")
        borders = np.searchsorted(days[order], np.arange(DAYS + 1))
        for day in range(DAYS):
            rows = order[borders[day] : borders[day + 1]]
            in_cells, on_shelf = self.on(day, behaviour, appeal)
            total = np.concatenate([[0], np.cumsum(in_cells)])
            low, high = total[self.cell_start[cells[rows]]], total[self.cell_start[cells[rows] + 1]]
            # A cell is empty before its first item is born. A view of an empty cell goes to the shelf.
            inside = (cells[rows] != UNKNOWN) & (high > low)
            entry = np.searchsorted(total, low + luck[rows] * (high - low), side="right") - 1
            items[rows] = self.entry_item[np.minimum(entry, len(in_cells) - 1)]
            total = np.cumsum(on_shelf)
            item = np.searchsorted(total, luck[rows] * total[-1], side="right")
            items[rows[~inside]] = np.minimum(item, len(on_shelf) - 1)[~inside]
        return items
