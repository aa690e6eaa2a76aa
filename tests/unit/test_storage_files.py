"""Only regular files of a bounded size are read, and folders of a failed write are removed."""

import errno
import os
from pathlib import Path

import pytest

from recsys.storage.files import UnexpectedFile, new_folders, open_regular, read_regular


def test_a_regular_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    assert read_regular(tmp_path / "file", 7) == b"content"
    with open_regular(tmp_path / "file") as file:
        assert file.read(3) == b"con"


def test_nothing_else_is_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, Path("/dev/zero")):
        with pytest.raises(UnexpectedFile, match="not a regular file") as caught:
            read_regular(path, 100)
        assert caught.value.filename == str(path)
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "absent")


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(UnexpectedFile, match="it has 1,099,511,627,776 bytes, expected at most 100") as caught:
        read_regular(tmp_path / "sparse", 100)
    assert caught.value.errno == errno.EFBIG


def test_new_folders_stay_after_success(tmp_path: Path) -> None:
    with new_folders(tmp_path / "a" / "b", tmp_path / "c"):
        pass
    assert {path.name for path in tmp_path.rglob("*")} == {"a", "b", "c"}


def test_new_folders_vanish_after_a_failure(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    with pytest.raises(ZeroDivisionError), new_folders(tmp_path / "a" / "b", tmp_path / "a" / "c", tmp_path / "old"):
        raise ZeroDivisionError
    assert [path.name for path in tmp_path.iterdir()] == ["old"]


def test_new_folders_with_content_stay(tmp_path: Path) -> None:
    folders = new_folders(tmp_path / "a" / "b", tmp_path / "a" / "c")
    folders.__enter__()
    (tmp_path / "a" / "b" / "file").touch()
    assert not folders.__exit__(ZeroDivisionError, ZeroDivisionError(), None)
    assert (tmp_path / "a" / "b" / "file").exists()
    assert (tmp_path / "a" / "c").exists()
