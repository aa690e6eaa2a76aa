"""The inputs of the ranker for every cut of a run: tables, rows to learn from, and the validation window."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import ray

from recsys import console
from recsys.cluster import run_tasks
from recsys.evaluation.protocol import TestCases, new_items_only
from recsys.models.rankers.rows import RankingData
from recsys.models.tables import Tables
from recsys.retrieval.preranker import NO_PRERANKERS, PreRankerModels
from recsys.schema import Objective
from recsys.timeline import Cut
from recsys.training.context import Context
from recsys.training.examples import build_examples
from recsys.training.plan import Plan
from recsys.training.preranker import fit_prerankers
from recsys.training.scoring import find_cases
from recsys.training.tables import fit_tables
from recsys.training.validation import Validation, find_validation

TableRefs = Mapping[Cut, "ray.ObjectRef[Tables]"]
"""Tables by their cut."""


@dataclass(frozen=True, slots=True)
class RankerInputs:
    """The data from which rankers and blends are selected, in Ray's object store.

    tables: by cut, see TableRefs; examples: the ranker's rows by cut
    validation: the users of the validation window with their candidates
    discovery: the inputs for items new to the user; None if nothing can be learned about them
    """

    plan: Plan
    tables: TableRefs
    examples: "Mapping[Cut, ray.ObjectRef[RankingData]]"
    validation: "ray.ObjectRef[Validation]"
    prerankers: PreRankerModels = NO_PRERANKERS
    discovery: "RankerInputs | None" = None

    def rows(self, cuts: Sequence[Cut]) -> list[RankingData]:
        """The training rows of the cuts; their arrays are not copied from the object store."""
        return ray.get([self.examples[cut] for cut in cuts])


def build_inputs(context: Context, tables: TableRefs | None = None) -> RankerInputs:
    """The ranker's inputs for the context's plan.

    tables: of every cut; None to fit them
    Raises RecsysError if the data are not sufficient.
    """
    plan = context.plan
    if tables is None:
        with console.step(f"fit the tables of {len(plan.tables)} cuts"):
            tables = fit_tables(context, plan.tables)
            # Tasks wait, and not this process, which would have to fetch the tables. A task fails as its table does.
            ray.get(run_tasks(_wait_for, "wait for tables", [[table] for table in tables.values()]))
    with console.step("fit the pre-rankers"):
        prerankers = fit_prerankers(context, tables)
    with console.step("build the ranking examples"):
        wanted: tuple[Objective, ...] = ("all", "discover") if context.config.examples.discover else ("all",)
        examples = build_examples(context, tables, plan.examples, prerankers, wanted)
        cases = find_cases(context, plan.validation, plan.horizon)
        cases = cases.take(np.flatnonzero(cases.has_history))
        validation = find_validation(context, tables[plan.validation], cases, prerankers, "all")
        discovery = None
        if "discover" in examples:
            discovery = _discovery_inputs(context, tables, examples["discover"], cases, prerankers)
    return RankerInputs(plan, tables, _put(plan, examples["all"]), ray.put(validation), prerankers, discovery)


def _discovery_inputs(
    context: Context,
    tables: TableRefs,
    examples: Sequence[RankingData],
    cases: TestCases,
    prerankers: PreRankerModels,
) -> RankerInputs | None:
    """The inputs for discovery; None if no user chose a new candidate in training, or in the validation window."""
    plan = context.plan
    new_cases, _ = new_items_only(cases)
    learnable = any(data.learnable for data, cut in zip(examples, plan.examples, strict=True) if cut in plan.train)
    validation = None
    if learnable and len(new_cases):
        validation = find_validation(context, tables[plan.validation], new_cases, prerankers, "discover")
    if validation is None or not validation.rows.learnable:
        console.progress("no ranker for new items: no user chose a new item among the candidates")
        return None
    return RankerInputs(plan, tables, _put(plan, examples), ray.put(validation), prerankers)


def _put(plan: Plan, examples: Sequence[RankingData]) -> "dict[Cut, ray.ObjectRef[RankingData]]":
    return dict(zip(plan.examples, map(ray.put, examples), strict=True))


def _wait_for(_: Tables) -> None:
    """A task that ends when the table is fitted."""
