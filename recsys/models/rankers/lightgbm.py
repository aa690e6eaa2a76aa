"""Rankers of LightGBM: training in this process, and prediction."""

import math
import platform
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, Final

import numpy as np
from scipy.special import logit

from recsys.errors import ModelError
from recsys.models.rankers.paths import PathTable
from recsys.models.rankers.registry import RankerConfig
from recsys.models.rankers.rows import METRIC, NDCG_AT, RankingData, TrainingSet, Watch, by_gain

# LightGBM imports scikit-learn if it can, but runs without it. The import costs every process two seconds and 70 MB,
# so it is hidden here. On ARM, scikit-learn must be imported before LightGBM because of OpenMP, so it is not hidden.
# No other thread may import scikit-learn during the import of this module.
_HIDE_SKLEARN: Final = "sklearn" not in sys.modules and platform.machine() == "x86_64"
if _HIDE_SKLEARN:
    sys.modules["sklearn"] = None  # type: ignore[assignment]
try:
    import lightgbm
finally:
    if _HIDE_SKLEARN:
        del sys.modules["sklearn"]

NETWORK_LINES: Final = re.compile(r"^\[(machines|local_listen_port|num_machines): .*\]\n", re.MULTILINE)
"""Lines of a model's text that hold the addresses of the workers. They differ from one training to the next."""


class LightGBMRanker:
    """A ranker over a LightGBM booster."""

    def __init__(self, booster: lightgbm.Booster, threads: int) -> None:
        """threads: threads of prediction; one thread is fastest for the few hundred rows of a request."""
        self._booster = booster
        self._threads = threads
        self.feature_names: list[str] = booster.feature_name()
        self.n_trees: int = booster.num_trees()

    def predict(self, features: np.ndarray) -> np.ndarray:
        if not len(features):
            return np.zeros(0)
        scores = self._booster.predict(features, raw_score=True, num_threads=self._threads)
        return np.asarray(scores, np.float64)

    def contributions(self, features: np.ndarray) -> np.ndarray:
        if not len(features):
            return np.zeros((0, len(self.feature_names) + 1))
        contributions = self._booster.predict(features, pred_contrib=True, num_threads=self._threads)
        return np.asarray(contributions, np.float64)

    def path_contributions(self, features: np.ndarray) -> np.ndarray:
        if not len(features):
            return np.zeros((0, len(self.feature_names) + 1))
        leaves = self._booster.predict(features, pred_leaf=True, num_threads=self._threads)
        return self._paths(np.asarray(leaves, np.int64))

    @cached_property
    def _paths(self) -> PathTable:
        return PathTable.build(self._booster.dump_model()["tree_info"], len(self.feature_names))

    def importance(self) -> dict[str, float]:
        gains = self._booster.feature_importance("gain").tolist()
        return by_gain(dict(zip(self.feature_names, gains, strict=True)))

    def first(self, n_trees: int) -> "LightGBMRanker":
        return from_text(str(self._booster.model_to_string(num_iteration=n_trees)), self._threads)

    def to_text(self) -> str:
        return str(self._booster.model_to_string(num_iteration=-1))


def from_text(text: str, threads: int) -> LightGBMRanker:
    """See `registry.ranker_from_text`."""
    try:
        return LightGBMRanker(lightgbm.Booster(model_str=text), threads)
    except lightgbm.basic.LightGBMError as error:
        raise ModelError(f"ranker: not a LightGBM model text ({error}); starts with {text[:40]!r}") from error


def train(data: TrainingSet, config: RankerConfig, *, n_trees: int | None, watch: Watch | None) -> LightGBMRanker:
    """See `registry.train`."""
    data.check_grades(config.label_gain)
    early = data.valid is not None and n_trees is None
    watcher = _Watcher(watch, config, data.valid) if watch is not None else None
    callbacks: list[Callable[..., Any]] = [stopping(config, data.valid)] if early else [Stopping()]
    try:
        key = "lightgbm", config.max_bin, config.objective
        train_set, valid_set = data.cached(key, lambda: _binned_datasets(data, config))
        booster = lightgbm.train(
            _parameters(config),
            train_set,
            num_boost_round=n_trees or config.max_trees,
            valid_sets=[] if valid_set is None else [valid_set],
            feval=watcher.keep if watcher and valid_set is not None else None,
            callbacks=[*([watcher.report] if watcher else []), *callbacks],
        )
    except lightgbm.basic.LightGBMError as error:
        raise ModelError(f"ranker: LightGBM refuses these settings: {error}") from error
    # Read back from its text, the ranker predicts the same bits as the stored one and keeps no data in memory.
    return from_text(_best_text(booster), config.threads)


