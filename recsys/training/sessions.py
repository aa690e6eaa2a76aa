"""The session model of a run: trained on the windows before the test window, compared, and fitted on every event.

Tables as of the newest training cut and the prefixes of the window after it train a ranker. On the validation window,
with tables as of its cut, the decays are chosen, and the model is compared with the main path, which gets the session
as a history. The published ranker learns from the prefixes of both windows; the published tables know every event.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import ray

from recsys.cluster import run_tasks
from recsys.errors import TooLittleData, reason_of
from recsys.evaluation.metrics import Difference
from recsys.models.rankers.registry import ranker_from_text
from recsys.models.tables import Tables
from recsys.sessions.learning import K, LabelledRows, labelled_rows, train_ranker, tuned
from recsys.sessions.model import SessionModel, SessionProposer
from recsys.sessions.settings import SessionConfig
from recsys.sessions.tables import ItemFacts, SessionTables, fit_session_tables
from recsys.timeline import Cut
from recsys.training.context import Context
from recsys.training.preparation import RankerInputs
from recsys.training.ranker import SelectedRankers
from recsys.training.session_comparison import (
    Compared,
    MainPath,
    SessionQuality,
    compare,
    rank_by_main_path,
    rank_by_neighbours,
)
from recsys.training.session_windows import (
    SessionPart,
    WindowPart,
    joined_sessions,
    joined_window,
    past_sessions,
    window_prefixes,
)

HISTORY: Final = 200
"""Newest events of a user's history that a prefix has."""


@dataclass(frozen=True, slots=True)
class SessionOutcome:
    """The session model of a run.

    model: with tables of every event; None if it is left out
    left_out: why; None with a model
    table: the systems on the validation window; empty if none was measured
    lead: NDCG@20 of the model minus that of the main path, paired by prefix; None if it was not measured
    """

    model: SessionModel | None
    left_out: str | None
    table: Sequence[SessionQuality] = ()
    lead: Difference | None = None

    def to_json(self) -> dict[str, Any]:
        """The part of metrics.json that tells about sessions."""
        return {
            "left_out": self.left_out,
            "lead": None if self.lead is None else self.lead._asdict(),
            "table": [asdict(row) for row in self.table],
        }


NOT_TRAINED: Final = SessionOutcome(None, "nothing was learned")
"""The outcome of a run that trains no ranker."""


def train_sessions(context: Context, inputs: RankerInputs, selected: SelectedRankers) -> SessionOutcome:
    """The session model of a run, or the reason why it has none."""
    config = context.config.sessions
    if config.publish == "never":
        return SessionOutcome(None, "sessions.publish is never")
    cuts = inputs.plan.train[0], inputs.plan.validation
    windows = [_window(context, cut) for cut in cuts]
    fewest = min(ray.get(run_tasks(count_prefixes, "count beginnings of sessions", [[ref] for ref in windows])))
    if fewest < (config.min_prefixes if config.publish == "auto" else 1):
        return SessionOutcome(
            None,
            f"in {inputs.plan.horizon} days, {fewest:,} beginnings of sessions have a next step that is later in "
            f"time; expected {config.min_prefixes:,} or more (sessions.min_prefixes)",
        )
    try:
        return _trained(context, inputs, selected, windows)
    except TooLittleData as problem:
        return SessionOutcome(None, reason_of(problem))


