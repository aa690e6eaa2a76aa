"""Kinds of attributes found from texts, and their values."""

import numpy as np
import pyarrow as pa
import pytest

from recsys.data.attribute_values import kind_of, labels_of, numbers_of, separator_of, tags_of, vectors_of
from recsys.data.attributes import TAG_BREAK, Kind


def many(*texts: str | None, n: int = 200) -> pa.Array:
    return pa.array([texts[i % len(texts)] for i in range(n)], pa.string())


GENRES = ("Action|Comedy", "Drama", "Comedy|Drama", "Action", "Drama|War", "War|Action|Drama", "Comedy", "War")
PROSE = [f"This is sentence {i} of a long text that {'goes on and ' * 9} tells much of the item." for i in range(200)]


@pytest.mark.parametrize(
    ("name", "texts", "kind"),
    [
        ("price", many("12.50", "3", "7.25", None), "number"),
        ("price", many("$12.50", "$1,300", "$7.25"), "number"),
        ("Preis", many("12,50 €", "1.300,00 €"), "number"),
        ("year", many("1999", "2001", "2010"), "number"),
        ("brand_id", many("7", "8", "1000"), "category"),
        ("colour_group_code", many("07", "08"), "category"),
        ("product_type_no", many("253", "306"), "category"),
        ("brandId", many("253", "306"), "category"),
        ("brand", many("runail", "irisk", None), "category"),
        ("colour", many("red", "blue"), "category"),
        ("genres", many(*GENRES), "tags"),
        ("tags", many('["red", "big"]', '["red"]', "[]"), "tags"),
        ("tags", many("['red', 'big']", "['red']"), "tags"),
        ("labels", many("red,big", "small,red", "big", "red", "small", "small,big"), "tags"),
        ("embedding", many("[0.1, -0.2, 0.5, 1]", "[0.3, 0.2, 0.5, 0]"), "vector"),
        ("vector", many("0.1 -0.2 0.5 1.5", "0.3 0.2 0.5 0.25"), "vector"),
        ("title", many("Tea", "Milk"), "text"),
        ("Product Name", many("Tea", "Milk"), "text"),
        ("image_url", many("https://example.com/1.png"), "text"),
        ("url", many("https://example.com/1"), None),
        ("review", pa.array(PROSE), None),
        ("nothing", pa.array([None, None], pa.string()), None),
    ],
)
def test_a_kind_is_found_from_name_and_values(name: str, texts: pa.Array, kind: Kind | None) -> None:
    assert kind_of(name, texts) == kind


def test_numbers() -> None:
    texts = [
        "12.5",
        " 7 ",
        "n277.200",
        "$1,234.50",
        "12,50",
        "1.234,50",
        "12 €",
        "USD",
        "x",
        "",
        None,
        "nan",
        "1e3",
        "5 USD",
    ]
    assert numbers_of(pa.array(texts)).to_pylist() == [
        *(12.5, 7.0, 277.2, 1234.5, 12.5, 1234.5, 12.0, None, None, None, None, None, 1000.0, 5.0)
    ]


@pytest.mark.parametrize(
    ("texts", "numbers"),
    [
        (["0,500", "1,250", "12,5", "0,75"], [0.5, 1.25, 12.5, 0.75]),
        (["1,250", "2.5", "3,000,000"], [1250, 2.5, 3_000_000]),
        (["1.250", "2,5", "3.000.000", "4.250,75"], [1250, 2.5, 3_000_000, 4250.75]),
        (["1,250", "1,300"], [1250, 1300]),
        (["1.250", "1.300"], [1.25, 1.3]),
        (["1 234,50", "1\u00a0234,50", "1\u202f234", "12 345 678,9"], [1234.5, 1234.5, 1234, 12_345_678.9]),
        (["1'234.50", "1\u2019234", "-1'234"], [1234.5, 1234, -1234]),
        (["n12.500", "n1.250", "12,5"], [12.5, 1.25, 12.5]),
    ],
)
def test_the_decimal_sign_is_that_of_the_column(texts: list[str], numbers: list[float]) -> None:
    assert numbers_of(pa.array(texts)).to_pylist() == numbers
    mixed = pa.array([*texts, "12 34", "1,2,3", "x"])
    assert numbers_of(mixed).to_pylist() == [*numbers, None, None, None]


def test_tags() -> None:
    assert tags_of(pa.array(["a | b|a", None, "c", " |"])).to_pylist() == [f"a{TAG_BREAK}b", None, "c", None]
    assert tags_of(pa.array(['["a", "b c"]', "[]", "['x']"])).to_pylist() == [f"a{TAG_BREAK}b c", None, "x"]
    assert tags_of(pa.array(["one tag", "another"])).to_pylist() == ["one tag", "another"]


def test_one_odd_separator_does_not_split_the_other_tags() -> None:
    texts = [f"t{i},u{i}" for i in range(39)] + ["a|b,c"]
    assert tags_of(pa.array(texts)).to_pylist()[::39] == [f"t0{TAG_BREAK}u0", f"a|b{TAG_BREAK}c"]


def test_a_comma_in_names_is_no_list() -> None:
    names = pa.array([f"Smith, John {i} and sons" for i in range(200)])
    assert separator_of(names) is None


def test_labels() -> None:
    assert labels_of(pa.array([" Acme ", "7.0", "7.5", None])).to_pylist() == ["Acme", "7", "7.5", None]


def test_vectors() -> None:
    vectors = vectors_of(pa.array(["[1, 0.5, 0, 0]", None, *["[0, 1, 2, 3.5]"] * 30, "[1, 2]"]))
    assert vectors is not None
    assert vectors.dtype == np.float32
    assert vectors[0].tolist() == [1, 0.5, 0, 0]
    assert np.isnan(vectors[1]).all()
    assert np.isnan(vectors[-1]).all()
    odd_first = pa.array(["[1, 2, 3, 4, 5, 6, 7, 8, 9]", *["[0, 1, 2, 3.5, 0, 0, 0, 1]"] * 39])
    assert kind_of("emb", odd_first) == "vector"
    vectors = vectors_of(odd_first)
    assert vectors is not None
    assert vectors.shape == (40, 8)
    assert np.isnan(vectors).any(axis=1).tolist() == [True] + [False] * 39
    assert vectors_of(pa.array(["[1, 2, 3, 4]", "[5, 6, 7, 8]"])) is None
    assert vectors_of(pa.array(["[0.5, 0.1]"])) is None
