"""Attributes of items as of a time."""

import numpy as np
import pyarrow as pa
import pytest

from recsys.data.attributes import (
    NO_ATTRIBUTES,
    TAG_BREAK,
    Attributes,
    Labels,
    Learned,
    Numbers,
    Texts,
    Vectors,
    fault,
    usable,
)
from recsys.data.changes import Records
from recsys.schema import LATEST, UNKNOWN

NAN = float("nan")


def records(values: pa.Array, items: list[int], times: list[int] | None = None) -> Records:
    return Records(np.array(items, np.int32), np.array(times or [0] * len(items), np.int64), values)


def lists(labels: Labels, time: int, n_items: int) -> list[list[str]]:
    state = labels.as_of(time, n_items)
    rows = np.split(state.values, state.offsets[1:-1])
    return [labels.vocabulary.take(pa.array(row)).to_pylist() for row in rows]


def test_a_number_as_of_a_time() -> None:
    price = Numbers.build("price", records(pa.array([5.0, 7.0, None, NAN, 3.0]), [0, 0, 1, 1, 2], [10, 20, 0, 0, 30]))
    np.testing.assert_array_equal(price.as_of(9, 3), [NAN, NAN, NAN])
    np.testing.assert_array_equal(price.as_of(19, 3), [5, NAN, NAN])
    np.testing.assert_array_equal(price.as_of(30, 3), [7, NAN, 3])
    assert price.as_of(30, 3).dtype == np.float32


def test_a_label_as_of_a_time() -> None:
    brand = Labels.build("brand", "category", records(pa.array(["b", "a", None, "c"]), [0, 0, 1, 2], [10, 20, 0, 0]))
    assert lists(brand, 0, 3) == [[], [], ["c"]]
    assert lists(brand, 10, 3) == [["b"], [], ["c"]]
    assert lists(brand, 20, 3) == [["a"], [], ["c"]]


def test_several_labels_of_an_item() -> None:
    texts = pa.array([TAG_BREAK.join(tags) for tags in (["red", "big", "red"], ["red"], ["small"])])
    tags = Labels.build("tags", "tags", records(texts, [2, 0, 2], [1, 1, 5]))
    assert lists(tags, 1, 3) == [["red"], [], ["big", "red"]]
    assert lists(tags, 5, 3) == [["red"], [], ["small"]]


def test_a_vector_has_length_one_or_is_zero() -> None:
    matrix = np.array([[3.0, 4.0], [0.0, 0.0], [NAN, 1.0], [0.0, 2.0]])
    vectors = Vectors.build("embedding", np.arange(4, dtype=np.int32), np.array([0, 0, 0, 9]), matrix)
    np.testing.assert_allclose(vectors.as_of(0, 4), [[0.6, 0.8], [0, 0], [0, 0], [0, 0]], rtol=1e-6)
    np.testing.assert_allclose(vectors.as_of(9, 4)[3], [0, 1])


def test_a_text_is_null_where_there_is_none() -> None:
    title = Texts.build("title", records(pa.array(["Tea", "", None]), [1, 0, 2]))
    assert title.as_of(0, 3).to_pylist() == [None, "Tea", None]
    assert title.as_of(-1, 3).to_pylist() == [None] * 3


def test_the_order_of_the_records_does_not_matter() -> None:
    items, times, values = [0, 0, 1, 2], [3, 3, 1, 0], ["b", "a", "c", "b"]
    matrix = np.array([[1.0, 0], [0, 1], [1, 1], [1, 0]])
    contents = []
    for order in ([0, 1, 2, 3], [3, 1, 0, 2]):
        moved = records(pa.array(values).take(pa.array(order)), [items[i] for i in order], [times[i] for i in order])
        label = Labels.build("brand", "category", moved)
        vector = Vectors.build("embedding", moved.items, moved.times, matrix[order])
        parts = Attributes((label, vector), (Texts.build("title", moved),)).contents()
        contents.append([part.to_pylist() if isinstance(part, pa.Array) else np.array(part).tolist() for part in parts])
    assert contents[0] == contents[1]


def test_the_state_knows_since_when_an_item_has_attributes() -> None:
    attributes = Attributes(
        (Numbers.build("price", records(pa.array([1.0, 2.0]), [0, 1], [10, 30])),),
        (Texts.build("title", records(pa.array(["x"]), [1], [20])),),
    )
    early, late = attributes.as_of(15, 3), attributes.as_of(40, 3)
    assert early is not None
    assert late is not None
    assert early.since.tolist() == [10, UNKNOWN, UNKNOWN]
    assert late.since.tolist() == [10, 20, UNKNOWN]
    assert [spec.name for spec in late.specs] == ["price"]


def test_a_shop_without_attributes_has_no_state() -> None:
    assert NO_ATTRIBUTES.as_of(LATEST, 3) is None
    assert not NO_ATTRIBUTES
    assert NO_ATTRIBUTES.contents() == []


N = 100
EVERY = list(range(N))


@pytest.mark.parametrize(
    ("attribute", "reason"),
    [
        (Numbers.build("x", records(pa.array([1.0] * N), EVERY)), "every item has the same value"),
        (Numbers.build("x", records(pa.array([1.0, 2, 3, 4]), [0, 1, 2, 3])), "96.0% of the items have no value"),
        (
            Labels.build("x", "category", records(pa.array(list(map(str, EVERY))), EVERY)),
            "100 values on 100 items: nearly every item has a value of its own",
        ),
        (
            Labels.build("x", "tags", records(pa.array([f"{i}{TAG_BREAK}{i}b" for i in EVERY]), EVERY)),
            "200 values on 100 items: nearly every item has a value of its own",
        ),
        (
            Vectors.build("x", np.arange(N), np.zeros(N, np.int64), np.random.default_rng(0).normal(size=(N, 1025))),
            "1,025 dimensions; expected at most 1,024",
        ),
        (Vectors.build("x", np.arange(N), np.zeros(N, np.int64), np.ones((N, 3))), "every item has the same value"),
        (Numbers.build("x", records(pa.array(np.arange(N) / 1.0), EVERY)), None),
        (Labels.build("x", "category", records(pa.array([str(i % 60) for i in EVERY]), EVERY)), None),
    ],
)
def test_an_attribute_that_tells_nothing_is_left_out_with_its_reason(attribute: Learned, reason: str | None) -> None:
    assert fault(attribute, N) == reason
    kept = usable([attribute], [], N)
    assert bool(kept) == (reason is None)
    assert kept.left_out == ({} if reason is None else {"x": reason})
