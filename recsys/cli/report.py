"""`recsys report`: a version's report as a page and figures."""

from pathlib import Path

import click

from recsys import console
from recsys.cli.options import registry_option, version_option


@click.command()
@registry_option
@version_option
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    default="report",
    help="Where the page and the figures go.",
)
def report(registry: str | None, version: str | None, out: Path) -> None:
    """Write the report and the figures of a version.

    The report is an HTML page, the figures are PNG files.
    """
    from recsys.registry.locate import absolute, default_registry, open_store
    from recsys.report.files import write_report

    store = open_store(absolute(registry or default_registry()))
    console.line(f"report in {write_report(store.path(version), out)}")
