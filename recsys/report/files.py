"""Reports as files: of a version when it is published, and of a folder when its page is made again."""

from pathlib import Path
from typing import Final

import ray

from recsys.cluster import run_tasks
from recsys.errors import RegistryError
from recsys.registry.artifact import Artifact
from recsys.report.drawing import png
from recsys.report.model import PAGE, REPORT, Report, parse
from recsys.report.page import draw, pictures, render_page

INCONSISTENT: Final = (LookupError, ValueError, ArithmeticError, TypeError, StopIteration)
"""Errors of sections whose numbers do not fit each other."""


def report_files(report: Report, *, page: bool) -> dict[str, str | bytes]:
    """The numbers as a file of a version and, with `page`, the page, whose figures are drawn in Ray tasks."""
    numbers: dict[str, str | bytes] = {REPORT: report.to_json()}
    if not page:
        return numbers
    wanted = pictures(report)
    drawn = ray.get(run_tasks(png, "draw figures of the report", [(picture,) for picture in wanted]))
    images = {picture.name: image for picture, image in zip(wanted, drawn, strict=True)}
    return numbers | {PAGE: render_page(report, drawn=images)}


def write_report(version: Path, out: Path) -> Path:
    """Write the page and the figures of a version into a folder; returns the path of the page.

    version: the folder of the version; out: a folder, made where there is none
    Raises RegistryError where the version has no report, or one of another release.
    """
    opened = Artifact.open(version, verify=False)
    if REPORT not in opened.manifest["files"]:
        raise RegistryError(f"{version} has no {REPORT}: it was published by a release that wrote no reports")
    report = parse(opened.text(REPORT), str(version / REPORT))
    try:
        drawn = draw(report)
        text = render_page(report, version.name, drawn)
    except INCONSISTENT as error:
        problem = f"{type(error).__name__}: {error}"
        raise RegistryError(f"{version / REPORT} is no report of this release: {problem}") from error
    out.mkdir(parents=True, exist_ok=True)
    for name, image in drawn.items():
        (out / f"{name}.png").write_bytes(image)
    page = out / PAGE
    page.write_text(text, encoding="utf-8")
    return page
