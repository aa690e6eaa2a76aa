"""`recsys inspect`: what a source holds, and settings for it."""

import time
from pathlib import Path

import click

from recsys.cli.options import DataOptions, data_options, read_settings, resolve_source, show_passed_over, work_folder
from recsys.errors import ConfigError


@click.command()
@data_options
@click.option(
    "--write",
    type=click.Path(path_type=Path),
    metavar="FILE",
    show_default="none",
    help="Write the proposed settings to this YAML file; one that exists must be that of --config.",
)
def inspect(options: DataOptions, write: Path | None) -> None:
    """Read a source once, print what was understood, and propose settings for it."""
    if write is not None:
        _check_place(write, options.config)
    from recsys.registry.locate import default_registry

    _, config = read_settings(options, None)
    source = resolve_source(options, work_folder(options, default_registry()))
    show_passed_over(source)

    from recsys.cluster import start_ray  # from here on: see `train`
    from recsys.jobs.inspect import run

    start_ray()
    run(source, config, int(time.time() * 1000), write, options.config)


def _check_place(write: Path, config: Path | None) -> None:
    """Raise ConfigError where no file can be written, or another file than that of the settings would be replaced."""
    if write.is_dir() or not write.absolute().parent.is_dir():
        raise ConfigError(f"--write {write}: expected a file in a folder that exists")
    if write.exists() and (config is None or not config.exists() or not write.samefile(config)):
        raise ConfigError(
            f"--write {write}: the file exists; give another name, or --config {write} to keep its other settings"
        )
