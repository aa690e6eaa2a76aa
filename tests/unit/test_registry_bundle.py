import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from recsys.errors import RegistryError
from recsys.features.statistics import CATEGORY_COLUMNS, ITEM_COLUMNS
from recsys.histories import Histories
from recsys.inference.batch import recommend_to
from recsys.inference.recommender import Recommender
from recsys.registry.bundle import narrowed, read, write
from recsys.retrieval.preranker import by_source_weights
from recsys.schema import UNKNOWN
from tests.support.bundles import BLEND, odd_bundle, small_bundle
from tests.support.features import NAMES, SOURCES
from tests.support.shop_data import END, ODD_IDS, ROOTS

METRICS = {"metrics.json": '{"ndcg": 0.5}'}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundle") / "v1"
    write(small_bundle(), path, METRICS)
    return path


def edited(folder: Path, copy: Path, **entries: Any) -> Path:
    """A copy with other manifest entries; `...` removes one."""
    for path in folder.rglob("*"):
        if path.is_file():
            target = copy / path.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    manifest = json.loads((copy / "manifest.json").read_text()) | entries
    kept = {name: value for name, value in manifest.items() if value is not ...}
    (copy / "manifest.json").write_text(json.dumps(kept))
    return copy


def test_recommendations_survive_to_the_bit(folder: Path) -> None:
    before, after = small_bundle(), read(folder)
    users = pa.concat_arrays([before.snapshot.users.values, pa.array([-5])])
    tables = [recommend_to(users, bundle, Recommender.from_bundle(bundle), 10) for bundle in (before, after)]
    assert len(tables[0]) == 10 * len(users)
    assert tables[0].schema == tables[1].schema
    for name in tables[0].column_names:
        one, other = (table[name].to_numpy() for table in tables)
        assert one.tobytes() == other.tobytes(), name


def test_everything_survives(folder: Path) -> None:
    before, after = small_bundle(), read(folder)
    assert after.version == "v1"
    assert after.items.values.equals(before.items.values)
    assert after.categories.values.equals(before.categories.values)
    for name in ("parents", "ancestors"):
        one, other = getattr(before, name), getattr(after, name)
        assert one.dtype == other.dtype == np.int32
        np.testing.assert_array_equal(one, other)
    roots = after.categories.decode(np.flatnonzero(after.parents == UNKNOWN)).to_pylist()
    assert sorted(roots) == [1 + root for root in range(ROOTS)]
    assert after.manifest.model_copy(update={"created": ""}) == before.manifest
    assert after.ranker.to_text() == before.ranker.to_text()
    assert after.tables.end == END
    for one, other in (
        (before.tables.statistics, after.tables.statistics),
        (before.snapshot.histories, after.snapshot.histories),
        (before.snapshot.totals, after.snapshot.totals),
    ):
        for name in type(one).__slots__:
            a, b = getattr(one, name), getattr(other, name)
            if a is None or isinstance(a, tuple):
                assert a == b
                continue
            assert b.dtype == (np.int32 if name.endswith("offsets") else a.dtype), name
            np.testing.assert_array_equal(a, b, err_msg=name)
    assert list(after.tables.retrieval.sources) == list(before.tables.retrieval.sources) == list(SOURCES)
    for source, table in before.tables.retrieval.sources.items():
        for name, array in table.items():
            np.testing.assert_array_equal(after.tables.retrieval.sources[source][name], array, err_msg=source)
    for name, array in before.tables.factors.arrays().items():
        np.testing.assert_array_equal(after.tables.factors.arrays()[name], array, err_msg=name)


def test_offsets_beyond_int32_stay_as_they_are() -> None:
    """A version of an earlier writer, with wide offsets, opens as well: nothing depends on their width."""
    wide = np.array([0, 2**31])
    assert narrowed("history_offsets", wide) is wide
    assert narrowed("history_offsets", wide - 1).dtype == np.int32
    assert narrowed("history_times", wide - 1).dtype == np.int64


def test_arrays_are_mapped_not_read(folder: Path) -> None:
    bundle = read(folder)
    tables = bundle.tables
    for array in (
        tables.statistics.items,
        tables.retrieval.sources["covisitation"]["items"],
        tables.retrieval.sources["popular"]["items"],
        tables.factors.factors,
        tables.factors.gram,
        bundle.snapshot.histories.times,
    ):
        base = array
        while isinstance(base, np.ndarray) and not isinstance(base, np.memmap):
            base = base.base
        assert isinstance(base, np.memmap)
        assert not array.flags.writeable
    before = pa.total_allocated_bytes()
    again = read(folder)
    assert pa.total_allocated_bytes() - before < again.items.values.nbytes


def test_further_texts_are_kept(folder: Path) -> None:
    assert (folder / "metrics.json").read_text() == METRICS["metrics.json"]


