"""Kinds of section, and the text, figures and tables of one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from recsys.report.drawing import Picture
from recsys.schema import Config

if TYPE_CHECKING:
    from recsys.report.inputs import DataInputs, RunInputs

DATA: Final = "The data"
QUALITY: Final = "Quality of the recommendations"
MODEL: Final = "What the model relies on"
USERS: Final = "Examples"

Cell = str | int | float | None
Numbers = TypeVar("Numbers", bound=Config)


@dataclass(frozen=True, slots=True)
class Table:
    """Exact numbers. Numbers are aligned to the right, floats have four digits, None is a dash."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]


@dataclass(frozen=True, slots=True)
class Section:
    """Text, figures and tables.

    text: one or a few sentences; where there is nothing to draw, they give the reason
    template: name of a Jinja template below `recsys/report` for HTML of the section's own, which sees the section as
    `section`; values: what this template shows
    """

    text: str
    pictures: Sequence[Picture] = ()
    tables: Sequence[Table] = ()
    template: str | None = None
    values: Sequence[Any] = ()


@dataclass(frozen=True, slots=True)
class SectionSpec(Generic[Numbers]):
    """A kind of section: each module in `recsys.report.sections` defines one as SECTION.

    name: as in `contents`; key of its numbers in report.json, and anchor of the section in the page
    chapter: heading above it, one of the constants here or another one
    numbers: the model of its numbers
    collect: takes the numbers from a training run; None leaves the section out
    section: makes text, figures and tables from the numbers alone
    from_data: takes the numbers from the data alone; None for a section that needs a trained ranker
    """

    name: str
    title: str
    chapter: str
    numbers: type[Numbers]
    collect: "Callable[[RunInputs], Numbers | None]"
    section: Callable[[Numbers], Section]
    from_data: "Callable[[DataInputs], Numbers] | None" = None
