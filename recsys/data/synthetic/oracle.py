"""The oracle: the best possible ranking, from the planted latents and the events before a cut."""

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from scipy.special import gammainc

from recsys import schema
from recsys.data.synthetic.catalogue import Shelves
from recsys.data.synthetic.settings import DAYS, START, Behaviour
from recsys.data.synthetic.visitors import PASSES, Visitors
from recsys.histories import Histories
from recsys.ids import Ids
from recsys.schema import CART, DAY, EVENT_TYPES, PURCHASE, UNKNOWN

FOLDER = "oracle"


def save(
    directory: Path,
    behaviour: Behaviour,
    items: np.ndarray,
    shelves: Shelves,
    visitors: Visitors,
    rates: dict[str, float],
) -> None:
    """Write the latents to directory/oracle: each array as a .npy file, the settings as JSON."""
    folder = directory / FOLDER
    folder.mkdir(exist_ok=True)
    for record in (shelves, visitors):
        for field in fields(record):
            np.save(folder / f"{type(record).__name__}.{field.name}.npy", getattr(record, field.name))
    np.save(folder / "items.npy", items)
    (folder / "settings.json").write_text(json.dumps({"behaviour": behaviour.model_dump(), "rates": rates}))


def load_record(folder: Path, kind: type[Any]) -> Any:
    """The dataclass of arrays that `save` wrote."""
    arrays = [np.load(folder / f"{kind.__name__}.{field.name}.npy", allow_pickle=False) for field in fields(kind)]
    return kind(*arrays)


