import numpy as np
import pyarrow as pa
import pytest

from recsys.ids import Ids, hashes
from recsys.schema import UNKNOWN

INTEGERS = [40, -3, 0, 7, 7, 2**62]
TEXTS = ["b", "Zoé", "é", "", "a", "ab", "b", "10", "9"]


@pytest.fixture(params=[INTEGERS, TEXTS], ids=["int64", "string"])
def values(request: pytest.FixtureRequest) -> list[int] | list[str]:
    return request.param


def test_ids_are_distinct_and_ascending() -> None:
    assert Ids.from_values(pa.array(INTEGERS)).values.to_pylist() == [-3, 0, 7, 40, 2**62]
    assert Ids.from_values(pa.array(TEXTS)).values.to_pylist() == sorted(set(TEXTS), key=str.encode)


def test_chunks_are_joined() -> None:
    chunked = pa.chunked_array([[3, 1], [], [2, 3]], pa.int64())
    ids = Ids.from_values(chunked)
    assert ids.values.to_pylist() == [1, 2, 3]
    assert ids.encode(chunked).tolist() == [2, 0, 1, 2]


def test_code_agrees_with_encode(values: list) -> None:
    ids = Ids.from_values(pa.array(values[:-1]))
    expected = [ids.values.to_pylist().index(value) if value in values[:-1] else UNKNOWN for value in values]
    assert ids.encode(pa.array(values)).tolist() == expected
    assert [ids.code(value) for value in values] == expected
    assert ids.encode(pa.array(values)).dtype == np.int32


def test_decode_and_getitem_turn_codes_back(values: list) -> None:
    ids = Ids.from_values(pa.array(values))
    codes = ids.encode(pa.array(values))
    assert ids.decode(codes).to_pylist() == values
    assert [ids[int(code)] for code in codes] == values


def test_ids_may_be_a_slice() -> None:
    ids = Ids(pa.array(["a", "b", "c", "d"]).slice(1, 2))
    assert [ids.code(name) for name in "abcd"] == ids.encode(pa.array(list("abcd"))).tolist() == [-1, 0, 1, -1]


@pytest.mark.parametrize(("kind", "value"), [(pa.int64(), 3), (pa.string(), "3")])
def test_no_ids(kind: pa.DataType, value: int | str) -> None:
    ids = Ids.from_values(pa.array([], kind))
    assert len(ids) == 0
    assert ids.kind == str(kind)
    assert ids.code(value) == UNKNOWN
    assert ids.encode(pa.array([value])).tolist() == [UNKNOWN]
    assert ids.encode(pa.array([], kind)).tolist() == []
    assert ids.decode(np.zeros(0, np.int32)).to_pylist() == []


@pytest.mark.parametrize("text", ["07", "+7", " 7", "7.0", "", "x", str(2**63), "\u0667"])
def test_parse_refuses_what_is_no_plain_integer(text: str) -> None:
    assert Ids.from_values(pa.array([7])).parse(text) is None


def test_parse_keeps_to_the_kind() -> None:
    assert Ids.from_values(pa.array([7])).parse("-12") == -12
    assert Ids.from_values(pa.array([7])).parse(str(2**63 - 1)) == 2**63 - 1
    assert Ids.from_values(pa.array(["7"])).parse("07") == "07"


def test_hashes_never_change() -> None:
    """Partitions, samples and label windows are chosen by them: another value is another model."""
    assert hashes(pa.array([0, 1, -1, 2**63 - 1])).tolist() == [
        0,
        0x5692161D100B05E5,
        0xB4D055FCF2CBBD7B,
        0x5A682AFE7965DEBD,
    ]
    # the first output of splitmix64 seeded with 0
    assert hashes(pa.array([0]), salt=1).tolist() == [0xE220A8397B1DCDAF]
    assert hashes(pa.array(["a", "", "é"])).tolist() == [
        10600591454142951214,
        8670812520888592119,
        14451338314816887151,
    ]
    assert hashes(pa.array(["a"]), salt=1).tolist() == [4192132519135618423]


def test_hashes_of_nothing() -> None:
    assert hashes(pa.array([], pa.int64())).tolist() == []
    assert hashes(pa.array([], pa.string())).tolist() == []


def test_hashes_do_not_depend_on_the_other_ids() -> None:
    names = pa.array(["a", "b", "a", "c"])
    alone = [hashes(pa.array([name])).tolist()[0] for name in names.to_pylist()]
    assert hashes(names).tolist() == alone
    assert hashes(names.slice(1)).tolist() == alone[1:]


@pytest.mark.parametrize("ids", [pa.array(range(4096)), pa.array([f"user{i}" for i in range(4096)])])
def test_hashes_are_spread_and_salts_independent(ids: pa.Array) -> None:
    first, second = (hashes(ids, salt) for salt in (1, 2))
    assert len(np.unique(first)) == 4096
    low, also = first < 2**63, second < 2**63
    assert abs(low.mean() - 0.5) < 0.05
    assert abs((low & also).mean() - 0.25) < 0.05
