"""A version of every format since 2 is read, and recommends what it did when it was written."""

import json
from pathlib import Path

import pytest

from recsys.registry.artifact import FORMAT
from recsys.registry.bundle import read
from tests.support.formats import EXPECTED, FORMATS, answers

FOLDERS = {folder.name: folder for folder in sorted(FORMATS.iterdir())}


def test_every_format_is_kept() -> None:
    assert set(FOLDERS) == {str(number) for number in range(2, FORMAT + 1)}


@pytest.mark.parametrize("name", FOLDERS)
def test_a_version_recommends_what_it_did(name: str) -> None:
    expected = json.loads((FOLDERS[name] / EXPECTED).read_text(encoding="utf-8"))
    recommended = answers(read(FOLDERS[name] / "version"))
    assert recommended.keys() == expected.keys()
    for objective, by_user in expected.items():
        assert len(by_user) > 20
        assert recommended[objective].keys() == by_user.keys()
        for user, own in by_user.items():
            assert recommended[objective][user]["items"] == own["items"]
            assert recommended[objective][user]["scores"] == pytest.approx(own["scores"], abs=1e-6)


@pytest.mark.parametrize("name", FOLDERS)
def test_a_kept_version_is_tiny(name: str) -> None:
    files: list[Path] = [path for path in FOLDERS[name].rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 200_000
