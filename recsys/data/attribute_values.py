"""Texts of a column to the values of an attribute, and the kind of attribute that they look like. No Ray."""

import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from recsys.data.attributes import TAG_BREAK, Kind
from recsys.data.layout.dates import local_times

SAMPLE: Final = 20_000
"""Values, at most, from which a kind is found."""
MOSTLY: Final = 0.95
"""Fraction of the values that must have the form of a kind."""
LISTED: Final = 0.1
"""Fraction of the values that must have several tags."""
SPARED: Final = 0.5
"""Tags are worth their name if they are fewer than this fraction of the different lists, or of the values."""
LONGEST_LABEL: Final = 100
"""Characters of a label; longer texts are prose."""
SEPARATORS: Final = "|;,"
"""Separators of tags, the most telling first."""
FEWEST_DIMENSIONS: Final = 4
"""Numbers that a list needs to look like a vector."""
LARGEST: Final = float(np.finfo(np.float32).max)
"""The largest number of a vector."""
DecimalSign = Literal[".", ","]
UNCERTAIN: Final = r"^[+-]?[1-9]\d{0,2}[.,]\d{3}$"
"""Numbers such as 1,250, whose comma or point may be the decimal sign or part thousands."""

TITLES: Final = (
    *("title", "name", "productname", "prodname", "itemname", "producttitle", "itemtitle", "displayname"),
    *("articlename", "lineitemname", "description", "shortdescription", "productdescription", "detaildesc"),
)
IMAGES: Final = (
    *("image", "imageurl", "imagelink", "imageaddress", "img", "imgurl", "mainimage", "picture", "pictureurl"),
    *("photo", "photourl", "thumbnail", "thumbnailurl"),
)
"""TITLES, IMAGES: customary names of the texts that are shown, the most telling first; see `plain`."""
ADDRESSES: Final = ("url", "link", "href", "uri", "producturl", "productlink", "itemurl")
"""Customary names of texts that are neither shown nor learned from."""
CODED: Final = re.compile(
    r"(^|[_\W])(id|no|nr|code|key|num|index)$|(?<=[a-z])(Id|ID|No|Code|Key)$"
    r"|(?i:class|categor|brand|group|type|manufact|depart|segment|section|aisle|family|supplier|vendor|seller|colou?r)"
)
"""Names of columns whose whole numbers are codes, such as `brand_id` and `colour_group`."""


def plain(name: str) -> str:
    """The name in lower case without anything but letters and digits: `Product Name` is `productname`.

    Of a nested column such as `item.name` it is the last part.
    """
    return re.sub(r"[\W_]+", "", name.rpartition(".")[2].casefold())


