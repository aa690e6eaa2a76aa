"""`recsys models`: the versions of a registry, and which one is in production."""

import reprlib
from typing import TYPE_CHECKING, Final

import click

from recsys import console
from recsys.cli.options import registry_option

if TYPE_CHECKING:
    from recsys.registry.store import BrokenPointer, Store, Version

LARGEST: Final = 1e9
"""A metric is smaller than this."""


@click.group(no_args_is_help=False)
def models() -> None:
    """List, promote or roll back versions."""


@models.command("list")
@registry_option
def list_versions(registry: str | None) -> None:
    """List the versions; a star marks the one in production."""
    _show(_open(registry))


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


def _open(registry: str | None) -> "Store":
    """The registry; raises RegistryError if there is none, since an empty list would hide a mistyped address."""
    from recsys.registry.locate import absolute, default_registry, open_store

    store = open_store(absolute(registry or default_registry()))
    store.check_exists()
    return store


def _production(store: "Store") -> "tuple[str | None, BrokenPointer | None]":
    """The version in production, and the error of a broken pointer, which a promotion would repair."""
    from recsys.registry.store import BrokenPointer

    try:
        return store.production(), None
    except BrokenPointer as error:
        return None, error


def _show(store: "Store") -> None:
    """Print the versions, oldest first. After that it raises BrokenPointer if the pointer is broken."""
    current, broken = _production(store)
    rows = [
        ["*" if version.name == current else "", version.name, version.created, _headline(version)]
        for version in store.versions()
    ]
    console.table(["production", "version", "created", "evaluated model"], rows)
    if broken is not None:
        raise broken


def _headline(version: "Version") -> str:
    """A few metrics of a version, or the reason why it cannot be read."""
    if "broken" in version.summary:
        return str(version.summary["broken"])
    headline = version.summary.get("headline", {})
    if not isinstance(headline, dict) or not all(map(_is_metric, headline.values())):
        return f"broken: expected a table of numbers as its headline, found {reprlib.repr(headline)}"
    return ", ".join(f"{name} {value:.4f}" for name, value in headline.items() if value is not None)


def _is_metric(value: object) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < LARGEST)
