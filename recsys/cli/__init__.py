"""The command line `recsys`, also as `python -m recsys`: one file a command.

click parses it: Ray depends on it already, and it brings ranges, choices, environment variables and defaults in --help.
"""

import sys
from collections.abc import Sequence
from typing import Final

import click

from recsys import __version__, console, logs
from recsys.cli.inspect import inspect
from recsys.cli.keys import keys
from recsys.cli.models import models
from recsys.cli.phases import phases
from recsys.cli.recommend import recommend
from recsys.cli.related import basket, similar
from recsys.cli.report import report
from recsys.cli.retrain import retrain
from recsys.cli.serve import serve
from recsys.cli.sessions import sessions
from recsys.cli.train import train
from recsys.errors import ConfigError

SETTINGS: Final = {"help_option_names": ["-h", "--help"], "show_default": True, "max_content_width": 100}

commands: Final = click.version_option(__version__)(
    click.Group(
        "recsys",
        commands=[train, retrain, inspect, serve, recommend, sessions, similar, basket, report, phases, models, keys],
        help="Train, evaluate and serve a hybrid recommender.",
        context_settings=SETTINGS,
        no_args_is_help=False,
    )
)


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code of one command: 0, 2 after bad input (one line on stderr), 130 after Ctrl-C.

    arguments: the command and its options; None takes those of this process.
    """
    logs.configure_logging()
    given = sys.argv[1:] if arguments is None else list(arguments)
    return console.guarded(lambda: _run(given))


def _run(arguments: list[str]) -> None:
    """Parse and run; raises ConfigError for arguments that click refuses, and for those that are not UTF-8."""
    for argument in arguments:
        if (shown := console.printable(argument)) != argument:
            raise ConfigError(f"argument {shown} is not UTF-8 text; expected a name in UTF-8")
    try:
        with commands.make_context("recsys", arguments) as context:
            commands.invoke(context)
    except click.exceptions.Exit:
        pass  # --help and --version end so
    except click.UsageError as problem:
        command = problem.ctx.command_path if problem.ctx else "recsys"
        raise ConfigError(f"{problem.format_message().rstrip('.')} (see {command} --help)") from problem
