"""Versions whose hashes are right and whose files do not fit each other are refused, and what does not fit is named."""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from recsys.errors import RegistryError
from recsys.features.statistics import CATEGORY_COLUMNS, ITEM_COLUMNS
from recsys.registry.bundle import check_numbers, read, write
from recsys.registry.shapes import expected_arrays
from recsys.schema import LATEST
from tests.support.bundles import reseal, small_bundle
from tests.support.features import SOURCES

EXPECTED = expected_arrays(len(ITEM_COLUMNS), len(CATEGORY_COLUMNS), SOURCES, related=True)
Change = Callable[[np.ndarray], np.ndarray]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundle") / "v1"
    write(small_bundle(), path, {})
    return path


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "v1"))


def change(folder: Path, name: str, change: Change) -> None:
    path = folder / "arrays" / f"{name}.npy"
    np.save(path, change(np.load(path)))
    reseal(folder)


def put(place: int, value: int) -> Change:
    def change(array: np.ndarray) -> np.ndarray:
        array.flat[place] = value
        return array

    return change


def test_every_array_is_expected(whole: Path) -> None:
    assert {path.stem for path in (whole / "arrays").iterdir()} == EXPECTED.keys()


@pytest.mark.parametrize("name", EXPECTED)
@pytest.mark.parametrize(
    "damage",
    [
        lambda array: array[: len(array) // 2],
        lambda array: np.concatenate([array, array[-1:]]),
        lambda array: array[:0],
        lambda array: array[None],
        lambda array: array.astype(np.float64 if array.dtype == np.float32 else np.complex64),
    ],
    ids=["halved", "longer", "empty", "nested", "retyped"],
)
def test_an_array_that_does_not_fit_is_named(folder: Path, name: str, damage: Change) -> None:
    if EXPECTED[name].shape[0] in ("recent items", "popular items", "factors"):  # any length is right
        shape = np.shape(damage(np.zeros(4, np.int32)))
        if len(shape) == 1 and shape != (4,):
            return
    change(folder, name, damage)
    with pytest.raises(RegistryError, match=r"array \w+ (has shape|is of type|does not ascend)") as caught:
        read(folder)
    assert name.split("_", maxsplit=1)[0] in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("history_items", 10**6),
        ("history_items", -1),
        ("history_events", 3),
        ("history_times", LATEST + 1),
        ("category", -2),
        ("category", 10**6),
        ("ancestors", 10**6),
        ("source_covisitation_items", -1),
        ("source_mf_neighbours_items", 10**6),
        ("source_recent_items", 10**6),
        ("source_category_items", -1),
        ("factorization_rows", 10**6),
        ("totals_rows", 10**6),
        ("totals_first", LATEST + 1),
    ],
)
def test_a_code_or_time_that_is_none_is_named(folder: Path, name: str, value: int) -> None:
    change(folder, name, put(-1, value))
    with pytest.raises(RegistryError, match=rf"array {name} has values from .*{value}"):
        read(folder)


@pytest.mark.parametrize("name", [name for name, expected in EXPECTED.items() if expected.borders])
@pytest.mark.parametrize(("place", "value"), [(0, 1), (3, 2**31 - 1), (3, -(2**31)), (-1, 0)])
def test_borders_that_do_not_ascend_are_named(folder: Path, name: str, place: int, value: int) -> None:
    change(folder, name, put(place, value))
    with pytest.raises(RegistryError, match=f"array {name} does not ascend"):
        read(folder)


def test_borders_that_overflow_are_named(folder: Path) -> None:
    """The differences of these are small, if they are computed in 32 bits."""
    change(folder, "history_offsets", lambda borders: np.r_[0, 2, 2**31 - 1, -(2**31), borders[4:]].astype(np.int32))
    with pytest.raises(RegistryError, match="history_offsets does not ascend"):
        read(folder)


def test_totals_of_nothing_are_named(folder: Path) -> None:
    change(folder, "totals_counts", lambda counts: counts * 0)
    with pytest.raises(RegistryError, match="totals_counts has a row that sums up to less than 1"):
        read(folder)


def test_a_user_without_events_is_named(folder: Path) -> None:
    change(folder, "history_offsets", lambda offsets: np.concatenate([offsets[:1], offsets[:1], offsets[2:]]))
    with pytest.raises(RegistryError, match=r"history_offsets does not ascend .* by 1 or more"):
        read(folder)


