"""`recsys recommend`: recommendations for many users at once."""

from pathlib import Path

import click

from recsys import console
from recsys.cli.options import registry_option, version_option
from recsys.schema import OBJECTIVES, Objective


@click.command()
@registry_option
@version_option
@click.option(
    "--users",
    type=click.Path(path_type=Path),
    metavar="FILE.csv",
    required=True,
    help="The users: a CSV file with a column visitorid.",
)
@click.option("--n", type=int, metavar="N", default=10, help="Recommendations for each user, 1 to 1000.")
@click.option(
    "--objective",
    type=click.Choice(OBJECTIVES),
    default="all",
    help="All items, only items new to the user, or only items the user had before.",
)
@click.option(
    "--repeat-share",
    type=float,
    metavar="SHARE",
    show_default="as trained",
    help="At most this part of a list, 0 to 1, may be items that the user had before.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE",
    required=True,
    help="Where the recommendations go: a file FILE.csv or FILE.parquet.",
)
def recommend(
    registry: str | None,
    version: str | None,
    users: Path,
    n: int,
    objective: Objective,
    repeat_share: float | None,
    out: Path,
) -> None:
    """Recommend to every user of a file."""
    from recsys.cluster import start_ray
    from recsys.inference import batch
    from recsys.registry.locate import absolute, default_registry

    uri = absolute(registry or default_registry())
    prepared = batch.prepare(uri, version, users, n, out, objective, repeat_share)
    start_ray()
    with console.step(f"recommend to the users of {users}"):
        batch.write(prepared)
    console.line(f"{len(prepared.users):,} users, recommendations in {out}")
