"""The five phases over single events: each classified as a purchase or not from what was known before it.

The reference published figures of such a protocol, whose features held the event's own label and later events. Here
none does, so the figures are lower for good reason; and since the rows are what users did, and not what could have been
recommended to them, no figure here compares with one of the ranking protocol.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import product
from typing import Any

import numpy as np

from recsys import console
from recsys.config import TrainConfig, changed
from recsys.data.ingest import ShopData
from recsys.errors import ModelError
from recsys.evaluation import metrics
from recsys.evaluation.event_metrics import auc_difference, list_metrics
from recsys.evaluation.protocol import defined
from recsys.features.definitions import categorical_of, feature_names_of
from recsys.models.rankers.base import RankingData, TrainingSet
from recsys.models.rankers.registry import train
from recsys.studies.phases.event_rows import EventRows, event_rows
from recsys.studies.phases.five import Grown, Phase, Tuned, Windows, chosen_blend, five_phases
from recsys.studies.phases.table import Table, decision, verdict, with_improvements
from recsys.training.plan import make_plan
from recsys.training.sweep.config import SweepConfig, axes, domain, start_point
from recsys.training.tables import fit_tables


def classify_phases(shop: ShopData, config: TrainConfig, sweep: SweepConfig | None) -> dict[str, Any]:
    """Everything the event protocol says of the five phases, as JSON.

    Trees learn probabilities of single rows (the binary objective), and every choice maximizes ROC-AUC on the events
    of the validation window. Raises RecsysError; ModelError where a window has no event of a target type, or no other.
    """
    config = changed(config, {"ranker.objective": "binary", "ranker.num_workers": 1})
    plan, caps = make_plan(shop.start, shop.end, config), config.phases
    oldest = max(plan.train)
    with console.step(f"fit the tables of {len(plan.tables) - 1} cuts"):
        tables = fit_tables(shop, [age for age in plan.tables if age], config)
    with console.step("build the rows of events"):
        learned = _window("training", event_rows(shop, tables, oldest, plan.valid, caps.train_events, config))
        valid = _window("validation", event_rows(shop, tables, plan.valid, plan.test, caps.test_events, config))
        test = _window("test", event_rows(shop, tables, plan.test, 0, caps.test_events, config))
    windows = Windows(
        [learned.data],
        valid.data,
        [learned.data, valid.data],
        valid.mf,
        test.features,
        test.mf,
        lambda scores: metrics.roc_auc(valid.labels, scores),
        lambda raw: raw,
    )
    grow = partial(grown, windows)
    tune = None if sweep is None else partial(tuned, windows, config, sweep)
    phases = five_phases(windows, grow, tune, config)
    return {
        "protocol": "event",
        "events": {name: _counted(rows) for name, rows in (("train", learned), ("valid", valid), ("test", test))},
        "table": event_table(phases, valid.labels, test, config),
    }


def _window(name: str, rows: EventRows) -> EventRows:
    hits = int(rows.labels.sum())
    if not 0 < hits < len(rows.labels):
        raise ModelError(
            f"the event protocol tells events of the types in targets from others: of {len(rows.labels):,} events of "
            f"the {name} window {hits:,} are; expected some, not all"
        )
    return rows


def _counted(rows: EventRows) -> dict[str, int]:
    return {"events": len(rows.labels), "hits": int(rows.labels.sum()), "users": len(np.unique(rows.users))}


def grown(windows: Windows, config: TrainConfig) -> Grown:
    """As many trees as have the best metric on the validation events; the ranker's own stopping looks at lists."""
    settings = config.ranker.model_copy(
        update={"seed": config.seed, "early_stopping_rounds": config.ranker.max_trees, "min_improvement": 0.0}
    )
    features = config.inference.features
    names, categorical = feature_names_of(features), categorical_of(features)
    best: tuple[float, int, np.ndarray] = (-1.0, 0, np.zeros(0))

    def watch(trees: int, _: float, scores: Any) -> None:
        nonlocal best
        found = scores()
        if (metric := windows.measure(found)) > best[0]:
            best = metric, trees, found

    def fit(parts: Sequence[RankingData]) -> Any:
        return train(TrainingSet(parts, None, names, categorical), settings, n_trees=best[1])

    train(TrainingSet(windows.train, windows.valid, names, categorical), settings, watch=watch)
    return Grown(best[1], best[2], fit)


def tuned(windows: Windows, config: TrainConfig, sweep: SweepConfig) -> Tuned:
    """The best of a sweep's points, tried one after another in this process: rows are few."""
    results = []
    for number, point in enumerate(points(sweep, config), 1):
        settings = changed(config, point)
        blend, curve = chosen_blend(windows, grown(windows, settings).scores, settings.hybrid)
        results.append((curve[blend.alpha], -number, settings, point))
        console.progress(f"trial {number}: {results[-1][0]:.4f}")
    _, _, best, point = max(results, key=lambda result: result[:2])
    return Tuned(best, {"trials": len(results), "settings": point})


def points(sweep: SweepConfig, config: TrainConfig) -> Iterator[dict[str, Any]]:
    """All points of a grid; else the settings as they are and then points drawn at random."""
    if sweep.searcher == "grid":
        yield from (dict(zip(axes(sweep), values, strict=True)) for values in product(*axes(sweep).values()))
        return
    start, rng = start_point(sweep, config), np.random.RandomState(sweep.seed)
    if start is not None:
        yield start
    for _ in range(sweep.trials - (start is not None)):
        yield {key: domain(key, space).sample(random_state=rng) for key, space in sweep.search.items()}


def event_table(phases: Sequence[Phase], valid_labels: np.ndarray, test: EventRows, config: TrainConfig) -> Table:
    """Every phase over the events of the test window."""
    settings = config.evaluation
    table: Table = []
    for at, phase in enumerate(phases):
        lists = {k: list_metrics(test.labels, phase.test, test.users, k) for k in settings.cutoffs}
        gap = None
        if at:
            pair = phase.test, phases[at - 1].test
            gap = auc_difference(test.labels, pair, test.users, *settings.resampling)
        table.append(
            {
                "phase": phase.name,
                "roc_auc": defined(metrics.roc_auc(test.labels, phase.test)),
                "average_precision": defined(metrics.average_precision(test.labels, phase.test)),
                **{f"precision@{k}": defined(precision) for k, (precision, _) in lists.items()},
                **{f"recall@{k}": defined(recall) for k, (_, recall) in lists.items()},
                "difference": gap and gap._asdict(),
                "verdict": gap and verdict(gap.low, gap.high),
                "decision": decision(phase, valid_labels, test.labels),
                "validation": phase.metric,
                "details": dict(phase.details),
            }
        )
    return with_improvements(table, event_columns(settings.k))


def event_columns(k: int) -> tuple[str, ...]:
    """The columns of the event table, which are the reference's."""
    return "roc_auc", "average_precision", f"precision@{k}", f"recall@{k}"
