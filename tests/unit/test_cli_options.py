"""The command line's parser: usage errors, help, and what a command loads."""

from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from recsys import cli
from recsys.cli.options import SWEEPS, DataOptions, find_source, read_settings
from recsys.config import TrainConfig
from recsys.errors import ConfigError
from tests.support.shop_data import write_shop


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ("", "Missing command"),
        ("models", "Missing command"),
        ("trian", "trian"),
        ("train --date 3", "--date"),
        ("train --promote maybe", "--promote"),
        ("train --set", "--set"),
        ("serve --port 0", "--port"),
        ("serve --port many", "--port"),
        ("recommend --out out.parquet", "--users"),
        ("recommend --users u.csv --out out.parquet --objective new", "--objective"),
        ("recommend --users u.csv --out out.parquet --n many", "--n"),
        ("phases --protocol none", "--protocol"),
        ("models promote", "VERSION"),
        ("models list all", "all"),
        ("models list --registry=", "it is empty"),
        ("train --registry=", "it is empty"),
        ("train --data=", "it is empty"),
    ],
)
def test_a_usage_error_is_one_line(arguments: str, named: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(arguments.split()) == 2
    out, err = capfd.readouterr()
    assert out == ""
    [line] = err.splitlines()
    assert line.startswith("error: ")
    assert named in line
    assert "(see recsys" in line


def options(command: click.Command, *path: str) -> Iterator[tuple[str, click.Option]]:
    """Every option of a command and of those below it, with the command's name."""
    for option in command.params:
        if isinstance(option, click.Option):
            yield " ".join(path), option
    if isinstance(command, click.Group):
        for name, below in command.commands.items():
            yield from options(below, *path, name)


@pytest.mark.parametrize(("command", "option"), [*options(cli.commands)])
def test_every_option_has_a_line_of_help_and_a_default(command: str, option: click.Option) -> None:
    assert option.help
    assert option.help.endswith(".")
    assert "\n" not in option.help
    given = option.default is not None or isinstance(option.show_default, str) or option.required or option.is_flag
    assert given, f"{command} {option.opts} shows no default"


@pytest.mark.parametrize("command", [(), *((name,) for name in cli.commands.commands), ("models", "promote")])
def test_help_of_every_command(command: tuple[str, ...], capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*command, "--help"]) == 0
    out, err = capfd.readouterr()
    assert out.startswith(" ".join(("Usage: recsys", *command)))
    assert err == ""


def test_a_sweep_of_the_package_is_found_by_name(tmp_path: Path) -> None:
    sweep, _ = read_settings(DataOptions("synthetic", None, (), None), "quick")
    assert sweep is not None
    assert sweep.trials == 8
    with pytest.raises(ConfigError, match=r"absent\.yaml"):
        read_settings(DataOptions("synthetic", None, (), None), str(tmp_path / "absent.yaml"))
    [tune] = [option for command, option in options(cli.commands) if command == "train" and option.name == "tune"]
    assert tune.help is not None
    assert all(path.stem in tune.help for path in SWEEPS.iterdir())


def test_files_that_are_passed_over_are_printed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = write_shop(tmp_path / "shop")
    for number in range(5):
        (folder / f"notes-{number}.md").touch()
    find_source(DataOptions(str(folder), None, (), None), str(tmp_path / "work"), TrainConfig())
    [line] = capfd.readouterr().err.splitlines()
    assert f"passed over: {folder}/notes-0.md: no reader for this file; " in line
    assert line.endswith("; and 2 more")
