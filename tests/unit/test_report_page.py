"""Figures and numbers of a report that need no training run."""

import json

import pytest

from recsys.errors import RegistryError
from recsys.report.drawing import counted, drawable, percent
from recsys.report.model import parse
from recsys.report.sections import sweep
from tests.support.figures import check_figure
from tests.support.reports import ONE_TRIAL, SWEEP


def test_all_of_a_sweep_in_one_figure() -> None:
    for swept in (SWEEP, ONE_TRIAL):
        files = sweep.sweep_files(swept, sweep.collect(swept))
        check_figure(files[sweep.PICTURE], "sweep")
        assert len(json.loads(files[sweep.TABLE])["trials"]) == len(swept.trials)


def test_names_and_numbers_in_figures() -> None:
    assert drawable("tab\there 日本") == "tab?here ??"
    assert drawable("a" * 50 + "end", 10) == "…aaaaaaend"
    assert [counted(value) for value in (0, 7, 999, 1000, 12_345, 999_999, 2_756_101)] == [
        "0", "7", "999", "1k", "12.3k", "1M", "2.76M",
    ]  # fmt: skip
    shares = {0: "0%", 0.0004: "<0.1%", 0.0012: "0.12%", 0.034: "3.4%", 0.125: "12%", 0.9996: "99.9%", 1: "100%"}
    assert {value: percent(value) for value in shares} == shares


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"created": -1}'])
def test_numbers_of_another_release(text: str) -> None:
    with pytest.raises(RegistryError, match=r"here is no report of this release: .+"):
        parse(text, "here")
