"""The training run: raw files in, an evaluated and published version out."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import ray

from recsys import console
from recsys.config import TrainConfig
from recsys.data.ingest import ShopData, ingest
from recsys.data.sources import Source
from recsys.data.split import cut
from recsys.errors import ModelError
from recsys.evaluation.protocol import TestCases
from recsys.features.definitions import CATEGORICAL, NAMES
from recsys.models.hybrid import Blend, choose_alpha, fit_calibration, score_drift
from recsys.models.ranking import Ranker, RankingData, train
from recsys.models.tables import Tables
from recsys.registry.store import Store
from recsys.training.examples import build_examples
from recsys.training.judge import evaluate, labels_of, ndcg_of
from recsys.training.plan import Plan, make_plan
from recsys.training.printing import show_data, show_metrics
from recsys.training.publish import publish
from recsys.training.scoring import find_cases, score_users
from recsys.training.tables import fit_tables

TableRefs = Mapping[int, "ray.ObjectRef[Tables]"]
"""Tables by the age of their cut."""
Examples = Mapping[int, RankingData]
"""Training rows by the age of their cut."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What the validation window decided; every refit carries it over.

    curve: validation NDCG@k by alpha; cases: the window's users
    held_out: features of its candidates, and scores: what the chosen ranker gave them, to measure drift against
    """

    n_trees: int
    blend: Blend
    curve: dict[float, float]
    cases: TestCases
    held_out: np.ndarray
    scores: np.ndarray


def run(source: Source, store: Store, config: TrainConfig, work: Path, now: int) -> str:
    """Train, evaluate, refit on everything, publish and promote; returns the version.

    work: folder of the quarantine file; now: the run's clock, ms
    Raises RecsysError, with nothing published.
    """
    with console.step("read and check the data"):
        shop = ingest(source, config.data, now, work / "quarantine.parquet")
    show_data(shop)
    plan = make_plan(shop.start, shop.end, config)
    with console.step(f"fit the tables of {len(plan.tables)} cuts"):
        tables = fit_tables(shop, plan.tables, config)
        ray.wait(list(tables.values()), num_returns=len(tables), fetch_local=False)
    with console.step("build the ranking examples"):
        ages = (*plan.refit, plan.valid, *plan.train)
        examples = dict(zip(ages, build_examples(shop, tables, ages, config, sampled=True), strict=True))
    with console.step("choose trees, calibrations and alpha on the validation window"):
        choice = choose(shop, tables, plan, examples, config)
    with console.step("evaluate on the test window"):
        rankers = [
            refit(examples, (plan.valid, *plan.train), choice.n_trees, config, config.seed + i)
            for i in range(config.evaluation.seeds)
        ]
        cases = find_cases(shop, plan.test, config.evaluation.test_days, config)
        scored = score_users(cases.histories, tables[plan.test], rankers, cut(shop.end, plan.test), config)
        metrics = evaluate(shop, plan, cases, scored, choice.blend, choice.cases, config)
    show_metrics(metrics, config)
    with console.step("refit on every event"):
        final = refit(examples, ages, choice.n_trees, config, config.seed)
        drift = check_drift(final, choice, config)
    metrics |= {
        "model": "metrics are of the model trained up to the test window; the published one is its refit on all events",
        "alpha": choice.blend.alpha,
        "alpha_curve": [{"alpha": alpha, "ndcg": value} for alpha, value in choice.curve.items()],
        "trees": choice.n_trees,
        "score_drift": drift,
        "importance": final.importance(),
        "plan": asdict(plan),
        "quality": asdict(shop.quality),
    }
    with console.step("publish"):
        return publish(shop, ray.get(tables[0]), final, choice.blend, metrics, store, config)


def choose(shop: ShopData, tables: TableRefs, plan: Plan, examples: Examples, config: TrainConfig) -> Choice:
    """Tree count, calibrations and alpha, all from the validation window."""
    [held_out] = build_examples(shop, tables, [plan.valid], config, sampled=False)
    settings = config.ranker.model_copy(update={"seed": config.seed})
    ranker = train(join(examples, plan.train), held_out, NAMES, CATEGORICAL, settings, progress=_report_trees)
    cases = find_cases(shop, plan.valid, plan.horizon, config)
    cases = cases.take(np.flatnonzero(cases.warm))  # users without a history are not ranked
    scored = score_users(cases.histories, tables[plan.valid], [ranker], cut(shop.end, plan.valid), config)
    labels = labels_of(scored, cases)
    lgb, mf = fit_calibration(scored.lgb[0], labels), fit_calibration(scored.mf, labels)
    k, fixed = config.evaluation.k, config.hybrid.alpha
    alpha, curve = choose_alpha(
        lgb(scored.lgb[0]),
        mf(scored.mf),
        lambda scores: ndcg_of(scored, scores, cases, k),
        config.hybrid.grid if fixed is None else (fixed,),
    )
    console.progress(f"{ranker.n_trees} trees, alpha {alpha}, validation NDCG@{k} {curve[alpha]:.4f}")
    blend = Blend(alpha=alpha, lgb=lgb, mf=mf)
    return Choice(ranker.n_trees, blend, curve, cases, held_out.features, ranker.predict(held_out.features))


def _report_trees(trees: int, ndcg: float) -> None:
    if trees % 25 == 0:
        console.progress(f"{trees} trees, NDCG@10 of the validation candidates {ndcg:.4f}")


def refit(examples: Examples, ages: Sequence[int], n_trees: int, config: TrainConfig, seed: int) -> Ranker:
    """A ranker of a fixed size on the rows of the cuts at `ages`."""
    settings = config.ranker.model_copy(update={"seed": seed})
    return train(join(examples, ages), None, NAMES, CATEGORICAL, settings, n_trees=n_trees)


def join(examples: Examples, ages: Sequence[int]) -> RankingData:
    parts = [examples[age] for age in ages]
    return RankingData(
        np.concatenate([part.features for part in parts]),
        np.concatenate([part.labels for part in parts]),
        np.concatenate([part.groups for part in parts]),
    )


def check_drift(final: Ranker, choice: Choice, config: TrainConfig) -> float:
    """How far the refit moved the calibrated scores; raises ModelError beyond the bound."""
    drift = score_drift(choice.blend.lgb, choice.scores, final.predict(choice.held_out))
    if drift > config.hybrid.max_drift:
        raise ModelError(
            f"the refitted ranker's calibrated scores moved by {drift:.3f}, more than hybrid.max_drift = "
            f"{config.hybrid.max_drift}: the calibration would not hold"
        )
    return drift
