"""The page of a report: one HTML file that needs nothing else."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from recsys.report import part_data, part_people, part_quality, part_reasons
from recsys.report.content import Report
from recsys.report.drawing import Picture, counted, percent, png, several
from recsys.report.part_quality import difference, headline, number
from recsys.report.sections import Cell, Part

TEMPLATE: Final = Path(__file__).with_name("page.html")


def parts(report: Report) -> list[Part]:
    """What there is to say and to show, in order."""
    return [
        part_data.part(report.data),
        part_quality.part(report.quality),
        part_reasons.part(report.reasons, report.quality.k, report.quality.recall),
        part_people.part(report.people),
    ]


def pictures(report: Report) -> list[Picture]:
    """The figures of all parts, in order."""
    return [picture for part in parts(report) for section in part.sections for picture in section.pictures]


def draw(report: Report) -> dict[str, bytes]:
    """PNG of every figure, by the name of its file without extension."""
    return {picture.name: png(picture) for picture in pictures(report)}


@dataclass(frozen=True, slots=True)
class Tile:
    """A number that matters."""

    value: str
    name: str
    note: str


def tiles(report: Report) -> list[Tile]:
    quality, data = report.quality, report.data
    row, gap, k = headline(quality), difference(quality), quality.k
    ndcg = f"ndcg@{k}"
    level = f"{quality.confidence * 100:.4g}%"
    return [
        Tile(f"{number(row, ndcg):.3f}", f"NDCG@{k}", f"{level}: {number(row, ndcg + '_low'):.3f} to "
             f"{number(row, ndcg + '_high'):.3f}"),
        Tile(f"{number(gap, 'mean'):+.3f}", "against the best baseline", quality.baseline),
        Tile(percent(number(row, f"hit@{k}")), "of users with a hit", f"among the first {k} items"),
        Tile(percent(quality.recall), "of what was chosen", f"is among {quality.candidates:.0f} candidates"),
        Tile(counted(sum(data.events.values())), "events", f"{counted(data.users)} users, {counted(data.items)} items"),
    ]  # fmt: skip


def render_page(report: Report, version: str | None = None, drawn: Mapping[str, bytes] | None = None) -> str:
    """HTML, in which every text from the data is escaped; drawn: what `draw` gave, where it is at hand."""
    from jinja2 import Environment, StrictUndefined  # noqa: PLC0415 - training alone makes pages

    images = {name: base64.b64encode(image).decode() for name, image in (drawn or draw(report)).items()}
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"cell": cell, "day": day, "moment": moment, "numeric": numeric, "several": several}
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(version=version, report=report, tiles=tiles(report), parts=parts(report), images=images)


def cell(value: Cell) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4f}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else value


def numeric(value: Cell) -> bool:
    return isinstance(value, int | float | None)


def day(time: int) -> str:
    return datetime.fromtimestamp(time / 1000, UTC).strftime("%Y-%m-%d")


def moment(time: int) -> str:
    return datetime.fromtimestamp(time / 1000, UTC).strftime("%Y-%m-%d %H:%M")
