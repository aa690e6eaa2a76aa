"""A report's numbers, from which its page and its figures are made: a version's report.json."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import ValidationError, create_model

from recsys.errors import RegistryError
from recsys.report.contents import section_specs
from recsys.report.head import Head
from recsys.report.section import Numbers, Section, SectionSpec
from recsys.schema import Config

REPORT: Final = "report.json"
PAGE: Final = "report.html"


@dataclass(frozen=True, slots=True)
class Report:
    """One training run; numbers: by the name of the section, without sections that do not apply to the run."""

    head: Head
    numbers: Mapping[str, Config]

    def get(self, spec: SectionSpec[Numbers]) -> Numbers:
        """The numbers of a section; raises KeyError where the report lacks it."""
        numbers = self.numbers[spec.name]
        if not isinstance(numbers, spec.numbers):
            raise KeyError(f"section {spec.name}: expected {spec.numbers}, found {type(numbers)}")
        return numbers

    def sections(self) -> list[tuple[SectionSpec[Any], Section]]:
        """The sections that the report has, in the order of the page."""
        present = (spec for spec in section_specs() if spec.name in self.numbers)
        return [(spec, spec.section(self.numbers[spec.name])) for spec in present]

    def to_json(self) -> str:
        """The content of report.json."""
        return _file().model_validate({"head": self.head, "sections": dict(self.numbers)}).model_dump_json()


def parse(text: str, place: str) -> Report:
    """The report in a version's report.json; place: its path, for the error.

    A report may lack a section that was added later. Raises RegistryError, one line, where the text is no report of
    this release.
    """
    try:
        file: Any = _file().model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "top level"
        raise RegistryError(f"{place} is no report of this release: {where}: {first['msg']}") from error
    return Report(file.head, {name: numbers for name, numbers in file.sections if numbers is not None})


def _file() -> type[Config]:
    """The model of the file: the head, and a field for each section, None where the report lacks it."""
    fields: dict[str, Any] = {spec.name: (spec.numbers | None, None) for spec in section_specs()}
    sections = create_model("Sections", __base__=Config, **fields)
    return create_model("File", __base__=Config, head=(Head, ...), sections=(sections, ...))
