"""Rankers of XGBoost: training in this process, parts that training in several processes uses too, and prediction.

The settings of `RankerConfig` have LightGBM's names. XGBoost uses them so:
- num_leaves: trees grow leaf by leaf (lossguide) up to max_leaves.
- min_child_samples: XGBoost bounds the sum of second derivatives in a leaf instead. The bound is the sum that this
  number of average rows has before the first tree, for either objective; see `leaf_weight`.
- label_gain: each label is replaced by its gain, which rank:ndcg uses unchanged.
- truncation_level: rank:ndcg uses only pairs with one item above this rank.
- weights: with lambdarank, a query group has the mean weight of its rows; with binary, each row has its own weight.
- bagging_freq is ignored: rows are drawn anew for each tree.
- cat_smooth is ignored: lambda_l2 and the bound on a leaf's second derivatives restrain rare categories.
Trees may depend on `threads` in the last bits.
"""

import json
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final

import numpy as np
import xgboost
from pydantic import Field, TypeAdapter
from xgboost.callback import TrainingCallback

from recsys.errors import ModelError, first_line
from recsys.models.rankers.registry import RankerConfig
from recsys.models.rankers.rows import NDCG_AT, RankingData, TrainingSet, Watch, by_gain
from recsys.models.rankers.xgboost_data import (
    category_tables,
    feature_types,
    group_weights,
    known_categories,
    labels,
    thinned,
    with_missing,
)

VALID: Final = "valid"
METRIC: Final = f"ndcg@{NDCG_AT}-"
"""The validation metric; the minus sign makes the NDCG of a query group without a hit 0 and not 1, which XGBoost would
add also for a group of weight 0."""
CATEGORIES: Final = "categories"
"""Attribute of a booster that holds the category codes of its training rows, by feature."""
BEST_SCORE, BEST_TREE = "best_score", "best_iteration"
"""Attributes of a booster during training, so that checkpoints hold them. The names are XGBoost's."""
KNOWN: Final = TypeAdapter(dict[str, list[Annotated[int, Field(ge=0, le=2**24)]]])
"""Type of the attribute CATEGORIES. float32, the type of the features, does not hold every larger whole number."""
PROBE_ROWS: Final = 50_000
"""Rows, approximately, from which `leaf_weight` is measured."""


class XGBoostRanker:
    """A ranker over an XGBoost booster."""

    def __init__(self, booster: xgboost.Booster, threads: int) -> None:
        """threads: threads of prediction"""
        booster.set_param({"nthread": threads})
        self._booster, self._threads = booster, threads
        self.feature_names: list[str] = list(booster.feature_names or [])
        self.n_trees: int = booster.num_boosted_rounds()
        self._known = category_tables(self.feature_names, KNOWN.validate_json(booster.attr(CATEGORIES) or "{}"))

    def predict(self, features: np.ndarray) -> np.ndarray:
        if not len(features):
            return np.zeros(0)
        rows = with_missing(features, self._known)
        return np.asarray(self._booster.inplace_predict(rows, predict_type="margin"), np.float64)

    def contributions(self, features: np.ndarray) -> np.ndarray:
        return self._contributions(features)

    def path_contributions(self, features: np.ndarray) -> np.ndarray:
        return self._contributions(features, approx_contribs=True)

    def _contributions(self, features: np.ndarray, approx_contribs: bool = False) -> np.ndarray:
        if not len(features):
            return np.zeros((0, len(self.feature_names) + 1))
        rows = xgboost.DMatrix(
            with_missing(features, self._known),
            feature_names=self.feature_names,
            feature_types=self._booster.feature_types,
            enable_categorical=True,
        )
        added = self._booster.predict(rows, pred_contribs=True, approx_contribs=approx_contribs)
        return np.asarray(added, np.float64)

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
    if not text.startswith("{"):  # XGBoost would read such a text as its old binary format
        raise ModelError(f"ranker: not an XGBoost model in JSON; starts with {text[:40]!r}")
    try:
        return XGBoostRanker(xgboost.Booster(model_file=bytearray(text.encode())), threads)
    except (xgboost.core.XGBoostError, ValueError) as error:
        raise ModelError(f"ranker: not an XGBoost model in JSON ({first_line(error)})") from error


def train(data: TrainingSet, config: RankerConfig, *, n_trees: int | None, watch: Watch | None) -> XGBoostRanker:
    """See `registry.train`."""
    data.check_grades(config.label_gain)
    try:
        key = "xgboost", config.max_bin, config.objective
        train_set, valid_set, categories = data.cached(key, lambda: _matrices(data, config))
        callbacks: list[TrainingCallback] = [] if watch is None else [_Watcher(watch, valid_set)]
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
        raise ModelError(f"ranker: XGBoost refuses these settings: {first_line(error)}") from error
    return finished(booster, categories, config)


