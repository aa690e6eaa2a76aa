"""`python -m recsys …` and the parts that the entry points share."""

import argparse
import json
import os
import reprlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from recsys import console, logs
from recsys.cluster import start_ray
from recsys.config import load_config
from recsys.data.sources import resolve
from recsys.errors import ConfigError, RegistryError
from recsys.inference.batch import recommend
from recsys.inference.probe import check_in_subprocess
from recsys.jobs.train import run
from recsys.registry.locate import REGISTRY_HELP, absolute, default_registry, open_store
from recsys.registry.store import Store, Version
from recsys.report.files import write_report
from recsys.schema import OBJECTIVES
from recsys.storage.s3 import SCHEME, is_s3, split
from recsys.studies.phases.comparison import compare
from recsys.training.sweep.config import load_sweep

VERSION_HELP: Final = "default: MODEL_VERSION, else the one in production"
JOB_VARIABLE: Final = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Set inside a submitted job."""
QUICK: Final = Path(__file__).parent.parent / "tune_configs" / "quick.yaml"


def train_main(arguments: Sequence[str] | None = None) -> int:
    """`train_job.py`: see the README for the options."""
    parser = argparse.ArgumentParser(prog="train_job.py", description="Train, evaluate and publish a recommender.")
    _add_data_options(parser)
    parser.add_argument("--registry", metavar="URI", help=REGISTRY_HELP)
    parser.add_argument("--tune", type=Path, metavar="FILE", help="search settings first, see tune_configs/")
    parser.add_argument("--resume", action="store_true", help="with --tune: take up the sweep where it was killed")
    options = parser.parse_args(arguments)

    def command() -> None:
        if options.resume and not options.tune:
            raise ConfigError("--resume takes up a sweep: give its file with --tune")
        if options.tune:
            sweep, config = load_sweep(options.tune, options.config, options.settings)
        else:
            sweep, config = None, load_config(options.config, options.settings)
        in_job = JOB_VARIABLE in os.environ
        registry = _lasting(options.registry or default_registry(), "--registry", in_job)
        store = open_store(registry)
        work = _lasting(options.work or _beside(registry), "--work", in_job)
        source = resolve(_lasting_source(options.data, in_job), work)
        store.prepare()
        start_ray()
        version = run(source, store, config, work, int(time.time() * 1000), sweep, resume=options.resume)
        console.line(f"published {version}")

    logs.configure_logging()
    return console.guarded(command)


def _add_data_options(parser: argparse.ArgumentParser) -> None:
    """What to learn from, with which settings."""
    parser.add_argument(
        "--data",
        default="completejourney",
        metavar="SOURCE",
        help="a folder, s3://bucket/prefix, completejourney (default) or synthetic[:SCALE]",
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="a YAML file of settings")
    parser.add_argument(
        "--set",
        dest="settings",
        action="append",
        default=[],
        metavar="SECTION.KEY=VALUE",
        help="one setting; may be repeated",
    )
    parser.add_argument(
        "--work",
        metavar="URI",
        help="where prepared sources are kept (default: beside the registry)",
    )


def _beside(registry: str) -> str:
    """Where prepared sources are kept by default: what nodes share, they share there too."""
    if not is_s3(registry):
        return f"{Path(registry)}-work"
    bucket, prefix = split(registry, RegistryError)
    return f"{SCHEME}{bucket}/{prefix}-work" if prefix else f"{SCHEME}{bucket}/work"


def _lasting(path: str, option: str, in_job: bool) -> str:
    """Refuse a relative folder inside a submitted job: its working folder is a temporary copy."""
    if in_job and "://" not in path and not Path(path).is_absolute():
        raise ConfigError(f"{option} {path}: a job's working folder is temporary; give an absolute path or s3://")
    return path


def _lasting_source(source: str, in_job: bool) -> str:
    if source == "completejourney" or source.partition(":")[0] == "synthetic":
        return source
    return _lasting(source, "--data", in_job)


def main(arguments: Sequence[str] | None = None) -> int:
    """`python -m recsys`: recommend, report, models, phases."""
    parser = argparse.ArgumentParser(prog="recsys", description="Recommendations, models and experiments.")
    commands = parser.add_subparsers(dest="command", required=True)
    batch = commands.add_parser("recommend", help="recommend to a file of users")
    batch.add_argument("--registry", metavar="URI", help=REGISTRY_HELP)
    batch.add_argument("--version", default=os.environ.get("MODEL_VERSION"), help=VERSION_HELP)
    batch.add_argument("--users", type=Path, required=True, metavar="FILE.csv", help="with a column visitorid")
    batch.add_argument("--n", type=int, default=10)
    batch.add_argument(
        "--objective",
        choices=OBJECTIVES,
        default="all",
        help="all items (default), only those new to the user, or only those the user had before",
    )
    batch.add_argument(
        "--repeat-share",
        type=float,
        metavar="SHARE",
        help="how much of a list of all items may be items the user had before, 0 to 1; default: as trained",
    )
    batch.add_argument("--out", type=Path, required=True, metavar="FILE.parquet")
    report = commands.add_parser("report", help="write a version's report again, and its figures as PNG files")
    report.add_argument("--registry", metavar="URI", help=REGISTRY_HELP)
    report.add_argument("--version", default=os.environ.get("MODEL_VERSION"), help=VERSION_HELP)
    report.add_argument("--out", type=Path, default=Path("report"), metavar="FOLDER", help="default: report")
    models = commands.add_parser("models", help="list, promote or roll back versions")
    actions = models.add_subparsers(dest="action", required=True)
    for name in ("list", "promote", "rollback"):
        action = actions.add_parser(name)
        action.add_argument("--registry", metavar="URI", help=REGISTRY_HELP)
        if name == "promote":
            action.add_argument("version")
    phases = commands.add_parser("phases", help="train and compare the five phases, from a logistic regression up")
    _add_data_options(phases)
    phases.add_argument(
        "--protocol",
        choices=("ranking", "event"),
        default="ranking",
        help="what is judged: lists of candidates, or single events told from what was known before them",
    )
    phases.add_argument("--tune", default=str(QUICK), metavar="FILE", help="sweep of the last phase, or none")
    phases.add_argument("--json", type=Path, metavar="FILE", help="write everything found there")
    options = parser.parse_args(arguments)

    def command() -> None:
        if options.command == "phases":
            _phases(options)
            return
        registry = absolute(options.registry or default_registry())
        store = open_store(registry)
        if options.command == "models":
            _models(store, options)
            return
        if options.command == "report":
            console.line(f"report in {write_report(store.path(options.version), options.out)}")
            return
        start_ray()
        with console.step(f"recommend to the users of {options.users}"):
            wanted = options.objective, options.repeat_share
            users = recommend(registry, options.version, options.users, options.n, options.out, *wanted)
        console.line(f"{users:,} users, recommendations in {options.out}")

    logs.configure_logging()
    return console.guarded(command)


def _phases(options: argparse.Namespace) -> None:
    if options.tune == "none":
        sweep, config = None, load_config(options.config, options.settings)
    else:
        sweep, config = load_sweep(Path(options.tune), options.config, options.settings)
    if options.json is not None and not options.json.absolute().parent.is_dir():
        raise ConfigError(f"--json {options.json}: there is no such folder")
    in_job = JOB_VARIABLE in os.environ
    work = _lasting(options.work or _beside(default_registry()), "--work", in_job)
    source = resolve(_lasting_source(options.data, in_job), work)
    start_ray()
    found = compare(source, config, work, int(time.time() * 1000), sweep, options.protocol)
    if options.json is not None:
        options.json.write_text(json.dumps(found, indent=1, allow_nan=False), encoding="utf-8")


def _models(store: Store, options: argparse.Namespace) -> None:
    if options.action == "promote":
        store.promote(options.version, check_in_subprocess)
    elif options.action == "rollback":
        console.line(f"rolled back to {store.rollback(check_in_subprocess)}")
    current = store.production()
    rows = [
        ["*" if version.name == current else "", version.name, version.created, _headline(version)]
        for version in store.versions()
    ]
    console.table(["production", "version", "created", "evaluated model"], rows)


def _headline(version: Version) -> str:
    """A few metrics of a version, or what is wrong with it."""
    if "broken" in version.summary:
        return str(version.summary["broken"])
    headline = version.summary.get("headline", {})
    if not isinstance(headline, dict) or not all(isinstance(value, int | float | None) for value in headline.values()):
        return f"broken: its headline is no table of numbers: {reprlib.repr(headline)}"
    return ", ".join(f"{name} {value:.4f}" for name, value in headline.items() if value is not None)
