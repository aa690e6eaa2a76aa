"""The file of settings that an inspection writes: the section `data` is new, all else stays."""

from pathlib import Path

import pytest
import yaml

from recsys import cli
from recsys.jobs.inspect import with_section

TITLE = "# recsys train --data shop --config FILE\n"
SECTION = "data:\n  events:\n    # encoding: cp1252\n    types: view\n"


def test_without_settings_the_section_has_a_title() -> None:
    assert with_section("", TITLE, SECTION) == TITLE + SECTION
    assert with_section("# nothing yet", TITLE, SECTION) == f"{TITLE}# nothing yet\n{SECTION}"
    written = with_section(TITLE + SECTION, TITLE, SECTION)
    assert written == TITLE + SECTION


def test_other_sections_and_comments_stay_as_they_were_given() -> None:
    before = "# mine\ntargets: [addtocart, transaction]  # both\n"
    after = "\n# three weeks\nevaluation:\n  test_days: 21"
    old = "data:\n  events:\n    types: {a: view}\n# inside\n    # deeper\n  partitions: 2\n"
    assert with_section(before + old + after, TITLE, SECTION) == TITLE + before + SECTION + after + "\n"
    assert with_section(before + old, TITLE, SECTION) == TITLE + before + SECTION
    assert with_section(before + after, TITLE, SECTION) == TITLE + before + after + "\n" + SECTION


@pytest.mark.parametrize("old", ["data:\n", "data: {events: {types: view}}\n", "data: {events:\n  {types: view}}"])
def test_a_section_of_one_line_is_replaced(old: str) -> None:
    assert yaml.safe_load(with_section(f"{old}\ntargets: [view]\n", TITLE, SECTION)) == {
        "targets": ["view"],
        "data": {"events": {"types": "view"}},
    }


def test_settings_in_braces_become_lines() -> None:
    text = with_section("{targets: [view], data: {partitions: 2}}", TITLE, SECTION)
    assert yaml.safe_load(text) == {"targets": ["view"], "data": {"events": {"types": "view"}}}


def test_another_file_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("notes.yaml").write_text("mine: 1\n")
    Path("shop.yaml").write_text("targets: [view]\n")
    for given in ([], ["--config", "shop.yaml"]):
        assert cli.main(["inspect", "--data", ".", "--write", "notes.yaml", *given]) == 2
        assert "--write notes.yaml: the file exists" in capfd.readouterr().err
    assert Path("notes.yaml").read_text() == "mine: 1\n"
