"""What the ranker learns from and what choices are made on, for every cut of a run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import ray

from recsys import console
from recsys.cluster import run_tasks
from recsys.evaluation.protocol import TestCases, new_items_only
from recsys.models.rankers.base import RankingData
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
    """What every choice of settings of the ranker and the blend shares, in Ray's object store.

    tables, examples: by their cut
    discovery: the same for items that are new to the user, None where nothing can be learned of them
    """

    plan: Plan
    tables: TableRefs
    examples: "Mapping[Cut, ray.ObjectRef[RankingData]]"
    validation: "ray.ObjectRef[Validation]"
    prerankers: PreRankerModels = NO_PRERANKERS
    discovery: "RankerInputs | None" = None

    def rows(self, cuts: Sequence[Cut]) -> list[RankingData]:
        """The training rows of the cuts, whose arrays stay where they are."""
        return ray.get([self.examples[cut] for cut in cuts])


def build_inputs(context: Context, tables: TableRefs | None = None) -> RankerInputs:
    """Tables of every cut unless they are given, the ranker's rows, and what choices are made on.

    Raises RecsysError where the data lack something.
    """
    plan = context.plan
    if tables is None:
        with console.step(f"fit the tables of {len(plan.tables)} cuts"):
            tables = fit_tables(context, plan.tables)
            # Through tasks: they end with the error of the table they wait for, and fetch none to this process.
            ray.get(run_tasks(_wait_for, "wait for tables", [[table] for table in tables.values()]))
    with console.step("learn the selection of candidates"):
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
    """None where nobody chose a candidate that was new to them, in training or in the validation window."""
    plan = context.plan
    some, _ = new_items_only(cases)
    learned = any(data.learnable for data, cut in zip(examples, plan.examples, strict=True) if cut in plan.train)
    validation = None
    if learned and len(some):
        validation = find_validation(context, tables[plan.validation], some, prerankers, "discover")
    if validation is None or not validation.rows.learnable:
        console.progress("nobody chose a new item among the candidates: there is no ranker of its own for these")
        return None
    return RankerInputs(plan, tables, _put(plan, examples), ray.put(validation), prerankers)


def _put(plan: Plan, examples: Sequence[RankingData]) -> "dict[Cut, ray.ObjectRef[RankingData]]":
    return dict(zip(plan.examples, map(ray.put, examples), strict=True))


def _wait_for(_: Tables) -> None:
    """Done when the table is."""
