"""What the ranker learns from and what choices are made on, for every cut of a run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import ray

from recsys import console
from recsys.config import TrainConfig
from recsys.data.ingest import ShopData
from recsys.data.tasks import run_tasks
from recsys.models.ranking import RankingData
from recsys.models.tables import Tables
from recsys.training.choice import Validation, find_validation
from recsys.training.examples import build_examples
from recsys.training.plan import Plan, make_plan
from recsys.training.tables import fit_tables

TableRefs = Mapping[int, "ray.ObjectRef[Tables]"]
"""Tables by the age of their cut."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """What every choice of settings of the ranker and the blend shares, in Ray's object store.

    tables, examples: by the age of their cut
    """

    plan: Plan
    tables: TableRefs
    examples: "Mapping[int, ray.ObjectRef[RankingData]]"
    validation: "ray.ObjectRef[Validation]"

    def rows(self, ages: Sequence[int]) -> list[RankingData]:
        """The training rows of the cuts at `ages`, whose arrays stay where they are."""
        return ray.get([self.examples[age] for age in ages])


def prepare(shop: ShopData, config: TrainConfig, tables: TableRefs | None = None) -> Prepared:
    """Tables of every cut unless they are given, the ranker's rows, and what choices are made on.

    Raises RecsysError where the data lack something.
    """
    plan = make_plan(shop.start, shop.end, config)
    if tables is None:
        with console.step(f"fit the tables of {len(plan.tables)} cuts"):
            tables = fit_tables(shop, plan.tables, config)
            # Through tasks: they end with the error of the table they wait for, and fetch none to this process.
            ray.get(run_tasks(_wait_for, "wait for tables", [[table] for table in tables.values()]))
    with console.step("build the ranking examples"):
        ages = (*plan.refit, plan.valid, *plan.train)
        examples = dict(zip(ages, map(ray.put, build_examples(shop, tables, ages, config)), strict=True))
        validation = ray.put(find_validation(shop, tables[plan.valid], plan, config))
    return Prepared(plan, tables, examples, validation)


def _wait_for(_: Tables) -> None:
    """Done when the table is."""
