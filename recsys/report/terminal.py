"""The page that a training run prints: what was read, one table, a verdict, the choices, and where the version is."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from shlex import quote
from typing import Final

from recsys import console
from recsys.config import TrainConfig
from recsys.data.ingest import ShopData
from recsys.data.shop import Quality
from recsys.evaluation.metrics import Difference
from recsys.evaluation.settings import EvaluationConfig
from recsys.evaluation.table import Row
from recsys.registry.store import Store
from recsys.report.model import PAGE
from recsys.timeline import day
from recsys.training.ranker import SelectedRankers
from recsys.training.results import Evaluation
from recsys.training.sweep.result import SweepResult
from recsys.training.systems import FACTORIZATION, HYBRID, POPULARITY, RANKER

LABEL: Final = 10
"""Columns of the labels before the choices and at the end."""


def show_data(shop: ShopData) -> None:
    """Print what was read, in two lines, and what was set aside or mended, if anything was."""
    events = ", ".join(f"{count:,} {name}" for name, count in shop.event_counts.items())
    console.line(f"{events}, {day(shop.start)} to {day(shop.end)}")
    quality = shop.quality
    set_aside = sum(count for _, _, count in _set_aside(quality))
    console.line(
        f"{shop.n_users:,} users, {len(shop.items):,} items, {len(shop.catalog.categories):,} categories; "
        f"{quality.duplicates:,} repeated rows dropped, {f'{set_aside:,} rows' if set_aside else 'no row'} set aside"
    )
    if set_aside:
        kinds = ", ".join(f"{count:,} {kind} rows ({reason})" for kind, reason, count in _set_aside(quality))
        console.paragraph(f"set aside: {kinds}")
    if quality.quarantine:
        console.line(f"every row set aside is listed in {quality.quarantine}")
    mended = {name.replace("_", " "): count for name, count in asdict(quality.properties.tree).items() if count}
    if mended:
        console.paragraph(f"category tree, mended: {', '.join(f'{n:,} {name}' for name, n in mended.items())}")


def _set_aside(quality: Quality) -> list[tuple[str, str, int]]:
    """Kind of row, reason and number of the rows set aside."""
    tables: Sequence[tuple[str, Mapping[str, int]]] = (
        ("event", quality.events_quarantined),
        ("item property", quality.properties.quarantined),
        ("category", quality.properties.tree_quarantined),
    )
    return [(kind, reason, count) for kind, counts in tables for reason, count in counts.items() if count]


def show_evaluation(evaluation: Evaluation, config: EvaluationConfig) -> None:
    """Print one table of the most important systems and one sentence of verdict."""
    k = config.k
    names = [f"ndcg@{k}", f"recall@{k}", f"hit@{k}"]
    rows = [
        [label, row.users, row.metrics[names[0]], _interval(row, names[0]), *(row.metrics[name] for name in names[1:])]
        for label, row in headline_rows(evaluation, k)
    ]
    columns = ["system", "users", f"NDCG@{k}", f"{config.confidence * 100:.4g}% interval", *names[1:]]
    console.table(columns, rows, f"test window: the last {config.test_days} days")
    console.line(verdict(evaluation, k))


def headline_rows(evaluation: Evaluation, k: int) -> list[tuple[str, Row]]:
    """The rows that a person reads first, with their labels: at most nine."""
    rows = [(HYBRID, evaluation.row(HYBRID))]
    rows += [(f"its {system}", evaluation.row(system)) for system in (RANKER, FACTORIZATION)]
    frequency = _best(evaluation, list(evaluation.half_lives), k)
    rows += [(system, evaluation.row(system)) for system in (POPULARITY, frequency)]
    for group in ("warm", "cold"):
        if evaluation.row(HYBRID, group).users:
            rows.append((f"{HYBRID}, {group} users", evaluation.row(HYBRID, group)))
    new_items = {row.system: row for row in evaluation.new_items if row.group == "all"}
    served = f"{HYBRID}, objective discover"
    for label, system in ((HYBRID, served if served in new_items else HYBRID), (POPULARITY, POPULARITY)):
        if system in new_items and new_items[system].users:
            rows.append((f"{label}, items new to the user", new_items[system]))
    return rows


def _interval(row: Row, metric: str) -> str | None:
    low, high = row.metrics[f"{metric}_low"], row.metrics[f"{metric}_high"]
    return None if low is None or high is None else f"{low:.4f} to {high:.4f}"


def _best(evaluation: Evaluation, systems: Sequence[str], k: int) -> str:
    """The system of the highest NDCG@k over all users."""
    return max(systems, key=lambda system: evaluation.row(system).metrics[f"ndcg@{k}"] or 0.0)


def verdict(evaluation: Evaluation, k: int) -> str:
    """One sentence: whether the hybrid beats the best baseline, and by how much."""
    system = _best(evaluation, [POPULARITY, *evaluation.half_lives], k)
    name, _, days = system.partition(", ")
    baseline = f"{name} ({days})" if days else name
    lead = evaluation.lead_over(system)
    if lead.low > 0:
        return f"The hybrid beats {baseline} by {_bounds(lead)} in NDCG@{k}."
    if lead.high < 0:
        behind = Difference(-lead.mean, -lead.high, -lead.low)
        return f"The hybrid does not beat {baseline}: it is behind by {_bounds(behind)} in NDCG@{k}."
    return f"The hybrid does not beat {baseline}: its lead in NDCG@{k}, {_bounds(lead)}, may be chance."


def _bounds(difference: Difference) -> str:
    return f"{difference.mean:.4f} ({difference.low:.4f} to {difference.high:.4f})"


def show_choices(selected: SelectedRankers, sweep: SweepResult | None, config: TrainConfig) -> None:
    """Print what was chosen on the validation window and why, a line each."""
    metric, ranker, alpha = f"NDCG@{config.evaluation.k}", selected.all_items, selected.all_items.blend.alpha
    within = {
        name: f"within {100 * part.tolerance:g}% of the best {metric}"
        for name, part in (("ranker", config.ranker), ("alpha", config.hybrid))
    }
    console.line("chosen on the validation window:")
    _labelled("ranker", f"{ranker.n_trees} trees x {ranker.leaves} leaves, the smallest size {within['ranker']}")
    if config.hybrid.alpha is None:
        _labelled("alpha", f"{alpha:g}, the smallest weight of the factorization {within['alpha']}")
    else:
        _labelled("alpha", f"{alpha:g}, as hybrid.alpha sets it")
    _labelled("discovery", _discovery(selected, config))
    if sweep is not None:
        _labelled("sweep", sweep.outcome)
        if sweep.adopted:
            settings = ", ".join(f"{key} {_short(value)}" for key, value in sweep.best.settings.items())
            for part in textwrap.wrap(settings, console.TEXT_WIDTH - LABEL - 2):
                _labelled("", part)


def _discovery(selected: SelectedRankers, config: TrainConfig) -> str:
    trained = selected.trained_for_discovery
    if not config.examples.discover:
        return "no ranker of its own: examples.discover is off"
    if trained is None:
        return "no ranker of its own: nobody chose a new item among the candidates"
    if trained.adopted:
        return f"a ranker of its own, which leads the ranker of all items by {_bounds(trained.lead)}"
    return f"no ranker of its own: its lead, {_bounds(trained.lead)}, may be chance"


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def show_published(version: str, store: Store, *, promoted: bool, page: bool) -> None:
    """Print the version, whether it is in production, where its report is, and the next command."""
    registry = quote(str(store))
    console.line(f"published {version}, {'now' if promoted else 'not'} in production")
    report = f"{store.address(version)}/{PAGE}" if page else "no page was drawn: evaluation.page is off"
    promote = f"python -m recsys models promote --registry {registry} {version}"
    serve = f"python -m recsys serve --registry {registry} --port 8000"
    _labelled("report", report)
    _labelled("next", serve if promoted else promote)


def _labelled(label: str, text: str) -> None:
    console.line(f"  {label:<{LABEL}}{text}")
