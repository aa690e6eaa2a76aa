"""The sections of a report by name, in the order of the page. A new section is a module and a word here."""

from typing import Any, Final

from recsys.plugins import Registry
from recsys.report.section import SectionSpec

SECTIONS: Final[Registry[SectionSpec[Any]]] = Registry("section of the report")

for _name in (
    "days",
    "funnel",
    "spread",
    "items",
    "input_quality",
    "baselines",
    "groups",
    "discovery",
    "sessions",
    "lists",
    "classifier",
    "calibration",
    "features",
    "ablation",
    "candidates",
    "blend",
    "sizes",
    "sweep",
    "examples",
):
    SECTIONS.add(_name, f"recsys.report.sections.{_name}:SECTION")


def section_specs() -> list[SectionSpec[Any]]:
    """All kinds of section, in order."""
    return [SECTIONS[name] for name in SECTIONS.names]
