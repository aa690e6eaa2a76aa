"""`recsys similar` and `recsys basket`: lists for many items or carts at once."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from recsys import console
from recsys.cli.options import n_option, out_option, read_rules, registry_option, rules_options, version_option

if TYPE_CHECKING:
    from recsys.inference.related_batch import Requests


@click.command()
@registry_option
@version_option
@click.option(
    "--items",
    type=click.Path(path_type=Path),
    metavar="FILE.csv",
    show_default="all available items",
    help="The items: a CSV file with a column itemid.",
)
@n_option("Items of each list")
@rules_options
@out_option("lists")
def similar(
    registry: str | None,
    version: str | None,
    items: Path | None,
    n: int,
    rules: Path | None,
    filters: Path | None,
    out: Path,
) -> None:
    """List similar items for every item of a file, or of the shop."""
    from recsys.inference.related_batch import prepare_similar
    from recsys.registry.locate import absolute, default_registry

    uri = absolute(registry or default_registry())
    _write(lambda: prepare_similar(uri, version, items, n, out, read_rules(rules, filters)), "items")


@click.command()
@registry_option
@version_option
@click.option(
    "--carts",
    type=click.Path(path_type=Path),
    metavar="FILE.csv",
    required=True,
    help="The carts: a CSV file with the columns cart and itemid, a row for each item of a cart.",
)
@n_option("Items of each list")
@rules_options
@out_option("lists")
def basket(
    registry: str | None,
    version: str | None,
    carts: Path,
    n: int,
    rules: Path | None,
    filters: Path | None,
    out: Path,
) -> None:
    """List the items bought together with those of each cart of a file."""
    from recsys.inference.related_batch import prepare_baskets
    from recsys.registry.locate import absolute, default_registry

    uri = absolute(registry or default_registry())
    _write(lambda: prepare_baskets(uri, version, carts, n, out, read_rules(rules, filters)), "carts")


def _write(prepare: "Callable[[], Requests]", things: str) -> None:
    from recsys.cluster import failures_in_one_line, start_ray
    from recsys.inference.related_batch import write

    requests = prepare()
    start_ray()
    with failures_in_one_line(), console.step(f"make the lists of {len(requests.table):,} {things}"):
        write(requests)
    if requests.unknown:
        console.line(f"{requests.unknown:,} items are not in version {requests.version}; they are passed over")
    console.line(f"{len(requests.table):,} {things}, lists in {requests.out}")
