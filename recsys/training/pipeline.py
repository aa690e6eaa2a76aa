"""The training run: raw files in, an evaluated and published version out."""

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import ray

from recsys import console
from recsys.config import TrainConfig
from recsys.data.ingest import ShopData, ingest
from recsys.data.shop import UserPartition
from recsys.data.sources import Source
from recsys.data.split import cut
from recsys.data.tasks import run_tasks
from recsys.errors import ModelError
from recsys.evaluation.protocol import Row, TestCases
from recsys.features.definitions import CATEGORICAL, NAMES
from recsys.models.hybrid import Blend, choose_alpha, fit_calibration, score_drift
from recsys.models.ranking import Ranker, RankingData, train
from recsys.models.snapshot import HistoryConfig, SnapshotPart, assemble, snapshot_part
from recsys.models.tables import Tables
from recsys.registry.bundle import METRICS, About, Bundle, Counts, DateRange, write
from recsys.registry.store import Store
from recsys.training.examples import build_examples
from recsys.training.judge import evaluate, labels_of, ndcg_of
from recsys.training.plan import Plan, make_plan
from recsys.training.scoring import find_cases, score_users
from recsys.training.tables import fit_tables


@dataclass(frozen=True, slots=True)
class Choice:
    """What the validation window decided; every later refit carries it over.

    n_trees: of the ranker; curve: validation NDCG@k for each alpha; half_life: days, of the personal baseline
    scores: the ranker's raw scores of validation candidates, float64 (n,)
    """

    n_trees: int
    blend: Blend
    curve: dict[float, float]
    scores: np.ndarray
    cases: TestCases


def run(source: Source, store: Store, config: TrainConfig, work: Path, now: int) -> str:
    """Train, evaluate, refit on everything, publish and promote; returns the version.

    work: a folder for what is set aside on the way; now: the run's clock, ms
    """
    with console.step("read and check the data"):
        shop = ingest(source, config.data, now, work / "quarantine.parquet")
    describe(shop)
    plan = make_plan(shop.start, shop.end, config)
    with console.step(f"fit the tables of {len(plan.tables)} cuts"):
        tables = fit_tables(shop, plan.tables, config)
        ray.wait(list(tables.values()), num_returns=len(tables), fetch_local=False)
    with console.step("build the ranking examples"):
        ages = (*plan.refit, plan.valid, *plan.train)
        examples = dict(zip(ages, build_examples(shop, tables, ages, config, sampled=True), strict=True))
        [held_out] = build_examples(shop, tables, [plan.valid], config, sampled=False)
    with console.step("choose on the validation window"):
        choice = choose(shop, tables, plan, examples, held_out, config)
    with console.step("evaluate on the test window"):
        rankers = [
            refit(examples, (plan.valid, *plan.train), choice.n_trees, config, seed)
            for seed in range(config.seed, config.seed + config.evaluation.seeds)
        ]
        cases = find_cases(shop, plan.test, config.evaluation.test_days, config)
        scored = score_users(
            cases.histories,
            tables[plan.test],
            [ranker.to_text() for ranker in rankers],
            config.ranker.backend,
            cut(shop.end, plan.test),
            config,
        )
        metrics = evaluate(shop, plan, cases, scored, choice.blend, choice.cases, config)
    show(metrics, config)
    with console.step("refit on every event"):
        final = refit(examples, ages, choice.n_trees, config, config.seed)
        drift = check_drift(final, held_out, choice, config)
    metrics |= {
        "evaluated": "the model trained before the test window; the published one is refitted on every event",
        "alpha": choice.blend.alpha,
        "alpha_curve": {str(alpha): value for alpha, value in choice.curve.items()},
        "trees": choice.n_trees,
        "score_drift": drift,
        "importance": final.importance(),
        "plan": {"train": plan.train, "valid": plan.valid, "test": plan.test, "refit": plan.refit},
        "quality": quality(shop),
    }
    with console.step("publish"):
        return publish(shop, ray.get(tables[0]), final, choice.blend, metrics, store, config)


def refit(
    examples: dict[int, RankingData], ages: tuple[int, ...], n_trees: int, config: TrainConfig, seed: int
) -> Ranker:
    data = join([examples[age] for age in ages])
    settings = config.ranker.model_copy(update={"seed": seed})
    return train(data, None, NAMES, CATEGORICAL, settings, n_trees=n_trees)


def join(parts: list[RankingData]) -> RankingData:
    return RankingData(
        np.concatenate([part.features for part in parts]),
        np.concatenate([part.labels for part in parts]),
        np.concatenate([part.groups for part in parts]),
    )


def choose(
    shop: ShopData,
    tables: "dict[int, ray.ObjectRef[Tables]]",
    plan: Plan,
    examples: dict[int, RankingData],
    held_out: RankingData,
    config: TrainConfig,
) -> Choice:
    """Tree count, calibrations and alpha, all from the validation window."""
    data = join([examples[age] for age in plan.train])
    settings = config.ranker.model_copy(update={"seed": config.seed})
    ranker = train(data, held_out, NAMES, CATEGORICAL, settings, progress=_report)
    cases = find_cases(shop, plan.valid, plan.horizon, config)
    scored = score_users(
        cases.histories,
        tables[plan.valid],
        [ranker.to_text()],
        config.ranker.backend,
        cut(shop.end, plan.valid),
        config,
    )
    labels = labels_of(scored, cases)
    lgb, mf = fit_calibration(scored.lgb[0], labels), fit_calibration(scored.mf, labels)
    lgb_scores, mf_scores = lgb(scored.lgb[0]), mf(scored.mf)
    grid = config.hybrid.grid if config.hybrid.alpha is None else (config.hybrid.alpha,)
    alpha, curve = choose_alpha(lgb_scores, mf_scores, lambda s: ndcg_of(scored, s, cases, config), grid)
    console.progress(
        f"{ranker.n_trees} trees, alpha {alpha}, validation NDCG@{config.evaluation.k} {curve[alpha]:.4f}"
    )
    return Choice(
        ranker.n_trees, Blend(alpha=alpha, lgb=lgb, mf=mf), curve, ranker.predict(held_out.features), cases
    )


