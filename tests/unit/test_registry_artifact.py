"""The artifact format: what goes in comes out, and what is broken is named."""

import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from recsys.errors import RegistryError, TransientError
from recsys.registry.artifact import MANIFEST, Artifact, write

ARRAYS = {
    "factors": np.arange(12, dtype=np.float32).reshape(4, 3),
    "columns": np.asfortranarray(np.arange(6, dtype=np.int8).reshape(2, 3)),
    "empty": np.zeros((0, 3), np.float32),
    "scalar": np.array(0.5),
    "flags": np.array([True, False]),
}
TABLES = {
    "ids": pa.table({"itemid": pa.chunked_array([["a", "ü"], ["日本", ""]]), "n": [1, None, 3, 4]}),
    "none": pa.table({"itemid": pa.array([], pa.string())}),
}
TEXTS = {"ranker.txt": "tree\r\nünï\n", "metrics.json": "{}", "empty.txt": ""}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    directory = tmp_path / "bundle"
    write(directory, ARRAYS, TABLES, TEXTS, {"alpha": 0.25, "name": "ünï", "counts": {"items": 4}})
    return directory


def edit_manifest(folder: Path, **changes: object) -> None:
    content = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    (folder / MANIFEST).write_text(json.dumps(content | changes), encoding="utf-8")


def test_round_trip(folder: Path) -> None:
    artifact = Artifact.open(folder)
    for name, array in ARRAYS.items():
        found = artifact.array(name)
        assert found.dtype == array.dtype
        np.testing.assert_array_equal(found, array)
    for name, table in TABLES.items():
        assert artifact.table(name).equals(table)
        assert all(column.num_chunks <= 1 for column in artifact.table(name).columns)
    for name, text in TEXTS.items():
        assert artifact.text(name) == text
    assert artifact.manifest["alpha"] == 0.25
    assert artifact.manifest["name"] == "ünï"
    assert artifact.manifest["counts"] == {"items": 4}
    assert artifact.manifest["format"] == 2
    assert artifact.nbytes == sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) - (
        (folder / MANIFEST).stat().st_size
    )


@pytest.mark.parametrize("value", ["NaN", "1e999", '"\\ud800"'])
def test_a_manifest_that_cannot_be_told_over_http_is_refused(folder: Path, value: str) -> None:
    manifest = (folder / MANIFEST).read_text(encoding="utf-8")
    (folder / MANIFEST).write_text(manifest.replace('"ünï"', value), encoding="utf-8")
    with pytest.raises(RegistryError, match="JSON"):
        Artifact.open(folder)


def test_a_file_that_cannot_be_read_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(path: Path) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("recsys.registry.artifact.sha256_of", fails)  # root may read every file
    with pytest.raises(RegistryError, match=r"\.npy cannot be read: Permission denied"):
        Artifact.open(folder)


@pytest.mark.parametrize("name", ["ranker.txt", "arrays"])
def test_links_are_refused(folder: Path, tmp_path: Path, name: str) -> None:
    elsewhere = (folder / name).rename(tmp_path / "elsewhere")
    (folder / name).symlink_to(elsewhere)
    with pytest.raises(RegistryError, match="links are not followed"):
        Artifact.open(folder)


def test_created_is_kept_if_given(folder: Path, tmp_path: Path) -> None:
    assert Artifact.open(folder).manifest["created"].endswith("+00:00")
    write(tmp_path / "other", {}, {}, {}, {"created": "2015-09-18"})
    assert Artifact.open(tmp_path / "other").manifest["created"] == "2015-09-18"


def test_arrays_and_tables_are_mapped(folder: Path) -> None:
    artifact = Artifact.open(folder)
    array = artifact.array("factors")
    assert type(array) is np.ndarray
    assert isinstance(array.base, np.memmap)
    assert not array.flags.writeable
    before = pa.total_allocated_bytes()
    table = artifact.table("ids")
    assert table.num_rows == 4
    assert pa.total_allocated_bytes() == before


@pytest.mark.parametrize(
    "path",
    ["arrays/factors.npy", "arrays/empty.npy", "tables/ids.arrow", "tables/none.arrow", "ranker.txt"],
)
@pytest.mark.parametrize("damage", ["flip", "truncate", "extend", "delete"])
def test_damage_is_named(folder: Path, path: str, damage: str) -> None:
    file = folder / path
    content = file.read_bytes()
    if damage == "flip":
        file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif damage == "truncate":
        file.write_bytes(content[:-1])
    elif damage == "extend":
        file.write_bytes(content + b"\0")
    else:
        file.unlink()
    with pytest.raises(RegistryError, match=path):
        Artifact.open(folder)


