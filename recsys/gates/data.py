"""The gates on the data: reasons not to train on them, each with what was measured and what was expected."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from recsys.data.layout.ids import changed_kinds
from recsys.gates.drift import stability_index
from recsys.gates.facts import DAYS_OF_WEEK, OVER_RECENT_DAYS, RECENT_DAYS, DataFacts
from recsys.gates.settings import GatesConfig
from recsys.registry.decisions import GateResult
from recsys.schema import EVENT_TYPES

USUAL_WEEKS: Final = 4
"""Weeks before the newest ones, of which the median is the usual number of events."""
ENOUGH_EVENTS: Final = 50
"""Usual events of a type below which a missing half may be chance, so that the type is not looked at."""


@dataclass(frozen=True, slots=True)
class GateInputs:
    """What the gates compare.

    old: facts about production's data; new: facts about the data that were read now
    weeks: int64 (n_weeks, n_types), see `events_by_week`
    gap: days from production's newest event to the newest one now, negative for data that end before
    """

    old: DataFacts
    new: DataFacts
    weeks: np.ndarray
    gap: float
    bounds: GatesConfig


def newest_weeks(gap: float, n_weeks: int) -> int:
    """The newest weeks to check, 1 to USUAL_WEEKS, so that one remains to tell what is usual if there are two.

    gap: days since production's newest event; n_weeks: whole weeks of the log
    """
    return int(np.clip(min(gap // DAYS_OF_WEEK, n_weeks - 1), 1, USUAL_WEEKS))


def check(inputs: GateInputs) -> tuple[GateResult, ...]:
    """The result of every gate, in the order of GATES."""
    measured = {name: gate(inputs) for name, gate in GATES.items()}
    return tuple(GateResult(gate=name, passed=passed, figure=figure) for name, (passed, figure) in measured.items())


def ids(inputs: GateInputs) -> tuple[bool, str]:
    """Whether ids have the types that they had."""
    changed = changed_kinds(inputs.old.ids, inputs.new.ids)
    return changed is None, changed or ", ".join(f"{name} {kind}" for name, kind in inputs.new.ids.items())


def events(inputs: GateInputs) -> tuple[bool, str]:
    """Whether there are newer events, and no large part is missing in one of the newest weeks or in the whole log."""
    fraction, text = min(_fractions(inputs), default=(1.0, ""), key=lambda measured: measured[0])
    bound = inputs.bounds.min_events_fraction
    figure = f"{text}; expected {bound:.0%} or more (retrain.gates.min_events_fraction)"
    if not text:
        figure = "too few events to tell what is usual"
    if inputs.gap > 0:
        return fraction >= bound, figure
    end = f"{-inputs.gap:.1f} days before" if inputs.gap else "with"
    old = f"the data end {end} production's newest event; expected newer events"
    return False, old if fraction >= bound else f"{old}; {figure}"


def _fractions(inputs: GateInputs) -> list[tuple[float, str]]:
    """Events as fractions of what is usual, with words: of each type in each newest week and in the whole log."""
    old, new, fractions = inputs.old, inputs.new, []
    for name, number in old.events.items():
        usual = number / max(old.days, 1.0)
        now = new.events.get(name, 0) / max(new.days, 1.0)
        if usual * max(new.days, 1.0) >= ENOUGH_EVENTS:
            text = f"{now:,.1f} {name} events a day in the whole log, {now / usual:.0%} of production's {usual:,.1f}"
            fractions.append((now / usual, text))
    newest = newest_weeks(inputs.gap, len(inputs.weeks))
    before = inputs.weeks[newest : newest + USUAL_WEEKS]
    if not len(before):
        return fractions
    usual_weeks = np.median(before, axis=0)
    for week, counts in enumerate(inputs.weeks[:newest].tolist()):
        for name, count, usual in zip(EVENT_TYPES, counts, usual_weeks.tolist(), strict=True):
            if usual >= ENOUGH_EVENTS:
                text = f"{count:,} {name} events in {_week(week)}, {count / usual:.0%} of the usual {usual:,.0f}"
                fractions.append((count / usual, text))
    return fractions


def _week(age: int) -> str:
    return "the newest week" if not age else f"the week {age} before the newest"


def catalog(inputs: GateInputs) -> tuple[bool, str]:
    """Whether the category tree and the categories of items are still there."""
    old, new, bound = inputs.old, inputs.new, inputs.bounds.min_catalog_fraction
    links = f"{new.links:,} links of the category tree, in production {old.links:,}"
    items = f"{new.with_category:.1%} of the items with events have a category, in production {old.with_category:.1%}"
    passed = new.links >= bound * old.links and new.with_category >= bound * old.with_category
    return passed, f"{links}; {items}; expected {bound:.0%} of both or more (retrain.gates.min_catalog_fraction)"


def attributes(inputs: GateInputs) -> tuple[bool, str]:
    """Whether every attribute of items that production uses is still there."""
    missing = [name for name in inputs.old.attributes if name not in inputs.new.attributes]
    here = f"{len(inputs.old.attributes) - len(missing)} of production's {len(inputs.old.attributes)} attributes"
    return not missing, f"{here}" + (f"; missing: {', '.join(missing)}" if missing else "")


def drift(inputs: GateInputs) -> tuple[bool, str]:
    """Whether no feature of items or users has drifted too far."""
    drifts = drifts_of(inputs.old, inputs.new)
    if not drifts:
        return True, "too few values to measure a drift"
    name = max(drifts, key=drifts.__getitem__)
    bound = inputs.bounds.max_drift
    figure = f"{name} has drifted by {drifts[name]:.2f}; expected at most {bound:g} (retrain.gates.max_drift)"
    return drifts[name] <= bound, figure


def drifts_of(old: DataFacts, new: DataFacts) -> Mapping[str, float]:
    """The drift of each feature that both have, see `stability_index`.

    What is counted over the recent days grows with a log that has fewer days, so it is left out.
    """
    names = old.features.keys() & new.features.keys()
    if min(old.days, new.days) < RECENT_DAYS:
        names -= set(OVER_RECENT_DAYS)
    indexes = {name: stability_index(old.features[name], new.features[name]) for name in sorted(names)}
    return {name: index for name, index in indexes.items() if index is not None}


GATES: Final[Mapping[str, Callable[[GateInputs], tuple[bool, str]]]] = {
    "ids": ids,
    "events": events,
    "catalog": catalog,
    "attributes": attributes,
    "drift": drift,
}
"""The gates by name: each returns whether the data pass, and the figure in words."""
