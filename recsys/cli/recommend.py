"""`recsys recommend`: recommendations for many users at once."""

from collections.abc import Callable
from pathlib import Path

import click

from recsys import console
from recsys.cli.options import n_option, out_option, read_rules, registry_option, rules_options, version_option
from recsys.schema import OBJECTIVES, Objective


def list_options(owner: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorator: the command with --n, --objective, --repeat-share and --out; owner: who gets a list, for --help."""
    options = (
        n_option(f"Recommendations for each {owner}"),
        click.option(
            "--objective",
            type=click.Choice(OBJECTIVES),
            default="all",
            help=f"All items, only items new to the {owner}, or only items the {owner} had before.",
        ),
        click.option(
            "--repeat-share",
            type=float,
            metavar="SHARE",
            show_default="as trained",
            help=f"At most this part of a list, 0 to 1, may be items that the {owner} had before.",
        ),
        out_option("recommendations"),
    )

    def with_options(command: Callable[..., None]) -> Callable[..., None]:
        for option in reversed(options):
            command = option(command)
        return command

    return with_options


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
@list_options("user")
@rules_options
@click.option("--explain", is_flag=True, help="Add the sources, the item that each follows from, and a sentence.")
@click.option("--language", metavar="LANGUAGE", default="en", help="With --explain: the language of the sentences.")
@click.option(
    "--sentences",
    type=click.Path(path_type=Path),
    metavar="FILE.yaml",
    help="With --explain: a file with sentences of your own.",
)
def recommend(
    registry: str | None,
    version: str | None,
    users: Path,
    n: int,
    objective: Objective,
    repeat_share: float | None,
    explain: bool,
    language: str,
    sentences: Path | None,
    rules: Path | None,
    filters: Path | None,
    out: Path,
) -> None:
    """Recommend to every user of a file."""
    from recsys.cluster import failures_in_one_line, start_ray
    from recsys.inference import batch
    from recsys.inference.sentences import load_sentences
    from recsys.registry.locate import absolute, default_registry

    uri = absolute(registry or default_registry())
    templates = load_sentences(sentences, language).templates[language] if explain else None
    listed = read_rules(rules, filters)
    prepared = batch.prepare(uri, version, users, n, out, objective, repeat_share, templates, listed)
    start_ray()
    with failures_in_one_line(), console.step(f"recommend to the users of {users}"):
        batch.write(prepared)
    console.line(f"{len(prepared.users):,} users, recommendations in {out}")
