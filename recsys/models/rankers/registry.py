"""The libraries that grow rankers, by name."""

from types import ModuleType

from recsys.errors import ModelError
from recsys.models.rankers.base import Backend, Ranker, RankerConfig, TrainingSet, Watch


def ranker_from_text(text: str, backend: Backend = "lightgbm", threads: int = 1) -> Ranker:
    """The ranker that `to_text` wrote; raises ModelError where it cannot be read."""
    return _module(backend).from_text(text, threads)


def train(data: TrainingSet, config: RankerConfig, *, n_trees: int | None = None, watch: Watch | None = None) -> Ranker:
    """A ranker with as many trees as were best on the validation rows, by NDCG@10 of their groups for either objective.

    n_trees: exactly so many trees, without early stopping (for a refit).
    Without validation rows and `n_trees` it has `max_trees`. Raises ModelError for data that cannot be learned from,
    and for settings that the library refuses. The same data and settings give the same bits.
    """
    return _module(config.backend).train(data, config, n_trees=n_trees, watch=watch)


def _module(backend: Backend) -> ModuleType:
    """What stands for a library, loaded at its first use: a process that serves one has no use for the other."""
    if backend == "xgboost":
        try:
            from recsys.models.rankers import xgboost  # noqa: PLC0415
        except ModuleNotFoundError as error:
            raise ModelError(f"the ranker xgboost needs {error.name}: pip install 'recsys[xgboost]'") from error
        return xgboost
    from recsys.models.rankers import lightgbm  # noqa: PLC0415

    return lightgbm