def test_the_manifest_tells_what_is_inside(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["version"] == "v1"
    assert manifest["created"]
    assert manifest["live_watermark"] == END
    assert manifest["blend"]["alpha"] == BLEND.alpha
    assert manifest["format"] == 2
    assert manifest["features"] == list(NAMES)
    assert manifest["sources"] == list(SOURCES)
    assert manifest["statistics"] == {"items": list(ITEM_COLUMNS), "categories": list(CATEGORY_COLUMNS)}
    assert all(len(file["sha256"]) == 64 for file in manifest["files"].values())


@pytest.mark.parametrize("features", [[*NAMES, "shoe_size"], NAMES[1:], [NAMES[1], NAMES[0], *NAMES[2:]]])
def test_features_that_are_not_the_rankers_are_refused(folder: Path, tmp_path: Path, features: list[str]) -> None:
    with pytest.raises(RegistryError, match="trained on other features than the manifest lists"):
        read(edited(folder, tmp_path, features=features))


def test_features_that_this_code_does_not_make_are_refused() -> None:
    bundle = small_bundle()
    manifest = bundle.manifest.model_copy(update={"features": (*NAMES, "shoe_size")})
    with pytest.raises(RegistryError, match="does not build the features shoe_size"):
        Recommender.from_bundle(replace(bundle, manifest=manifest))


def test_a_source_that_this_code_lacks_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="no candidate source named 'horoscope'"):
        read(edited(folder, tmp_path, sources=[*SOURCES, "horoscope"]))


MODEL = by_source_weights(SOURCES).model_dump(mode="json")


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        ({"sources": [*SOURCES, "own"]}, "sources: a name is listed twice"),
        ({"features": [*NAMES, NAMES[0]]}, "features: a name is listed twice"),
        ({"prerankers": {"all": MODEL | {"ranks": {}}}}, r"prerankers\.all\.ranks: expected the sources own"),
        ({"prerankers": {"all": MODEL | {"knots": [0, *MODEL["knots"][1:]]}}}, "knots: expected ascending positions"),
        ({"prerankers": {"all": MODEL | {"knots": [1, 2]}}}, r"ranks\.own: 11 values, expected 2"),
        (
            {"prerankers": {"all": MODEL | {"history": {"zzz": 1.0}}}},
            "does not make the columns zzz",
        ),
        ({"prerankers": {"discovery": MODEL | {"source_value": 1e308}}}, "a weight is beyond"),
        ({"live_watermark": 5}, "after live_watermark 5"),
    ],
)
def test_manifests_that_do_not_hang_together(
    folder: Path, tmp_path: Path, entries: dict[str, Any], reason: str
) -> None:
    with pytest.raises(RegistryError, match=reason):
        read(edited(folder, tmp_path, **entries))


@pytest.mark.parametrize(("entry", "value"), [("blend", ...), ("live_watermark", "noon"), ("backend", "abacus")])
def test_a_wrong_manifest_entry_is_named(folder: Path, tmp_path: Path, entry: str, value: Any) -> None:
    with pytest.raises(RegistryError, match=entry):
        read(edited(folder, tmp_path, **{entry: value}))


@pytest.mark.parametrize(
    ("entry", "value"),
    [
        ("live_watermark", 10**17),
        ("date_range", {"start": 0, "end": 10**17}),
        ("counts", {"events": {"view": -1}, "users": 1, "items": 1, "mf_users": 1, "mf_items": 1}),
        ("headline", {"ndcg": [1]}),
        ("version", 7),
        ("version", ...),
    ],
)
def test_an_entry_that_health_could_not_tell_is_named(folder: Path, tmp_path: Path, entry: str, value: Any) -> None:
    with pytest.raises(RegistryError, match=entry):
        read(edited(folder, tmp_path, **{entry: value}))


def test_a_broken_ranker_is_a_registry_error(folder: Path, tmp_path: Path) -> None:
    edited(folder, tmp_path)
    (tmp_path / "ranker.txt").write_text("tree")
    with pytest.raises(RegistryError, match=r"ranker\.txt"):
        read(tmp_path)


@pytest.mark.parametrize("name", ["parents", "ancestors", "source_recent_items", "factorization_gram", "history_items"])
def test_a_missing_array_is_named(folder: Path, tmp_path: Path, name: str) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    files = {path: entry for path, entry in manifest["files"].items() if path != f"arrays/{name}.npy"}
    with pytest.raises(RegistryError, match=f"array {name} is missing"):
        read(edited(folder, tmp_path, files=files))


def test_string_ids(tmp_path: Path) -> None:
    bundle = odd_bundle()
    write(bundle, tmp_path / "v1", {})
    after = read(tmp_path / "v1")
    found = recommend_to(pa.array([ODD_IDS[0], "nobody"]), after, Recommender.from_bundle(after), 3)
    assert found["visitorid"].to_pylist() == [ODD_IDS[0]] * 3 + ["nobody"] * 3
    assert set(found["itemid"].to_pylist()) <= set(bundle.items.values.to_pylist())


def test_a_user_without_events_is_like_an_unknown_one(folder: Path) -> None:
    bundle = read(folder)
    none = np.zeros(0, np.int64)
    found = Recommender.from_bundle(bundle)(Histories.build(none, none, none, none, 1), END, 5)
    unknown = recommend_to(pa.array([-5]), bundle, Recommender.from_bundle(bundle), 5)
    assert unknown["itemid"].to_pylist() == bundle.items.decode(found.items).to_pylist()
