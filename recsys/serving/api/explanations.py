"""Explanations of recommendations, as they go over HTTP."""

from functools import lru_cache
from math import isfinite, isnan
from typing import Annotated, Final, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from recsys.data.attributes import AttributeSpec
from recsys.features.definitions import Feature, feature_table
from recsys.inference.explanations import Explanations
from recsys.inference.sentences import Templates, sentences_of
from recsys.registry.bundle import Bundle
from recsys.schema import UNKNOWN
from recsys.serving.api.messages import ItemId, message
from recsys.sessions.features import FEATURES as SESSION_FEATURES


@message
class FeaturePart(TypedDict):
    name: Annotated[str, Field(examples=["score_covisitation"])]
    meaning: Annotated[str, Field(examples=["score of the covisitation source"])]
    value: Annotated[int | float | str | None, Field(examples=[0.31])]
    """The value of the feature, null where it does not apply. For the feature of a category it is the category's id."""
    contribution: Annotated[float, Field(examples=[0.84])]
    """The part of the raw score that is due to the feature. It may be negative."""


@message
class Explanation(TypedDict):
    sentence: Annotated[str, Field(examples=["Customers who bought “Green tea, 100 g”, as you did, also chose this."])]
    """The reason in words for a customer, in the language of the response."""
    because_of: ItemId | None
    """The item of the history or of the session that the recommendation follows from; null where it follows from no
    single item. It has the largest part in the score of the first source in `sources` that starts from such items. For
    the sources `own` and `session` it is the recommended item itself."""
    position: Annotated[int | None, Field(ge=1, examples=[None])]
    """For a user without events, the position in the lists of popular items: first the recent ones, then those of all
    time. For such users the order of the lists alone decides. Null for all other users."""
    features: list[FeaturePart]
    """The features with the largest contributions to the ranker's raw score, the largest first, at most three. Empty
    for a user without events."""
    other_features: Annotated[float | None, Field(examples=[-0.12])]
    """The sum of the contributions of all other features."""
    bias: Annotated[float | None, Field(examples=[-1.7])]
    """The raw score that the ranker expects before it reads a feature."""
    raw_score: Annotated[float | None, Field(examples=[0.35])]
    """The ranker's score before its calibration to `lgb_score`: the sum of `bias`, `other_features` and the
    contributions of `features`. These three are null for a user without events."""
    rules: NotRequired[Annotated[list[str], Field(examples=[["boost-tea"]])]]
    """The rules of the shop that moved the item."""


class RawScore(TypedDict):
    """The fields of an Explanation that tell how the raw score adds up."""

    features: list[FeaturePart]
    other_features: float | None
    bias: float | None
    raw_score: float | None


NOT_RANKED: Final[RawScore] = {"features": [], "other_features": None, "bias": None, "raw_score": None}
"""The fields for a user without events, for whom the ranker's score does not count."""


def explanation_messages(
    explanations: Explanations, position: int, n: int, bundle: Bundle, templates: Templates
) -> list[Explanation]:
    """The explanations of the first `n` items of the user at `position` in the batch, fewer if fewer were explained."""
    start, end = explanations.offsets[position : position + 2].tolist()
    rows = slice(start, min(end, start + n))
    origins = bundle.items.to_list_or_none(explanations.origins[rows])
    positions = explanations.positions[rows].tolist()
    scores = _raw_scores(explanations, rows, bundle)
    columns = sentences_of(explanations, rows, bundle, templates), origins, positions, scores
    return [
        {
            "sentence": sentence,
            "because_of": origin,
            "position": None if in_lists == UNKNOWN else in_lists,
            "features": score["features"],
            "other_features": score["other_features"],
            "bias": score["bias"],
            "raw_score": score["raw_score"],
        }
        for sentence, origin, in_lists, score in zip(*columns, strict=True)
    ]


def _raw_scores(explanations: Explanations, rows: slice, bundle: Bundle) -> list[RawScore]:
    """The parts that the raw score of each row adds up from."""
    manifest = bundle.manifest
    by_session = () if bundle.sessions is None else bundle.sessions.feature_names
    features = known_features(manifest.features, manifest.sources, manifest.attributes or (), by_session)
    columns = explanations.features, explanations.values, explanations.contributions
    listed = [
        [_part(features[column], value, amount, bundle) for column, value, amount in zip(*row, strict=True) if amount]
        for row in zip(*(column[rows].tolist() for column in columns), strict=True)
    ]
    sums = explanations.others, explanations.biases, explanations.raw_scores
    parts = listed, *(column[rows].tolist() for column in sums)
    return [
        {"features": shown, "other_features": other, "bias": expected, "raw_score": raw}
        if not isnan(raw)
        else NOT_RANKED
        for shown, other, expected, raw in zip(*parts, strict=True)
    ]


def _part(feature: Feature, value: float, contribution: float, bundle: Bundle) -> FeaturePart:
    shown = value if isfinite(value) else None  # JSON has no other numbers
    if shown is not None and feature.kind == "category":
        shown = bundle.categories[int(shown)]
    return {"name": feature.name, "meaning": feature.meaning, "value": shown, "contribution": contribution}


@lru_cache(maxsize=8)
def known_features(
    names: tuple[str, ...],
    sources: tuple[str, ...],
    attributes: tuple[AttributeSpec, ...],
    by_session: tuple[str, ...],
) -> list[Feature]:
    """The features of a version in the order of their columns, and then those of its session ranker.

    names, sources, attributes: as in its manifest; by_session: the names of the features of the session ranker
    """
    table = {feature.name: feature for feature in feature_table(sources, attributes)}
    meanings = {name: SESSION_FEATURES.get(name, name.replace("_", " ")) for name in by_session}
    return [*(table[name] for name in names), *(Feature(name, "candidate", text) for name, text in meanings.items())]