def train_part(
    data: TrainingSet,
    config: RankerConfig,
    network: Mapping[str, Any],
    *,
    n_trees: int | None,
    callbacks: Sequence[Callable[..., Any]],
) -> tuple[str, float]:
    """The text of the ranker and its validation NDCG, from one worker of a training with several.

    data: this worker's part of the training rows, and all validation rows, so that all workers stop at the same tree
    network: LightGBM's parameters with the addresses of all workers
    callbacks: a Stopping, and others

    Every worker returns the same text.
    """
    curve: dict[str, dict[str, list[float]]] = {}
    # The datasets are not binned before lightgbm.train, since the workers have to agree on the bins.
    train_set, valid_set = _datasets(data, config)
    booster = lightgbm.train(
        _parameters(config) | {"tree_learner": "data_parallel", "pre_partition": True, **network},
        train_set,
        num_boost_round=n_trees or config.max_trees,
        valid_sets=[] if valid_set is None else [valid_set],
        callbacks=[*callbacks, lightgbm.record_evaluation(curve)],
    )
    ndcgs = curve.get("valid_0", {}).get(METRIC, [])
    ndcg = ndcgs[max(booster.best_iteration, 0) - 1] - excess_of(data.valid) if ndcgs else float("nan")
    return NETWORK_LINES.sub("", _best_text(booster)), float(ndcg)


def _best_text(booster: lightgbm.Booster) -> str:
    """The text of the model with its best trees, or with all trees if no best number is known."""
    best = booster.best_iteration if booster.best_iteration > 0 else -1
    return str(booster.model_to_string(num_iteration=best))


def excess_of(valid: RankingData | None) -> float:
    """LightGBM's NDCG of validation rows minus the true one, which leaves out query groups without a hit.

    To its weighted sum over the query groups LightGBM adds 1 for each group without a hit, also if it weighs nothing.
    """
    without = 0 if valid is None else np.count_nonzero(valid.without_hit)
    return 0.0 if valid is None or not without else float(without / valid.group_weights.sum())


class _Watcher:
    """Calls a Watch after each tree, with the validation scores that LightGBM computes anyway."""

    def __init__(self, watch: Watch, config: RankerConfig, valid: RankingData | None) -> None:
        self._watch = watch
        self._excess = excess_of(valid)
        self._probabilities = config.objective == "binary"
        self._scores = np.zeros(0)

    def keep(self, scores: np.ndarray, _: lightgbm.Dataset) -> list[tuple[str, float, bool]]:
        """A metric function without a metric: it only stores the scores, float64 (n_rows,)."""
        self._scores = scores
        return []

    def report(self, env: lightgbm.callback.CallbackEnv) -> None:
        """A callback of LightGBM that calls the Watch."""
        results = env.evaluation_result_list or []
        ndcg = float(results[0][2]) - self._excess if results else float("nan")
        self._watch(env.iteration + 1, ndcg, self._raw)

    def _raw(self) -> np.ndarray:
        scores = np.asarray(self._scores, np.float64)
        return np.asarray(logit(scores)) if self._probabilities else scores.copy()


class Stopping:
    """Ends training when a round adds no tree, or when further trees do not improve the validation metric.

    LightGBM's own callback does only the latter, and it would count rounds without a tree as trees.
    """

    order = 30  # later than the callbacks that report

    def __init__(self, rounds: int | None = None, min_improvement: float = 0.0, excess: float = 0.0) -> None:
        """rounds: training ends after this many trees without a better metric; None: the number of trees is fixed

        excess: see `excess_of`
        """
        self._rounds, self._min_improvement, self._excess = rounds, min_improvement, excess
        self._best, self._tree = -math.inf, 0

    def __call__(self, env: lightgbm.callback.CallbackEnv) -> None:
        booster: Any = env.model
        grown = booster.current_iteration() > env.iteration
        ended = not grown or env.iteration + 1 == env.end_iteration
        if self._rounds is None:
            self._tree = env.iteration if grown else env.iteration - 1
        elif grown:
            score = float((env.evaluation_result_list or [])[0][2]) - self._excess
            if score > self._best + self._min_improvement:
                self._best, self._tree = score, env.iteration
            ended = ended or env.iteration - self._tree >= self._rounds
        if ended:
            raise lightgbm.callback.EarlyStopException(self._tree, env.evaluation_result_list or [])


