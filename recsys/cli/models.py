"""`recsys models`: the versions of a registry, and which one is in production."""

from typing import TYPE_CHECKING, Final

import click

from recsys import console
from recsys.cli.options import registry_option
from recsys.errors import RegistryError

if TYPE_CHECKING:
    from recsys.registry.pointer import BrokenPointer
    from recsys.registry.store import Store
    from recsys.registry.summary import Summary

WIDTH: Final = 120
"""Characters in a line of the list, at most."""
NAME: Final = 23
"""Characters of a version's name, unless a person chose it."""


@click.group(no_args_is_help=False)
def models() -> None:
    """List, show, promote, roll back or remove versions."""


@models.command("list")
@registry_option
def list_versions(registry: str | None) -> None:
    """List the versions; a star marks the one in production."""
    _show(_open(registry))


@models.command()
@click.argument("version")
@registry_option
def show(version: str, registry: str | None) -> None:
    """Show VERSION: its data, its metrics, and the decision of the retraining that published it."""
    from recsys.cli.shown_version import find_version, show_version

    store = _open(registry)
    show_version(store, find_version(store, version))


@models.command()
@click.argument("version")
@registry_option
def promote(version: str, registry: str | None) -> None:
    """Put VERSION into production.

    It must open and answer first, in a process of its own.
    """
    from recsys.inference.probe import check_in_subprocess

    store = _open(registry)
    store.promote(version, check_in_subprocess)
    _show(store)


@models.command()
@registry_option
def rollback(registry: str | None) -> None:
    """Put the previous version back into production.

    It must open and answer first, in a process of its own.
    """
    from recsys.inference.probe import check_in_subprocess

    store = _open(registry)
    console.line(f"rolled back to {store.rollback(check_in_subprocess)}")
    _show(store)


@models.command()
@click.option(
    "--keep", type=click.IntRange(1), metavar="N", required=True, help="How many of the newest versions stay."
)
@click.option("--dry-run", is_flag=True, help="Only print what would be removed.")
@registry_option
def prune(keep: int, dry_run: bool, registry: str | None) -> None:
    """Remove old versions.

    The N newest stay, the one in production, the one that a rollback puts back, and those that a service holds.
    """
    from recsys.registry.prune import plan_prune
    from recsys.registry.prune import prune as prune_now

    store = _open(registry)
    done = plan_prune(store, keep) if dry_run else prune_now(store, keep)
    for version, reason in done.kept.items():
        console.line(f"kept     {version}  {reason}")
    for version in done.removed:
        console.line(f"{'would go' if dry_run else 'removed '} {version}")
    if not done.removed:
        console.line("nothing to remove")


def _open(registry: str | None) -> "Store":
    """The registry; raises RegistryError if there is none, since an empty list would hide a mistyped address."""
    from recsys.registry.locate import absolute, default_registry, open_store

    store = open_store(absolute(registry or default_registry()))
    store.check_exists()
    return store


def _production(store: "Store") -> "tuple[str | None, BrokenPointer | None]":
    """The version in production, and the error of a broken pointer, which a promotion would repair."""
    from recsys.registry.pointer import BrokenPointer

    try:
        return store.production(), None
    except BrokenPointer as error:
        return None, error


def _show(store: "Store") -> None:
    """Print the versions, oldest first, with what each metric was measured on; then why some cannot be read.

    Where `recsys retrain` published versions, a column tells which of them it promoted.
    After that it raises BrokenPointer if the pointer is broken.
    """
    from recsys.registry.decisions import outcomes
    from recsys.registry.summary import summary_of

    current, broken = _production(store)
    decided = outcomes(store)
    rows, problems = [], []
    for version in store.versions():
        try:
            cells = _cells(summary_of(version))
        except RegistryError as error:
            cells = ["broken", None, None, None, None]
            problems.append(str(error))
        decision = [decided.get(version.name)] if decided else []
        rows.append(["*" if version.name == current else "", version.name, *decision, *cells])
    folding = {"targets", "data"} | ({"version"} if any(len(str(row[1])) > NAME for row in rows) else set())
    if console.is_narrower(WIDTH):
        folding.add("events (UTC)")
    retrained = ["retrain"] if decided else []
    columns = ["", "version", *retrained, "metric", "targets", "window", "events (UTC)", "data"]
    console.table(columns, rows, None, WIDTH, folding)
    for problem in problems:
        console.line(problem)
    if broken is not None:
        raise broken


def _cells(summary: "Summary") -> list[str | None]:
    """The metric over all users, and what has to be equal where two metrics are compared."""
    from recsys.timeline import day

    name, metric = next(iter(summary.headline.items()), ("", None))
    measured = None if metric is None else f"{name.removesuffix(' all')} {metric:.4f}"
    events = summary.date_range
    return [
        measured if summary.not_learned is None else ", ".join(filter(None, ("not learned", measured))),
        ", ".join(summary.targets) or None,
        None if summary.test_days is None else f"{summary.test_days} days",
        None if events is None else f"{day(events.start)} to {day(events.end)}",
        summary.data,
    ]
