"""Versions with attributes of items: their arrays, titles and images."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from recsys.errors import RegistryError
from recsys.inference.batch import recommend_to
from recsys.inference.recommender import Recommender
from recsys.registry.bundle import Bundle, check_numbers, read, write
from tests.support.bundles import attributed_bundle, reseal, small_bundle

ARRAYS = ("attribute_labels", "attribute_dimensions", "attribute_values", "attribute_offsets", "attribute_matrix")


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return attributed_bundle()


@pytest.fixture
def folder(bundle: Bundle, tmp_path: Path) -> Path:
    write(bundle, tmp_path / "v1", {})
    return tmp_path / "v1"


def test_recommendations_survive_to_the_bit(bundle: Bundle, folder: Path) -> None:
    check_numbers(folder)
    opened = read(folder)
    users = pa.concat_arrays([bundle.snapshot.users.values, pa.array([-5])])
    one, other = (recommend_to(users, some, Recommender.from_bundle(some), 10) for some in (bundle, opened))
    assert one.equals(other)
    assert opened.manifest.attributes == bundle.manifest.attributes
    assert opened.manifest.sources[-1] == "fresh"
    assert "attr_brand_affinity" in opened.manifest.features


def test_titles_and_images_come_with_each_item(bundle: Bundle, folder: Path) -> None:
    opened = read(folder)
    table = recommend_to(bundle.snapshot.users.values[:5], opened, Recommender.from_bundle(opened), 5)
    assert table.column_names[-2:] == ["title", "image"]
    codes = opened.items.encode(table["itemid"])
    assert table["title"].to_pylist() == bundle.texts["title"].take(pa.array(codes)).to_pylist()
    assert table["image"].null_count < len(table)


def test_a_version_without_attributes_has_none_of_it(tmp_path: Path) -> None:
    write(small_bundle(), tmp_path / "v1", {})
    assert not [path for path in (tmp_path / "v1" / "arrays").iterdir() if path.name.startswith("attribute_")]
    assert not (tmp_path / "v1" / "tables" / "texts.arrow").exists()
    opened = read(tmp_path / "v1")
    assert opened.texts == {}
    assert opened.manifest.attributes is None
    assert opened.tables.statistics.attributes is None


@pytest.mark.parametrize(
    ("texts", "reason"),
    [
        ({"title": pa.array(["only one"])}, "table texts has 1 rows of title: string"),
        ({"smell": pa.array([None], pa.string())}, "expected .* rows of strings title, image"),
        ({"title": pa.array([7])}, "table texts has 1 rows of title: int64"),
    ],
)
def test_other_texts_are_refused(bundle: Bundle, tmp_path: Path, texts: dict[str, pa.Array], reason: str) -> None:
    write(replace(bundle, texts=texts), tmp_path / "v1", {})
    with pytest.raises(RegistryError, match=reason):
        read(tmp_path / "v1")


def test_the_words_of_labels_survive(bundle: Bundle, folder: Path) -> None:
    opened = read(folder)
    assert bundle.words is not None
    assert opened.words is not None
    assert opened.words.equals(bundle.words)
    attributes = opened.tables.statistics.attributes
    assert attributes is not None
    start, stop = attributes.starts[attributes.labels.index("brand") :][:2]
    assert opened.words.to_pylist()[start:stop] == [f"brand {leaf}" for leaf in range(6)]
    assert opened.words.null_count == attributes.starts[attributes.labels.index("price") + 1]


def test_a_version_from_before_words_has_none(bundle: Bundle, tmp_path: Path) -> None:
    write(replace(bundle, words=None), tmp_path / "v1", {})
    assert not (tmp_path / "v1" / "tables" / "labels.arrow").exists()
    assert read(tmp_path / "v1").words is None


@pytest.mark.parametrize("words", [pa.array(["only one"]), pa.array([7])])
def test_words_that_do_not_fit_are_refused(bundle: Bundle, tmp_path: Path, words: pa.Array) -> None:
    write(replace(bundle, words=words), tmp_path / "v1", {})
    with pytest.raises(RegistryError, match=r"table labels has 1 rows of word: .*; expected \d+ rows of word: string"):
        read(tmp_path / "v1")


@pytest.mark.parametrize("name", ARRAYS)
def test_an_array_of_the_attributes_that_does_not_fit_is_named(folder: Path, name: str) -> None:
    path = folder / "arrays" / f"{name}.npy"
    array = np.load(path)
    np.save(path, np.concatenate([array, array]) if array.dtype.kind == "f" else array + 1000)
    reseal(folder)
    with pytest.raises(RegistryError, match=f"array {name}|array attribute_"):
        read(folder)
