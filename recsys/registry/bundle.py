"""The content of a version: everything that serving needs, as arrays, tables, texts and one manifest."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import ValidationError

from recsys.errors import ConfigError, RegistryError, TransientError
from recsys.features.statistics import Statistics, levels_of
from recsys.ids import Ids
from recsys.models.factors import ItemFactors
from recsys.models.rankers.registry import Ranker, ranker_from_text
from recsys.models.snapshot import Snapshot
from recsys.models.tables import Tables
from recsys.registry import artifact
from recsys.registry.artifact import Artifact
from recsys.registry.manifest import Manifest
from recsys.registry.shapes import check_finite, check_shapes, check_values, expected_arrays, source_array
from recsys.retrieval.generator import RetrievalTables
from recsys.retrieval.sources.registry import SOURCES
from recsys.specs import ArraySpec

RANKER: Final = "ranker.txt"
DISCOVERY: Final = "ranker_discovery.txt"
METRICS: Final = "metrics.json"
CONFIG: Final = "config.json"


@dataclass(frozen=True, slots=True)
class Bundle:
    """A version in memory. The arrays of a version that was read are memory-mapped.

    discovery_ranker: the ranker of items new to the user; None if the ranker of all items ranks them
    parents: int32 (n_categories,), code of each category's parent, UNKNOWN for roots
    ancestors: int32 (n_categories, n_levels), from the root down, see Catalog.ancestors
    """

    version: str
    manifest: Manifest
    items: Ids
    categories: Ids
    parents: np.ndarray
    ancestors: np.ndarray
    tables: Tables
    ranker: Ranker
    discovery_ranker: Ranker | None
    snapshot: Snapshot

    @property
    def rankers(self) -> tuple[Ranker, Ranker]:
        """The ranker of all items, and of items that are new to the user."""
        return self.ranker, self.discovery_ranker or self.ranker


def write(bundle: Bundle, directory: Path, texts: Mapping[str, str | bytes]) -> None:
    """Write a version into an empty folder; texts: further files such as metrics.json."""
    discovery = {} if bundle.discovery_ranker is None else {DISCOVERY: bundle.discovery_ranker.to_text()}
    artifact.write(
        directory,
        _arrays(bundle),
        {
            "items": pa.table({"id": bundle.items.values}),
            "users": pa.table({"id": bundle.snapshot.users.values}),
            "categories": pa.table({"id": bundle.categories.values}),
        },
        {RANKER: bundle.ranker.to_text(), **discovery, **texts},
        {"version": bundle.version, **bundle.manifest.model_dump(mode="json", exclude={"created"})},
    )


def read(directory: Path, verify: bool = True) -> Bundle:
    """The version in a folder, after a check that its parts fit each other.

    verify: check the sha256 of every file as well
    Raises RegistryError if a check fails, TransientError if a file is missing or damaged.
    """
    opened = Artifact.open(directory, verify=False)
    manifest = _manifest(opened)
    version = opened.manifest.get("version")
    if not isinstance(version, str):
        raise RegistryError(f"{directory}: manifest entry version is {version!r}, expected a name")
    tables = {name: opened.table(name) for name in ("items", "users", "categories")}
    arrays = _mapped(opened)
    try:
        # The shapes come first: the hashes of a file that is far too large would take minutes.
        specs = _specs(manifest)
        sizes = check_shapes(arrays, specs, {name: table.num_rows for name, table in tables.items()})
        if verify:
            opened.verify()
        items, users, categories = (_ids(name, table) for name, table in tables.items())
        check_values(arrays, specs, sizes)
    except TransientError:
        raise
    except (RegistryError, ConfigError) as error:  # ConfigError: this code lacks one of the sources
        raise RegistryError(f"{directory}: {error}") from error
    newest = int(arrays["history_times"].max(initial=0))
    if newest > manifest.live_watermark:
        raise RegistryError(f"{directory}: an event at {newest} ms, after live_watermark {manifest.live_watermark}")
    ranker = _ranker(opened, RANKER, manifest)
    discovery_ranker = _ranker(opened, DISCOVERY, manifest) if manifest.discovery_blend else None
    return Bundle(
        version,
        manifest,
        items,
        categories,
        arrays["parents"],
        arrays["ancestors"],
        _tables(manifest, arrays),
        ranker,
        discovery_ranker,
        Snapshot.from_arrays(users, arrays),
    )


def check_numbers(directory: Path) -> None:
    """Check every float array of a version that `read` accepts: finite numbers, or NaN where the format allows it.

    The check reads all of them, so it belongs to a promotion and not to the start of each replica. Raises
    RegistryError.
    """
    opened = Artifact.open(directory, verify=False)
    try:
        check_finite(_mapped(opened), _specs(_manifest(opened)))
    except RegistryError as error:
        raise RegistryError(f"{directory}: {error}") from error


def _manifest(opened: Artifact) -> Manifest:
    try:
        return Manifest.model_validate({name: opened.manifest.get(name) for name in Manifest.model_fields})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise RegistryError(f"{opened.directory}: manifest entry {where}: {first['msg']}") from None


def _specs(manifest: Manifest) -> dict[str, ArraySpec]:
    return expected_arrays(len(manifest.statistics.items), len(manifest.statistics.categories), manifest.sources)


def _mapped(opened: Artifact) -> dict[str, np.ndarray]:
    """All arrays of a version by name."""
    names = [Path(name).stem for name in opened.manifest["files"] if name.startswith("arrays/")]
    return {name: opened.array(name) for name in names}


def _ranker(opened: Artifact, name: str, manifest: Manifest) -> Ranker:
    try:
        ranker = ranker_from_text(opened.text(name), manifest.backend)
    except ConfigError as error:  # this code lacks the library
        raise RegistryError(f"{opened.directory}: {error}") from error
    if tuple(ranker.feature_names) != manifest.features:
        raise RegistryError(f"{opened.directory}: {name} was trained on other features than the manifest lists")
    return ranker


def _ids(name: str, table: pa.Table) -> Ids:
    """The ids in a table. Raises RegistryError if they do not ascend, since codes are looked up by binary search."""
    if table.schema.names != ["id"] or table.schema.types[0] not in (pa.int64(), pa.string()):
        raise RegistryError(f"table {name} has {table.schema}, expected ids, int64 or string")
    column = table["id"]
    if column.num_chunks > 1:
        raise RegistryError(f"table {name} has {column.num_chunks} batches, expected one")
    values = column.chunk(0) if column.num_chunks else pa.array([], column.type)
    try:
        values.validate(full=True)
    except pa.ArrowException as error:
        raise RegistryError(f"table {name}: {error}") from error
    if values.null_count or pc.all(pc.less(values[:-1], values[1:])).as_py() is False:
        raise RegistryError(f"table {name} does not ascend by id, or lacks an id")
    return Ids(values)


def _arrays(bundle: Bundle) -> dict[str, np.ndarray]:
    tables = bundle.tables
    statistics, retrieval = tables.statistics, tables.retrieval
    arrays = {
        "item_statistics": statistics.items,
        "category_statistics": statistics.categories,
        "category": statistics.category,
        "available": statistics.available,
        "parents": bundle.parents,
        "ancestors": bundle.ancestors,
        **{
            source_array(source, name): array
            for source, table in retrieval.sources.items()
            for name, array in table.items()
        },
        **_prefixed("factorization", tables.factors.arrays()),
        **bundle.snapshot.arrays(),
    }
    return {name: np.ascontiguousarray(narrowed(name, array)) for name, array in arrays.items()}


def narrowed(name: str, array: np.ndarray) -> np.ndarray:
    """The array; offsets become int32 where they fit. This saves 7 of 150 MB for a shop with 1.4 million users."""
    fits = name.endswith("offsets") and array[-1] <= np.iinfo(np.int32).max
    return array.astype(np.int32) if fits else array


def _tables(manifest: Manifest, arrays: Mapping[str, np.ndarray]) -> Tables:
    category = arrays["category"]
    statistics = Statistics(
        arrays["item_statistics"],
        arrays["category_statistics"],
        category,
        levels_of(category, arrays["ancestors"]),
        arrays["available"],
        manifest.statistics.items,
        manifest.statistics.categories,
    )
    sources = {
        source: {name: arrays[source_array(source, name)] for name in SOURCES[source].specs}
        for source in manifest.sources
    }
    retrieval = RetrievalTables(sources, manifest.exclude_purchased)
    factors = ItemFactors.from_arrays(_under("factorization", arrays))
    return Tables(manifest.date_range.end, statistics, retrieval, factors)


def _prefixed(prefix: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {f"{prefix}_{name}": array for name, array in arrays.items()}


def _under(prefix: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name.removeprefix(f"{prefix}_"): a for name, a in arrays.items() if name.startswith(f"{prefix}_")}
