"""What is in a version: everything that serving needs, as arrays, tables, texts and one manifest."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, ValidationError

from recsys.errors import RegistryError
from recsys.features.definitions import NAMES
from recsys.features.statistics import Statistics, levels_of
from recsys.ids import Ids
from recsys.models.blend import Blend
from recsys.models.factors import ItemFactors
from recsys.models.rankers.base import Backend, Ranker
from recsys.models.rankers.registry import ranker_from_text
from recsys.models.snapshot import Snapshot
from recsys.models.tables import Tables
from recsys.registry import artifact
from recsys.registry.artifact import Artifact
from recsys.registry.shapes import check_arrays
from recsys.retrieval.generator import RetrievalTables
from recsys.retrieval.neighbours import Neighbours
from recsys.retrieval.preranker import PreRankerModels
from recsys.retrieval.sources.popularity import PopularityLists
from recsys.schema import LATEST, Config

RANKER: Final = "ranker.txt"
DISCOVER: Final = "ranker_discover.txt"
METRICS: Final = "metrics.json"
CONFIG: Final = "config.json"


Count = Annotated[int, Field(ge=0)]


class Counts(Config):
    """Sizes of the data and of the models."""

    events: dict[str, Count]
    users: Count
    items: Count
    mf_users: Count
    """Users with an event on an item that has a factor."""
    mf_items: Count
    """Items that have a factor."""


class DateRange(Config):
    """First and last event, ms since 1970 UTC."""

    start: int = Field(ge=0, le=LATEST)
    end: int = Field(ge=0, le=LATEST)


class Manifest(Config):
    """The manifest's entries beside the file hashes."""

    created: str = ""
    """UTC, ISO 8601; set when the version is written."""
    fingerprint: str
    date_range: DateRange
    counts: Counts
    targets: tuple[str, ...]
    features: tuple[str, ...]
    backend: Backend
    blend: Blend
    discover: Blend | None = None
    """The blend for items that are new to the user, where there is a ranker of its own for them."""
    prerankers: PreRankerModels
    exclude_purchased: bool
    live_watermark: int = Field(ge=0, le=LATEST)
    """ms; events after it are not in the snapshot."""
    inference: dict[str, Any]
    """Settings of the stages, as `InferenceConfig` writes them."""
    headline: dict[str, float | None]
    """A few metrics of the evaluated model; all of them are in metrics.json."""

    @property
    def blends(self) -> tuple[Blend, Blend]:
        """Of all items, and of those new to the user."""
        return self.blend, self.discover or self.blend

    def with_alpha(self, alpha: float) -> "Manifest":
        """The same with another alpha in every blend."""
        blends = {"blend": self.blend, "discover": self.discover}
        return self.model_copy(
            update={name: blend.model_copy(update={"alpha": alpha}) for name, blend in blends.items() if blend}
        )


