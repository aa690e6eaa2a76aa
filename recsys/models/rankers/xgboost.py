"""The ranker that XGBoost grows: training in this process, what several processes need for the same, and prediction.

XGBoost's counterparts of `RankerConfig`, whose settings are named as in LightGBM:
- num_leaves: trees grow leaf by leaf (lossguide) up to max_leaves.
- min_child_samples: XGBoost bounds a leaf's sum of second derivatives instead, so a leaf must weigh as much as that
  many average rows do before the first tree, whatever the objective; see `leaf_weight`.
- label_gain: labels become their gains, which rank:ndcg then takes as they are.
- truncation_level: the pairs that rank:ndcg looks at have one item above this rank.
- a query group weighs the mean of its rows' weights; only the binary objective weighs single rows.
It does not know bagging_freq (rows are drawn anew for each tree) and cat_smooth (a category's statistics are not
smoothed; lambda_l2 and the least weight of a leaf are what holds rare categories). Trees depend a little on `threads`.
"""

import json
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final

import numpy as np
import xgboost
from pydantic import Field, TypeAdapter
from xgboost.callback import TrainingCallback

from recsys.errors import ModelError, first_line
from recsys.models.rankers.base import METRIC, RankerConfig, RankingData, TrainingSet, Watch, by_gain
from recsys.models.rankers.xgboost_data import (
    category_tables,
    feature_types,
    group_weights,
    known_categories,
    labels,
    with_missing,
)

VALID: Final = "valid"
CATEGORIES: Final = "categories"
"""Attribute of a booster: the codes it was trained with, by feature."""
BEST_SCORE, BEST_TREE = "best_score", "best_iteration"
"""Attributes while it grows, so that they are in its checkpoints; the names are XGBoost's."""
KNOWN: Final = TypeAdapter(dict[str, list[Annotated[int, Field(ge=0, le=2**24)]]])
"""What that attribute holds; higher codes are no whole numbers in the features' float32."""
PROBE_ROWS: Final = 50_000


class XGBoostRanker:
    """A ranker over an XGBoost booster."""

    def __init__(self, booster: xgboost.Booster, threads: int) -> None:
        """threads: of prediction"""
        booster.set_param({"nthread": threads})
        self._booster, self._threads = booster, threads
        self.feature_names: list[str] = list(booster.feature_names or [])
        self.n_trees: int = booster.num_boosted_rounds()
        self._known = category_tables(self.feature_names, KNOWN.validate_json(booster.attr(CATEGORIES) or "{}"))

    def predict(self, features: np.ndarray) -> np.ndarray:
        if not len(features):
            return np.zeros(0)
        known = with_missing(features, self._known)
        return np.asarray(self._booster.inplace_predict(known, predict_type="margin"), np.float64)

    def contributions(self, features: np.ndarray) -> np.ndarray:
        if not len(features):
            return np.zeros((0, len(self.feature_names) + 1))
        rows = xgboost.DMatrix(
            with_missing(features, self._known),
            feature_names=self.feature_names,
            feature_types=self._booster.feature_types,
            enable_categorical=True,
        )
        return np.asarray(self._booster.predict(rows, pred_contribs=True), np.float64)

    def importance(self) -> dict[str, float]:
        used = self._booster.get_score(importance_type="total_gain")
        return by_gain({name: float(used.get(name, 0.0)) for name in self.feature_names})  # type: ignore[arg-type]

    def first(self, n_trees: int) -> "XGBoostRanker":
        kept = self._booster[:n_trees]
        kept.set_attr(**{CATEGORIES: self._booster.attr(CATEGORIES)})
        return from_text(kept.save_raw("json").decode(), self._threads)

    def to_text(self) -> str:
        return self._booster.save_raw("json").decode()


def from_text(text: str, threads: int) -> XGBoostRanker:
    """See `registry.ranker_from_text`."""
    if not text.startswith("{"):  # XGBoost would take it for its old binary format
        raise ModelError(f"ranker: not an XGBoost model in JSON; starts with {text[:40]!r}")
    try:
        return XGBoostRanker(xgboost.Booster(model_file=bytearray(text.encode())), threads)
    except (xgboost.core.XGBoostError, ValueError) as error:
        raise ModelError(f"ranker: not an XGBoost model in JSON ({first_line(error)})") from error


