"""The phases' tables as people read them."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from recsys import console
from recsys.config import TrainConfig
from recsys.studies.phases.events import event_columns
from recsys.studies.phases.table import BETTER, Table, headline


def show_ranking(found: Mapping[str, Any], config: TrainConfig) -> None:
    """Print what `rank_phases` found."""
    settings, table = config.evaluation, found["table"]
    k, level = settings.k, f"{settings.confidence * 100:.4g}%"
    ndcg = f"ndcg@{k}"
    rows = [[*_cells(row, headline(k)), _gap(row)] for row in table]
    columns = ["phase", *headline(k), "against the row above"]
    title = (
        f"the five phases, ranking protocol: test window of {settings.test_days} days, {found['users']:,} users, "
        f"{found['candidates']:,} candidates, the same for all rows; below each figure its relative improvement over "
        f"the row above / over the first row; the last column is the difference of {ndcg}; intervals {level}"
    )
    console.table(columns, rows, title)
    show_verdicts(table, ndcg)
    show_choices(table, ndcg)
    _show_cutoffs(table, settings.cutoffs, f"diversity@{k}")
    show_decisions(table)
    _show_folds(found["cross_validation"], ndcg)


def _cells(row: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    """The phase and, for each metric, its value, its interval where there is one, and what it improved."""
    cells = [row["phase"]]
    for name in names:
        lines = ["-" if row[name] is None else f"{row[name]:.4f}"]
        if f"{name}_low" in row:
            lines.append(f"{row[f'{name}_low']:.4f} to {row[f'{name}_high']:.4f}")
        if row["over_above"]:
            lines.append(" / ".join(_change(row[over][name]) for over in ("over_above", "over_first")))
        cells.append("\n".join(lines))
    return cells


def _change(value: float | None) -> str:
    """A relative change, as a factor where it is tenfold."""
    if value is None:
        return "-"
    return f"{value:+.1%}" if value < 9 else f"{1 + value:.0f}-fold"


def _gap(row: Mapping[str, Any]) -> str:
    gap = row["difference"]
    return "" if gap is None else f"{gap['mean']:+.4f}\n{gap['low']:+.4f} to {gap['high']:+.4f}\n{row['verdict']}"


def show_verdicts(table: Table, metric: str) -> None:
    """Say which phases do not improve on the row above."""
    for above, row in pairwise(table):
        if row["verdict"] != BETTER:
            gap = row["difference"]
            console.line(
                f"phase {row['phase']} does not improve {metric} on this data: {row['verdict']} "
                f"against phase {above['phase']} ({gap['mean']:+.4f}, {gap['low']:+.4f} to {gap['high']:+.4f})"
            )


def show_choices(table: Table, metric: str) -> None:
    """Say what the validation window chose."""
    for row in table:
        details = row["details"]
        if "normalization" in details:
            n_features, scaled = len(details["features"]), details["normalization"]
            chosen = f"{n_features} features, {scaled}, C {details['C']:g}, {details['missing']}"
        else:
            further = [
                f"{name} {details[name]}" for name in ("search", "trials", "settings", "taken") if name in details
            ]
            chosen = ", ".join([f"{details['trees']} trees, alpha {details['alpha']:g}", *further])
        console.line(
            f"chosen on the validation window for {row['phase']}: {chosen}; {metric} there {row['validation']:.4f}"
        )


def _show_cutoffs(table: Table, cutoffs: Sequence[int], *further: str) -> None:
    names = [*(f"{name}@{at}" for name in ("precision", "recall") for at in cutoffs), *further]
    rows = [[row["phase"], *(row[name] for name in names)] for row in table]
    title = "precision and recall by length of the list" + (
        "; diversity: share of the pairs in a list that are of different categories" if further else ""
    )
    console.table(["phase", *names], rows, title)


def show_decisions(table: Table) -> None:
    """Print precision and recall at the thresholds."""
    rows = [[row["phase"], *row["decision"].values()] for row in table]
    title = "deciding by a threshold, chosen for F1 on the validation window, judged on the test window"
    console.table(["phase", *table[0]["decision"]], rows, title)


def _show_folds(folds: Mapping[str, Mapping[int, float]], ndcg: str) -> None:
    ages = sorted({age for found in folds.values() for age in found})
    if not ages:
        console.line("cross-validation: the log holds too few training cuts for one to be judged on")
        return
    rows = []
    for phase, found in folds.items():
        values = np.array(list(found.values()))
        spread = float(values.std(ddof=1)) if len(values) > 1 else None
        rows.append([phase, float(values.mean()), spread, *(found[age] for age in ages)])
    title = (
        f"cross-validation over rolling cuts: {ndcg} on the window after a cut, learned from older cuts; among hits "
        "and sampled other candidates, so above the figures over all candidates"
    )
    console.table(["phase", "mean", "spread", *(f"{age} days back" for age in ages)], rows, title)


def show_events(found: Mapping[str, Any], config: TrainConfig) -> None:
    """Print what `classify_phases` found."""
    settings, table, test = config.evaluation, found["table"], found["events"]["test"]
    columns = event_columns(settings.k)
    rows = [[*_cells(row, columns), _gap(row)] for row in table]
    title = (
        f"the five phases, event protocol: {test['events']:,} events of the last {settings.test_days} days, "
        f"{test['hits']:,} of them {' or '.join(config.targets)}, each classified from what was known strictly before "
        "it; below each figure its relative improvement over the row above / over the first row; the last column is "
        "the difference of ROC-AUC; lists are each user's own events (users with a hit); intervals "
        f"{settings.confidence * 100:.4g}%. Not comparable with the ranking protocol, nor with figures of event "
        "protocols whose features hold the event itself or later ones"
    )
    console.table(["phase", *columns, "against the row above"], rows, title)
    show_verdicts(table, "roc_auc")
    show_choices(table, "roc_auc")
    _show_cutoffs(table, settings.cutoffs)
    show_decisions(table)
