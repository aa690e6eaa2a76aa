"""`recsys phases`: the study of five models from simple to tuned."""

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from recsys.cli.options import DataOptions, data_options, find_source, read_settings, work_folder
from recsys.errors import ConfigError

if TYPE_CHECKING:
    from recsys.studies.phases.comparison import PhaseProtocol


@click.command()
@data_options
@click.option(
    "--protocol",
    type=click.Choice(["ranking", "event"]),
    default="ranking",
    help="Compare ranked lists of candidates, or predictions of single events.",
)
@click.option(
    "--tune", metavar="NAME|FILE|none", default="quick", help="The sweep of the last phase; none searches alpha alone."
)
@click.option(
    "--json",
    "json_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    show_default="none",
    help="Write every number to this file.",
)
def phases(options: DataOptions, protocol: "PhaseProtocol", tune: str, json_file: Path | None) -> None:
    """Train and compare five models, from simple to tuned."""
    if json_file is not None and not json_file.absolute().parent.is_dir():
        raise ConfigError(f"--json {json_file}: there is no such folder")
    from recsys.cluster import start_ray
    from recsys.registry.locate import default_registry
    from recsys.studies.phases.comparison import compare

    sweep, config = read_settings(options, None if tune == "none" else tune)
    work = work_folder(options, default_registry())
    source = find_source(options, work)
    start_ray()
    results = compare(source, config, work, int(time.time() * 1000), sweep, protocol)
    if json_file is not None:
        json_file.write_text(json.dumps(results, indent=1, allow_nan=False), encoding="utf-8")
