"""The content of a version: everything that serving needs, as arrays, tables, texts and one manifest."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
from pydantic import ValidationError

from recsys.errors import ConfigError, ModelError, RegistryError, TransientError
from recsys.features.attributes import ItemAttributes
from recsys.features.statistics import Statistics, levels_of
from recsys.ids import Ids
from recsys.models.factors import ItemFactors
from recsys.models.rankers.registry import Ranker, ranker_from_text
from recsys.models.related import RelatedTables
from recsys.models.snapshot import Snapshot
from recsys.models.tables import Tables
from recsys.registry import artifact
from recsys.registry.artifact import Artifact
from recsys.registry.manifest import Manifest
from recsys.registry.shapes import RELATED, check_finite, check_shapes, check_values, expected_arrays, source_array
from recsys.registry.tables import LABELS, TEXTS, read_ids, read_texts, read_words
from recsys.retrieval.generator import RetrievalTables
from recsys.retrieval.sources.registry import SOURCES
from recsys.sessions.model import SessionModel
from recsys.specs import ArraySpec

RANKER: Final = "ranker.txt"
DISCOVERY: Final = "ranker_discovery.txt"
SESSIONS: Final = "ranker_sessions.txt"
METRICS: Final = "metrics.json"
CONFIG: Final = "config.json"


@dataclass(frozen=True, slots=True)
class Bundle:
    """A version in memory. The arrays of a version that was read are memory-mapped.

    discovery_ranker: the ranker of items new to the user; None if the ranker of all items ranks them
    parents: int32 (n_categories,), code of each category's parent, UNKNOWN for roots
    ancestors: int32 (n_categories, n_levels), from the root down, see Catalog.ancestors
    texts: columns of strings out of SHOWN with one row for each item, null where an item has none; {} for a version
        without texts
    related: tables of baskets and of new items; None for a version from before them
    sessions: the session model; None for a version without one
    words: the word of each label of the items' attributes, null for bins of numbers; None for versions without words,
        which cannot filter by them
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
    texts: Mapping[str, pa.Array] = field(default_factory=dict)
    related: RelatedTables | None = None
    sessions: SessionModel | None = None
    words: pa.Array | None = None

    @property
    def rankers(self) -> tuple[Ranker, Ranker]:
        """The ranker of all items, and of items that are new to the user."""
        return self.ranker, self.discovery_ranker or self.ranker


def write(bundle: Bundle, directory: Path, texts: Mapping[str, str | bytes]) -> None:
    """Write a version into an empty folder; texts: further files such as metrics.json."""
    more = {} if bundle.discovery_ranker is None else {DISCOVERY: bundle.discovery_ranker.to_text()}
    if bundle.sessions is not None:
        more[SESSIONS] = bundle.sessions.ranker.to_text()
    artifact.write(
        directory,
        _arrays(bundle),
        {
            "items": pa.table({"id": bundle.items.values}),
            "users": pa.table({"id": bundle.snapshot.users.values}),
            "categories": pa.table({"id": bundle.categories.values}),
            **({TEXTS: pa.table(dict(bundle.texts))} if bundle.texts else {}),
            **({} if bundle.words is None else {LABELS: pa.table({"word": bundle.words})}),
        },
        {RANKER: bundle.ranker.to_text(), **more, **texts},
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
        items, users, categories = (read_ids(name, table) for name, table in tables.items())
        texts = read_texts(opened, len(items))
        words = read_words(opened, sizes.get("labels", 0))
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
    tables_as_of_end = _tables(manifest, arrays)
    return Bundle(
        version,
        manifest,
        items,
        categories,
        arrays["parents"],
        arrays["ancestors"],
        tables_as_of_end,
        ranker,
        discovery_ranker,
        Snapshot.from_arrays(users, arrays),
        texts,
        None if manifest.related is None else RelatedTables.from_arrays(_under(RELATED, arrays)),
        _sessions(opened, manifest, tables_as_of_end, arrays),
        words,
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
    columns = manifest.statistics
    return expected_arrays(
        len(columns.items),
        len(columns.categories),
        manifest.sources,
        manifest.attributes or (),
        related=manifest.related is not None,
        sessions=manifest.sessions is not None,
    )


def _mapped(opened: Artifact) -> dict[str, np.ndarray]:
    """All arrays of a version by name."""
    names = [Path(name).stem for name in opened.manifest["files"] if name.startswith("arrays/")]
    return {name: opened.array(name) for name in names}


def _sessions(
    opened: Artifact, manifest: Manifest, tables: Tables, arrays: Mapping[str, np.ndarray]
) -> SessionModel | None:
    """The session model of a version; None if it declares none."""
    entry = manifest.sessions
    if entry is None:
        return None
    ranker = _ranker_of(opened, SESSIONS, entry.backend, entry.features)
    try:
        return entry.model(arrays, ranker, tables.statistics)
    except ModelError as error:  # this code lacks a feature
        raise RegistryError(f"{opened.directory}: {error}") from error


def _ranker(opened: Artifact, name: str, manifest: Manifest) -> Ranker:
    return _ranker_of(opened, name, manifest.backend, manifest.features)


def _ranker_of(opened: Artifact, name: str, backend: str, features: tuple[str, ...]) -> Ranker:
    try:
        ranker = ranker_from_text(opened.text(name), backend)
    except ConfigError as error:  # this code lacks the library
        raise RegistryError(f"{opened.directory}: {error}") from error
    if tuple(ranker.feature_names) != features:
        raise RegistryError(f"{opened.directory}: {name} was trained on other features than the manifest lists")
    return ranker


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
        **({} if statistics.attributes is None else _prefixed("attribute", statistics.attributes.arrays())),
        **({} if bundle.sessions is None else bundle.sessions.tables.arrays()),
        **bundle.snapshot.arrays(),
        **({} if bundle.related is None else _prefixed(RELATED, bundle.related.arrays())),
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
        ItemAttributes.from_arrays(manifest.attributes, _under("attribute", arrays)) if manifest.attributes else None,
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