def train(data: TrainingSet, config: RankerConfig, *, n_trees: int | None, watch: Watch | None) -> XGBoostRanker:
    """See `registry.train`."""
    data.check_grades(config)
    try:
        key = "xgboost", config.max_bin, config.objective
        train_set, valid_set, categories = data.kept(key, lambda: _prepared(data, config))
        callbacks: list[TrainingCallback] = [] if watch is None else [_Watched(watch, valid_set)]
        if valid_set is not None and n_trees is None:
            callbacks.append(stopping(config))
        booster = xgboost.train(
            parameters(config, leaf_weight(data, config)),
            train_set,
            n_trees or config.max_trees,
            evals=[] if valid_set is None else [(valid_set, VALID)],
            callbacks=callbacks,
            verbose_eval=False,
        )
    except xgboost.core.XGBoostError as error:
        raise ModelError(f"ranker: XGBoost cannot be trained with these settings: {first_line(error)}") from error
    return finished(booster, categories, config)


def finished(booster: xgboost.Booster, categories: dict[str, list[int]], config: RankerConfig) -> XGBoostRanker:
    """The ranker of a booster that has grown, with its best trees where it was stopped by validation rows."""
    best = booster.attr(BEST_TREE)
    kept = booster if best is None else booster[: int(best) + 1]
    kept.set_attr(**{BEST_SCORE: None, BEST_TREE: None, CATEGORIES: json.dumps(categories)})
    # Through the text: the ranker in use is then to the bit the one that is stored, and lets go of the data.
    return from_text(kept.save_raw("json").decode(), config.threads)


class _Watched(TrainingCallback):
    def __init__(self, watch: Watch, valid_set: xgboost.DMatrix | None) -> None:
        self._watch, self._valid_set = watch, valid_set

    def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
        ndcg = evals_log[VALID][METRIC][-1] if self._valid_set is not None else float("nan")
        self._watch(epoch + 1, float(ndcg), lambda: raw_scores(model, self._valid_set))
        return False


def raw_scores(booster: xgboost.Booster, rows: xgboost.DMatrix | None) -> np.ndarray:
    """Of rows that it is evaluated on while it grows, which costs no more than a copy; float64."""
    return np.zeros(0) if rows is None else booster.predict(rows, output_margin=True).astype(np.float64)


class _Stopping(TrainingCallback):
    """Early stopping that remembers in the booster, so that one that goes on from a checkpoint stops where it would."""

    def __init__(self, rounds: int, min_improvement: float) -> None:
        self._rounds, self._min_improvement = rounds, min_improvement

    def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
        score, last = float(evals_log[VALID][METRIC][-1]), model.num_boosted_rounds() - 1
        best = model.attr(BEST_SCORE)
        if best is None or score - self._min_improvement > float(best):
            model.set_attr(**{BEST_SCORE: repr(score), BEST_TREE: str(last)})
        return bool(last - int(model.attr(BEST_TREE)) >= self._rounds)


def stopping(config: RankerConfig) -> TrainingCallback:
    """Ends training where further trees do not improve the validation metric."""
    return _Stopping(config.early_stopping_rounds, config.min_improvement)


def parameters(config: RankerConfig, least_weight: float) -> dict[str, Any]:
    """XGBoost's settings; least_weight: sum of second derivatives that a leaf needs."""
    return _objective(config) | {
        "min_child_weight": least_weight,
        "max_leaves": config.num_leaves,
        "eta": config.learning_rate,
        "colsample_bytree": config.feature_fraction,
        "subsample": config.bagging_fraction,
        "alpha": config.lambda_l1,
        "lambda": config.lambda_l2,
        "max_bin": config.max_bin,
        "seed": config.seed,
        "nthread": config.threads,
        "eval_metric": METRIC,
    }


def _objective(config: RankerConfig) -> dict[str, Any]:
    ranking = {
        "objective": "rank:ndcg",
        "lambdarank_pair_method": "topk",
        "lambdarank_num_pair_per_sample": config.truncation_level,
    }
    chosen = {"objective": "binary:logistic"} if config.objective == "binary" else ranking
    growing = {"tree_method": "hist", "grow_policy": "lossguide", "max_depth": 0, "verbosity": 0}
    return chosen | growing | {"ndcg_exp_gain": False}


