"""The page that a training run prints: what was read, one table, a verdict, the choices, and where the version is."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from shlex import quote
from typing import Final

from recsys import console
from recsys.config import TrainConfig
from recsys.data.ingest import ShopData
from recsys.data.item_attributes import described
from recsys.data.shop import Quality
from recsys.evaluation.metrics import Difference
from recsys.evaluation.settings import EvaluationConfig
from recsys.evaluation.table import Row
from recsys.registry.store import Store
from recsys.report.model import PAGE
from recsys.timeline import day
from recsys.training.from_log import TARGETS, WINDOWS, FromLog
from recsys.training.outlook import Outlook
from recsys.training.ranker import SelectedRankers
from recsys.training.results import Evaluation
from recsys.training.sessions import SessionOutcome
from recsys.training.sweep.result import SweepResult
from recsys.training.systems import FACTORIZATION, HYBRID, POPULARITY, RANKER

LABEL: Final = 10
"""Columns of the labels before the choices and at the end."""
WIDE: Final = 12
"""Columns of the labels of an outlook."""


def show_data(shop: ShopData) -> None:
    """Print what was read, in two lines, how it was read, and what was set aside or mended, if anything was."""
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
    if quality.properties.unknown_item:
        console.line(f"passed over: {quality.properties.unknown_item:,} item property rows of items without events")
    if quality.events_left_out:
        console.line(f"left out by data.events.where: {quality.events_left_out:,} event rows")
    show_mapping(shop)
    mended = {name.replace("_", " "): count for name, count in asdict(quality.properties.tree).items() if count}
    if mended:
        console.paragraph(f"category tree, mended: {', '.join(f'{n:,} {name}' for name, n in mended.items())}")


def show_mapping(shop: ShopData) -> None:
    """Print what the columns and words of the files mean, and which files are not read."""
    mapping, quality = shop.mapping, shop.quality
    if mapping is not None:
        columns = ", ".join(f"{purpose} {name}" for purpose, name in mapping.columns.items())
        console.paragraph(f"columns: {columns}; times: {mapping.times}")
        if isinstance(mapping.types, str):
            console.line(f"types: the log has no column of types; every row is a {mapping.types}")
        elif any(word != type_name for word, type_name in mapping.types.items()):
            words = (f"{word} {n:,} ({mapping.types[word]})" for word, n in quality.event_words.items())
            console.paragraph(f"types: {', '.join(words)}")
        ids = (
            f"{name} {kind}" + (f" (such as {shop.text_ids[name]!r})" if name in shop.text_ids else "")
            for name, kind in mapping.ids.items()
        )
        console.paragraph(f"ids: {', '.join(ids)}")
        if mapping.dates:
            console.paragraph(
                "times are dates without a time of day: rows that repeat count, and the rows of a user's day keep the "
                "order of the files"
            )
    attributes = shop.catalog.attributes
    if attributes:
        console.paragraph(f"attributes of items: {', '.join(described(attributes))}")
    for name, reason in (attributes.left_out or {}).items():
        console.paragraph(f"attribute left out: {name}, {reason}")
    kinds = {one.name: one.kind for one in attributes.learned}
    for name, count in (attributes.unread or {}).items():
        console.paragraph(f"attribute {name}: {count:,} values cannot be read as {kinds[name]}; they are missing")
    for text in shop.passed_over:
        console.paragraph(f"not read: {text}")


def _set_aside(quality: Quality) -> list[tuple[str, str, int]]:
    """Kind of row, reason and number of the rows set aside."""
    tables: Sequence[tuple[str, Mapping[str, int]]] = (
        ("event", quality.events_quarantined),
        ("item property", quality.properties.quarantined),
        ("category", quality.properties.tree_quarantined),
    )
    return [(kind, reason, count) for kind, counts in tables for reason, count in counts.items() if count]


def show_from_log(chosen: FromLog) -> None:
    """Print the windows and the targets that the log decided, each with the reason."""
    if chosen.why:
        console.line("chosen from the log:")
    for name, reason in chosen.why.items():
        _labelled(name, f"{_values(chosen.config)[name]}: {reason}")


def _values(config: TrainConfig) -> Mapping[str, str]:
    """The windows and the targets in words."""
    test, horizon, history = config.test_days, config.horizon, config.history_days
    lengths = f"{_days(test)} each" if test == horizon else f"{_days(test)} to test, {_days(horizon)} for labels"
    return {WINDOWS: f"{lengths}, after {_days(history)} of history", TARGETS: ", ".join(config.target_types)}


def _days(number: int) -> str:
    return f"{number} day{'s' * (number != 1)}"


def show_outlook(outlook: Outlook, stops: str = "", mended: bool = False) -> None:
    """Print what a training would do: windows with their dates and users, targets, and what is too little.

    stops: why it would stop before it learned anything, "" if it would not; mended: not under the proposed settings
    """
    chosen = outlook.chosen
    console.line("a training would use:")
    for name, value in _values(chosen.config).items():
        _labelled(name, f"{value}: {chosen.why.get(name, 'as the settings say')}", WIDE)
    for window in outlook.windows:
        period = f"{day(window.start)} to {day(window.end)} (UTC)"
        _labelled(window.name, f"{period}, {window.users:,} users with a label and an earlier event", WIDE)
    for problem in outlook.too_little:
        _labelled("lacking", problem, WIDE)
    ranker = "not learned: the weights of the sources would rank" if outlook.too_little else "a ranker would be trained"
    outcome = f"training would stop: {stops}" if stops else ranker
    if stops and mended:
        outcome += f"; with the settings below {ranker}"
    for number, part in enumerate(textwrap.wrap(outcome, console.TEXT_WIDTH - WIDE - 2, break_on_hyphens=False)):
        _labelled("" if number else "outcome", part, WIDE)


def show_unlearned(reason: str) -> None:
    """Print why nothing was learned, and what is published instead."""
    console.paragraph(f"not learned: {reason}")
    console.paragraph("the version ranks by the weights of its sources, such as popularity and covisitation")


def show_evaluation(evaluation: Evaluation, config: EvaluationConfig) -> None:
    """Print one table of the most important systems and one sentence of verdict; one line without an evaluation."""
    k = config.k
    if not evaluation.table:
        console.line("no metrics: no user can be tested")
        return
    names = [f"ndcg@{k}", f"recall@{k}", f"hit@{k}"]
    rows = [
        [label, row.users, row.metrics[names[0]], _interval(row, names[0]), *(row.metrics[name] for name in names[1:])]
        for label, row in headline_rows(evaluation, k)
    ]
    columns = ["system", "users", f"NDCG@{k}", f"{config.confidence * 100:.4g}% interval", *names[1:]]
    console.table(columns, rows, f"test window: the last {_days(config.test_days or 0)}")
    console.line(verdict(evaluation, k))


def headline_rows(evaluation: Evaluation, k: int) -> list[tuple[str, Row]]:
    """The rows that a person reads first, with their labels: at most nine."""
    rows = [(HYBRID, evaluation.row(HYBRID))]
    systems = {row.system for row in evaluation.table}
    rows += [(f"its {system}", evaluation.row(system)) for system in (RANKER, FACTORIZATION) if system in systems]
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
    trees = f"{ranker.n_trees} tree{'s' * (ranker.n_trees != 1)}"
    _labelled("ranker", f"{trees} x {ranker.leaves} leaves, the smallest size {within['ranker']}")
    if config.hybrid.alpha is not None:
        _labelled("alpha", f"{alpha:g}, as hybrid.alpha sets it")
    elif ranker.curves.discovery:
        _labelled("alpha", f"{alpha:g}, of those {within['alpha']} the best for items new to the user")
    else:
        _labelled("alpha", f"{alpha:g}, the smallest weight of the factorization {within['alpha']}")
    if selected.discovery is not None:
        _labelled("", f"{selected.discovery_alpha:g} with objective discover")
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


def show_sessions(outcome: SessionOutcome) -> None:
    """Print whether the version has a session model, why not, and the lead over the main path, in one line."""
    if outcome.model is None:
        console.paragraph(f"no session model: {outcome.left_out}")
        return
    ours = outcome.table[0]
    lead = "" if outcome.lead is None else f"; it leads the main path by {_bounds(outcome.lead)} in NDCG@20"
    console.paragraph(
        f"session model: HR@20 {ours.hit_rate:.3f} and MRR@20 {ours.mrr:.3f} of the next item on the validation "
        f"window{lead}"
    )


def show_published(version: str, store: Store, *, withheld: str | None, page: bool) -> None:
    """Print the version, whether it is in production, where its report is, and the next command.

    withheld: why the version is not in production; None if it is
    """
    registry = quote(str(store))
    console.line(
        f"published {version}, {'now in production' if withheld is None else f'not in production: {withheld}'}"
    )
    report = f"{store.address(version)}/{PAGE}" if page else "no page was drawn: evaluation.page is off"
    promote = f"python -m recsys models promote --registry {registry} {version}"
    serve = f"python -m recsys serve --registry {registry} --port 8000"
    _labelled("report", report)
    _labelled("next", serve if withheld is None else promote)


def _labelled(label: str, text: str, width: int = LABEL) -> None:
    console.line(f"  {label:<{width}}{text}")
