"""A published version's report, written again."""

from pathlib import Path

from recsys.errors import RegistryError
from recsys.registry.artifact import Artifact
from recsys.report.content import PAGE, REPORT, parse
from recsys.report.page import draw, render_page


def write_report(version: Path, out: Path) -> Path:
    """Make the page and the figures of the version in a folder from its numbers; returns where the page is.

    out: a folder, made where there is none. Raises RegistryError where the version has no report, or one of another
    release.
    """
    opened = Artifact.open(version, verify=False)
    if REPORT not in opened.manifest["files"]:
        raise RegistryError(f"{version} has no {REPORT}: it was published by a release that wrote no reports")
    report = parse(opened.text(REPORT), str(version / REPORT))
    drawn = draw(report)
    out.mkdir(parents=True, exist_ok=True)
    for name, image in drawn.items():
        (out / f"{name}.png").write_bytes(image)
    page = out / PAGE
    page.write_text(render_page(report, version.name, drawn), encoding="utf-8")
    return page