@dataclass(frozen=True, slots=True)
class Bundle:
    """A version in memory; arrays of one that was opened are memory-mapped.

    discover: the ranker of items that are new to the user, where it is another one than of all
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
    discover: Ranker | None
    snapshot: Snapshot

    @property
    def rankers(self) -> tuple[Ranker, Ranker]:
        """Of all items, and of those new to the user."""
        return self.ranker, self.discover or self.ranker


def write(bundle: Bundle, directory: Path, texts: Mapping[str, str | bytes]) -> None:
    """Write a version into an empty folder; texts: further files such as metrics.json."""
    discover = {} if bundle.discover is None else {DISCOVER: bundle.discover.to_text()}
    artifact.write(
        directory,
        _arrays(bundle),
        {
            "items": pa.table({"id": bundle.items.values}),
            "users": pa.table({"id": bundle.snapshot.users.values}),
            "categories": pa.table({"id": bundle.categories.values}),
        },
        {RANKER: bundle.ranker.to_text(), **discover, **texts},
        {"version": bundle.version, **bundle.manifest.model_dump(mode="json", exclude={"created"})},
    )


def read(directory: Path, verify: bool = True) -> Bundle:
    """Open a version; with `verify` every file's hash is checked, and in any case that its parts fit each other.

    Raises RegistryError.
    """
    opened = Artifact.open(directory, verify=verify)
    try:
        manifest = Manifest.model_validate({name: opened.manifest.get(name) for name in Manifest.model_fields})
    except ValidationError as error:
        first = error.errors()[0]
        raise RegistryError(f"{directory}: manifest entry {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    version = opened.manifest.get("version")
    if not isinstance(version, str):
        raise RegistryError(f"{directory}: manifest entry version is {version!r}, expected a name")
    if manifest.features != NAMES:
        odd = sorted(set(manifest.features) ^ set(NAMES))
        raise RegistryError(f"{directory}: made for other features than this code builds: {odd[:5] or 'other order'}")
    items, users, categories = (_ids(opened, name) for name in ("items", "users", "categories"))
    arrays = {name: opened.array(name) for name in _array_names(opened)}
    try:
        check_arrays(arrays, {"items": len(items), "users": len(users), "categories": len(categories)})
    except RegistryError as error:
        raise RegistryError(f"{directory}: {error}") from error
    ranker = _ranker(opened, RANKER, manifest)
    discover = _ranker(opened, DISCOVER, manifest) if manifest.discover else None
    return Bundle(
        version,
        manifest,
        items,
        categories,
        arrays["parents"],
        arrays["ancestors"],
        _tables(manifest, arrays),
        ranker,
        discover,
        Snapshot.from_arrays(users, arrays),
    )


def _ranker(opened: Artifact, name: str, manifest: Manifest) -> Ranker:
    ranker = ranker_from_text(opened.text(name), manifest.backend)
    if tuple(ranker.feature_names) != manifest.features:
        raise RegistryError(f"{opened.directory}: {name} was trained on other features than the manifest lists")
    return ranker


def _array_names(opened: Artifact) -> list[str]:
    return [Path(name).stem for name in opened.manifest["files"] if name.startswith("arrays/")]


def _ids(opened: Artifact, name: str) -> Ids:
    """Raises RegistryError where they are none, since codes are found by binary search."""
    table = opened.table(name)
    if table.schema.names != ["id"] or table.schema.types[0] not in (pa.int64(), pa.string()):
        raise RegistryError(f"{opened.directory}: table {name} has {table.schema}, expected ids: int64 or string")
    column = table["id"]
    values = column.chunk(0) if column.num_chunks else pa.array([], column.type)
    try:
        values.validate(full=True)
    except pa.ArrowException as error:
        raise RegistryError(f"{opened.directory}: table {name}: {error}") from error
    if values.null_count or pc.all(pc.less(values[:-1], values[1:])).as_py() is False:
        raise RegistryError(f"{opened.directory}: table {name} does not ascend from id to id")
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
        **_prefixed("covisitation", retrieval.covisitation.arrays()),
        **_prefixed("mf_neighbours", retrieval.mf_neighbours.arrays()),
        **_prefixed("popularity", retrieval.lists.arrays()),
        **_prefixed("factorization", tables.factors.arrays()),
        **bundle.snapshot.arrays(),
    }
    return {name: np.ascontiguousarray(_narrowed(name, array)) for name, array in arrays.items()}


def _narrowed(name: str, array: np.ndarray) -> np.ndarray:
    """Offsets as int32 where they fit, which is half the size: 7 MB of the 150 of a shop with 1.4 million users."""
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
    )
    retrieval = RetrievalTables(
        Neighbours.from_arrays(_under("covisitation", arrays)),
        Neighbours.from_arrays(_under("mf_neighbours", arrays)),
        PopularityLists(*(arrays[f"popularity_{name}"] for name in PopularityLists.__slots__)),
        manifest.exclude_purchased,
    )
    return Tables(
        manifest.date_range.end, statistics, retrieval, ItemFactors.from_arrays(_under("factorization", arrays))
    )


def _prefixed(prefix: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {f"{prefix}_{name}": array for name, array in arrays.items()}


def _under(prefix: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name.removeprefix(f"{prefix}_"): a for name, a in arrays.items() if name.startswith(f"{prefix}_")}
