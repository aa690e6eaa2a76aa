"""The definitions of all ranker features, in the order of their columns.

`build` computes them, and a version lists the features of its ranker.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from recsys.data.attributes import AttributeSpec
from recsys.features.statistics import CATEGORY_COLUMNS, ITEM_COLUMNS
from recsys.schema import EVENT_TYPES

Group = Literal["user", "item", "category", "user-item", "user-category", "time", "candidate", "attribute"]


@dataclass(frozen=True, slots=True)
class Feature:
    """One column of the feature matrix.

    meaning: a short description for people
    kind: `number` (NaN: not applicable) or `category` (a code; NaN: unknown)
    """

    name: str
    group: Group
    meaning: str
    kind: Literal["number", "category"] = "number"


SPEEDS: Final = ("fast", "medium", "slow")
"""Names of the decays, in the order of `InteractionConfig.half_lives_days`."""

_USER = {
    "user_events": "events so far",
    "user_purchases": "purchases so far",
    "user_purchase_rate": "purchases per event",
    "user_items": "distinct items",
    "user_categories": "distinct categories",
    "user_recent_events": "events, decayed with the medium half-life",
    "user_days_idle": "days since the last event",
    "user_days_known": "days since the first event",
    "user_repeat_fraction": "fraction of the bought items that were bought again on another day",
    "user_session_events": "events of the newest session",
}
_TIME = {
    "last_hour": "hour of day (UTC) of the user's last event",
    "last_weekday": "day of week of the user's last event, 0 = Thursday, the day of 1970-01-01",
    "last_weekend": "1 where the last event fell on Saturday or Sunday",
}
_ITEM = {
    "item_views": "views so far",
    "item_carts": "add-to-carts so far",
    "item_purchases": "purchases so far",
    "item_recent_views": "views in the recent window",
    "item_recent_carts": "add-to-carts in the recent window",
    "item_recent_purchases": "purchases in the recent window",
    "item_popularity": "weighted events, decayed",
    "item_purchase_popularity": "purchases, decayed",
    "item_cart_rate": "add-to-carts per view, smoothed",
    "item_purchase_rate": "purchases per view, smoothed",
    "item_days_known": "days since the first event",
    "item_trend": "fraction of the events in the recent window, divided by the fraction expected at a constant rate",
    "item_repeat_fraction": "fraction of the buyers who bought again, smoothed",
    "item_category_fraction": "fraction of the category's decayed events that are on the item",
}
_CATEGORY = {
    "category_views": "views of the item's category",
    "category_purchases": "purchases in the item's category",
    "category_popularity": "weighted events of the category, decayed",
    "category_purchase_rate": "purchases per event of the category, smoothed",
    "category_items": "items of the category with events",
}
_PAIR = {
    **{f"pair_{name}s": f"{name} events of the user on the item" for name in EVENT_TYPES},
    **{f"pair_weight_{speed}": f"weighted events on the item, {speed} decay" for speed in SPEEDS},
    **{f"pair_fraction_{speed}": f"fraction of the user's weighted events, {speed} decay" for speed in SPEEDS},
    "pair_bought": "purchases of the item, slow decay",
    "pair_rank": "rank of the item among the user's items by weighted events, slow decay",
    "pair_last_rank": "rank of the item among the user's items by time of the last event",
    **{f"pair_days_since_{name}": f"days since the user's last {name} of the item" for name in EVENT_TYPES},
    "pair_purchase_days": "distinct days on which the user bought the item",
    "pair_due": "days since the last purchase over the mean interval between purchase days",
    "pair_cart_open": "1 where the item was put into the cart after its last purchase",
    "pair_in_session": "1 where the item occurs in the newest session",
}
_AFFINITY = {
    **{f"{level}_fraction_{speed}": f"fraction of the user's decayed events in the item's {level}, {speed} decay"
       for level in ("category", "parent") for speed in SPEEDS},
    "category_user_purchases": "the user's purchases in the item's category",
    "category_days_idle": "days since the user's last event in the item's category",
    "pair_category_fraction": "fraction of the user's events in the category that are on the item, slow decay",
}  # fmt: skip
STAGE_FEATURES: Final = {
    "preranker_score": "log-odds of the pre-ranker",
    "mf_score": "score of the factorization, for discovery only",
    "mf_rank": "rank of the item among the user's candidates by the factorization's score, for discovery only",
}
"""Features that the stages compute together with the candidates."""

BASE_FEATURES: Final[tuple[Feature, ...]] = (
    *(Feature(name, "user", meaning) for name, meaning in _USER.items()),
    *(Feature(name, "time", meaning) for name, meaning in _TIME.items()),
    *(Feature(name, "item", _ITEM[name]) for name in ITEM_COLUMNS),
    *(Feature(name, "category", _CATEGORY[name]) for name in CATEGORY_COLUMNS),
    Feature("item_category", "category", "the item's category", "category"),
    Feature("item_root", "category", "the root of the item's category", "category"),
    *(Feature(name, "user-item", meaning) for name, meaning in _PAIR.items()),
    *(Feature(name, "user-category", meaning) for name, meaning in _AFFINITY.items()),
)
"""Features that do not depend on the candidate sources."""


def feature_table(scored_sources: Sequence[str], attributes: Iterable[AttributeSpec] = ()) -> tuple[Feature, ...]:
    """All features, in the order of their columns.

    scored_sources: names of the sources whose scores are features; attributes: the attributes that have features
    """
    candidate = {
        **{source_feature(name): f"score of the {name} source" for name in scored_sources},
        "n_sources": "number of sources that proposed the item",
        **STAGE_FEATURES,
    }
    return (
        *BASE_FEATURES,
        *(Feature(name, "candidate", meaning) for name, meaning in candidate.items()),
        *attribute_features(attributes),
    )


def attribute_features(attributes: Iterable[AttributeSpec]) -> tuple[Feature, ...]:
    """The features of item attributes, in the order of their columns; a name that occurs twice counts once."""
    features: dict[str, Feature] = {}
    for one in attributes:
        name, events = f"attr_{one.name}", "fraction of the user's events on items"
        if one.kind == "number":
            own = {
                name: f"{one.name} of the item",
                f"{name}_vs_category": f"{one.name} minus the mean of the category, in standard deviations",
                affinity_feature(one.name): f"{events} with such a {one.name}, slow decay",
            }
        elif one.kind == "vector":
            own = {cosine_feature(one.name): f"cosine of the item's {one.name} to the mean of the user's items"}
        else:
            own = {
                f"{name}_popularity": f"weighted events on items with the same {one.name}, decayed",
                affinity_feature(one.name): f"{events} with the same {one.name}, slow decay",
            }
        for feature, meaning in own.items():
            features.setdefault(feature, Feature(feature, "attribute", meaning))
    return tuple(features.values())


def affinity_feature(attribute: str) -> str:
    """The name of the feature that holds a user's affinity to the item's value of an attribute."""
    return f"attr_{attribute}_affinity"


def cosine_feature(attribute: str) -> str:
    """The name of the feature that holds the cosine of an item's vector to the user's mean vector."""
    return f"attr_{attribute}_cosine"


def feature_names_of(features: Sequence[Feature]) -> tuple[str, ...]:
    """The names of the features, in the same order."""
    return tuple(feature.name for feature in features)


def categorical_of(features: Sequence[Feature]) -> tuple[str, ...]:
    """Names of the features that hold category codes."""
    return tuple(feature.name for feature in features if feature.kind == "category")


def source_feature(source: str) -> str:
    """The name of the feature that holds the score of a candidate source."""
    return f"score_{source}"


def names_of(*groups: Group) -> tuple[str, ...]:
    """The names of the base features of these groups, in the order of their columns."""
    return tuple(feature.name for feature in BASE_FEATURES if feature.group in groups)
