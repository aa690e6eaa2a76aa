"""The ranker's rows in XGBoost's form: category codes, labels and weights."""

from collections.abc import Mapping, Sequence

import numpy as np

from recsys.models.rankers.registry import RankerConfig
from recsys.models.rankers.rows import RankingData, TrainingSet


def known_categories(data: TrainingSet) -> dict[str, list[int]]:
    """The category codes in the training rows, ascending, by the name of the feature."""
    columns = {name: data.feature_names.index(name) for name in data.categorical}
    known = {}
    for name, column in columns.items():
        codes = np.unique(np.concatenate([np.unique(part.features[:, column]) for part in data.parts]))
        known[name] = codes[codes >= 0].astype(int).tolist()
    return known


def category_tables(feature_names: list[str], known: Mapping[str, Sequence[int]]) -> dict[int, np.ndarray]:
    """Whether each code is known, bool (highest code + 1,), by the position of the categorical feature."""
    return {feature_names.index(name): _table(codes) for name, codes in known.items()}


def _table(known: Sequence[int]) -> np.ndarray:
    table = np.zeros(max(known, default=-1) + 1, bool)
    table[list(known)] = True
    return table


def with_missing(features: np.ndarray, known: dict[int, np.ndarray]) -> np.ndarray:
    """Features with NaN for negative and for unknown category codes; a copy if there are such codes.

    XGBoost raises an error for negative codes, and sends unknown codes into an arbitrary branch of a tree.
    features: float32 (n_rows, n_features); known: see `category_tables`
    """
    changed = features
    for column, table in known.items():
        codes = features[:, column]
        with np.errstate(invalid="ignore"):
            positions = codes.astype(np.int64)
        inside = (positions >= 0) & (positions < len(table))
        valid = inside & table[np.where(inside, positions, 0)] if len(table) else inside
        if not valid.all():
            changed = features.copy() if changed is features else changed
            changed[~valid, column] = np.nan
    return changed


def feature_types(data: TrainingSet) -> list[str]:
    """XGBoost's type of each feature: c for category codes, q for quantities."""
    return ["c" if name in data.categorical else "q" for name in data.feature_names]


def labels(part: RankingData, config: RankerConfig) -> np.ndarray:
    """XGBoost's labels, float32 (n_rows,): 1 for hits and 0 for misses, or the gain of each row's grade."""
    if config.objective == "binary":
        return (part.labels > 0).astype(np.float32)
    return np.asarray(config.label_gain, np.float32)[part.labels]


def group_weights(part: RankingData) -> np.ndarray | None:
    """The mean weight of the rows of each query group, float32 (n_groups,); None if all rows have weight 1."""
    return None if part.weights is None else part.group_weights.astype(np.float32)


def thinned(part: RankingData, step: int) -> RankingData:
    """Every `step`-th query group."""
    if step == 1:
        return part
    chosen = np.arange(len(part.groups)) % step == 0
    rows = np.repeat(chosen, part.groups)
    weights = None if part.weights is None else part.weights[rows]
    return RankingData(part.features[rows], part.labels[rows], part.groups[chosen], weights)
