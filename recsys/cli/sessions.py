"""`recsys sessions`: recommendations for many sessions at once."""

from pathlib import Path

import click

from recsys import console
from recsys.cli.options import read_rules, registry_option, rules_options, version_option
from recsys.cli.recommend import list_options
from recsys.schema import Objective


@click.command()
@registry_option
@version_option
@click.option(
    "--data",
    "sessions",
    type=click.Path(path_type=Path),
    metavar="FILE",
    required=True,
    help="The sessions: a file FILE.csv or FILE.parquet with the columns session and item, and event, time and user "
    "where there are any.",
)
@list_options("session")
@rules_options
def sessions(
    registry: str | None,
    version: str | None,
    sessions: Path,
    n: int,
    objective: Objective,
    repeat_share: float | None,
    rules: Path | None,
    filters: Path | None,
    out: Path,
) -> None:
    """Recommend to every session of a file."""
    from recsys.cluster import failures_in_one_line, start_ray
    from recsys.inference import session_batch
    from recsys.registry.locate import absolute, default_registry

    uri = absolute(registry or default_registry())
    listed = read_rules(rules, filters)
    prepared = session_batch.prepare(uri, version, sessions, n, out, objective, repeat_share, listed)
    start_ray()
    with failures_in_one_line(), console.step(f"recommend to the sessions of {sessions}"):
        session_batch.write(prepared)
    unknown = f", {prepared.unknown_items:,} events on unknown items passed over" if prepared.unknown_items else ""
    console.line(f"{len(prepared.table):,} sessions{unknown}, recommendations in {out}")