def leaf_weight(data: TrainingSet, config: RankerConfig) -> float:
    """The sum of second derivatives that min_child_samples average rows have before the first tree.

    Measured on whole query groups, evenly spread, of about PROBE_ROWS rows in all.
    """
    parts = [_thinned(part, max(1, data.n_rows // PROBE_ROWS)) for part in data.parts]
    probe = _matrix(data, parts, config, config.objective == "lambdarank", {})
    settings = parameters(config, 0.0) | {"max_leaves": 2, "subsample": 1.0, "seed": 0}
    [root] = xgboost.train(settings, probe, 1).get_dump(with_stats=True, dump_format="json")
    return config.min_child_samples * float(json.loads(root)["cover"]) / probe.num_row()


def _thinned(part: RankingData, step: int) -> RankingData:
    """Every `step`-th query group."""
    if step == 1:
        return part
    chosen = np.arange(len(part.groups)) % step == 0
    rows = np.repeat(chosen, part.groups)
    weights = None if part.weights is None else part.weights[rows]
    return RankingData(part.features[rows], part.labels[rows], part.groups[chosen], weights)


def _prepared(
    data: TrainingSet, config: RankerConfig
) -> tuple[xgboost.DMatrix, xgboost.DMatrix | None, dict[str, list[int]]]:
    """The rows binned, to learn from and to stop by, and the category codes in the former."""
    known = known_categories(data)
    tables = category_tables(data.feature_names, known)
    train_set = _matrix(data, data.parts, config, config.objective == "lambdarank", tables)
    valid_set = None if data.valid is None else _matrix(data, [data.valid], config, True, tables, train_set)
    return train_set, valid_set, known


def _matrix(
    data: TrainingSet,
    parts: Sequence[RankingData],
    config: RankerConfig,
    grouped: bool,
    tables: dict[int, np.ndarray],
    reference: xgboost.DMatrix | None = None,
) -> xgboost.DMatrix:
    """grouped: with query groups; tables: see `category_tables`, {} to leave category codes out"""
    types = feature_types(data) if tables else ["q"] * len(data.feature_names)
    weighted = any(part.weights is not None for part in parts)

    def give(part: RankingData, number: int, take: Callable[..., None]) -> None:
        first = sum(len(before.groups) for before in parts[:number])
        if grouped:
            qid = np.repeat(np.arange(first, first + len(part.groups), dtype=np.uint32), part.groups)
            weight, ones = group_weights(part), np.ones(len(part.groups), np.float32)
        else:
            qid, weight, ones = None, part.weights, np.ones(len(part.labels), np.float32)
        take(
            data=with_missing(part.features, tables),
            label=labels(part, config),
            qid=qid,
            weight=(ones if weight is None else weight) if weighted else None,
            feature_names=data.feature_names,
            feature_types=types,
        )

    rows = _Rows([part for part in parts if len(part.labels)], give)
    return xgboost.QuantileDMatrix(rows, max_bin=config.max_bin, ref=reference, nthread=config.threads)


class _Rows(xgboost.DataIter):
    """Parts one after another, none of which is copied as a whole by XGBoost."""

    def __init__(self, parts: Sequence[RankingData], give: Callable[..., None]) -> None:
        super().__init__()
        self._parts, self._give, self._next = parts, give, 0

    def reset(self) -> None:
        self._next = 0

    def next(self, input_data: Callable[..., None]) -> int:
        if self._next == len(self._parts):
            return 0
        self._give(self._parts[self._next], self._next, input_data)
        self._next += 1
        return 1


class XGBoostBackend:
    """See RankerBackend."""

    title = "XGBoost"
    library = "xgboost"
    distributed: str | None = "recsys.training.distributed.xgboost"

    def train(
        self, data: TrainingSet, config: RankerConfig, *, n_trees: int | None, watch: Watch | None
    ) -> XGBoostRanker:
        return train(data, config, n_trees=n_trees, watch=watch)

    def from_text(self, text: str, threads: int) -> XGBoostRanker:
        return from_text(text, threads)


BACKEND: Final = XGBoostBackend()