def fraction_within(cell: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The fraction of each entry in the weight of its cell, float64 (n_entries,), 0 in a cell without weight."""
    total = np.bincount(cell, weight)[cell]
    return np.divide(weight, total, out=np.zeros_like(weight), where=total > 0)


def passing_over(law: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """The distribution after PASSES passes, each of which repeats a draw with the probability `seen` of its outcome.

    law: float64 (n,), the distribution of one draw; seen: float64 (n,)
    """
    result = law
    for _ in range(PASSES):
        result = result * (1 - seen) + law * float(result @ seen)
    return result


@dataclass(frozen=True, slots=True)
class Moment:
    """The shop as of a cut; n is the number of items with events.

    cell: int32 (n,), the cell of each item
    in_cell: float64 (n_entries,), P(entry | view in its cell)
    switched: float64 (n_entries,), P(entry | purchase in its cell after a switch)
    on_shelf: float64 (n,), P(view of the item | view on the shelf)
    buy: float64 (n,), purchase hazard per view at propensity 1
    stock: float64 (n,), expected fraction of the horizon in stock
    cold_start: float64 (n,), relative purchase rate of visitors without events
    """

    cell: np.ndarray
    in_cell: np.ndarray
    switched: np.ndarray
    on_shelf: np.ndarray
    buy: np.ndarray
    stock: np.ndarray
    cold_start: np.ndarray


@dataclass(frozen=True, slots=True)
class Oracle:
    """Ranks items by the expected purchases in the `horizon` (days) after a cut, under the model of the generator.

    The latents of a user are used only if the user has an event at or before the cut. Two things are approximate:
    purchases of different origin are added up, and stock stays as at the cut or comes back at its usual rate.
    """

    behaviour: Behaviour
    rates: dict[str, float]
    items: np.ndarray
    shelves: Shelves
    visitors: Visitors
    users: Ids
    position: np.ndarray
    histories: Histories
    horizon: float = 14

    @classmethod
    def load(cls, directory: Path) -> "Oracle":
        """The oracle of a folder that `generate` wrote. Histories come from the present events.csv."""
        folder = directory / FOLDER
        settings = json.loads((folder / "settings.json").read_text())
        visitors, items = load_record(folder, Visitors), np.load(folder / "items.npy", allow_pickle=False)
        log = pl.read_csv(directory / "events.csv", schema_overrides={schema.TRANSACTION: pl.Int64})
        position, item_position = np.argsort(visitors.ids), np.argsort(items)
        users, item_ids = (
            Ids.from_values(pl.Series(visitors.ids).to_arrow()),
            Ids.from_values(pl.Series(items).to_arrow()),
        )
        kinds = log[schema.EVENT].replace_strict(EVENT_TYPES, range(len(EVENT_TYPES)), return_dtype=pl.Int8)
        histories = Histories.build(
            position[users.encode(log[schema.USER].to_arrow())],
            item_position[item_ids.encode(log[schema.ITEM].to_arrow())],
            kinds.to_numpy(),
            log[schema.TIME].to_numpy(),
            len(visitors.ids),
        )
        return cls(
            behaviour=Behaviour(**settings["behaviour"]),
            rates=settings["rates"],
            items=items,
            shelves=load_record(folder, Shelves),
            visitors=visitors,
            users=users,
            position=position,
            histories=histories,
        )

    def rank(self, user_ids: np.ndarray, cut: int, k: int) -> np.ndarray:
        """The ids of the k best items of each user, int64 (n, k).

        user_ids: int64 (n,); cut: ms
        Of items with equal scores the smaller id comes first. Users without an event at or before the cut get the
        ranking for cold start.
        """
        moment = self.moment(cut)
        codes = self.users.encode(pl.Series(user_ids).to_arrow())
        ranked = np.empty((len(codes), k), np.int64)
        ranked[:] = self.top(moment.cold_start, k)
        for row in np.flatnonzero(codes != UNKNOWN):
            user = self.position[codes[row]]
            history = self.histories.take(np.array([user])).until(cut)
            if len(history.items):
                ranked[row] = self.top(self.score(user, history, moment, cut), k)
        return ranked

    def top(self, scores: np.ndarray, k: int) -> np.ndarray:
        """The ids of the k highest scores, int64 (k,); scores: float64 (n_items,)."""
        floor = np.partition(scores, len(scores) - k)[len(scores) - k]
        best = np.flatnonzero(scores >= floor)
        return self.items[best[np.lexsort((self.items[best], -scores[best]))[:k]]]

    def moment(self, cut: int) -> Moment:
        """The shop as of a cut (ms)."""
        shelves, behaviour = self.shelves, self.behaviour
        day = int(np.clip((cut - START) // DAY, 0, DAYS - 1))
        entries, shelf = shelves.on(day, behaviour)
        cell = np.repeat(np.arange(len(shelves.interest)), np.diff(shelves.cell_start))
        in_cell = fraction_within(cell, entries)
        switched = fraction_within(cell, shelves.on(day, behaviour, shelves.conversion)[0])
        here = shelves.available[day // 7]
        stock = np.where(here, 1, behaviour.restock_rate * min(1, self.horizon / 14))
        buy = shelves.conversion * np.where(here, 1, stock / behaviour.outage_views)
        on_shelf = shelf / shelf.sum()
        views = np.bincount(shelves.entry_item, in_cell * shelves.interest[cell], len(shelves.weight))
        from_shelf = behaviour.shelf_fraction
        cold_start = buy * ((1 - from_shelf) * views + from_shelf * on_shelf)
        return Moment(shelves.cells_on(day), in_cell, switched, on_shelf, buy, stock, cold_start)

    def score(self, user: int, history: Histories, moment: Moment, cut: int) -> np.ndarray:
        """The expected purchases of each item, float64 (n_items,), from browsing, pending intents and repeats."""
        shelves, behaviour = self.shelves, self.behaviour
        intent = self.rates["level"] * self.visitors.propensity[user] * moment.buy
        seen = np.zeros(len(intent))
        seen[history.items] = behaviour.novelty
        browsing = behaviour.shelf_fraction * passing_over(moment.on_shelf, seen)
        tastes = slice(self.visitors.tastes[user], self.visitors.tastes[user + 1])
        for cell, fraction in zip(self.visitors.cells[tastes], self.visitors.fractions[tastes], strict=True):
            rows = slice(shelves.cell_start[cell], shelves.cell_start[cell + 1])
            item = shelves.entry_item[rows]
            part = passing_over(moment.in_cell[rows], seen[item])
            np.add.at(browsing, item, (1 - behaviour.shelf_fraction) * fraction * part)
        browsing[history.items[history.events == PURCHASE]] = 0
        scores = self.expected_views(user, history, cut) * self.done_in_time() * browsing * intent
        item, pending = self.pending(history, intent, cut)
        scores += np.bincount(item, pending * (1 - behaviour.switch_fraction) * moment.stock[item], len(scores))
        chosen = np.bincount(moment.cell[item], behaviour.switch_fraction * pending, len(shelves.interest))
        for cell in np.flatnonzero(chosen):
            rows = slice(shelves.cell_start[cell], shelves.cell_start[cell + 1])
            other = shelves.entry_item[rows]
            bought = passing_over(moment.switched[rows], seen[other]) * moment.stock[other]
            np.add.at(scores, other, chosen[cell] * bought)
        item, again = self.repeats(history, cut)
        scores += np.bincount(item, again * moment.stock[item], len(scores))
        return scores

    def done_in_time(self) -> float:
        """P(an intent in the horizon leads to a purchase in it), for intents at uniform times."""
        mean, horizon, at_once = self.behaviour.pending_days, self.horizon, self.behaviour.immediate_fraction
        return float(at_once + (1 - at_once) * (1 + mean / horizon * np.expm1(-horizon / mean)))

    def expected_views(self, user: int, history: Histories, cut: int) -> float:
        """The expected number of browsing views in the horizon.

        Shoppers: P(still a customer) of the Pareto/NBD model with known rates (Schmittlein, Morrison and
        Colombo 1987), times the expected sessions of a customer. Casual visitors: P(second visit in the horizon).
        """
        behaviour, rate = self.behaviour, float(self.visitors.rate[user])
        if not rate:
            waited = (cut - history.times[0]) / DAY / behaviour.return_days
            gone = behaviour.return_fraction * np.exp(-waited)
            soon = -np.expm1(-self.horizon / behaviour.return_days)
            return float(gone * soon / (1 - behaviour.return_fraction + gone))
        leave = 1 / behaviour.shopper_life
        silent = (cut - history.times[-1]) / DAY
        lapse = leave / (rate + leave) * np.expm1(min(700, (rate + leave) * silent))
        sessions = rate / leave * -np.expm1(-leave * self.horizon)
        return float(behaviour.session_views * sessions / (1 + lapse))

    def pending(self, history: Histories, intent: np.ndarray, cut: int) -> tuple[np.ndarray, np.ndarray]:
        """Items of earlier views and carts, and P(each is a pending intent, bought in the horizon) by Bayes' rule."""
        behaviour = self.behaviour
        last = np.full(len(intent), -1, np.int64)
        bought = history.events == PURCHASE
        np.maximum.at(last, history.items[bought], history.times[bought])
        open_ = ~bought & (history.times > last[history.items])
        item, age = history.items[open_], (cut - history.times[open_]) / DAY
        carted = history.events[open_] == CART
        wanted = -np.expm1(-intent[item])
        waiting = wanted * (1 - behaviour.immediate_fraction) * np.exp(-age / behaviour.pending_days)
        seen = np.where(carted, behaviour.pending_carted, 1 - behaviour.pending_carted)
        abandon = -np.expm1(-self.rates["abandon"] * self.shelves.conversion[item])
        otherwise = (1 - wanted) * np.where(carted, abandon, 1 - abandon)
        odds = waiting * seen / otherwise
        return item, odds / (1 + odds) * -np.expm1(-self.horizon / behaviour.pending_days)

    def repeats(self, history: Histories, cut: int) -> tuple[np.ndarray, np.ndarray]:
        """Staples bought before, and P(bought again in the horizon | not again yet) by the age of the last purchase."""
        behaviour = self.behaviour
        bought = (history.events == PURCHASE) & self.shelves.staple[history.items]
        # Times ascend, so the first row of an item in reverse order is its last purchase.
        item, first = np.unique(history.items[bought][::-1], return_index=True)
        age = (cut - history.times[bought][::-1][first]) / DAY
        scale = behaviour.repeat_shape / behaviour.repeat_days
        before, after = (gammainc(behaviour.repeat_shape, scale * a) for a in (age, age + self.horizon))
        repeated = behaviour.repeat_fraction
        return item, repeated * (after - before) / (1 - repeated * before)
