"""The settings of the synthetic shop: published counts and planted behaviour."""

from dataclasses import dataclass
from typing import Final

from pydantic import Field

from recsys.errors import ConfigError
from recsys.schema import DAY, Config

START: Final = 1_430_622_004_384
"""The first moment of the log, ms: 2015-05-03 03:00:04 UTC."""
DAYS: Final = 138
END: Final = START + DAYS * DAY
"""The end of the log, ms. Every event is at START or later, and before END."""
WEEKS: Final = -(-DAYS // 7)

CATEGORIES: Final = 1_669
ROOTS: Final = 25


@dataclass(frozen=True, slots=True)
class Shape:
    """Numbers of rows. The defaults are those that Retailrocket published with the data set (scale 1)."""

    views: int = 2_664_312
    carts: int = 69_332
    purchases: int = 22_457
    visitors: int = 1_407_580
    items: int = 235_061
    """Items with events."""
    catalogue: int = 417_053
    """Items with properties; includes all items with events."""
    properties: int = 20_275_902
    category_rows: int = 788_214
    available_rows: int = 1_503_639

    @classmethod
    def scaled(cls, scale: float) -> "Shape":
        """Every number times `scale`. Raises ConfigError if the scale is not from 0.005 to 100."""
        if not 0.005 <= scale <= 100:
            raise ConfigError(f"synthetic scale {scale:g}: expected 0.005 to 100 (1 is Retailrocket's size)")
        base = cls()
        return cls(**{name: round(getattr(base, name) * scale) for name in cls.__dataclass_fields__})

    @property
    def events(self) -> int:
        """The number of events."""
        return self.views + self.carts + self.purchases


class Behaviour(Config):
    """The behaviour of visitors and goods. A changed value makes every recorded comparison with the oracle void."""

    cell_size: float = Field(40, gt=1, description="items of one category and style, on average")
    leaf_size: float = Field(30, gt=1, description="fewest items a leaf category has on average (small shops)")
    leaf_spread: float = Field(0.8, ge=0, description="sigma of the lognormal sizes of leaf categories")
    popularity_spread: float = Field(0.9, ge=0, description="sigma of the lognormal weight of items")
    cell_spread: float = Field(0.8, ge=0, description="sigma of the lognormal appeal of cells to visitors")
    conversion_spread: float = Field(1.3, ge=0, description="sigma of the lognormal purchase rate per view")
    drift_spread: float = Field(0.4, ge=0, description="sigma of the log change of an item over the period")
    born_fraction: float = Field(0.28, ge=0, le=1, description="items that enter the shop during the period")
    moved_fraction: float = Field(0.05, ge=0, le=1, description="items that change category, and so customers")
    staple_fraction: float = Field(0.12, ge=0, le=1, description="leaf categories whose goods are bought again")

    outage_rate: float = Field(0.03, ge=0, le=1, description="chance a week of going out of stock")
    restock_rate: float = Field(0.2, ge=0, le=1, description="chance a week of coming back")
    outage_views: float = Field(0.15, ge=0, le=1, description="views of an item out of stock, relative")

    shelf_fraction: float = Field(0.14, ge=0, le=1, description="views that come from the bestseller shelf")
    shelf_head: float = Field(2, ge=0, description="offset r0 of the shelf's Zipf law (rank + r0)^-s")
    shelf_exponent: float = Field(1.3, gt=1, description="exponent s of that law")

    shopper_fraction: float = Field(0.03, gt=0, lt=1, description="shoppers (who come back), per visitor")
    shopper_lead: float = Field(100, ge=0, description="days before the log in which shoppers already arrive")
    shopper_life: float = Field(45, gt=0, description="mean days a shopper stays (exponential)")
    session_rate: float = Field(0.1, gt=0, description="median sessions a day of a shopper")
    session_rate_spread: float = Field(1.1, ge=0, description="sigma of the lognormal session rates")
    session_views: float = Field(3.5, ge=1, description="mean views of a shopper's session (geometric)")
    novelty: float = Field(0.9, ge=0, le=1, description="views of goods seen in earlier sessions that are passed over")
    tastes: float = Field(1, ge=0, description="mean tastes (cells) beyond the first of a shopper of median rate")
    taste_limit: int = Field(20, ge=1, description="most tastes a visitor has")

    return_fraction: float = Field(0.14, ge=0, le=1, description="casual visitors who come once more")
    return_days: float = Field(12, gt=0, description="mean days until they do (exponential)")
    casual_propensity: float = Field(0.04, ge=0, description="purchases per view of a casual visitor, to a shopper's")
    propensity_spread: float = Field(0.8, ge=0, description="sigma of the lognormal propensity of shoppers")

    immediate_fraction: float = Field(0.35, ge=0, le=1, description="purchases made in the session of the intent")
    pending_days: float = Field(10, gt=0, description="mean days until the other purchases (exponential)")
    pending_carted: float = Field(0.8, ge=0, le=1, description="pending intents put in the cart at once")
    switch_fraction: float = Field(0.9, ge=0, le=1, description="purchases made days later of another item of the cell")
    repeat_fraction: float = Field(0.35, ge=0, lt=1, description="purchases of staples that are repeated")
    repeat_days: float = Field(21, gt=0, description="mean days between them (gamma)")
    repeat_shape: float = Field(4, gt=0, description="shape of that gamma distribution")
    repeat_limit: int = Field(6, ge=0, description="most repeats of one purchase")


BEHAVIOUR: Final = Behaviour()
