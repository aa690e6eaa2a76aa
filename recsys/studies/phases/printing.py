"""The phases' tables as they are printed."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Final

import numpy as np

from recsys import console
from recsys.config import TrainConfig
from recsys.evaluation.settings import EvaluationConfig
from recsys.studies.phases.event_protocol import EventResult, event_columns
from recsys.studies.phases.models import LinearDetails
from recsys.studies.phases.ranking_protocol import RankingResult
from recsys.studies.phases.table import BETTER, Metrics, PhaseRow, headline

SHORT: Final = {
    "roc_auc": "AUC",
    "average_precision": "AP",
    "precision": "P",
    "recall": "R",
    "coverage": "cov.",
    "diversity": "div.",
}
"""Short names of metrics, so that a table has no more than 100 columns."""


def show_ranking(result: RankingResult, config: TrainConfig) -> None:
    """Print the result of the ranking protocol."""
    settings, rows = config.evaluation, result.table
    ndcg = f"ndcg@{settings.k}"
    console.paragraph(
        f"ranking protocol: {result.candidates:,} candidates of {result.users:,} users of the last "
        f"{config.test_days} days, the same for all phases"
    )
    show_metrics(rows, headline(settings.k))
    show_differences(rows, ndcg, settings)
    show_verdicts(rows, ndcg)
    show_choices(rows, ndcg)
    show_cutoffs(rows, settings.cutoffs, f"diversity@{settings.k}")
    console.line("div.: fraction of the pairs of a list's items with different categories")
    show_decisions(rows)
    show_folds(result.cross_validation, ndcg)


def show_events(result: EventResult, config: TrainConfig) -> None:
    """Print the result of the event protocol."""
    settings, rows = config.evaluation, result.table
    console.paragraph(
        f"event protocol: {result.test.events:,} events of the last {config.test_days} days, of which "
        f"{result.test.hits:,} are {' or '.join(config.target_types)}. Each is classified from what was known strictly "
        "before it. Lists are a user's own events, of users with a hit. Not comparable with the ranking protocol, nor "
        "with event protocols whose features hold the event itself or later ones."
    )
    show_metrics(rows, event_columns(settings.k))
    show_differences(rows, "roc_auc", settings)
    show_verdicts(rows, "roc_auc")
    show_choices(rows, "roc_auc")
    show_cutoffs(rows, settings.cutoffs)
    show_decisions(rows)


def show_metrics(rows: Sequence[PhaseRow], names: Sequence[str]) -> None:
    """Print the metrics, and their relative changes from the row above and from the first row."""
    columns = ["phase", *map(_short, names)]
    _table(columns, [[_label(row), *(row.metrics[name] for name in names)] for row in rows], "metrics")
    changes = (("the row above", [row.over_above for row in rows]), ("the first row", [row.over_first for row in rows]))
    for base, of_rows in changes:
        cells = [[_label(row), *_changes(values, names)] for row, values in zip(rows, of_rows, strict=True) if values]
        _table(columns, cells, f"relative change from {base}")


def _table(columns: Sequence[str], rows: Sequence[Sequence[object]], title: str | None = None) -> None:
    """A table after an empty line."""
    console.line("")
    console.table(columns, rows, title)


def _label(row: PhaseRow) -> str:
    """The phase's name, short."""
    return row.phase.replace(" regression", "").replace(" features", "")


def _short(metric: str) -> str:
    name, separator, k = metric.partition("@")
    return f"{SHORT.get(name, name.upper())}{separator}{k}"


def _changes(values: Metrics, names: Sequence[str]) -> list[str]:
    return [_change(values[name]) for name in names]


def _change(value: float | None) -> str:
    """A relative change, as a factor where it is tenfold or more."""
    if value is None:
        return "-"
    return f"{value:+.1%}" if value < 9 else f"{1 + value:.0f}-fold"


