"""Options that several commands share, and what they stand for.

The modules of this folder import what a command runs inside its function, so that --help answers at once.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, Final

import click

from recsys.errors import ConfigError, RegistryError

if TYPE_CHECKING:
    from recsys.config import TrainConfig
    from recsys.data.sources import Source
    from recsys.inference.list_rules import ListRules
    from recsys.registry.store import Store
    from recsys.training.sweep.config import SweepConfig

JOB_VARIABLE: Final = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Ray sets this environment variable inside a submitted job."""
SWEEPS: Final = Path(__file__).parent.parent / "training" / "sweep" / "configs"
"""The sweeps that come with the package, one YAML file each."""
DEFAULT_REGISTRY: Final = "s3://$S3_BUCKET/registry if S3_BUCKET is set, else registry"
"""In words; recsys.registry.locate computes it."""


class NonEmpty(click.ParamType[str]):
    """A text that is not empty, as a forgotten shell variable would be."""

    name = "text"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """See click.ParamType."""
        if not value.strip():
            self.fail("it is empty", param, ctx)
        return value


registry_option = click.option(
    "--registry",
    type=NonEmpty(),
    metavar="URI",
    show_default=DEFAULT_REGISTRY,
    help="The registry: a folder or s3://bucket/prefix.",
)
version_option = click.option(
    "--version",
    metavar="VERSION",
    envvar="MODEL_VERSION",
    show_default="MODEL_VERSION, else the one in production",
    help="The version to use.",
)


