"""Train a ranker with the configured library, or read one from its text."""

from recsys.models.rankers.base import RANKERS, Ranker, RankerConfig, TrainingSet, Watch


def ranker_from_text(text: str, backend: str = "lightgbm", threads: int = 1) -> Ranker:
    """The ranker of a text that `Ranker.to_text` wrote; threads: threads of prediction.

    Raises ModelError if the text cannot be read, ConfigError for an unknown backend.
    """
    return RANKERS[backend].from_text(text, threads)


def train(data: TrainingSet, config: RankerConfig, *, n_trees: int | None = None, watch: Watch | None = None) -> Ranker:
    """A trained ranker, with the number of trees that has the best NDCG@10 on the validation rows.

    n_trees: if given, the ranker has this number of trees, without early stopping (for a refit)
    watch: called after each tree

    Without validation rows and without `n_trees`, the ranker has `config.max_trees` trees. The same data and settings
    give the same bits. Raises ModelError if labels have no gain, or if the library refuses the settings.
    """
    return RANKERS[config.backend].train(data, config, n_trees=n_trees, watch=watch)
