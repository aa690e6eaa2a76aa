"""`recsys phases`: the study of five models from simple to tuned."""

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from recsys.cli.options import DataOptions, check_ranker, data_options, find_source, read_settings, work_folder
from recsys.errors import ConfigError

if TYPE_CHECKING:
    from recsys.studies.phases.study import PhaseProtocol


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
    if json_file is not None and json_file.is_dir():
        raise ConfigError(f"--json {json_file}: it is a folder; expected a file to write")
    from recsys.registry.locate import default_registry

    sweep, config = read_settings(options, None if tune == "none" else tune)
    work = work_folder(options, default_registry())
    source = find_source(options, work, config)

    # From here on: see `train`.
    from recsys.cluster import failures_in_one_line, start_ray
    from recsys.studies.phases.study import check_sweep, study_phases

    check_sweep(sweep)
    check_ranker(config)
    start_ray()
    with failures_in_one_line():
        results = study_phases(source, config, work, int(time.time() * 1000), sweep, protocol)
    if json_file is not None:
        json_file.write_text(json.dumps(results, indent=1, allow_nan=False), encoding="utf-8")
