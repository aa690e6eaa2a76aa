"""A version for data that are too few to learn from: candidates are ranked by the weights of their sources."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import ray

from recsys.errors import TooLittleData
from recsys.evaluation import protocol
from recsys.evaluation.protocol import TestCases
from recsys.models.blend import Blend, Calibration
from recsys.models.rankers.registry import UNTRAINED
from recsys.models.rankers.untrained import UntrainedRanker
from recsys.models.tables import Tables
from recsys.retrieval.preranker import NO_PRERANKERS
from recsys.schema import Objective
from recsys.timeline import Cut
from recsys.training.context import Context
from recsys.training.evaluation import ScoredWindow, evaluate
from recsys.training.publish import Model
from recsys.training.results import NOT_EVALUATED, Evaluation, UnlearnedResult
from recsys.training.scoring import Scoring, find_cases, score_users
from recsys.training.systems import FACTORIZATION, RANKER
from recsys.training.tables import fit_tables

BLEND: Final = Blend(alpha=0.0, lgb=Calibration(), mf=Calibration())
"""The pre-ranker's score is the logarithm of a sum v over the sources, so the calibrated score is v / (1 + v)."""
PARTS: Final = (RANKER, FACTORIZATION)
"""Systems that an evaluation leaves out: nothing was trained."""


def build_unlearned(context: Context, reason: str) -> tuple[Model, UnlearnedResult]:
    """A model of the sources alone as of the newest event, and its results; reason: why nothing was learned."""
    plan = context.plan
    cases = _cases(context)
    cuts = (plan.newest,) if cases is None else (plan.newest, plan.test)
    tables = fit_tables(context, cuts, factorize=False)
    evaluation = NOT_EVALUATED if cases is None else _evaluate(context, cases, tables)
    model = Model(
        tables=ray.get(tables[plan.newest]),
        prerankers=NO_PRERANKERS,
        backend=UNTRAINED,
        ranker=UntrainedRanker(),
        blend=BLEND,
        not_learned=reason,
    )
    return model, UnlearnedResult(evaluation, reason, plan, context.shop.quality)


def _cases(context: Context) -> TestCases | None:
    """The users of the test window; None if there is none."""
    try:
        return find_cases(context, context.plan.test, context.config.test_days)
    except TooLittleData:
        return None


def _evaluate(context: Context, cases: TestCases, tables: "Mapping[Cut, ray.ObjectRef[Tables]]") -> Evaluation:
    """The metrics of the order by weights, of its sources and of the baselines on the test window."""
    new_cases, _ = protocol.new_items_only(cases)
    test = tables[context.plan.test]
    discovery = _scored(context, new_cases, test, "discover") if len(new_cases) else None
    evaluation = evaluate(context, _scored(context, cases, test, "all"), discovery, earlier=None)
    return replace(
        evaluation,
        table=[row for row in evaluation.table if row.system not in PARTS],
        new_items=[row for row in evaluation.new_items if row.system.partition(",")[0] not in PARTS],
        leads=[lead for lead in evaluation.leads if lead.system not in PARTS],
    )


def _scored(context: Context, cases: TestCases, tables: "ray.ObjectRef[Tables]", objective: Objective) -> ScoredWindow:
    """Users of the test window with their candidates in the order by weights."""
    config = context.config.inference
    ranker = UntrainedRanker(config.feature_names)
    scoring = Scoring(context.plan.test.time, objective, NO_PRERANKERS, config, UNTRAINED)
    return ScoredWindow(cases, score_users(cases.histories, tables, [ranker], scoring), BLEND, [ranker])
