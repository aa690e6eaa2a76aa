"""Reports of the small shop, made without a training run: as it is, and as little as there can be of everything."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa

from recsys.config import TrainConfig
from recsys.data.catalog import build_catalog
from recsys.data.changes import Records
from recsys.data.ingest import ShopData
from recsys.data.partition import count_days
from recsys.evaluation import protocol
from recsys.evaluation.protocol import TestCases
from recsys.models.blend import fit_calibration
from recsys.models.rankers.rows import RankingData
from recsys.report.build import collect_report
from recsys.report.inputs import DataInputs, EvaluationInputs, RunInputs
from recsys.report.model import Report
from recsys.retrieval.preranker import NO_PRERANKERS
from recsys.schema import PURCHASE
from recsys.timeline import Cut
from recsys.training.context import Context
from recsys.training.evaluation import ScoredWindow, evaluate
from recsys.training.ranker import SelectedRanker, Size
from recsys.training.scoring import ScoredCandidates, Scoring, labels_of, partition_cases, score_chunk
from recsys.training.sweep.config import SweepConfig
from recsys.training.sweep.result import Status, SweepResult, TrialResult
from recsys.training.validation import Validation, choose_blend, new_candidates
from tests.support.bundles import small_ranker
from tests.support.shop_data import END
from tests.support.trained import world_shop
from tests.support.world import World, small_config, small_world, tables_of

SEARCH = {"ranker.learning_rate": {"low": 0.02, "high": 0.3, "log": True}, "ranker.num_leaves": [3, 7, 15]}


def trial(number: int, status: Status, metric: float | None, *, rate: float = 0.1, leaves: int = 7) -> TrialResult:
    settings = {"ranker.learning_rate": rate, "ranker.num_leaves": leaves}
    if metric is None:
        return TrialResult(number, settings, status)
    curve = {"0.0": metric - 0.02, "0.5": metric, "0.1": metric - 0.01}
    history = [(3, metric - 0.1), (9, metric)] if status == "finished" else [(3, metric)]
    return TrialResult(number, settings, status, metric, history[-1][0], 0.5, 1.0, None, curve, history)


def sweep_of(trials: Sequence[TrialResult]) -> SweepResult:
    """The end of a sweep over SEARCH; no section looks at the settings and rows to go on with."""
    best = max(trials, key=lambda one: -1 if one.metric is None else one.metric)
    nothing: Any = None
    return SweepResult(SweepConfig(search=SEARCH), trials, best, None, nothing, nothing)


TRIALS = (
    trial(1, "finished", 0.3),
    trial(2, "stopped", 0.32, leaves=15),
    trial(3, "failed", None, leaves=3),
    trial(4, "finished", 0.29, rate=0.05),
    trial(5, "stopped", 0.25, rate=0.2, leaves=3),
)
SWEEP = sweep_of(TRIALS)
ONE_TRIAL = sweep_of([replace(TRIALS[1], curve={"0.5": 0.32})])


@dataclass(frozen=True)
class Run:
    """Objects of a training run that its report is made from."""

    context: Context
    validation: Validation
    selected: SelectedRanker
    cases: TestCases
    scored: ScoredCandidates

    @property
    def shop(self) -> ShopData:
        return self.context.shop

    @property
    def evaluation(self) -> EvaluationInputs:
        window = ScoredWindow(self.cases, self.scored, self.selected.blend, ())
        metrics = evaluate(self.context, window, None, self.validation.cases)
        return EvaluationInputs(DataInputs(self.context), window, self.selected, self.validation, metrics)

    def inputs(self, sweep: SweepResult | None = None) -> RunInputs:
        return RunInputs(END, self.evaluation, self.selected.ranker, 0.01, 0.1, sweep)

    def report(self, sweep: SweepResult | None = None) -> Report:
        return collect_report(self.inputs(sweep))


SIZES = [Size(trees, leaves, 0.3 + 0.01 * (trees * leaves) ** 0.3) for leaves in (7, 15) for trees in (5, 15, 40)]


def _cases(world: World, cut: Cut, config: TrainConfig) -> TestCases:
    known = np.ones(len(world.items), bool)
    window = cut.time, cut.plus(config.horizon)
    return protocol.sample([partition_cases(world.partition, *window, config.target_codes, known)], 5000)


@cache
def small_run() -> Run:
    """A run of the small shop; needs Ray. Its ranker learned nothing of use."""
    config, world, shop = small_config(), small_world(), world_shop(2)
    context, ranker = Context.create(shop, config, work=""), small_ranker()
    plan, text = context.plan, [ranker.to_text()]
    earlier = _cases(world, plan.validation, config)
    earlier = earlier.take(np.flatnonzero(earlier.has_history))
    before_test = Scoring(plan.test.time, "all", NO_PRERANKERS, config.inference, config.ranker.backend)
    before_validation = replace(before_test, now=plan.validation.time, keep_features=True)
    candidates = score_chunk(earlier.histories, tables_of(world, plan.validation.age), text, before_validation)
    labels = labels_of(candidates, earlier)
    rows = RankingData(candidates.features, labels.astype(np.int8), np.bincount(candidates.users))
    mf, new = fit_calibration(candidates.mf, labels), new_candidates(candidates, earlier)
    validation = Validation(earlier, candidates, rows, mf, new)
    blend, curves = choose_blend(validation, candidates.lgb[0], config)
    selected = SelectedRanker(ranker, 7, SIZES, blend, curves, candidates.lgb[0])
    cases = _cases(world, plan.test, config)
    scored = score_chunk(cases.histories, tables_of(world, plan.test.age), text * 2, before_test)
    return Run(context, validation, selected, cases, scored)


def bare_run() -> Run:
    """A run with purchases only, no category, no score of the factorization, no warm user and no history."""
    run, world = small_run(), small_world()
    nothing = pa.array([], pa.int64())
    no_rows = np.zeros(0, np.int64)
    catalog, _ = build_catalog(
        len(world.items), Records(no_rows, no_rows, nothing), Records(no_rows, no_rows, pa.array([], pa.bool_())),
        nothing, nothing,
    )  # fmt: skip
    histories = world.partition.histories.where(world.partition.histories.events == PURCHASE)
    partition = replace(world.partition, histories=histories)
    shop = replace(
        run.shop,
        partitions=_put(partition),
        daily=count_days(partition, END),
        event_counts={"view": 0, "addtocart": 0, "transaction": len(histories.items)},
        catalog=catalog,
    )
    users = np.zeros(len(run.cases), bool)
    no_one = run.cases.histories.where(np.zeros(len(run.cases.histories.items), bool))
    cases = replace(run.cases, histories=no_one)
    scored = replace(run.scored, mf=np.full(len(run.scored.mf), np.nan, np.float32), warm=users)
    return replace(run, context=replace(run.context, shop=shop), cases=cases, scored=scored)


def _put(partition: Any) -> tuple[Any, ...]:
    import ray  # here, so that a test of a page does not pay for its import

    return (ray.put(partition),)
