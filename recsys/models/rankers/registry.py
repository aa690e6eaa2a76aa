"""Train a ranker, or read one from its text, whatever library grows it."""

from recsys.models.rankers.base import RANKERS, Ranker, RankerConfig, TrainingSet, Watch


def ranker_from_text(text: str, backend: str = "lightgbm", threads: int = 1) -> Ranker:
    """The ranker that `to_text` wrote; raises ModelError where it cannot be read."""
    return RANKERS[backend].from_text(text, threads)


def train(data: TrainingSet, config: RankerConfig, *, n_trees: int | None = None, watch: Watch | None = None) -> Ranker:
    """A ranker with as many trees as were best on the validation rows, by NDCG@10 of their groups for either objective.

    n_trees: exactly so many trees, without early stopping (for a refit).
    Without validation rows and `n_trees` it has `max_trees`. Raises ModelError for data that cannot be learned from,
    and for settings that the library refuses. The same data and settings give the same bits.
    """
    return RANKERS[config.backend].train(data, config, n_trees=n_trees, watch=watch)
