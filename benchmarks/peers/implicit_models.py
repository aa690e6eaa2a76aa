"""Models of the package implicit: matrix factorizations and item-item neighbours."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from implicit.cpu.als import AlternatingLeastSquares
from implicit.cpu.bpr import BayesianPersonalizedRanking
from implicit.nearest_neighbours import BM25Recommender, CosineRecommender
from implicit.utils import ParameterWarning
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from peers.grids import Settings, grid
from peers.windows import ALL, NEW, VALUES, Lists, Window
from recsys.schema import UNKNOWN


@dataclass(frozen=True, slots=True)
class Peer:
    """make: the model of some settings and a seed; seeded: whether another seed gives another model"""

    name: str
    make: Callable[[Settings, int], Any]
    grid: Sequence[Settings]
    seeded: bool


def _als(settings: Settings, seed: int) -> Any:
    return AlternatingLeastSquares(
        settings["factors"], settings["regularization"], settings["alpha"], random_state=seed
    )


def _bpr(settings: Settings, seed: int) -> Any:
    return BayesianPersonalizedRanking(
        settings["factors"],
        settings["learning_rate"],
        settings["regularization"],
        iterations=settings["iterations"],
        random_state=seed,
    )


PEERS: Final = (
    Peer(
        "implicit ALS",
        _als,
        grid(values=("log", "decayed"), factors=(64,), regularization=(10.0, 100.0), alpha=(0.1, 1.0, 10.0)),
        seeded=True,
    ),
    Peer(
        "implicit BPR",
        _bpr,
        grid(factors=(64,), learning_rate=(0.03, 0.1), regularization=(0.01, 0.001), iterations=(50,)),
        seeded=True,
    ),
    Peer(
        "implicit BM25",
        lambda settings, _: BM25Recommender(settings["K"], settings["K1"], settings["B"]),
        grid(values=("linear", "decayed"), K=(2, 100), K1=(1.2,), B=(0.25, 0.75)),
        seeded=False,
    ),
    Peer(
        "implicit cosine",
        lambda settings, _: CosineRecommender(settings["K"]),
        grid(values=VALUES, K=(2, 100)),
        seeded=False,
    ),
)
"""Of neighbours, an item is its own first: with two of them a user's own items come before those like them."""


def rank(peer: Peer, window: Window, seed: int, settings: Settings) -> Lists:
    """Fit on the window's past and rank for its users."""
    matrix = window.matrix(str(settings.get("values", "linear")))
    asked = matrix[window.rows]
    # implicit runs threads of its own, and its neighbours convert a matrix that they have made themselves.
    with threadpool_limits(1, "blas"), warnings.catch_warnings():
        warnings.simplefilter("ignore", ParameterWarning)
        model = peer.make(settings, seed)
        model.fit(matrix, show_progress=False)
        lists = {}
        for question in (ALL, NEW):
            new = question == NEW
            found, _ = model.recommend(window.rows, asked, N=window.depth, filter_already_liked_items=new)
            found[asked.getnnz(axis=1) == 0] = UNKNOWN
            lists[question] = window.lists(np.asarray(found), question)
    return lists