def show_differences(rows: Sequence[PhaseRow], metric: str, settings: EvaluationConfig) -> None:
    """Print the headline metric with its interval, and its difference from the row above with the paired interval."""
    cells = []
    for row in rows:
        low, high = row.metrics.get(f"{metric}_low"), row.metrics.get(f"{metric}_high")
        own = None if low is None or high is None else f"{low:.4f} to {high:.4f}"
        gap = row.difference
        compared = (
            [None] * 3 if gap is None else [f"{gap.mean:+.4f}", f"{gap.low:+.4f} to {gap.high:+.4f}", row.verdict]
        )
        cells.append([_label(row), row.metrics[metric], own, *compared])
    level = f"{settings.confidence * 100:.4g}%"
    columns = ["phase", _short(metric), f"{level} interval", "difference", f"{level} interval", "verdict"]
    _table(columns, cells, f"{_short(metric)} and its difference from the row above")


def show_verdicts(rows: Sequence[PhaseRow], metric: str) -> None:
    """Print which phases do not improve on the row above."""
    for above, row in pairwise(rows):
        gap = row.difference
        if gap is not None and row.verdict != BETTER:
            console.paragraph(
                f"phase {row.phase} does not improve {metric} on this data: {row.verdict} from phase {above.phase} "
                f"({gap.mean:+.4f}, {gap.low:+.4f} to {gap.high:+.4f})"
            )


def show_choices(rows: Sequence[PhaseRow], metric: str) -> None:
    """Print what was chosen on the validation window."""
    console.line("")
    console.line("chosen on the validation window:")
    for row in rows:
        console.paragraph(f"  {row.phase}: {metric} {row.validation:.4f} there, with {_chosen(row)}")


def _chosen(row: PhaseRow) -> str:
    details = row.details
    if isinstance(details, LinearDetails):
        return f"{len(details.features)} features, normalization {details.normalization}, C {details.strength:g}"
    chosen, tuned = f"{details.trees} trees, alpha {details.alpha:g}", details.tuned
    if tuned is None:
        return chosen
    if not tuned.trials:
        return f"{chosen}, where alpha alone was searched"
    if not tuned.adopted:
        return f"{chosen}; none of {tuned.trials} trials was adopted"
    settings = ", ".join(f"{key} {value}" for key, value in (tuned.settings or {}).items())
    return f"{chosen}, {settings}; the best of {tuned.trials} trials"


def show_cutoffs(rows: Sequence[PhaseRow], cutoffs: Sequence[int], *further: str) -> None:
    """Print precision and recall by length of the list, and further metrics."""
    for names in ([f"precision@{k}" for k in cutoffs], [*(f"recall@{k}" for k in cutoffs), *further]):
        cells = [[_label(row), *(row.metrics[name] for name in names)] for row in rows]
        _table(["phase", *map(_short, names)], cells)


def show_decisions(rows: Sequence[PhaseRow]) -> None:
    """Print precision and recall of decisions by a threshold."""
    columns = ["phase", *rows[0].decision._fields]
    title = "decisions by a threshold: best F1 on the validation window, measured on the test window"
    _table(columns, [[_label(row), *map(_defined, row.decision)] for row in rows], title)


def _defined(value: float) -> float | None:
    return None if np.isnan(value) else value


def show_folds(folds: Mapping[str, Mapping[int, float]], ndcg: str) -> None:
    """Print the cross-validation; folds: by phase and age of the cut."""
    ages = sorted({age for values in folds.values() for age in values})
    if not ages:
        console.line("cross-validation: the log has too few training cuts")
        return
    rows = []
    for phase, by_age in folds.items():
        values = np.array(list(by_age.values()))
        spread = float(values.std(ddof=1)) if len(values) > 1 else None
        rows.append([phase, float(values.mean()), spread, *(by_age[age] for age in ages)])
    console.line("")
    console.paragraph(
        f"cross-validation over rolling cuts: {ndcg} on the window after a cut, trained on older cuts. The candidates "
        "are hits and a sample of the others, so the figures are above those over all candidates."
    )
    _table(["phase", "mean", "spread", *(f"{age} days back" for age in ages)], rows)
