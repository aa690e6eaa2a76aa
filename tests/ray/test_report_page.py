"""The page of a report: every figure shows something, no text of the data is markup, and a browser takes it."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from recsys import cli
from recsys.errors import RegistryError
from recsys.registry.artifact import FORMAT, Artifact
from recsys.report import page
from recsys.report.contents import SECTIONS
from recsys.report.drawing import Picture, png
from recsys.report.files import write_report
from recsys.report.inputs import RunInputs
from recsys.report.model import PAGE, REPORT, Report, parse
from recsys.report.section import DATA, Section, SectionSpec, Table
from recsys.report.sections import baselines, examples, items
from recsys.schema import Config
from tests.support.bundles import reseal
from tests.support.figures import FIGURES, SWEEP_FIGURES, check_figure
from tests.support.reports import ONE_TRIAL, SWEEP, bare_run, small_run
from tests.support.shop_data import ODD_IDS
from tests.support.trained import Trained, trained_shop, written_report

ODD_ONES = (
    *("events-per-day", "activity", "coverage", "warm-and-cold", "by-activity", "repeat-and-new", "new-items", "roc"),
    *("precision-recall", "score-distribution", "calibration", "sweep-trials", "sweep-growth"),
)
"""Figures that look different where there is little of everything."""


@pytest.fixture(scope="module")
def trained(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return trained_shop(tmp_path_factory)


@pytest.fixture(scope="module")
def rebuilt(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written_report(tmp_path_factory)


def test_every_figure_is_there_and_shows_something(rebuilt: Path) -> None:
    assert {path.stem for path in rebuilt.glob("*.png")} == FIGURES
    for path in rebuilt.glob("*.png"):
        check_figure(path.read_bytes(), path.stem)


def test_the_page_needs_nothing_else(rebuilt: Path, trained: Trained) -> None:
    text = (rebuilt / PAGE).read_text(encoding="utf-8")
    assert set(re.findall(r'<figure id="figure-([^"]+)"', text)) == FIGURES
    assert all(len(alt) > 20 for alt in re.findall(r'<img [^>]*alt="([^"]*)"', text))
    assert "<script" not in text
    assert {link[:1] for link in re.findall(r'(?:href|src)="([^"]*)"', text) if not link.startswith("data:")} == {"#"}
    assert not re.findall(r"https?://|url\(|@import", text)
    assert trained.version in text
    anchors = re.findall(r'href="#([^"]+)"', text)
    assert anchors
    assert set(anchors) == set(re.findall(r'<section id="([^"]+)"', text))


def test_the_numbers_lie_in_the_bundle(trained: Trained) -> None:
    report = parse(Artifact.open(trained.path).text(REPORT), "here")
    ours = next(row for row in report.get(baselines.SECTION).table if row.system == "hybrid")
    measured = next(row for row in trained.metrics["table"] if row["system"] == "hybrid")
    assert ours.metrics["ndcg@10"] == measured["ndcg@10"]
    assert "sweep" not in report.numbers


def with_numbers(report: Report, spec: SectionSpec[Any], **fields: Any) -> Report:
    """The report with other numbers in a section."""
    return replace(report, numbers={**report.numbers, spec.name: report.get(spec).model_copy(update=fields)})


def test_texts_of_the_data_are_no_markup(trained: Trained) -> None:
    report = parse((trained.path / REPORT).read_text(), "here")
    odd = "".join(ODD_IDS).replace("\0", "") + "$x^2$"
    categories = report.get(items.SECTION).categories
    named = categories[0].model_copy(update={"name": odd})
    user = report.get(examples.SECTION).users[0]
    recommended = [item.model_copy(update={"item": "<img src=x>", "category": odd}) for item in user.recommended]
    user = user.model_copy(update={"user": '"><script>', "recommended": tuple(recommended)})
    report = with_numbers(report, items.SECTION, categories=(named, *categories[1:]))
    report = with_numbers(report, examples.SECTION, users=(user,))
    [picture] = [picture for picture in page.pictures(report) if picture.name == "categories"]
    check_figure(png(picture), "categories")
    text = page.render_page(report, "<v>", dict.fromkeys(FIGURES, b""))
    assert "<script" not in text
    assert "<img src=x>" not in text
    assert "<b>bold" not in text
    assert "&lt;b&gt;bold" in text
    assert "Report of &lt;v&gt;" in text


@pytest.mark.usefixtures("ray_session")
def test_little_of_everything_can_be_drawn() -> None:
    report = bare_run().report(ONE_TRIAL)
    drawn = {picture.name: picture for picture in page.pictures(report)}
    assert set(drawn) == (FIGURES | SWEEP_FIGURES) - {"funnel", "categories", "sweep-settings", "sweep-alpha"}
    for name in ODD_ONES:
        check_figure(png(drawn[name]), name)
    text = page.render_page(report, None, dict.fromkeys(drawn, b""))
    assert not re.search(r"\bnan\b|>None<", text)


@pytest.mark.usefixtures("ray_session")
def test_a_sweep_can_be_drawn() -> None:
    report = small_run().report(SWEEP)
    drawn = {picture.name: picture for picture in page.pictures(report)}
    assert set(drawn) == FIGURES | SWEEP_FIGURES
    for name in SWEEP_FIGURES:
        check_figure(png(drawn[name]), name)


class Toy(Config):
    """Numbers of a section that a shop adds."""

    candidates: int


def toy_section(numbers: Toy) -> Section:
    def draw(figure: Any) -> None:
        figure.subplots().bar(["candidates"], [numbers.candidates])

    picture = Picture("toy", "A bar of the number of candidates.", "One bar.", draw)
    return Section(f"{numbers.candidates} toys.", [picture], [Table("Toys", ("toys",), [(numbers.candidates,)])])


def collect_toy(run: RunInputs) -> Toy:
    return Toy(candidates=len(run.evaluation.scored.users))


@pytest.mark.usefixtures("ray_session")
def test_a_section_comes_in_with_one_line() -> None:
    SECTIONS.add("toy", SectionSpec("toy", "Toys", DATA, Toy, collect_toy, toy_section))
    try:
        numbers = small_run().report().to_json()
        report = parse(numbers, "here")
        drawn = page.draw(report)
        text = page.render_page(report, None, drawn)
        older = json.loads(numbers)
        del older["sections"]["toy"]
        assert "toy" not in parse(json.dumps(older), "here").numbers  # of a version from before the section
    finally:
        SECTIONS.remove("toy")
    assert set(drawn) == FIGURES | {"toy"}
    assert f"{len(small_run().scored.users)} toys." in text
    assert [chapter.count('href="#toy"') for chapter in text.split("<strong>")[:3]] == [0, 1, 0]
    with pytest.raises(RegistryError, match=r"here is no report of this release: sections\.toy: "):
        parse(numbers, "here")


def test_a_version_without_a_report(trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["report", "--registry", str(trained.registry), "--out", str(tmp_path)]
    assert cli.main([*arguments, "--version", "v0"]) == 2
    assert re.search("error: no version v0 in .*; versions: ", capsys.readouterr().err)
    folder = tmp_path / "v1"
    folder.mkdir()
    manifest = {"format": FORMAT, "files": {}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(RegistryError, match=r"v1 has no report\.json"):
        write_report(folder, tmp_path)


def test_numbers_that_do_not_fit_each_other_are_no_report(trained: Trained, tmp_path: Path) -> None:
    folder = tmp_path / trained.version
    shutil.copytree(trained.path, folder)
    content = json.loads((folder / REPORT).read_text())
    content["sections"]["days"]["events"] = {}
    (folder / REPORT).write_text(json.dumps(content))
    reseal(folder)
    with pytest.raises(RegistryError, match=r"report\.json is no report of this release: ValueError"):
        write_report(folder, tmp_path / "out")


def test_reports_are_the_same_again(trained: Trained) -> None:
    text = (trained.path / REPORT).read_text()
    assert parse(text, "here").to_json() == text
