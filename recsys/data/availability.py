"""Texts of an availability, such as `1`, `in stock` and the number of pieces. No Ray."""

import re
from collections.abc import Mapping
from typing import Final

import pyarrow as pa

from recsys.data.attribute_values import numbers_of

YES: Final = (
    "true t yes y on active available instock lowstock limited limitedavailability limitedstock preorder presale "
    "backorder backordered madetoorder onlineonly instoreonly"
)
NO: Final = "false f no n off inactive unavailable notavailable outofstock outstock soldout discontinued oos"
"""YES, NO: words of product feeds and of schema.org, in lower case without anything but letters."""
WORDS: Final[Mapping[str, bool]] = {word: word in YES.split() for word in f"{YES} {NO}".split()}


def availability_of(texts: pa.Array) -> pa.Array:
    """Whether the item can be bought, bool (n,), null where a text does not tell; a number above 0 does.

    texts: strings; of an address such as https://schema.org/InStock the last part counts
    """
    coded = texts.dictionary_encode()
    words, numbers = coded.dictionary.to_pylist(), numbers_of(coded.dictionary).to_pylist()
    flags = [_flag(word) if number is None else number > 0 for word, number in zip(words, numbers, strict=True)]
    return pa.array(flags, pa.bool_()).take(coded.indices)


def _flag(word: str) -> bool | None:
    return WORDS.get(re.sub(r"[\W_]+", "", word.strip("/ ").rpartition("/")[2].casefold()))
