"""Columns of lists and objects, which hold no ids, and event types whose items stand in such lists."""

import json
from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa

from recsys.data.layout.columns import customary
from recsys.data.layout.rules import EventRules
from recsys.data.layout.types import IGNORED, meaning
from recsys.data.layout.unclear import GUIDE
from recsys.schema import UNKNOWN

SAMPLE: Final = 100
"""Values of a column that are looked at."""
MOSTLY: Final = 0.9
"""Least fraction of values that are lists or objects in such a column."""
ALMOST_ALL: Final = 0.95
"""Least fraction of rows of an event type without an item that is named."""
CONVERT: Final = f"write one row for each item first, {GUIDE}"


def is_nested(texts: pa.Array) -> bool:
    """Whether these texts are lists or objects in JSON. Blank ones and empty lists do not count."""
    values = _sample(texts)
    return bool(values) and sum(isinstance(_parsed(text), list | dict) for text in values) >= MOSTLY * len(values)


def item_key(texts: pa.Array) -> str | None:
    """The key of the items' ids in lists of objects, such as `item_id`; None for other texts."""
    for text in _sample(texts):
        value = _parsed(text)
        first = value[0] if isinstance(value, list) and value else value
        if isinstance(first, dict):
            return next(iter(customary(list(first), "item")), None)
    return None


def item_list(rows: pa.Table) -> str | None:
    """A column whose lists hold the items of an event, and its key, in words; None if there is none."""
    for name in dict.fromkeys(rows.column_names):
        texts = rows[name].combine_chunks()
        if is_nested(texts) and (key := item_key(texts)) is not None:
            return f"column {name!r} holds lists of items ({key}); {CONVERT}"
    return None


def types_without_items(rows: pa.Table, rules: EventRules) -> tuple[str, ...]:
    """A sentence for each type of event, of those that count, whose rows lack an item; rows: the first rows."""
    names = rules.names
    if names.event is None:
        return ()
    words = pl.Series(rows[names.event].combine_chunks(), dtype=pl.String)
    lacking = np.asarray(rules.blanks.mask(rows[names.item].combine_chunks()))
    sentences = []
    for word in words.unique(maintain_order=True):
        own = (words == word).to_numpy()
        code = rules.words.code(word)
        if code not in (IGNORED, UNKNOWN) and lacking[own].mean() >= ALMOST_ALL:
            number = "every row" if lacking[own].all() else f"{lacking[own].mean():.0%} of the rows"
            text = f"{number} of {word!r} ({meaning(code)}) lacks {names.item}"
            inner = item_list(rows.filter(pa.array(own)))
            sentences.append(text if inner is None else f"{text}: {inner}")
    return tuple(sentences)


def _sample(texts: pa.Array) -> list[str]:
    given = (text.strip() for text in texts.unique().slice(0, 2 * SAMPLE).to_pylist() if text)
    return [text for text in given if text not in ("", "[]", "{}", "null")][:SAMPLE]


def _parsed(text: str) -> object:
    if text[0] not in "[{":
        return None
    try:
        return json.loads(text)
    except ValueError:
        return None
