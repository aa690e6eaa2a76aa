"""`recsys retrain`: a challenger, its comparison with production, and the promotion that follows."""

import time

import click
from click.core import ParameterSource

from recsys.cli.options import DataOptions, check_ranker, data_options, open_training, registry_option
from recsys.errors import ConfigError

GATES = ("ids", "events", "catalog", "attributes", "drift")
"""The names of the gates; a test keeps them equal to those of recsys.gates.data, which takes long to import."""


@click.command()
@data_options
@registry_option
@click.option(
    "--allow",
    "allowed",
    type=click.Choice(GATES),
    multiple=True,
    show_default="none",
    help="A gate on the data that may not stop this run; may be repeated.",
)
def retrain(options: DataOptions, registry: str | None, allowed: tuple[str, ...]) -> None:
    """Train a challenger, and promote it where it is not worse than production. Needs --data."""
    if click.get_current_context().get_parameter_source("data") is ParameterSource.DEFAULT:
        raise ConfigError("--data is missing; expected the data that production was trained on, with newer events")
    given = open_training(options, registry, None)

    # From here on: bad input is refused before Ray and the libraries are loaded.
    from recsys.cluster import failures_in_one_line, start_ray
    from recsys.jobs.retrain import run

    check_ranker(given.config)
    start_ray()
    with failures_in_one_line():
        run(given.source, given.store, given.config, given.work, int(time.time() * 1000), allowed)