def stretch(folder: Path, name: str, axis: int, size: int) -> None:
    """Make an array as long as `size` on one axis, without a byte on the disk, and list its size in the manifest."""
    path = folder / "arrays" / f"{name}.npy"
    array = np.load(path)
    shape = [*array.shape[:axis], size, *array.shape[axis + 1 :]]
    with path.open("wb") as file:
        header = {"descr": array.dtype.str, "fortran_order": False, "shape": tuple(shape)}
        np.lib.format.write_array_header_1_0(file, header)
        file.truncate(file.tell() + math.prod(shape) * array.dtype.itemsize)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"][f"arrays/{name}.npy"] = {"sha256": "0" * 64, "bytes": path.stat().st_size}
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("name", "axis", "problem"),
    [
        *((name, 0, r"array \w+ (has|does not ascend)") for name in EXPECTED),
        ("factorization_factors", 0, "array factorization_factors has .* factors, expected at most"),
        ("factorization_factors", 1, "array factorization_factors has .* dimensions, expected at most 1,000"),
        ("ancestors", 1, "array ancestors has .* levels, expected at most 8"),
        ("totals_rows", 0, "array totals_rows has .* cut users, expected at most"),
        ("source_popular_items", 0, "array source_popular_items has .* popular items, expected at most"),
        ("history_items", 0, "array history_.* has shape|array history_offsets does not ascend from 0 to the number"),
    ],
)
def test_a_size_that_no_file_has_is_refused_before_a_byte_is_read(
    folder: Path, name: str, axis: int, problem: str
) -> None:
    """To read these files for their hashes would take minutes."""
    stretch(folder, name, axis, 10**9)
    with pytest.raises(RegistryError, match=problem) as caught:
        read(folder)
    assert "sha256" not in str(caught.value)
    assert name.split("_", maxsplit=1)[0] in str(caught.value)


FLOATS = [name for name, spec in EXPECTED.items() if spec.kinds.startswith("f")]


@pytest.mark.parametrize("name", FLOATS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_named(folder: Path, name: str, value: float) -> None:
    change(folder, name, lambda array: np.concatenate([array[:-1], np.full_like(array[-1:], value)]))
    read(folder)  # which takes no time to look at every number
    if np.isnan(value) and EXPECTED[name].nan:
        check_numbers(folder)
        return
    problem = "NaN" if np.isnan(value) else "infinite values"
    with pytest.raises(RegistryError, match=f"array {name} has {problem}"):
        check_numbers(folder)


def test_only_statistics_of_items_may_have_nan(whole: Path) -> None:
    assert [name for name in FLOATS if EXPECTED[name].nan] == ["item_statistics"]
    assert np.isnan(np.load(whole / "arrays" / "item_statistics.npy")).any()
    check_numbers(whole)


@pytest.mark.parametrize("name", ["items", "users", "categories"])
@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda ids: ids[: len(ids) // 2], "has shape"),
        (lambda ids: ids[:0], "has shape"),
        (lambda ids: ids[::-1], "does not ascend"),
        (lambda ids: ids.cast(pa.float64()), "expected ids"),
        (lambda ids: pa.concat_arrays([ids[:-1], pa.nulls(1, ids.type)]), "does not ascend"),
    ],
    ids=["halved", "empty", "reversed", "floats", "null"],
)
def test_ids_that_do_not_fit_are_named(folder: Path, name: str, damage: Callable[..., pa.Array], said: str) -> None:
    path = folder / "tables" / f"{name}.arrow"
    with pa.ipc.open_file(path.read_bytes()) as file:
        ids = file.read_all()["id"].combine_chunks()
    table = pa.table({"id": damage(ids)})
    with pa.ipc.new_file(path, table.schema) as writer:
        writer.write_table(table)
    reseal(folder)
    with pytest.raises(RegistryError, match=said):
        read(folder)


def test_a_ranker_of_other_features_is_named(folder: Path) -> None:
    path = folder / "ranker.txt"
    path.write_text(path.read_text().replace("item_views", "item_weight"))
    reseal(folder)
    with pytest.raises(RegistryError, match=r"ranker\.txt was trained on other features"):
        read(folder)
