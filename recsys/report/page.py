"""The page of a report: one HTML file that needs no other file."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from recsys.report.drawing import Picture, png, several
from recsys.report.head import tiles
from recsys.report.model import Report
from recsys.report.section import Cell, Section, SectionSpec
from recsys.timeline import day

TEMPLATE: Final = "page.html"


@dataclass(frozen=True, slots=True)
class Chapter:
    """Sections under one heading."""

    title: str
    sections: Sequence[tuple[SectionSpec[Any], Section]]


def chapters(report: Report) -> list[Chapter]:
    """The chapters by their first section, each with its sections in order."""
    by_title: dict[str, list[tuple[SectionSpec[Any], Section]]] = {}
    for spec, section in report.sections():
        by_title.setdefault(spec.chapter, []).append((spec, section))
    return [Chapter(title, sections) for title, sections in by_title.items()]


def pictures(report: Report) -> list[Picture]:
    """The figures of all sections, in order."""
    return [picture for _, section in report.sections() for picture in section.pictures]


def draw(report: Report) -> dict[str, bytes]:
    """PNG of every figure, by the name of its file without extension."""
    return {picture.name: png(picture) for picture in pictures(report)}


def render_page(report: Report, version: str | None = None, drawn: Mapping[str, bytes] | None = None) -> str:
    """The HTML of the page, in which every text from the data is escaped.

    drawn: the figures as PNG by name, if they were drawn already
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # noqa: PLC0415 - training alone makes pages

    images = {name: base64.b64encode(image).decode() for name, image in (drawn or draw(report)).items()}
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"cell": cell, "day": day, "moment": moment, "numeric": numeric, "several": several}
    page = environment.get_template(TEMPLATE)
    return page.render(
        version=version, head=report.head, tiles=tiles(report.head), chapters=chapters(report), images=images
    )


def cell(value: Cell) -> str:
    """The text of a table's cell."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4f}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else value


def numeric(value: Cell) -> bool:
    """Whether a cell is aligned as a number."""
    return isinstance(value, int | float | None)


def moment(time: int) -> str:
    """Date, hour and minute of a time (ms), in UTC."""
    return datetime.fromtimestamp(time / 1000, UTC).strftime("%Y-%m-%d %H:%M")
