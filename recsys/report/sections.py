"""Parts of a page, whatever they are about."""

from collections.abc import Sequence
from dataclasses import dataclass

from recsys.report.content import Person
from recsys.report.drawing import Picture

Cell = str | int | float | None


@dataclass(frozen=True, slots=True)
class Table:
    """Exact numbers. Numbers are set to the right, floats with four digits, None as a dash."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]


@dataclass(frozen=True, slots=True)
class Section:
    """name: of its place in the page; says: what one sees, in a sentence or two; where it has neither figure, table nor
    person it is said that there is nothing
    """

    name: str
    title: str
    says: str
    pictures: Sequence[Picture] = ()
    tables: Sequence[Table] = ()
    people: Sequence[Person] = ()


@dataclass(frozen=True, slots=True)
class Part:
    """Sections under one heading."""

    title: str
    sections: Sequence[Section]
