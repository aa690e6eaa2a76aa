"""The five phases over single events: each event is classified as a purchase or not from what was known before it.

The reference published figures of such a protocol, but its features held the event's own label and later events. Here
no feature does, so the figures are lower. The rows are events that users caused, not items that could have been
recommended. So no figure here can be compared with one of the ranking protocol.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import pairwise, product
from typing import Any

import numpy as np

from recsys import console
from recsys.config import TrainConfig, changed
from recsys.errors import ModelError
from recsys.evaluation import metrics
from recsys.evaluation.event_metrics import auc_difference, list_metrics
from recsys.evaluation.settings import EvaluationConfig
from recsys.evaluation.table import defined
from recsys.models.rankers.registry import Ranker, train
from recsys.models.rankers.rows import RankingData
from recsys.studies.phases.event_rows import EventRows, event_rows
from recsys.studies.phases.models import BoostedTrees, Phase, PhaseRows, TunedSettings, choose_phase_blend, train_phases
from recsys.studies.phases.table import PhaseRow, decision, with_improvements
from recsys.training.context import Context
from recsys.training.sweep.config import SweepConfig, axes, domain, start_point
from recsys.training.tables import fit_tables
from recsys.training.validation import training_set


@dataclass(frozen=True, slots=True)
class EventCounts:
    """Events of a window; hits: of a target type."""

    events: int
    hits: int
    users: int

    @classmethod
    def from_rows(cls, rows: EventRows) -> "EventCounts":
        """Counts of the rows."""
        return cls(len(rows.labels), int(rows.labels.sum()), len(np.unique(rows.users)))


@dataclass(frozen=True, slots=True)
class EventResult:
    """The phases on the events of the test window."""

    train: EventCounts
    valid: EventCounts
    test: EventCounts
    table: list[PhaseRow]

    def to_json(self) -> dict[str, Any]:
        """The result as one object."""
        return {
            "protocol": "event",
            "events": {name: asdict(getattr(self, name)) for name in ("train", "valid", "test")},
            "table": [row.to_json() for row in self.table],
        }


def classify_phases(context: Context, sweep: SweepConfig | None) -> EventResult:
    """Train the five phases and compare how they classify the events of the test window.

    Trees learn probabilities of single rows (the binary objective). Every choice maximizes ROC-AUC on the events of
    the validation window. Raises RecsysError; ModelError where a window lacks target events or other events.
    """
    context = context.with_config(changed(context.config, {"ranker.objective": "binary", "ranker.num_workers": 1}))
    learned, valid, test = window_rows(context)
    rows = PhaseRows(
        train=[learned.data],
        valid=valid.data,
        refit=[learned.data, valid.data],
        valid_mf=valid.mf,
        test=test.features,
        test_mf=test.mf,
        measure=lambda scores: metrics.roc_auc(valid.labels, scores),
        measure_new=None,
        adjust=lambda raw: raw,
    )
    tune = None if sweep is None else partial(tune_hybrid, rows, context.config, sweep)
    phases = train_phases(rows, partial(boost_trees, rows), tune, context.config)
    table = event_table(phases, valid.labels, test, context.config.evaluation)
    counts = EventCounts.from_rows
    return EventResult(train=counts(learned), valid=counts(valid), test=counts(test), table=table)


def window_rows(context: Context) -> tuple[EventRows, EventRows, EventRows]:
    """Rows of the events of the training, the validation and the test window; raises ModelError."""
    plan, limits = context.plan, context.config.phases
    cuts = [cut for cut in plan.tables if cut != plan.newest]
    with console.step(f"fit the tables of {len(cuts)} cuts"):
        tables = fit_tables(context, cuts)
    with console.step("build the rows of events"):
        return (
            _checked("training", event_rows(context, tables, max(plan.train), plan.validation, limits.train_events)),
            _checked("validation", event_rows(context, tables, plan.validation, plan.test, limits.test_events)),
            _checked("test", event_rows(context, tables, plan.test, plan.newest, limits.test_events)),
        )


def _checked(name: str, rows: EventRows) -> EventRows:
    hits = int(rows.labels.sum())
    if not 0 < hits < len(rows.labels):
        raise ModelError(
            f"the event protocol needs events of the types in targets and others: {hits:,} of the {len(rows.labels):,} "
            f"events of the {name} window are of these types; expected some, not all"
        )
    return rows


def boost_trees(rows: PhaseRows, config: TrainConfig) -> BoostedTrees:
    """The number of trees with the best metric on the validation events.

    The ranker's own early stopping goes by lists, so it is switched off.
    """
    settings = config.ranker.model_copy(
        update={"seed": config.seed, "early_stopping_rounds": config.ranker.max_trees, "min_improvement": 0.0}
    )
    features = config.inference.features
    best: tuple[float, int, np.ndarray] = (-1.0, 0, np.zeros(0))

    def watch(trees: int, _: float, scores: Any) -> None:
        nonlocal best
        values = scores()
        if (metric := rows.measure(values)) > best[0]:
            best = metric, trees, values

    def train_again(parts: Sequence[RankingData]) -> Ranker:
        return train(training_set(parts, None, features), settings, n_trees=best[1])

    train(training_set(rows.train, rows.valid, features), settings, watch=watch)
    return BoostedTrees(best[1], best[2], train_again)


def tune_hybrid(rows: PhaseRows, config: TrainConfig, sweep: SweepConfig) -> TunedSettings:
    """The best of a sweep's points, tried one after another in this process, since rows are few."""
    results = []
    for number, point in enumerate(points(sweep, config), 1):
        settings = changed(config, point)
        blend, curve = choose_phase_blend(rows, boost_trees(rows, settings).scores, settings.hybrid)
        results.append((curve[blend.alpha], -number, settings, point))
        console.progress(f"trial {number}: {results[-1][0]:.4f}")
    _, _, best, point = max(results, key=lambda result: result[:2])
    return TunedSettings(best, len(results), point, adopted=True)


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


def event_table(
    phases: Sequence[Phase], valid_labels: np.ndarray, test: EventRows, settings: EvaluationConfig
) -> list[PhaseRow]:
    """Every phase over the events of the test window."""
    gaps = [
        auc_difference(test.labels, (phase.test, above.test), test.users, settings.resampling)
        for above, phase in pairwise(phases)
    ]
    rows = []
    for phase, gap in zip(phases, [None, *gaps], strict=True):
        lists = {k: list_metrics(test.labels, phase.test, test.users, k) for k in settings.cutoffs}
        values = {
            "roc_auc": defined(metrics.roc_auc(test.labels, phase.test)),
            "average_precision": defined(metrics.average_precision(test.labels, phase.test)),
            **{f"precision@{k}": defined(precision) for k, (precision, _) in lists.items()},
            **{f"recall@{k}": defined(recall) for k, (_, recall) in lists.items()},
        }
        decided = decision(phase, valid_labels, test.labels)
        rows.append(PhaseRow(phase.name, values, gap, decided, phase.metric, phase.details))
    return with_improvements(rows, event_columns(settings.k))


def event_columns(k: int) -> tuple[str, ...]:
    """The columns of the event table, which are those of the reference."""
    return "roc_auc", "average_precision", f"precision@{k}", f"recall@{k}"
