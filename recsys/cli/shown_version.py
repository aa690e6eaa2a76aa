"""What `recsys models show` prints of a version."""

from typing import TYPE_CHECKING, Any, Final

from recsys import console
from recsys.errors import RegistryError

if TYPE_CHECKING:
    from recsys.registry.decisions import Comparison, Decision
    from recsys.registry.store import Store, Version

WIDTH: Final = 16
"""Characters of a label."""


def show_version(store: "Store", version: "Version") -> None:
    """Print the facts of a version's manifest, its metrics, and the decision of the retraining that published it.

    Raises RegistryError if the manifest or the decision cannot be read.
    """
    from recsys.registry.decisions import decision_about
    from recsys.registry.summary import summary_of
    from recsys.timeline import day

    summary = summary_of(version)
    pointer = store.pointer()
    in_production = pointer is not None and pointer.version == version.name
    _labelled("version", f"{version.name}{', in production' if in_production else ''}")
    _labelled("published", version.created)
    _labelled("data", summary.data)
    if summary.date_range is not None:
        _labelled("events", f"{day(summary.date_range.start)} to {day(summary.date_range.end)} (UTC)")
    _labelled("sizes", _sizes(version.summary.get("counts")))
    _labelled("targets", ", ".join(summary.targets))
    _labelled("test window", None if summary.test_days is None else f"{summary.test_days} days")
    _labelled("not learned", summary.not_learned)
    for name, metric in summary.headline.items():
        _labelled("metric", f"{name}: {'-' if metric is None else f'{metric:.4f}'}")
    _labelled("files", store.address(version.name))
    decision = decision_about(store, version.name)
    if decision is None:
        _labelled("decision", "none: no `recsys retrain` published it")
    else:
        _show_decision(decision)


def find_version(store: "Store", name: str) -> "Version":
    """The published version with this name; raises RegistryError."""
    from recsys.registry.store import checked_name

    checked_name(name)
    versions = {version.name: version for version in store.versions()}
    if name not in versions:
        store.path(name)  # its error lists the versions
        raise RegistryError(f"no version {name} in {store}")
    return versions[name]


def _sizes(counts: Any) -> str | None:
    """The numbers of users, items and events; None if the manifest lacks them."""
    if not isinstance(counts, dict) or not isinstance(counts.get("events"), dict):
        return None
    events = ", ".join(f"{number:,} {name}" for name, number in counts["events"].items())
    return f"{counts.get('users', 0):,} users, {counts.get('items', 0):,} items; {events}"


def _show_decision(decision: "Decision") -> None:
    _labelled("decision", f"{decision.outcome}: {decision.reason}")
    _labelled("decided", decision.decided)
    _labelled("production", decision.production or "none at that time")
    if decision.figures is not None:
        _show_comparison(decision.figures)
    for gate in decision.gates:
        state = "passed" if gate.passed else "allowed" if gate.allowed else "closed"
        _labelled(f"gate {gate.gate}", f"{state}: {gate.figure}")


def _show_comparison(figures: "Comparison") -> None:
    from recsys.timeline import day

    window = f"{day(figures.start)} to {day(figures.end)}"
    _labelled("compared on", f"{window}, {figures.users:,} users, {' and '.join(figures.targets)}")
    _labelled("compared with", f"{figures.opponent}: {figures.why}")
    _labelled(figures.metric, f"challenger {figures.challenger:.4f}, production {figures.production:.4f}")
    interval = f"({figures.low:+.4f} to {figures.high:+.4f})"
    _labelled("difference", f"{figures.difference:+.4f} {interval}, bound {figures.bound:+.4f}")
    _labelled("margin", f"{figures.margin:.1%} of production's metric")


def _labelled(label: str, text: str | None) -> None:
    """Print a fact; nothing for None."""
    if text:
        console.paragraph(f"{label:<{WIDTH}}{text}")
