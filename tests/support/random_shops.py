"""Random small shops, and what a training makes of them."""

import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import strategies

from recsys.config import load_config
from recsys.data.sources import resolve
from recsys.errors import RecsysError, reason_of
from recsys.inference.servable import open_servable
from recsys.jobs.train import run
from recsys.registry.folder import FolderStore
from recsys.schema import DAY, EVENT_TYPES, ITEM, SCORE, USER
from tests.support.shop_data import START, Event, Property, leaf_id, tree, write_csv

FAST = (
    "factorization.factors=4",
    "factorization.confidence=0.03",
    "factorization.iterations=2",
    "inference.candidates.size=10",
    "ranker.max_trees=5",
    "ranker.num_leaves=4",
    "ranker.min_child_samples=2",
    "ranker.threads=1",
    "examples.cuts=2",
    "evaluation.bootstrap_samples=100",
    "evaluation.seeds=1",
    "evaluation.page=false",
)
"""Settings of a training run that takes a few seconds."""


VERSION = re.compile(r"/\S+/versions/\S+")
"""The folder of a version, whose name is new in each run."""


@dataclass(frozen=True, slots=True)
class RandomShop:
    """A shop whose events are drawn from a seed.

    days: from the first to the last event, about; types: the types of its events
    again: fraction of the events that repeat an earlier item of the user
    catalog: whether items have a category and an availability
    """

    seed: int
    users: int
    items: int
    events: int
    days: float
    types: tuple[str, ...]
    again: float
    catalog: bool

    def rows(self) -> list[Event]:
        rng = np.random.default_rng(self.seed)
        rows: list[Event] = []
        by_user: dict[int, list[int]] = {}
        for time in np.sort(rng.integers(0, int(self.days * DAY) + 1, self.events)).tolist():
            user = int(self.users * rng.random() ** 1.5)
            own = by_user.setdefault(user, [])
            item = own[int(rng.integers(len(own)))] if own and rng.random() < self.again else None
            item = int(self.items * rng.random() ** 2) if item is None else item
            own.append(item)
            rows.append(Event(START + time, 100 + user, self.types[int(rng.integers(len(self.types)))], 500 + item))
        return rows

    def write(self, folder: Path) -> Path:
        """Write the shop as a source; returns its folder."""
        write_csv(folder / "events.csv", Event._fields, self.rows())
        if self.catalog:
            rng = np.random.default_rng(self.seed)
            states = [
                ("categoryid", lambda item: str(leaf_id(item % 3))),
                ("available", lambda _: "01"[rng.random() < 0.8]),
            ]
            rows = [
                Property(START - DAY, 500 + item, name, value(item))
                for item in range(self.items)
                for name, value in states
            ]
            write_csv(folder / "item_properties.csv", Property._fields, rows)
            write_csv(folder / "category_tree.csv", ("categoryid", "parentid"), tree())
        return folder


SHOPS = strategies.builds(
    RandomShop,
    seed=strategies.integers(0, 10_000),
    users=strategies.sampled_from([1, 5, 30, 80]),
    items=strategies.sampled_from([1, 2, 8, 30]),
    events=strategies.sampled_from([1, 10, 100, 600]),
    days=strategies.sampled_from([0.0, 1.0, 4.5, 7.0, 9.5, 30.0, 70.0]),
    types=strategies.sampled_from([EVENT_TYPES, ("view",), ("transaction",), ("view", "transaction")]),
    again=strategies.sampled_from([0.0, 0.3, 0.6]),
    catalog=strategies.booleans(),
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a training ended in: an error of one line, or a version.

    metrics: metrics.json; lists: items and scores by user, for a user of the log and for one without events
    """

    error: str = ""
    not_learned: str | None = None
    metrics: Any = None
    lists: Any = None


def train_on(shop: RandomShop, folder: Path, settings: Sequence[str] = ()) -> Outcome:
    """Train on the shop in an empty folder, which is removed, and recommend from the version; needs Ray."""
    source = resolve(str(shop.write(folder / "data")), folder / "work")
    store, config = FolderStore(folder / "registry"), load_config(None, [*FAST, *settings])
    try:
        run(source, store, config, folder / "work", START + 1000 * DAY)
        return _outcome(store)
    except RecsysError as error:
        return Outcome(error=VERSION.sub("VERSION", reason_of(error)))
    finally:
        shutil.rmtree(folder)


def _outcome(store: FolderStore) -> Outcome:
    from recsys.inference.batch import recommend_to

    opened = open_servable(store.path())
    known = opened.bundle.snapshot.users.values
    users = pa.concat_arrays([known[:3], pa.array([1], known.type)])
    table = recommend_to(users, opened.bundle, opened.recommender, 5, "all")
    lists = list(zip(*(table[name].to_pylist() for name in (USER, ITEM, SCORE)), strict=True))
    metrics = json.loads((store.path() / "metrics.json").read_text())
    return Outcome("", opened.bundle.manifest.not_learned, metrics, lists)