def _report(trees: int, ndcg: float) -> None:
    if trees % 25 == 0:
        console.progress(f"  {trees} trees, NDCG@10 of the candidates {ndcg:.4f}")


def check_drift(final: Ranker, held_out: RankingData, choice: Choice, config: TrainConfig) -> float:
    """How far the refit moved the calibrated scores; raises ModelError beyond the bound."""
    drift = score_drift(choice.blend.lgb, choice.scores, final.predict(held_out.features))
    if drift > config.hybrid.max_drift:
        raise ModelError(
            f"the refitted ranker's calibrated scores moved by {drift:.3f}, more than hybrid.max_drift = "
            f"{config.hybrid.max_drift}; the calibration would not hold"
        )
    return drift


def publish(
    shop: ShopData,
    tables: Tables,
    ranker: Ranker,
    blend: Blend,
    metrics: dict[str, Any],
    store: Store,
    config: TrainConfig,
) -> str:
    """Write the bundle, publish it and put it into production."""
    statistics = tables.statistics
    category = ray.put(statistics.category)
    calls = [(partition, category, config.inference.history) for partition in shop.partitions]
    parts: list[SnapshotPart] = ray.get(run_tasks(partition_snapshot, "cut histories to size", calls))
    about = About(
        fingerprint=shop.fingerprint,
        date_range=DateRange(start=shop.start, end=shop.end),
        counts=Counts(
            events=shop.event_counts,
            users=shop.n_users,
            items=len(shop.items),
            mf_items=int(tables.factors.known.sum()),
        ),
        targets=config.targets,
        features=NAMES,
        backend=config.ranker.backend,
        blend=blend,
        exclude_purchased=tables.retrieval.exclude_purchased,
        live_watermark=shop.end,
        inference=config.inference.model_dump(mode="json"),
        headline=headline(metrics["table"], config),
    )
    snapshot = assemble(parts, shop.user_kind)
    catalog = shop.catalog
    texts = {METRICS: json.dumps(metrics, indent=1), "config.json": config.model_dump_json(indent=1)}

    def fill(folder: Path) -> None:
        ancestors = catalog.ancestors(config.category_levels)
        bundle = Bundle(
            folder.name, about, shop.items, catalog.categories, ancestors, tables, ranker, snapshot
        )
        write(bundle, folder, texts)

    version = store.publish(fill)
    store.promote(version)
    return version


def partition_snapshot(partition: UserPartition, category: np.ndarray, config: HistoryConfig) -> SnapshotPart:
    return snapshot_part(partition.users, partition.histories, category, config)


def headline(table: list[Row], config: TrainConfig) -> dict[str, float | None]:
    """NDCG of the hybrid for each group of users."""
    name = f"ndcg@{config.evaluation.k}"
    return {
        f"{name} {row['group']}": row[name]
        for row in table
        if row["system"] == "hybrid"  # type: ignore[misc]
    }


def describe(shop: ShopData) -> None:
    """Say what was read."""
    events = ", ".join(f"{count:,} {name}" for name, count in shop.event_counts.items())
    day = lambda ms: time.strftime("%Y-%m-%d", time.gmtime(ms / 1000))  # noqa: E731
    console.line(
        f"{events}; {shop.n_users:,} users, {len(shop.items):,} items, {len(shop.catalog.categories):,} categories, "
        f"{day(shop.start)} to {day(shop.end)}"
    )


def show(metrics: dict[str, Any], config: TrainConfig) -> None:
    """Print the metrics table, warm and cold users apart, and where the candidates come from."""
    k = config.evaluation.k
    names = [f"{name}@{k}" for name in ("ndcg", "recall", "precision", "hit", "mrr", "coverage")]
    columns = ["system", "group", "users", *names, "low", "high", "seeds"]
    bounds = [f"ndcg@{k}_{name}" for name in ("low", "high", "seeds")]
    rows = [[row[name] for name in ("system", "group", "users", *names, *bounds)] for row in metrics["table"]]
    console.table(
        columns,
        rows,
        f"test window of {config.evaluation.test_days} days; interval and seeds are of NDCG@{k}",
    )
    fresh = [
        [row[name] for name in ("system", "users", *names[:2])]
        for row in metrics["new_items"]
        if row["group"] == "all"
    ]
    console.table(["system", "users", *names[:2]], fresh, "items new to the user only")
    found = metrics["candidates"]
    sources = [list(row.values()) for row in found["sources"]]
    console.table(
        ["source", "share", "recall", "found by it alone"],
        sources,
        f"candidates, recall {found['recall']:.3f} in all",
    )
    gaps = [[row["system"], row["mean"], row["low"], row["high"]] for row in metrics["differences"]]
    console.table(["hybrid minus", "mean", "low", "high"], gaps, f"paired differences of NDCG@{k}")


def quality(shop: ShopData) -> dict[str, Any]:
    """What became of the rows that were read, as JSON."""
    return asdict(shop.quality)