def kind_of(name: str, texts: pa.Array) -> Kind | None:
    """The kind that a column looks like; None for prose, addresses, dates and columns without a value.

    texts: strings, null where missing
    """
    if plain(name) in (*TITLES, *IMAGES):
        return "text"
    known = texts.drop_null()
    step = max(1, len(known) // SAMPLE)
    sample = known.take(pa.array(np.arange(0, len(known), step)))
    if plain(name) in ADDRESSES or not len(sample):
        return None
    if vectors_of(sample) is not None:
        return "vector"
    if numbers := _kind_of_numbers(name, numbers_of(sample)):
        return numbers
    if separator_of(sample) is not None:
        return "tags"
    is_prose = pc.mean(pc.utf8_length(sample)).as_py() > LONGEST_LABEL
    return None if is_prose or _are_dates(sample) else "category"


def _kind_of_numbers(name: str, numbers: pa.Array) -> Literal["number", "category"] | None:
    """The kind of a column of numbers; None if most texts are no numbers."""
    if len(numbers) - numbers.null_count < MOSTLY * len(numbers):
        return None
    whole = pc.all(pc.equal(pc.floor(numbers), numbers)).as_py()
    return "category" if whole and CODED.search(name) else "number"


def _are_dates(texts: pa.Array) -> bool:
    """Whether most texts are dates, with or without a time of day."""
    series = pl.Series(texts, dtype=pl.String)
    known = [local_times(series, form).known for form in ("ymd", "dmy", "mdy", "day name", "name day")]
    return bool(np.any(known, axis=0).mean() >= MOSTLY)


def decimal_of(texts: pa.Array) -> DecimalSign:
    """The decimal sign of most of the numbers that have one for certain, else the point; see `numbers_of`."""
    amounts = _amounts(texts)
    commas, points = (amounts.str.contains(_certain(*signs)).sum() for signs in (",.", ".,"))
    return "," if commas > points else "."


def numbers_of(texts: pa.Array, decimal: DecimalSign | None = None) -> pa.Array:
    """The numbers, float64, null for other texts and where the text is null.

    Read are `12.5`, `1,234.50`, `12,50`, `1 234,50`, amounts with a sign of a currency such as `$12` and `12 €`, and
    numbers as Retailrocket writes them, `n12.500`.
    decimal: that of numbers such as `1,250` and `1.250`, which do not tell; None: that of these texts
    """
    comma_is_decimal = (decimal or decimal_of(texts)) == ","
    text = pl.col("text")
    comma = text.str.contains(_certain(",", ".")) | (text.str.contains(UNCERTAIN) & comma_is_decimal)
    grouped = ~comma & text.str.contains(r"^[+-]?\d{1,3}(,\d{3})+(\.\d+)?$")
    cleaned = (
        pl.when(comma)
        .then(text.str.replace_all(".", "", literal=True).str.replace(",", ".", literal=True))
        .when(grouped)
        .then(text.str.replace_all(",", "", literal=True))
        .otherwise(text.str.replace(r"^n(-?\d)", "$1"))
    )
    frame = pl.DataFrame({"text": _amounts(texts)})
    values = frame.select(cleaned.cast(pl.Float64, strict=False).alias("value"))
    finite = values.select(pl.when(pl.col("value").is_finite()).then(pl.col("value")))
    return finite["value"].to_arrow()


def _amounts(texts: pa.Array) -> pl.Series:
    """The texts without signs of currencies, and without blanks and apostrophes between groups of three digits."""
    series = pl.Series(texts, dtype=pl.String).str.strip_chars().str.replace_all(r"[$€£¥₹]", "")
    series = series.str.strip_chars().str.replace(r"\s?[A-Z]{3}$", "")
    grouped = series.str.contains(r"^[+-]?\d{1,3}(?:[\s'\u2019]\d{3})+(?:[.,]\d+)?$").fill_null(False)
    return series.zip_with(~grouped, series.str.replace_all(r"[\s'\u2019]", "")) if grouped.any() else series


def _certain(decimal: str, group: str) -> str:
    """The pattern of numbers whose decimal sign can be no other: for the comma `0,5`, `12,50` and `1.234,50`."""
    point, comma = re.escape(decimal), re.escape(group)
    parts = (
        rf"\d+{point}(?:\d{{1,2}}|\d{{4,}})",
        rf"(?:0\d*|\d{{4,}}){point}\d+",
        rf"\d{{1,3}}(?:{comma}\d{{3}})+{point}\d+",
        rf"\d{{1,3}}(?:{comma}\d{{3}}){{2,}}",
    )
    return rf"^[+-]?(?:{'|'.join(parts)})$"


def separator_of(texts: pa.Array) -> str | None:
    """The separator of the lists in these texts, "[" for JSON; None if they are no lists. texts: without nulls"""
    if _fraction(pc.starts_with(texts, "[")) >= MOSTLY and _json_lists(texts) is not None:
        return "["
    distinct = texts.unique()
    for separator in SEPARATORS:
        if _fraction(pc.match_substring(texts, separator)) < LISTED:
            continue
        tags = pc.split_pattern(distinct, separator).flatten()
        n_tags = len(pc.utf8_trim_whitespace(tags).unique())
        short = pc.mean(pc.utf8_length(tags)).as_py() <= LONGEST_LABEL / 4
        spared = 1.0 if separator == SEPARATORS[0] else SPARED
        if short and n_tags < spared * max(len(distinct), len(texts) // 10):
            return separator
    return None


def tags_of(texts: pa.Array) -> pa.Array:
    """The tags of each text, separated by TAG_BREAK, null where there is none; see `separator_of`.

    A text without a separator is one tag.
    """
    known = texts.drop_null()
    separator = separator_of(known)
    if separator is None and (counts := {one: _count(known, one) for one in SEPARATORS if _count(known, one)}):
        separator = max(counts, key=lambda one: counts[one])
    if separator is None and len(known) and _fraction(pc.starts_with(known, "[")) >= MOSTLY:
        separator = "["

    def parse(text: str) -> str | None:
        parts: Sequence[Any] = [text]
        if separator == "[":
            parts = _json_list(text) or []
        elif separator is not None:
            parts = text.split(separator)
        words = [" ".join(str(part).split()) for part in parts if part is not None]
        return TAG_BREAK.join(dict.fromkeys(filter(None, words))) or None

    return _each(texts, parse)


def labels_of(texts: pa.Array) -> pa.Array:
    """The labels without blanks at their ends; a whole number such as `7.0` becomes `7`."""
    trimmed = pc.utf8_trim_whitespace(texts)
    return pc.replace_substring_regex(trimmed, r"^(-?\d+)\.0+$", r"\1")


def vectors_of(texts: pa.Array, *, certain: bool = False) -> np.ndarray | None:
    """The vectors, float32 (n, n_dimensions), NaN for other texts and nulls; None if the texts are no vectors.

    A vector is a JSON list of numbers, or numbers with blanks between them. Those of another length than most are no
    vectors.
    certain: whether a short vector, or vectors of whole numbers, are vectors too
    """
    known = texts.drop_null()
    if all(_vector(text) is None for text in known[:100].to_pylist()):
        return None
    rows = [None if text is None else _vector(text) for text in texts.to_pylist()]
    lengths = Counter(len(row) for row in rows if row is not None)
    length = max(lengths, key=lambda size: (lengths[size], size))
    if length < (1 if certain else FEWEST_DIMENSIONS):
        return None
    matrix = np.full((len(texts), length), np.nan, np.float32)
    for number, row in enumerate(rows):
        if row is not None and len(row) == length:
            matrix[number] = row
    readable = np.isfinite(matrix).all(axis=1)
    whole = (matrix[readable] == np.round(matrix[readable])).all()
    return matrix if readable.sum() >= MOSTLY * len(known) and (certain or not whole) else None


def _vector(text: str) -> np.ndarray | None:
    """The numbers of a list, float64 (n_dimensions,); None for another text, and for numbers beyond float32."""
    values: Any = _json_list(text) if text.lstrip().startswith("[") else text.split()
    try:
        row = np.array(values or [], np.float64)
    except (TypeError, ValueError, OverflowError):
        return None
    return row if row.ndim == 1 and len(row) and (np.abs(row) <= LARGEST).all() else None


def _json_lists(texts: pa.Array) -> list[list[Any]] | None:
    """The lists of the first texts; None if one of these is no list."""
    lists = [_json_list(text) for text in texts[:200].to_pylist()]
    known = [one for one in lists if one is not None]
    return known if len(known) == len(lists) else None


def _json_list(text: str) -> list[Any] | None:
    """The JSON list, or the list in single quotes as Python writes it; None for another text."""
    for spelled in (text, text.replace("'", '"')):
        try:
            value = json.loads(spelled)
        except (ValueError, RecursionError):
            continue
        return value if isinstance(value, list) else None
    return None


def _each(texts: pa.Array, parse: Callable[[str], str | None]) -> pa.Array:
    """The result for each text, computed once for equal texts; null for null."""
    coded = texts.dictionary_encode()
    results = pa.array([parse(text) for text in coded.dictionary.to_pylist()], pa.string())
    return results.take(coded.indices)


def _count(texts: pa.Array, separator: str) -> int:
    """The number of texts with this separator."""
    return int(pc.sum(pc.match_substring(texts, separator)).as_py() or 0)


def _fraction(mask: pa.Array) -> float:
    return float(pc.mean(mask.cast(pa.int8())).as_py() or 0.0)
