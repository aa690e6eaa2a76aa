"""Reports of the small shop, made without a training run: as it is, and as little as there can be of everything."""

from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa

from recsys.config import TrainConfig
from recsys.data.catalog import Records, build_catalog
from recsys.data.ingest import ShopData
from recsys.data.partition import count_days
from recsys.evaluation import protocol
from recsys.evaluation.protocol import TestCases
from recsys.models.blend import fit_calibration
from recsys.models.rankers.base import RankingData
from recsys.report.collect.data import find_data
from recsys.report.collect.people import find_people
from recsys.report.collect.quality import find_quality
from recsys.report.collect.reasons import find_reasons
from recsys.report.content import Report
from recsys.retrieval.preranker import NO_PRERANKERS
from recsys.schema import PURCHASE
from recsys.timeline import cut
from recsys.training.context import Context
from recsys.training.evaluation import ScoredWindow, evaluate
from recsys.training.plan import Plan
from recsys.training.ranker import SelectedRanker
from recsys.training.scoring import ScoredCandidates, Scoring, labels_of, partition_cases, score_chunk
from recsys.training.validation import Validation, choose_blend
from tests.support.bundles import small_ranker
from tests.support.shop_data import END
from tests.support.trained import world_shop
from tests.support.world import World, small_config, small_world, tables_of

SWEEP: dict[str, Any] = {
    "config": {"metric": "ndcg@10"},
    "best": {"number": 1, "curve": {"0.0": 0.3, "0.5": 0.32, "0.1": 0.31}},
    "outcome": "trial 1 is adopted, the best of 3",
    "importance": {"ranker.learning_rate": 0.8, "ranker.num_leaves": 0.2},
    "trials": [
        {"number": 0, "status": "finished", "metric": 0.3, "trees": 9, "alpha": 0.0,
         "settings": {"ranker.num_leaves": 7}, "history": [[3, 0.2], [9, 0.3]], "seconds": 1.0},
        {"number": 1, "status": "stopped", "metric": 0.32, "trees": 3, "alpha": 0.5,
         "settings": {"ranker.num_leaves": 15}, "history": [[3, 0.32]], "seconds": 1.0},
        {"number": 2, "status": "failed", "metric": None, "trees": 0, "alpha": None,
         "settings": {"ranker.num_leaves": 3}, "history": [], "seconds": 1.0},
    ],
}  # fmt: skip
"""As in sweep.json."""
ONE_TRIAL = SWEEP | {"importance": {}, "trials": SWEEP["trials"][1:2], "best": {"number": 1, "curve": {"0.5": 0.32}}}


@dataclass(frozen=True)
class Run:
    """What a training run has at hand when it writes its report."""

    shop: ShopData
    plan: Plan
    config: TrainConfig
    validation: Validation
    selected: SelectedRanker
    cases: TestCases
    scored: ScoredCandidates

    def metrics(self) -> dict[str, Any]:
        context = Context(self.shop, self.plan, self.config, work="")
        window = ScoredWindow(self.cases, self.scored, self.selected.blend, ())
        found = evaluate(context, window, None, self.validation.cases).to_json()
        curve = [{"alpha": alpha, "ndcg": value} for alpha, value in self.selected.curve.items()]
        ranker = self.selected.ranker
        return found | {
            "alpha_curve": curve,
            "trees": ranker.n_trees,
            "score_drift": 0.01,
            "sizes": [
                {"trees": trees, "leaves": leaves, "metric": 0.3 + 0.01 * (trees * leaves) ** 0.3}
                for leaves in (7, 15)
                for trees in (5, 15, 40)
            ],
            "importance": ranker.importance(),
        }

    def report(self, sweep: dict[str, Any] | None = None) -> Report:
        metrics, shop, plan, config = self.metrics(), self.shop, self.plan, self.config
        return Report(
            created=END,
            data=find_data(shop, plan, config),
            quality=find_quality(shop, plan, self.cases, self.scored, self.selected, self.validation, metrics, config),
            reasons=find_reasons(self.validation, self.selected, metrics, sweep, config),
            people=find_people(shop, plan, self.cases, self.scored, self.selected.blend, config),
        )


def _cases(world: World, age: int, config: TrainConfig) -> TestCases:
    known = np.ones(len(world.items), bool)
    window = cut(END, age), cut(END, age - config.horizon)
    return protocol.sample([partition_cases(world.partition, *window, config.target_codes, known)], 5000)


@cache
def small_run() -> Run:
    """Of the small shop; needs Ray. Its ranker learned nothing of use."""
    config, world, shop = small_config(), small_world(), world_shop(2)
    plan, ranker = Context.create(shop, config, work="").plan, small_ranker()
    text = [ranker.to_text()]
    earlier = _cases(world, plan.valid, config)
    earlier = earlier.take(np.flatnonzero(earlier.has_history))
    before_test = Scoring(cut(END, plan.test), "all", NO_PRERANKERS, config.inference, config.ranker.backend)
    before_validation = replace(before_test, now=cut(END, plan.valid), keep_features=True)
    found = score_chunk(earlier.histories, tables_of(world, plan.valid), text, before_validation)
    labels = labels_of(found, earlier)
    rows = RankingData(found.features, labels.astype(np.int8), np.bincount(found.users))
    validation = Validation(earlier, found, rows, fit_calibration(found.mf, labels))
    blend, curve = choose_blend(validation, found.lgb[0], config)
    selected = SelectedRanker(ranker, 7, [], blend, curve, found.lgb[0])
    cases = _cases(world, plan.test, config)
    scored = score_chunk(cases.histories, tables_of(world, plan.test), text * 2, before_test)
    return Run(shop, plan, config, validation, selected, cases, scored)


def bare_run() -> Run:
    """Purchases alone, no category, no score of the factorization, and nobody who is warm, or has a history."""
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
    return replace(run, shop=shop, cases=cases, scored=scored)


def _put(partition: Any) -> tuple[Any, ...]:
    import ray  # here, so that a test of a page does not pay for its import

    return (ray.put(partition),)