def test_sizes_are_checked_without_verify_hashes_are_not(folder: Path) -> None:
    file = folder / "ranker.txt"
    file.write_bytes(file.read_bytes().upper())
    assert Artifact.open(folder, verify=False).text("ranker.txt").startswith("TREE")
    file.write_bytes(b"")
    with pytest.raises(RegistryError, match=r"ranker\.txt has 0 bytes, expected"):
        Artifact.open(folder, verify=False)


def test_unverified_garbage_is_named_when_read(folder: Path) -> None:
    for name in ("arrays/factors.npy", "tables/ids.arrow"):
        (folder / name).write_bytes(b"\xff" * (folder / name).stat().st_size)
    (folder / "ranker.txt").write_bytes(b"\xff" * (folder / "ranker.txt").stat().st_size)
    artifact = Artifact.open(folder, verify=False)
    with pytest.raises(RegistryError, match=r"factors\.npy"):
        artifact.array("factors")
    with pytest.raises(RegistryError, match=r"ids\.arrow"):
        artifact.table("ids")
    with pytest.raises(RegistryError, match=r"ranker\.txt"):
        artifact.text("ranker.txt")


def test_a_pickled_array_is_refused(folder: Path) -> None:
    path = folder / "arrays" / "factors.npy"
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    entry = {"sha256": "0" * 64, "bytes": path.stat().st_size}
    edit_manifest(folder, files={"arrays/factors.npy": entry})
    with pytest.raises(RegistryError, match=r"factors\.npy"):
        Artifact.open(folder, verify=False).array("factors")


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (1, "1 is of an earlier release, expected 2: train again"),
        (3, "3 is of a later release, expected 2: upgrade"),
        ("2", ".*found"),
        (None, ".*found"),
    ],
)
def test_unknown_format(folder: Path, found: object, message: str) -> None:
    edit_manifest(folder, format=found)
    with pytest.raises(RegistryError, match=rf"manifest\.json, format: {message}") as caught:
        Artifact.open(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "../bundle/ranker.txt", "arrays/../ranker.txt", "a//b", "./a", "a\\..\\b", ""]
)
def test_paths_stay_inside(folder: Path, path: str) -> None:
    edit_manifest(folder, files={path: {"sha256": "0" * 64, "bytes": 1}})
    with pytest.raises(RegistryError, match=r"manifest\.json, files\..*not a plain path"):
        Artifact.open(folder)


@pytest.mark.parametrize(
    "files",
    [
        None,
        [],
        {"a.txt": {}},
        {"a.txt": {"sha256": "xyz", "bytes": 1}},
        {"a.txt": {"sha256": "0" * 64, "bytes": -1}},
    ],
)
def test_bad_file_entries(folder: Path, files: object) -> None:
    edit_manifest(folder, files=files)
    with pytest.raises(RegistryError, match=r"manifest\.json, files"):
        Artifact.open(folder)


@pytest.mark.parametrize("content", [b"", b'{"format": 1', b"\xff\xfe", b"[]", b"3"])
def test_unreadable_manifest(folder: Path, content: bytes) -> None:
    (folder / MANIFEST).write_bytes(content)
    with pytest.raises(RegistryError, match=r"manifest\.json"):
        Artifact.open(folder)


def write_header(path: Path, header: str) -> None:
    """An array file of 128 bytes that begins with this header."""
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.ljust(118).encode())


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (10, 50)}", r"\(10, 50\) of float32, .* the file has 128"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (10**12,)}", "not a NumPy array"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000000000, 1000000000000)}", "the file has 128"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (-10,)}", "a negative size"),
        ("{'descr': '<V0', 'fortran_order': False, 'shape': (1000000000000000000000000,)}", "not a NumPy array"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (0, 1000000000000000000000)}", "not a NumPy array"),
        ("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", "objects cannot be mapped"),
        ("{'descr': " + "-" * 90, "not a NumPy array"),
    ],
)
def test_a_header_that_does_not_fit_its_file_is_named(folder: Path, header: str, problem: str) -> None:
    path = folder / "arrays" / "factors.npy"
    write_header(path, header)
    edit_manifest(folder, files={"arrays/factors.npy": {"sha256": "0" * 64, "bytes": path.stat().st_size}})
    with pytest.raises(RegistryError, match=rf"factors\.npy is not a NumPy array: .*{problem}|{problem}") as caught:
        Artifact.open(folder, verify=False).array("factors")
    assert "\n" not in str(caught.value)