def stopping(config: RankerConfig, valid: RankingData | None) -> Callable[..., Any]:
    """The callback for early stopping on validation rows."""
    return Stopping(config.early_stopping_rounds, config.min_improvement, excess_of(valid))


def _parameters(config: RankerConfig) -> dict[str, Any]:
    """LightGBM's parameters. Most settings have the names of these parameters."""
    own = {"backend", "max_trees", "early_stopping_rounds", "min_improvement", "truncation_level"}
    settings = config.model_dump(exclude=own | {"num_workers", "threads", "fewer_leaves", "tolerance"})
    settings |= {
        "metric": "ndcg",
        "eval_at": [NDCG_AT],
        "lambdarank_truncation_level": config.truncation_level,
        "label_gain": list(config.label_gain),
        "num_threads": config.threads,
        "deterministic": True,
        "force_col_wise": True,  # row-wise training needs a second copy of the rows, and takes longer
        # With these two, the binned rows fit every seed and every min_child_samples.
        "data_random_seed": 0,
        "feature_pre_filter": False,
        "verbosity": -1,
    }
    return settings


def _datasets(data: TrainingSet, config: RankerConfig) -> tuple[lightgbm.Dataset, lightgbm.Dataset | None]:
    """The training rows and the validation rows, not binned yet."""
    train_set = _dataset(data, list(data.parts), config)
    return train_set, None if data.valid is None else _dataset(data, [data.valid], config, train_set)


def _binned_datasets(data: TrainingSet, config: RankerConfig) -> tuple[lightgbm.Dataset, lightgbm.Dataset | None]:
    """The training rows and the validation rows, binned."""
    train_set, valid_set = _datasets(data, config)
    return train_set.construct(), valid_set and valid_set.construct()


def _dataset(
    data: TrainingSet, parts: list[RankingData], config: RankerConfig, reference: lightgbm.Dataset | None = None
) -> lightgbm.Dataset:
    """The rows of all parts; reference: the dataset whose bins are used."""
    labels = np.concatenate([part.labels for part in parts])
    weighted = any(part.weights is not None for part in parts)
    weights = [np.ones(len(part.labels)) if part.weights is None else part.weights for part in parts]
    columns = [data.feature_names.index(name) for name in data.categorical]
    return lightgbm.Dataset(
        [_without_negatives(part.features, columns) for part in parts],
        label=(labels > 0 if config.objective == "binary" else labels).astype(np.float32),
        group=np.concatenate([part.groups for part in parts]),
        weight=np.concatenate(weights).astype(np.float32) if weighted else None,
        feature_name=data.feature_names,
        categorical_feature=data.categorical,
        reference=reference,
        # OpenMP's workers have their own log level. More than one thread would warn of sparse category codes on stdout.
        params=_parameters(config) | {"num_threads": 1},
        free_raw_data=True,
    )


def _without_negatives(features: np.ndarray, columns: list[int]) -> np.ndarray:
    """Features with NaN for negative codes. LightGBM would treat them alike, but with a warning."""
    negative = features[:, columns] < 0
    if not negative.any():
        return features
    changed = features.copy()
    changed[:, columns] = np.where(negative, np.nan, features[:, columns])
    return changed


class LightGBMBackend:
    """See RankerBackend."""

    title = "LightGBM"
    library = "lightgbm"
    distributed: str | None = "recsys.training.distributed.lightgbm"

    def train(
        self, data: TrainingSet, config: RankerConfig, *, n_trees: int | None, watch: Watch | None
    ) -> LightGBMRanker:
        return train(data, config, n_trees=n_trees, watch=watch)

    def from_text(self, text: str, threads: int) -> LightGBMRanker:
        return from_text(text, threads)


BACKEND: Final = LightGBMBackend()
