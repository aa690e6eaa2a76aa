"""The users of a batch, and what is refused before it starts."""

import re
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pytest

from recsys.errors import DataError, RegistryError
from recsys.ids import IdKind
from recsys.inference.batch import prepare
from recsys.inference.files import distinct_ids, text_column
from recsys.schema import USER


def read_users(path: Path, kind: IdKind) -> pa.Array:
    return distinct_ids(text_column(path, USER), path, USER, kind)


def users_file(folder: Path, ids: Sequence[object], header: str = "visitorid") -> Path:
    path = folder / "users.csv"
    path.write_text("\n".join([header, *map(str, ids), ""]))
    return path


def test_a_broken_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / "versions" / "v1").mkdir(parents=True)
    with pytest.raises(RegistryError, match="no artifact"):
        prepare(str(tmp_path), "v1", users_file(tmp_path, [1]), 5, tmp_path / "out.parquet")


@pytest.mark.parametrize("n", [0, 1001])
def test_n_is_bounded(tmp_path: Path, n: int) -> None:
    with pytest.raises(DataError, match=f"n is {n}; expected 1 to 1000"):
        prepare(str(tmp_path), None, users_file(tmp_path, [1]), n, tmp_path / "out.parquet")


def test_the_output_must_be_a_file(tmp_path: Path) -> None:
    users = users_file(tmp_path, [1])
    with pytest.raises(DataError, match="is a folder"):
        prepare(str(tmp_path), None, users, 5, tmp_path)
    with pytest.raises(DataError, match=f"{users} is not a folder"):
        prepare(str(tmp_path), None, users, 5, users / "new" / "out.parquet")


@pytest.mark.parametrize("name", ["out.txt", "out", "out.csv.gz", "out.CSV", ".csv", ".parquet"])
def test_the_ending_of_the_output_names_a_format(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=rf"{name}: its ending '.*' is none of \.csv, \.parquet"):
        prepare(str(tmp_path), None, users_file(tmp_path, [1]), 5, tmp_path / name)


def test_the_users_are_not_overwritten(tmp_path: Path) -> None:
    users = users_file(tmp_path, [1])
    with pytest.raises(DataError, match="is the file that is read"):
        prepare(str(tmp_path), None, users, 5, users.parent / "." / users.name)
    assert users.read_text() == "visitorid\n1\n"


@pytest.mark.parametrize("spelled", ["0001000", "+1007", "1e3"])
def test_integers_are_spelled_as_in_training(tmp_path: Path, spelled: str) -> None:
    path = tmp_path / "users.csv"
    path.write_text(f"visitorid\n7\n{spelled}\n")
    with pytest.raises(DataError, match=f"row 3: visitorid is '{re.escape(spelled)}'"):
        read_users(path, "int64")


def test_users_are_read_once_each_in_their_order(tmp_path: Path) -> None:
    path = tmp_path / "users.csv"
    path.write_bytes(b"\xef\xbb\xbfname,visitorid\r\nx, 7\r\ny,-2\r\nz,7 \r\n")
    assert read_users(path, "int64").to_pylist() == [7, -2]
    assert read_users(path, "string").to_pylist() == [" 7", "-2", "7 "]


def test_string_ids_stay_as_they_are(tmp_path: Path) -> None:
    ids = ["007", "é", " a", "a ", "a", "\u00a0b"]
    assert read_users(users_file(tmp_path, ids), "string").to_pylist() == ids


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize(
    ("header", "rows"), [("visitorid", ["", "7", "", "9", "", ""]), ("name,visitorid", ["x,7", "", "y,9", "", ""])]
)
def test_blank_lines_are_passed_over(tmp_path: Path, header: str, rows: list[str], end: str) -> None:
    path = tmp_path / "users.csv"
    path.write_bytes(end.join([header, *rows]).encode())
    assert read_users(path, "int64").to_pylist() == [7, 9]
    assert read_users(path, "string").to_pylist() == ["7", "9"]


def test_rows_are_counted_with_blank_lines(tmp_path: Path) -> None:
    path = tmp_path / "users.csv"
    path.write_text("visitorid\n7\n\nx\n")
    with pytest.raises(DataError, match="row 4: visitorid is 'x'"):
        read_users(path, "int64")


@pytest.mark.parametrize("blank", ['""', "  ", "a\n\n   "])
def test_a_blank_id_is_no_id(tmp_path: Path, blank: str) -> None:
    path = tmp_path / "users.csv"
    path.write_text(f"visitorid\n{blank}\n")
    with pytest.raises(DataError, match=r"row [24]: visitorid is ' *'; expected an id of type string"):
        read_users(path, "string")


@pytest.mark.parametrize(
    ("ids", "kind", "message"),
    [
        ([1, "x2", 3], "int64", r"row 3: visitorid is 'x2'; expected an id of type int64"),
        (["1", "1.5"], "int64", r"row 3: visitorid is '1.5'"),
        ([1, 2**64], "int64", r"row 3"),
        (["a", '""'], "string", r"row 3: visitorid is"),
    ],
)
def test_an_id_of_another_kind_is_named(tmp_path: Path, ids: list[object], kind: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_users(users_file(tmp_path, ids), kind)  # type: ignore[arg-type]


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no column visitorid; found user"):
        read_users(users_file(tmp_path, [1], header="user"), "int64")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent\.csv: No such file"):
        read_users(tmp_path / "absent.csv", "int64")
    (tmp_path / "empty.csv").touch()
    with pytest.raises(DataError, match=r"empty\.csv"):
        read_users(tmp_path / "empty.csv", "int64")
    with pytest.raises(DataError, match=str(tmp_path)):
        read_users(tmp_path, "int64")
