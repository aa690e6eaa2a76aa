"""What the files of a source are: the tables by their role, each with the rules by which its rows are read."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from recsys.data.layout.attributes import AttributeColumn
from recsys.data.layout.rules import EventRules, PropertyRules, TreeRules
from recsys.data.layout.tables import Roles
from recsys.data.layout.unclear import Unclear
from recsys.data.layout.votes import Votes
from recsys.data.readers.dialect import Dialect
from recsys.storage.filesystem import File


@dataclass(frozen=True, slots=True)
class EventTable:
    """The files of events.

    names: every column of the files; votes: forms of the times in the first rows
    is_open: whether more values could tell days from months; `rules.times` is not decided then
    """

    files: tuple[File, ...]
    dialect: Dialect
    names: tuple[str, ...]
    rules: EventRules
    votes: Votes
    is_open: bool = False


@dataclass(frozen=True, slots=True)
class PropertyTable:
    """The files of a table of items or of item properties.

    attributes: the attributes that it has, by their key
    from_events: whether the files are those of the events, whose times may be decided later
    """

    files: tuple[File, ...]
    dialect: Dialect
    rules: PropertyRules
    attributes: Mapping[str, AttributeColumn] = field(default_factory=dict)
    from_events: bool = False


@dataclass(frozen=True, slots=True)
class TreeTable:
    """The files of the category tree."""

    files: tuple[File, ...]
    dialect: Dialect
    rules: TreeRules


@dataclass(frozen=True, slots=True)
class Layout:
    """What the files of a source are.

    events: None if `unclear` tells why
    passed_over: what is not read, a text each
    unclear: points that a person has to decide before the source can be read
    columns: the columns of events that are known, by their purpose
    roles: the tables with their first rows
    """

    name: str
    events: EventTable | None
    properties: tuple[PropertyTable, ...] = ()
    tree: TreeTable | None = None
    passed_over: tuple[str, ...] = ()
    unclear: tuple[Unclear, ...] = ()
    roles: Roles = field(default_factory=Roles)
    columns: Mapping[str, str] = field(default_factory=dict)