def n_option(text: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorator: the command with --n; text: for --help."""
    return click.option("--n", type=int, metavar="N", default=10, help=f"{text}, 1 to 1000.")


def out_option(things: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorator: the command with --out; things: that are written, for --help."""
    return click.option(
        "--out",
        type=click.Path(path_type=Path),
        metavar="FILE",
        required=True,
        help=f"Where the {things} go: a file FILE.csv or FILE.parquet.",
    )


def rules_options(command: Callable[..., None]) -> Callable[..., None]:
    """The command with --rules and --filters, see `read_rules`."""
    with_filters = click.option(
        "--filters",
        type=click.Path(path_type=Path),
        metavar="FILE.yaml",
        show_default="none",
        help="Filters and rules of every list, with the fields of a request.",
    )(command)
    return click.option(
        "--rules",
        type=click.Path(path_type=Path),
        metavar="FILE.yaml",
        show_default="none",
        help="A rules file, as `recsys serve --rules` takes it; the rules that hold now.",
    )(with_filters)


def read_rules(rules: Path | None, filters: Path | None) -> "ListRules | None":
    """The rules of both files, None without any; raises RuleError or DataError."""
    from recsys.inference.list_rules import ListRules

    return ListRules.read(filters, rules, int(time.time() * 1000))


@dataclass(frozen=True, slots=True)
class DataOptions:
    """The data that a command reads and the settings it applies, as the command line gives them.

    work: None for the folder beside the registry
    """

    data: str
    config: Path | None
    settings: tuple[str, ...]
    work: str | None


def data_options(command: Callable[Concatenate[DataOptions, ...], None]) -> Callable[..., None]:
    """The command with --data, --config, --set and --work, which it gets as its first argument."""

    @click.option(
        "--data",
        type=NonEmpty(),
        metavar="SOURCE",
        default="completejourney",
        help="The shop's data: a folder, file or pattern, also on s3://; completejourney; synthetic[:SCALE].",
    )
    @click.option(
        "--config",
        type=click.Path(path_type=Path),
        metavar="FILE",
        show_default="none",
        help="A YAML file of settings.",
    )
    @click.option(
        "--set",
        "settings",
        multiple=True,
        metavar="SECTION.KEY=VALUE",
        show_default="none",
        help="One setting; wins over --config; may be repeated.",
    )
    @click.option(
        "--work",
        type=NonEmpty(),
        metavar="URI",
        show_default="beside the registry",
        help="Where prepared data, rejected rows and sweeps are kept: a folder or s3://bucket/prefix.",
    )
    @wraps(command)
    def with_data(data: str, config: Path | None, settings: tuple[str, ...], work: str | None, **others: Any) -> None:
        command(DataOptions(data, config, settings, work), **others)

    return with_data


@dataclass(frozen=True, slots=True)
class Training:
    """The inputs of a training, checked without Ray.

    sweep: None where no settings are searched
    """

    source: "Source"
    store: "Store"
    sweep: "SweepConfig | None"
    config: "TrainConfig"
    work: str


def open_training(options: DataOptions, registry: str | None, tune: str | None) -> Training:
    """The inputs that a training's options name; tune: a name or a file of a sweep.

    Raises RecsysError for bad input, before Ray and the libraries are loaded.
    """
    from recsys.registry.locate import default_registry, open_store

    sweep, config = read_settings(options, tune)
    uri = absolute_in_job(registry or default_registry(), "--registry")
    store = open_store(uri)
    work = work_folder(options, uri)
    source = find_source(options, work, config)
    store.check_writable()
    return Training(source, store, sweep, config, work)


def absolute_in_job(path: str, option: str) -> str:
    """The path; raises ConfigError for a relative folder inside a submitted job, whose working folder is temporary."""
    if JOB_VARIABLE in os.environ and "://" not in path and not Path(path).is_absolute():
        raise ConfigError(f"{option} {path}: a job's working folder is temporary; give an absolute path or s3://")
    return path


def work_folder(options: DataOptions, registry: str) -> str:
    """--work, or by default the place beside the registry, which all nodes reach as they reach the registry.

    Raises ConfigError for a place in which there can be no folder.
    """
    from recsys.storage.files import file_in_place_of

    work = absolute_in_job(options.work or _beside(registry), "--work")
    if "://" not in work and (file := file_in_place_of(Path(work))):
        raise ConfigError(f"--work {work}: {file} is not a folder")
    return work


def _beside(registry: str) -> str:
    from recsys.storage.address import SCHEME, is_s3
    from recsys.storage.s3 import split

    if not is_s3(registry):
        return f"{Path(registry)}-work"
    bucket, prefix = split(registry, RegistryError)
    return f"{SCHEME}{bucket}/{prefix}-work" if prefix else f"{SCHEME}{bucket}/work"


def find_source(options: DataOptions, work: str, config: "TrainConfig") -> "Source":
    """The files that --data names. Prints those that are passed over.

    Raises ConfigError or DataError where files or columns are missing or unclear.
    """
    from recsys.data.ingest import check_layout

    source = resolve_source(options, work)
    check_layout(source, config.data)
    show_passed_over(source)
    return source


def resolve_source(options: DataOptions, work: str) -> "Source":
    """The files that --data names, unread; raises ConfigError or DataError where there are none."""
    from recsys.data.sources import resolve

    made_here = options.data == "completejourney" or options.data.partition(":")[0] == "synthetic"
    return resolve(options.data if made_here else absolute_in_job(options.data, "--data"), work)


def show_passed_over(source: "Source") -> None:
    """Print the files that are passed over, if there are any."""
    from recsys.console import progress
    from recsys.data.listing import summary

    if source.passed_over:
        progress(f"passed over: {summary(source.passed_over)}")


def read_settings(options: DataOptions, tune: str | None) -> "tuple[SweepConfig | None, TrainConfig]":
    """The sweep that --tune names, None without one, and the settings that it or the run starts from."""
    from recsys.config import load_config

    if tune is None:
        return None, load_config(options.config, options.settings)
    from recsys.training.sweep.config import load_sweep

    return load_sweep(_sweep_file(tune), options.config, list(options.settings))


def check_ranker(config: "TrainConfig") -> None:
    """Raise ConfigError if the library of the ranker is not installed; a run would find out after minutes."""
    from recsys.models.rankers.registry import RANKERS

    RANKERS[config.ranker.backend]


def _sweep_file(name: str) -> Path:
    """The file, or the one of the package's own sweeps with this name."""
    shipped = {path.stem: path for path in SWEEPS.glob("*.yaml")}
    return shipped.get(name, Path(name))