def finished(booster: xgboost.Booster, categories: dict[str, list[int]], config: RankerConfig) -> XGBoostRanker:
    """The ranker of a trained booster, with its best trees after early stopping; categories: see `known_categories`."""
    best = booster.attr(BEST_TREE)
    kept = booster if best is None else booster[: int(best) + 1]
    kept.set_attr(**{BEST_SCORE: None, BEST_TREE: None, CATEGORIES: json.dumps(categories)})
    # Read back from its text, the ranker predicts the same bits as the stored one and keeps no data in memory.
    return from_text(kept.save_raw("json").decode(), config.threads)


class _Watcher(TrainingCallback):
    """Calls a Watch after each tree."""

    def __init__(self, watch: Watch, valid_set: xgboost.DMatrix | None) -> None:
        self._watch, self._valid_set = watch, valid_set

    def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
        ndcg = evals_log[VALID][METRIC][-1] if self._valid_set is not None else float("nan")
        self._watch(epoch + 1, float(ndcg), lambda: raw_scores(model, self._valid_set))
        return False


def raw_scores(booster: xgboost.Booster, rows: xgboost.DMatrix | None) -> np.ndarray:
    """Raw scores of validation rows during training, float64 (n_rows,). XGBoost has them already and only copies."""
    return np.zeros(0) if rows is None else booster.predict(rows, output_margin=True).astype(np.float64)


class _Stopping(TrainingCallback):
    """Early stopping with its state in the booster. Training from a checkpoint then stops at the same tree."""

    def __init__(self, rounds: int, min_improvement: float) -> None:
        self._rounds, self._min_improvement = rounds, min_improvement

    def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
        score, last = float(evals_log[VALID][METRIC][-1]), model.num_boosted_rounds() - 1
        best = model.attr(BEST_SCORE)
        if best is None or score - self._min_improvement > float(best):
            model.set_attr(**{BEST_SCORE: repr(score), BEST_TREE: str(last)})
        return bool(last - int(model.attr(BEST_TREE)) >= self._rounds)


def stopping(config: RankerConfig) -> TrainingCallback:
    """The callback for early stopping on validation rows."""
    return _Stopping(config.early_stopping_rounds, config.min_improvement)


def parameters(config: RankerConfig, least_weight: float) -> dict[str, Any]:
    """XGBoost's parameters; least_weight: the smallest sum of second derivatives in a leaf."""
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
    """The sum of second derivatives that `config.min_child_samples` average rows have before the first tree.

    It is measured on every n-th query group, about PROBE_ROWS rows in all.
    """
    parts = [thinned(part, max(1, data.n_rows // PROBE_ROWS)) for part in data.parts]
    sample = _matrix(data, parts, config, config.objective == "lambdarank", {})
    settings = parameters(config, 0.0) | {"max_leaves": 2, "subsample": 1.0, "seed": 0}
    [root] = xgboost.train(settings, sample, 1).get_dump(with_stats=True, dump_format="json")
    return config.min_child_samples * float(json.loads(root)["cover"]) / sample.num_row()


def _matrices(
    data: TrainingSet, config: RankerConfig
) -> tuple[xgboost.DMatrix, xgboost.DMatrix | None, dict[str, list[int]]]:
    """The training rows and the validation rows, binned, and the category codes of the training rows."""
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
    """The rows of all parts, binned.

    grouped: whether the rows form query groups; reference: the matrix whose bins are used
    tables: see `category_tables`; with {}, category codes count as quantities
    """
    types = feature_types(data) if tables else ["q"] * len(data.feature_names)
    weighted = any(part.weights is not None for part in parts)

    def pass_part(part: RankingData, number: int, take: Callable[..., None]) -> None:
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

    rows = _Rows([part for part in parts if len(part.labels)], pass_part)
    return xgboost.QuantileDMatrix(rows, max_bin=config.max_bin, ref=reference, nthread=config.threads)


class _Rows(xgboost.DataIter):
    """An iterator of XGBoost over the parts. Without it, XGBoost would copy all rows into one matrix first."""

    def __init__(self, parts: Sequence[RankingData], pass_part: Callable[..., None]) -> None:
        super().__init__()
        self._parts, self._pass_part, self._next = parts, pass_part, 0

    def reset(self) -> None:
        self._next = 0

    def next(self, input_data: Callable[..., None]) -> int:
        if self._next == len(self._parts):
            return 0
        self._pass_part(self._parts[self._next], self._next, input_data)
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