def test_a_header_without_end_is_not_read(folder: Path) -> None:
    """Format 2 permits headers of 4 GB."""
    path = folder / "arrays" / "factors.npy"
    with path.open("wb") as file:
        file.write(b"\x93NUMPY\x02\x00" + (2**32 - 1).to_bytes(4, "little"))
        file.truncate(1 << 33)
    edit_manifest(folder, files={"arrays/factors.npy": {"sha256": "0" * 64, "bytes": 1 << 33}})
    with pytest.raises(RegistryError, match=r"factors\.npy is not a NumPy array: .*expected 4294967295 bytes"):
        Artifact.open(folder, verify=False).array("factors")


def test_a_manifest_of_50_megabytes_is_not_read(folder: Path) -> None:
    with (folder / MANIFEST).open("ab") as file:
        file.truncate(50_000_000)
    with pytest.raises(
        RegistryError, match=r"manifest\.json cannot be read: it has 50,000,000 bytes, expected at most"
    ):
        Artifact.open(folder)


def test_a_text_of_a_terabyte_is_not_read(folder: Path) -> None:
    with (folder / "ranker.txt").open("ab") as file:
        file.truncate(1 << 40)
    edit_manifest(folder, files={"ranker.txt": {"sha256": "0" * 64, "bytes": 1 << 40}})
    with pytest.raises(RegistryError, match=r"ranker\.txt has 1,099,511,627,776 bytes, expected at most"):
        Artifact.open(folder)


@pytest.mark.parametrize("name", ["arrays/factors.npy", "tables/ids.arrow", "ranker.txt", MANIFEST])
def test_a_pipe_hangs_nothing(folder: Path, name: str) -> None:
    (folder / name).unlink()
    os.mkfifo(folder / name)
    with pytest.raises(TransientError, match=rf"{Path(name).name}.* not a regular file"):
        Artifact.open(folder)


def test_an_unfinished_folder_is_no_artifact(folder: Path, tmp_path: Path) -> None:
    (folder / MANIFEST).unlink()
    for directory in (folder, tmp_path / "absent"):
        with pytest.raises(RegistryError, match=r"has no manifest\.json"):
            Artifact.open(directory)


def test_absent_names_list_what_is_there(folder: Path) -> None:
    with pytest.raises(RegistryError, match=r"no arrays/gram\.npy; its files: arrays/columns\.npy, "):
        Artifact.open(folder).array("gram")


@pytest.mark.parametrize("dtype", [object, [("a", object)]])
def test_object_arrays_are_refused(tmp_path: Path, dtype: object) -> None:
    with pytest.raises(RegistryError, match="array 'names' has dtype"):
        write(tmp_path / "bundle", {"names": np.zeros(2, dtype)}, {}, {}, {})
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize("name", ["", "a/b", "..", "a b", "a.b"])
def test_bad_names(tmp_path: Path, name: str) -> None:
    with pytest.raises(RegistryError, match="bad name"):
        write(tmp_path, {name: np.zeros(1)}, {}, {}, {})
    with pytest.raises(RegistryError, match="bad name"):
        write(tmp_path, {}, {name: TABLES["ids"]}, {}, {})


@pytest.mark.parametrize("name", ["ranker", "manifest.json", "../a.txt", "a/b.txt", ".txt"])
def test_bad_text_names(tmp_path: Path, name: str) -> None:
    with pytest.raises(RegistryError, match="bad file name"):
        write(tmp_path, {}, {}, {name: "x"}, {})


@pytest.mark.parametrize("entry", [{"files": {}}, {"format": 2}, {"auc": float("nan")}, {"n": np.int64(3)}])
def test_bad_manifests(tmp_path: Path, entry: dict[str, object]) -> None:
    with pytest.raises(RegistryError, match="manifest"):
        write(tmp_path, {}, {}, {}, entry)
    assert not list(tmp_path.iterdir())


def test_artifacts_are_never_overwritten(folder: Path) -> None:
    with pytest.raises(RegistryError, match="never overwritten"):
        write(folder, {}, {}, {}, {})
    assert Artifact.open(folder).text("ranker.txt") == TEXTS["ranker.txt"]


def test_the_same_content_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    write(tmp_path / "again", ARRAYS, TABLES, TEXTS, {})
    assert Artifact.open(tmp_path / "again").manifest["files"] == Artifact.open(folder).manifest["files"]
