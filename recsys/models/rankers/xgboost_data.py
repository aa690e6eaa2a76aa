"""The ranker's rows as XGBoost takes them: category codes, labels and weights."""

from collections.abc import Mapping, Sequence

import numpy as np

from recsys.models.rankers.base import RankerConfig, RankingData, TrainingSet


def known_categories(data: TrainingSet) -> dict[str, list[int]]:
    """Codes in the rows to learn from, by feature, ascending."""
    columns = {name: data.feature_names.index(name) for name in data.categorical}
    known = {}
    for name, column in columns.items():
        codes = np.unique(np.concatenate([np.unique(part.features[:, column]) for part in data.parts]))
        known[name] = codes[codes >= 0].astype(int).tolist()
    return known


def category_tables(feature_names: list[str], known: Mapping[str, Sequence[int]]) -> dict[int, np.ndarray]:
    """By position of a categorical feature, whether each code is known; bool (highest code + 1,)."""
    return {feature_names.index(name): _table(codes) for name, codes in known.items()}


def _table(known: Sequence[int]) -> np.ndarray:
    table = np.zeros(max(known, default=-1) + 1, bool)
    table[list(known)] = True
    return table


def with_missing(features: np.ndarray, known: dict[int, np.ndarray]) -> np.ndarray:
    """Features with NaN for category codes that are negative or not known; XGBoost refuses the one, and sends the other
    any way. A copy where anything changes.
    """
    changed = features
    for column, table in known.items():
        codes = features[:, column]
        with np.errstate(invalid="ignore"):
            positions = codes.astype(np.int64)
        inside = (positions >= 0) & (positions < len(table))
        fine = inside & table[np.where(inside, positions, 0)] if len(table) else inside
        if not fine.all():
            changed = features.copy() if changed is features else changed
            changed[~fine, column] = np.nan
    return changed


def feature_types(data: TrainingSet) -> list[str]:
    """c for category codes, q for quantities."""
    return ["c" if name in data.categorical else "q" for name in data.feature_names]


def labels(part: RankingData, config: RankerConfig) -> np.ndarray:
    """What XGBoost learns, float32 (n_rows,): hits, or the gains of grades."""
    if config.objective == "binary":
        return (part.labels > 0).astype(np.float32)
    return np.asarray(config.label_gain, np.float32)[part.labels]


def group_weights(part: RankingData) -> np.ndarray | None:
    """float32 (n_groups,), or None where all weigh 1."""
    if part.weights is None or not len(part.groups):
        return None
    sums = np.add.reduceat(part.weights.astype(np.float64), np.cumsum(part.groups) - part.groups)
    return (sums / part.groups).astype(np.float32)