def _trained(
    context: Context, inputs: RankerInputs, selected: SelectedRankers, windows: "Sequence[ray.ObjectRef[WindowPart]]"
) -> SessionOutcome:
    """The model if it leads the main path; windows: the prefixes after the training cut and the validation cut."""
    plan, config, seed = inputs.plan, context.config.sessions, context.config.seed
    cuts = plan.train[0], plan.validation
    tables = [_tables(context, cut) for cut in cuts]
    [chosen] = run_tasks(choose_decays, "choose the decays of sessions", [(tables[1], windows[1], config)])
    as_of = [inputs.tables[cut] for cut in cuts]
    calls = [(*parts, chosen, True) for parts in zip(tables, as_of, windows, strict=True)]
    [first] = run_tasks(first_prefixes, "draw sessions to compare", [(windows[1], config.compared_prefixes)])
    calls.append((tables[1], as_of[1], first, chosen, False))
    *rows, plain = run_tasks(make_rows, "make the rows of sessions", calls)
    path = _main_path(context, inputs, selected)
    [listed] = run_tasks(rank_by_main_path, "recommend to sessions", [(as_of[1], first, path, plan.validation)])
    [alone] = run_tasks(rank_by_neighbours, "compare neighbours of sessions", [(tables[1], first, chosen)])
    [reference] = run_tasks(compare, "compare on sessions", [(chosen, seed, *rows, plain, first, listed, alone)])
    compared: Compared = ray.get(reference)
    table, lead = compared.table(), compared.lead(context.config.evaluation.resampling)
    if config.publish == "auto" and not lead.low > 0:
        bounds = f"{lead.mean:.4f} ({lead.low:.4f} to {lead.high:.4f})"
        reason = f"it does not pay: its NDCG@{K} of the next item minus the main path's is {bounds}"
        return SessionOutcome(None, reason, table, lead)
    [text] = run_tasks(fit_ranker_text, "train the session ranker", [(chosen, seed, *rows)])
    newest = ItemFacts.create(ray.get(inputs.tables[plan.newest]).statistics)
    settings: SessionConfig = ray.get(chosen)
    ranker = ranker_from_text(ray.get(text), settings.ranker.backend)
    model = SessionModel(ray.get(_tables(context, plan.newest)), newest, settings, ranker, compared.calibration)
    return SessionOutcome(model, None, table, lead)


def _window(context: Context, cut: Cut) -> "ray.ObjectRef[WindowPart]":
    """The drawn prefixes of the label window after a cut."""
    config = context.config
    gap, limit = config.inference.interactions.session_gap_minutes, config.sessions.max_prefixes
    calls = [
        (partition, cut, cut.plus(config.horizon), gap, (limit, HISTORY), config.seed)
        for partition in context.shop.partitions
    ]
    parts = run_tasks(window_prefixes, f"cut sessions after {cut.age} days back", calls)
    [window] = run_tasks(join_window, "join the prefixes of sessions", [(limit, *parts)])
    return window


def join_window(limit: int, *parts: WindowPart) -> WindowPart:
    """See `joined_window`."""
    return joined_window(parts, limit)


def count_prefixes(window: WindowPart) -> int:
    """The number of prefixes of a window, before the draw."""
    return window.total


def _tables(context: Context, cut: Cut) -> "ray.ObjectRef[SessionTables]":
    """The tables of sessions as of a cut."""
    config = context.config
    gap, limit = config.inference.interactions.session_gap_minutes, config.sessions.max_sessions
    calls = [(partition, cut, gap, limit, config.seed) for partition in context.shop.partitions]
    parts = run_tasks(past_sessions, f"cut sessions, {cut.age} days back", calls)
    call = (cut, len(context.shop.items), config.sessions, *parts)
    [tables] = run_tasks(fit_tables_of_sessions, f"fit tables of sessions, {cut.age} days back", [call])
    return tables


def fit_tables_of_sessions(cut: Cut, n_items: int, config: SessionConfig, *parts: SessionPart) -> SessionTables:
    """The tables of the sessions of all partitions."""
    return fit_session_tables(joined_sessions(parts), cut.time, n_items, config)


def choose_decays(tables: SessionTables, window: WindowPart, config: SessionConfig) -> SessionConfig:
    """The settings with the decays that suit the validation window, see `tuned`."""
    return tuned(tables, window.drawn(config.validation_prefixes).prefixes, config) if config.tune else config


def first_prefixes(window: WindowPart, limit: int) -> WindowPart:
    """The first of the drawn prefixes."""
    return window.drawn(limit)


def make_rows(
    tables: SessionTables,
    as_of: Tables,
    window: WindowPart,
    config: SessionConfig,
    with_history: bool,
) -> LabelledRows:
    """The candidates of the prefixes after a cut.

    as_of: the main path's tables of this cut; with_history: whether the users' histories count
    """
    proposer = SessionProposer(tables, ItemFacts.create(as_of.statistics), config)
    return labelled_rows(proposer, window.prefixes, window.known if with_history else None)


def _main_path(context: Context, inputs: RankerInputs, selected: SelectedRankers) -> MainPath:
    ranker = selected.all_items
    settings = context.config.inference
    return MainPath(ranker.ranker.to_text(), context.config.ranker.backend, ranker.blend, inputs.prerankers, settings)


def fit_ranker_text(config: SessionConfig, seed: int, *rows: LabelledRows) -> str:
    """The text of the ranker that is published."""
    return train_ranker(rows, config, seed).to_text()
