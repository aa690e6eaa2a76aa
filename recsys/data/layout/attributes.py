"""The columns and properties of a shop's files that are attributes of items."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain, count

import pyarrow.compute as pc

from recsys.data.attribute_values import kind_of
from recsys.data.attributes import Kind, feature_names
from recsys.data.layout.keys import PREFIX
from recsys.data.layout.rules import Blanks
from recsys.data.layout.tables import TableHead


@dataclass(frozen=True, slots=True)
class AttributeColumn:
    """An attribute in the files.

    name: its name in features and versions; column: the column, or the property in a table of properties
    kind: None if it is found from the values
    """

    name: str
    column: str
    kind: Kind | None = None


def declared(attributes: Mapping[str, Kind]) -> dict[str, AttributeColumn]:
    """The attributes of the settings by their key; attributes: kinds by the name in the files."""
    names = plain_names(attributes)
    return {PREFIX + names[name]: AttributeColumn(names[name], name, kind) for name, kind in attributes.items()}


def detected(
    head: TableHead, used: Iterable[str | None], category: str | None, blanks: Blanks
) -> dict[str, AttributeColumn]:
    """The attributes of a table with a row for each item by their key, from its first rows.

    used: columns with another purpose; category: the column of the category, which is an attribute only if it has tags
    """
    columns = []
    for column in head.clear:
        if column in used:
            continue
        texts = head.head.rows[column].combine_chunks()
        known = texts.filter(pc.invert(blanks(texts)))
        kind = kind_of(column, known)
        likely = kind is not None or not len(known)  # a column that is blank in the first rows may have values later
        if likely and (column != category or kind == "tags"):
            columns.append(column)
    names = plain_names(columns)
    # The first rows tell which columns to read. All values decide about the kind.
    return {PREFIX + names[column]: AttributeColumn(names[column], column) for column in columns}


def plain_names(columns: Iterable[str]) -> dict[str, str]:
    """A name of ASCII letters, digits and _ for each column, all different: `Brand Name` is `brand_name`.

    The names of their features differ too.
    """
    names: dict[str, str] = {}
    features: set[str] = set()
    for number, column in enumerate(columns):
        plain = re.sub(r"[^a-z0-9]+", "_", column.lower()).strip("_") or f"column_{number}"
        numbered = (f"{plain}_{further}" for further in count(number))
        name = next(one for one in chain([plain], numbered) if features.isdisjoint(feature_names(one)))
        features |= set(feature_names(name))
        names[column] = name
    return names
