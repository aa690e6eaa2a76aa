import numpy as np
import pyarrow as pa
import pytest

from recsys.ids import NUMBERS, Ids, Purpose, draw, fractions, hashes
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
    """Partitions, samples and label windows depend on them: other hashes give other models."""
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


DRAWS = [
    ("factorization", 0, [0xE220A8397B1DCDAF, 0xBDD732262FEB6E95], [0x3A2D7250B6712577, 0x5129F1C930C4577C]),
    ("factorization", 7, [0xB54E0F1600CC4D19, 0xAA47E31C02E78EDC], [0x0325D312FD6E1762, 0x45ABC00D34D0640F]),
    ("label windows", 0, [0x6E789E6AA1B965F4, 0x28EFE333B266F103], [0x521544184C762534, 0x9175727E4062A336]),
    ("label windows", 7, [0x84BB3F97971D80AB, 0x341452C54D7C33F2], [0x24DF0F2D98694518, 0x721ED1E45B9AEE74]),
    ("examples", 0, [0x06C45D188009454F, 0x47526757130F9F52], [0x9DA365A875E3E728, 0xF6D6E48D85F71586]),
    ("examples", 7, [0x7D29825C75521255, 0x1A83D752F35EBA75], [0x5805F62A9BA5A449, 0x879B352E4EF8677D]),
    ("pre-ranker", 0, [0xF88BB8A8724C81EC, 0x581CE1FF0E4AE394], [0xFD4E64BF9A76C7A4, 0xB7F98C136881A3B3]),
    ("pre-ranker", 7, [0xC3CF17102B7F7F86, 0x7ED90003F67F9E1D], [0x211FEED8732C9E4F, 0x6BA997ABE1E2F5D0]),
    ("event rows", 0, [0xF88BB8A8724C81EC, 0x581CE1FF0E4AE394], [0xFD4E64BF9A76C7A4, 0xB7F98C136881A3B3]),
    ("event rows", 7, [0xC3CF17102B7F7F86, 0x7ED90003F67F9E1D], [0x211FEED8732C9E4F, 0x6BA997ABE1E2F5D0]),
    ("report", 0, [0x1B39896A51A8749B, 0x09BC585A244823F2], [0x181452B1AF2D1972, 0xD36B1477E34EB87A]),
    ("report", 7, [0x3466E9A083914F64, 0x17EADFF448A86A07], [0xDEF4BEA3634BF2CD, 0x6CA2C5C3BB8C9A07]),
    ("sessions", 7, [0xD81A8D2B5A4485AC, 0xB05ECA1A2972B860], [0x1609C85DCBD1EE4C, 0x97D803305376BAAA]),
]
"""Purpose, seed, draws of the ids 0 and 42, draws of the ids "a" and "é"."""


@pytest.mark.parametrize(("purpose", "seed", "integers", "texts"), DRAWS)
def test_draws_never_change(purpose: Purpose, seed: int, integers: list[int], texts: list[int]) -> None:
    """The answers come from the code before purposes had names: hashes(ids, 2 * seed + number)."""
    assert draw(pa.array([0, 42]), purpose, seed).tolist() == integers
    assert draw(pa.array(["a", "é"]), purpose, seed).tolist() == texts


def test_every_purpose_has_known_draws() -> None:
    assert {purpose for purpose, *_ in DRAWS} == set(NUMBERS)


def test_fractions_are_draws_scaled() -> None:
    ids = pa.array([0, 42])
    assert fractions(ids, "label windows", 0).tolist() == [0.43152799704851, 0.15991039287692013]
    users = pa.array(range(10_000))
    values = fractions(users, "factorization", 3)
    assert values.dtype == np.float64
    assert 0 <= values.min() <= values.max() <= 1
    assert abs((values <= 0.3).mean() - 0.3) < 0.02
    for fraction in (0.0, 0.1, 1 / 3, 0.5, 1.0):
        drawn = draw(users, "factorization", 3) <= fraction * float(2**64)
        assert (drawn == (values <= fraction)).all()
