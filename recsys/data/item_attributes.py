"""Rows of attributes, as texts, to the attributes of a shop's items. No Ray."""

from collections.abc import Iterable, Mapping
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys.data.attribute_values import IMAGES, TITLES, kind_of, labels_of, numbers_of, plain, tags_of, vectors_of
from recsys.data.attributes import Attributes, Kind, Labels, Learned, Numbers, Texts, Vectors, usable
from recsys.data.changes import Records
from recsys.data.layout.attributes import AttributeColumn
from recsys.schema import ITEM, PROPERTY, TIME, VALUE

TITLE: Final = "title"
IMAGE: Final = "image"
NO_VALUE: Final = "no item of the shop has a value (ids are compared as they are written: 007 is not 7)"
ROUNDED: Final = "its numbers have more digits than the seven that are kept"
PICTURE: Final = r"(?i)^(https?://|/|\.).*\.(png|jpe?g|gif|webp|svg|avif)([?#]|$)"
"""The form of addresses of images, for texts whose name does not tell."""


def build_attributes(
    rows: pa.Table, columns: Mapping[str, AttributeColumn], n_items: int, max_attributes: int
) -> Attributes:
    """The attributes of all items, and the reason for each that is left out.

    rows: ITEM (int32 codes), TIME (ms), PROPERTY (a key of `columns`), VALUE (text); columns: attributes by their key
    n_items: number of all items; max_attributes: of those that models read
    """
    learned: list[Learned] = []
    texts: dict[str, list[tuple[int, AttributeColumn, Records]]] = {TITLE: [], IMAGE: []}
    problems: dict[str, str] = {}
    unread: dict[str, int] = {}
    for key, column in columns.items():
        own = rows.filter(pc.equal(rows[PROPERTY], key))
        records = Records(own[ITEM].to_numpy(), own[TIME].to_numpy(), own[VALUE].combine_chunks())
        kind = column.kind or kind_of(column.column, records.values)
        if not len(own):
            problems[column.name] = NO_VALUE
        elif kind is None:
            problems[column.name] = "its texts are neither labels nor a title or an address of an image"
        elif kind == "text":
            role = _role(column.column, records.values)
            texts[role].append((_rank(column.column), column, records))
        else:
            built, missing = _built(column.name, kind, records)
            if isinstance(built, str):
                problems[column.name] = built
            else:
                learned.append(built)
                unread |= {column.name: missing} if missing else {}
    shown: list[Texts] = []
    for role, candidates in texts.items():
        for place, (_, column, records) in enumerate(sorted(candidates, key=lambda one: one[0])):
            if place:
                problems[column.name] = f"only one {role} is shown"
            else:
                shown.append(Texts.build(role, records))
    kept = usable(learned, shown, n_items)
    problems |= kept.left_out or {}
    beyond = kept.learned[max_attributes:]
    problems |= {one.name: f"data.items.max_attributes is {max_attributes}" for one in beyond}
    used = kept.learned[:max_attributes]
    unread = {one.name: unread[one.name] for one in used if one.name in unread}
    return Attributes(used, kept.texts, problems, unread)


def _built(name: str, kind: Kind, records: Records) -> tuple[Learned | str, int]:
    """The attribute of these texts, or the reason why there is none, and the number of texts that cannot be read."""
    if kind == "number":
        numbers = numbers_of(records.values)
        if _is_rounded(numbers):
            return ROUNDED, 0
        return Numbers.build(name, Records(records.items, records.times, numbers)), numbers.null_count
    if kind == "category":
        return Labels.build(name, kind, Records(records.items, records.times, labels_of(records.values))), 0
    if kind == "tags":
        return Labels.build(name, kind, Records(records.items, records.times, tags_of(records.values))), 0
    matrix = vectors_of(records.values, certain=True)
    if matrix is None:
        return "its values are not vectors of the same length", 0
    missing = int(np.isnan(matrix).any(axis=1).sum())
    return Vectors.build(name, records.items, records.times, matrix), missing


def _is_rounded(numbers: pa.Array) -> bool:
    """Whether float32 makes most of the different numbers equal, as it does with times in seconds."""
    exact = np.unique(numbers.drop_null().to_numpy())
    return 2 * len(np.unique(exact.astype(np.float32))) < len(exact)


def _role(column: str, values: pa.Array) -> str:
    """Whether a text is the title or the address of the image."""
    if plain(column) in IMAGES:
        return IMAGE
    if plain(column) in TITLES or not len(values):
        return TITLE
    pictures = pc.match_substring_regex(values, PICTURE)
    return IMAGE if np.mean(pictures.to_numpy(zero_copy_only=False)) > 0.5 else TITLE


def _rank(column: str) -> int:
    """The position of a column among the customary names of its role; those without one come first: they are chosen."""
    for names in (TITLES, IMAGES):
        if plain(column) in names:
            return names.index(plain(column))
    return -1


def described(attributes: Attributes) -> Iterable[str]:
    """A text for each attribute that is used: its name and its kind."""
    yield from (f"{one.name} ({one.kind})" for one in attributes.learned)
    yield from (f"{text.name} (text)" for text in attributes.texts)
