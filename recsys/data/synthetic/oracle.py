"""What the best possible recommender would rank: it knows the planted latents, and nothing after the cut."""

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
    """Writes the latents to directory/oracle: one .npy an array, the settings as JSON."""
    folder = directory / FOLDER
    folder.mkdir(exist_ok=True)
    for record in (shelves, visitors):
        for field in fields(record):
            np.save(folder / f"{type(record).__name__}.{field.name}.npy", getattr(record, field.name))
    np.save(folder / "items.npy", items)
    (folder / "settings.json").write_text(json.dumps({"behaviour": behaviour.model_dump(), "rates": rates}))


def load_record(folder: Path, kind: type[Any]) -> Any:
    arrays = [np.load(folder / f"{kind.__name__}.{field.name}.npy", allow_pickle=False) for field in fields(kind)]
    return kind(*arrays)


def share_within(cell: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Each entry's share of the weight of its cell, 0 in a cell without weight; float64 (n_entries,)."""
    total = np.bincount(cell, weight)[cell]
    return np.divide(weight, total, out=np.zeros_like(weight), where=total > 0)


def passing_over(law: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """The law of a draw that is repeated with a chance of `seen`, in each of PASSES passes, as views are."""
    result = law
    for _ in range(PASSES):
        result = result * (1 - seen) + law * float(result @ seen)
    return result


@dataclass(frozen=True, slots=True)
class Moment:
    """The shop as of a cut; everything per item with events, float64 (n,), unless said otherwise.

    cell: int32, the item's cell
    in_cell, choice: float64 (n_entries,), P(entry | view in its cell), P(entry | purchase by a switch there)
    on_shelf: P(view of the item | view on the shelf)
    buy: purchase hazard per view at propensity 1
    stock: expected share of the horizon in stock
    newcomer: purchase rate of visitors nothing is known of, relative
    """

    cell: np.ndarray
    in_cell: np.ndarray
    choice: np.ndarray
    on_shelf: np.ndarray
    buy: np.ndarray
    stock: np.ndarray
    newcomer: np.ndarray


@dataclass(frozen=True, slots=True)
class Oracle:
    """Ranks by the expected purchases in the `horizon` (days) after a cut, under the generator's own law.

    Users' latents are used only where they have an event at or before the cut. Approximate in small things:
    purchases of different origin are added up, and stock is as at the cut or comes back at its usual rate.
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
        """From a folder that `generate` wrote; histories come from its events.csv as it is now."""
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
        """The k best items of each user; user_ids int64 (n,), cut ms. Item ids int64 (n, k).

        Ties go to the smaller item id. Users without an event at or before the cut get the ranking by the
        purchase rate of newcomers.
        """
        moment = self.moment(cut)
        codes = self.users.encode(pl.Series(user_ids).to_arrow())
        ranked = np.empty((len(codes), k), np.int64)
        ranked[:] = self.top(moment.newcomer, k)
        for row in np.flatnonzero(codes != UNKNOWN):
            user = self.position[codes[row]]
            history = self.histories.take(np.array([user])).until(cut)
            if len(history.items):
                ranked[row] = self.top(self.score(user, history, moment, cut), k)
        return ranked

    def top(self, scores: np.ndarray, k: int) -> np.ndarray:
        """Ids of the k highest scores; float64 (n_items,) to int64 (k,)."""
        floor = np.partition(scores, len(scores) - k)[len(scores) - k]
        best = np.flatnonzero(scores >= floor)
        return self.items[best[np.lexsort((self.items[best], -scores[best]))[:k]]]

    def moment(self, cut: int) -> Moment:
        shelves, behaviour = self.shelves, self.behaviour
        day = int(np.clip((cut - START) // DAY, 0, DAYS - 1))
        entries, shelf = shelves.on(day, behaviour)
        cell = np.repeat(np.arange(len(shelves.interest)), np.diff(shelves.cell_start))
        in_cell = share_within(cell, entries)
        choice = share_within(cell, shelves.on(day, behaviour, shelves.conversion)[0])
        here = shelves.available[day // 7]
        stock = np.where(here, 1, behaviour.restock_rate * min(1, self.horizon / 14))
        buy = shelves.conversion * np.where(here, 1, stock / behaviour.outage_views)
        on_shelf = shelf / shelf.sum()
        views = np.bincount(shelves.entry_item, in_cell * shelves.interest[cell], len(shelves.weight))
        share = behaviour.shelf_share
        newcomer = buy * ((1 - share) * views + share * on_shelf)
        return Moment(shelves.cells_on(day), in_cell, choice, on_shelf, buy, stock, newcomer)

    def score(self, user: int, history: Histories, moment: Moment, cut: int) -> np.ndarray:
        """Expected purchases of each item, float64 (n_items,): browsing, pending intents, repeats."""
        shelves, behaviour = self.shelves, self.behaviour
        intent = self.rates["level"] * self.visitors.propensity[user] * moment.buy
        seen = np.zeros(len(intent))
        seen[history.items] = behaviour.novelty
        browsing = behaviour.shelf_share * passing_over(moment.on_shelf, seen)
        tastes = slice(self.visitors.tastes[user], self.visitors.tastes[user + 1])
        for cell, share in zip(self.visitors.cells[tastes], self.visitors.shares[tastes], strict=True):
            rows = slice(shelves.cell_start[cell], shelves.cell_start[cell + 1])
            item = shelves.entry_item[rows]
            part = passing_over(moment.in_cell[rows], seen[item])
            np.add.at(browsing, item, (1 - behaviour.shelf_share) * share * part)
        browsing[history.items[history.events == PURCHASE]] = 0
        scores = self.expected_views(user, history, cut) * self.done_in_time() * browsing * intent
        item, pending = self.pending(history, intent, cut)
        scores += np.bincount(item, pending * (1 - behaviour.switch_share) * moment.stock[item], len(scores))
        chosen = np.bincount(moment.cell[item], behaviour.switch_share * pending, len(shelves.interest))
        for cell in np.flatnonzero(chosen):
            rows = slice(shelves.cell_start[cell], shelves.cell_start[cell + 1])
            other = shelves.entry_item[rows]
            taken = passing_over(moment.choice[rows], seen[other]) * moment.stock[other]
            np.add.at(scores, other, chosen[cell] * taken)
        item, again = self.repeats(history, cut)
        scores += np.bincount(item, again * moment.stock[item], len(scores))
        return scores

    def done_in_time(self) -> float:
        """P(intent of the horizon is served within it), its time being uniform there."""
        mean, horizon, at_once = self.behaviour.pending_days, self.horizon, self.behaviour.immediate_share
        return float(at_once + (1 - at_once) * (1 + mean / horizon * np.expm1(-horizon / mean)))

    def expected_views(self, user: int, history: Histories, cut: int) -> float:
        """Browsing views in the horizon.

        Shoppers: P(still a customer) of the Pareto/NBD model with known rates (Schmittlein, Morrison and
        Colombo 1987), times the expected sessions of a customer. Casual visitors: the odds of a second visit.
        """
        behaviour, rate = self.behaviour, float(self.visitors.rate[user])
        if not rate:
            waited = (cut - history.times[0]) / DAY / behaviour.return_days
            gone = behaviour.return_share * np.exp(-waited)
            soon = -np.expm1(-self.horizon / behaviour.return_days)
            return float(gone * soon / (1 - behaviour.return_share + gone))
        leave = 1 / behaviour.shopper_life
        silent = (cut - history.times[-1]) / DAY
        lapse = leave / (rate + leave) * np.expm1(min(700, (rate + leave) * silent))
        sessions = rate / leave * -np.expm1(-leave * self.horizon)
        return float(behaviour.session_views * sessions / (1 + lapse))

    def pending(self, history: Histories, intent: np.ndarray, cut: int) -> tuple[np.ndarray, np.ndarray]:
        """Items and expected purchases of views and carts that may be intents still waiting; Bayes' rule."""
        behaviour = self.behaviour
        last = np.full(len(intent), -1, np.int64)
        bought = history.events == PURCHASE
        np.maximum.at(last, history.items[bought], history.times[bought])
        open_ = ~bought & (history.times > last[history.items])
        item, age = history.items[open_], (cut - history.times[open_]) / DAY
        carted = history.events[open_] == CART
        wanted = -np.expm1(-intent[item])
        waiting = wanted * (1 - behaviour.immediate_share) * np.exp(-age / behaviour.pending_days)
        seen = np.where(carted, behaviour.pending_carted, 1 - behaviour.pending_carted)
        abandon = -np.expm1(-self.rates["abandon"] * self.shelves.conversion[item])
        otherwise = (1 - wanted) * np.where(carted, abandon, 1 - abandon)
        odds = waiting * seen / otherwise
        return item, odds / (1 + odds) * -np.expm1(-self.horizon / behaviour.pending_days)

    def repeats(self, history: Histories, cut: int) -> tuple[np.ndarray, np.ndarray]:
        """Items and P(bought again in the horizon | not yet) of staples, from their last purchase."""
        behaviour = self.behaviour
        bought = (history.events == PURCHASE) & self.shelves.staple[history.items]
        # Times ascend, so the first in reverse is an item's last purchase.
        item, at = np.unique(history.items[bought][::-1], return_index=True)
        age = (cut - history.times[bought][::-1][at]) / DAY
        scale = behaviour.repeat_shape / behaviour.repeat_days
        before, after = (gammainc(behaviour.repeat_shape, scale * a) for a in (age, age + self.horizon))
        share = behaviour.repeat_share
        return item, share * (after - before) / (1 - share * before)
