"""`recsys train`, which train_job.py runs too."""

import time
from typing import TYPE_CHECKING

import click

from recsys.cli.options import DataOptions, check_ranker, data_options, open_training, registry_option
from recsys.errors import ConfigError

if TYPE_CHECKING:
    from recsys.registry.summary import Promotion


@click.command()
@data_options
@registry_option
@click.option(
    "--tune",
    metavar="NAME|FILE",
    show_default="none",
    help="Search settings first: alpha, full, quick, xgboost, or a YAML file such as those.",
)
@click.option("--resume", is_flag=True, help="With --tune: continue the sweep that was killed.")
@click.option(
    "--promote",
    type=click.Choice(["auto", "always", "never"]),
    default="auto",
    help="Whether the new version goes into production; auto: unless it is not learned and would replace one that is.",
)
def train(options: DataOptions, registry: str | None, tune: str | None, resume: bool, promote: "Promotion") -> None:
    """Train, evaluate and publish a recommender."""
    if resume and not tune:
        raise ConfigError("--resume continues a sweep: give its file with --tune")
    given = open_training(options, registry, tune)

    # From here on: bad input is refused before Ray and the libraries are loaded.
    from recsys.cluster import failures_in_one_line, start_ray
    from recsys.jobs.train import run

    check_ranker(given.config)
    start_ray()
    now = int(time.time() * 1000)
    with failures_in_one_line():
        run(given.source, given.store, given.config, given.work, now, given.sweep, resume=resume, promote=promote)
