"""Types of events: the meaning of the words in a log."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa

from recsys.data.layout.columns import plain
from recsys.schema import EVENT_TYPES, PURCHASE, UNKNOWN

IGNORED: Final = -2
"""The code of rows to leave out."""
CODES: Final[Mapping[str, int]] = {**{name: code for code, name in enumerate(EVENT_TYPES)}, "ignore": IGNORED}
"""The code of each meaning."""

WORDS: Final[Mapping[str, str]] = {
    "view": "view views viewed pageview productview viewproduct viewitem itemview viewcontent productviewed detail "
    "detailview productdetail productdetailview viewdetail click clicks clicked clk pv browse visit open itemclick "
    "selectitem productclick productclicked clickitem clickproduct favourite "
    "favorite fav wishlist addtowishlist addtofavorites addtofavourites collect like",
    "addtocart": "addtocart cart carted carts basket addtobasket addtobag atc basketadd cartadd productaddedtocart "
    "addedtocart additemtocart productadded",
    "transaction": "transaction transactions purchase purchases purchased buy buys bought order orders ordered sale "
    "sales ordercompleted orderplaced productpurchased conversion paid payment",
    "ignore": "removefromcart removedfromcart removecart cartremove deletefromcart removefrombasket basketremove "
    "productremoved removefromwishlist refund refunded return returned cancel cancelled canceled sessionstart "
    "firstvisit scroll userengagement login logout signup search viewsearchresults viewitemlist viewcart "
    "begincheckout addshippinginfo addpaymentinfo productlistviewed productlistfiltered viewcategory categoryviewed "
    "productssearched searchperformed cartviewed checkoutstarted initiatecheckout checkoutstep checkoutstepviewed "
    "checkoutstepcompleted paymentinfoentered orderrefunded ordercancelled ordercanceled promotionviewed "
    "promotionclicked viewpromotion selectpromotion couponentered couponapplied cartshared productshared "
    "checkoutprogress",
}
"""Customary words of each meaning; see `columns.plain`."""
GENERAL: Final = (
    *("pageview", "pageviewed", "pageviews", "pv", "visit", "browse", "open", "click", "clicks", "clicked", "clk"),
)
"""Words of views that may be views of something else than items; see `in_context`."""
CHECKOUT: Final = "checkout"
"""A word for a purchase in one log, and for a step before it in another."""
MOSTLY: Final = 0.5
"""Least fraction of rows without an item that tells that a word of GENERAL is no view of an item."""
MEANINGS: Final[Mapping[str, int]] = {word: CODES[name] for name, words in WORDS.items() for word in words.split()}


@dataclass(frozen=True, slots=True)
class EventWords:
    """The meaning of each word.

    every: the code of all rows, for a log without a column of types; else None
    given: codes of the words that the settings name, by the word in lower case without spaces around it
    """

    every: int | None = None
    given: Mapping[str, int] = field(default_factory=dict)

    def code(self, word: str) -> int:
        """The code of a word: a position in EVENT_TYPES, IGNORED, or UNKNOWN."""
        return self.given.get(word.strip().casefold(), MEANINGS.get(plain(word), UNKNOWN))

    def codes(self, texts: pa.Array) -> tuple[np.ndarray, dict[str, int]]:
        """The code of each text, int8 (n,), and the number of rows of each known word."""
        coded = texts.dictionary_encode()
        words = coded.dictionary.to_pylist()
        codes = np.asarray([self.code(word) for word in words], np.int8)
        index = coded.indices.to_numpy()
        counts = np.bincount(index, minlength=len(words)).tolist()
        known = {word: n for word, code, n in zip(words, codes, counts, strict=True) if code != UNKNOWN}
        return codes[index] if len(words) else np.zeros(0, np.int8), known


def words_of(types: str | Mapping[str, str] | None) -> EventWords:
    """The meanings that `data.events.types` states, beside the customary words."""
    if isinstance(types, str):
        return EventWords(CODES[types])
    return EventWords(None, {word.strip().casefold(): CODES[name] for word, name in (types or {}).items()})


def in_context(words: EventWords, texts: pa.Array, without_item: np.ndarray) -> EventWords:
    """The meanings with those of words that only the other rows tell.

    A word of GENERAL is ignored where most of its rows have no item. `checkout` is ignored where another word is a
    purchase. Words that the settings name keep their meaning.
    texts: words of the first rows, without_item: where these have no item, bool (n,)
    """
    rows = pl.DataFrame({"word": pl.Series(texts, dtype=pl.String), "without": without_item})
    lacking = dict(rows.group_by("word").agg(pl.mean("without")).iter_rows())
    bought = any(words.code(word) == PURCHASE for word in lacking)
    ignored = {
        word.strip().casefold(): IGNORED
        for word, fraction in lacking.items()
        if (plain(word) in GENERAL and fraction > MOSTLY) or (plain(word) == CHECKOUT and bought)
    }
    return replace(words, given=ignored | dict(words.given))


def meaning(code: int) -> str:
    """The name of a code that is not UNKNOWN."""
    return "ignore" if code == IGNORED else EVENT_TYPES[code]
