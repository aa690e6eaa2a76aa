"""Versions of a registry, ready to recommend."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

from recsys.errors import RecsysError, RegistryError, failure_of
from recsys.inference import mixed
from recsys.inference.options import BatchOptions
from recsys.inference.recommender import Recommender
from recsys.inference.related import RelatedItems
from recsys.registry import bundle
from recsys.registry.bundle import Bundle
from recsys.schema import OBJECTIVES, UNKNOWN

UNUSABLE: Final = (
    *(RecsysError, ValueError, LookupError, TypeError, ArithmeticError, AttributeError),
    *(RuntimeError, OSError, EOFError, MemoryError, pa.ArrowException),
)
"""Errors of code that cannot read a file, or reads unexpected content."""
TEST_ITEMS: Final = 50
"""Number of items of a test recommendation."""
TEST_EXPLAINED: Final = 5
"""Number of its items that get explanations."""


@dataclass(frozen=True)
class Servable:
    """A version, and the stages over it."""

    bundle: Bundle
    recommender: Recommender

    @cached_property
    def related(self) -> RelatedItems:
        """The lists of the version that need no user."""
        return RelatedItems.from_bundle(self.bundle, self.recommender.rules)


def open_servable(directory: Path, alpha: float | None = None, *, lists: bool = True) -> Servable:
    """The version in a folder of a registry, after a check of its files and a test recommendation.

    The test shows that the version works, and makes the first request faster.

    alpha: weight of the factorization; None for the version's own
    lists: whether the lists that need no user are tried, and so made, as well
    Raises RegistryError if the version is broken or cannot recommend, TransientError if it cannot do so now.
    """
    try:
        opened = read_version(directory)
        if alpha is not None:
            opened = replace(opened, manifest=opened.manifest.with_alpha(alpha))
        servable = Servable(opened, Recommender.from_bundle(opened))
        _recommend_once(servable, directory)
        if lists:
            _relate_once(servable, directory)
    except RegistryError:
        raise
    except UNUSABLE as error:  # the hashes are right, but files may hold anything
        raise failure_of(error)(f"{directory} cannot recommend: {type(error).__name__}: {error}") from error
    return servable


def read_version(directory: Path) -> Bundle:
    """The version in a folder, hashes checked; raises RegistryError, also if its name is not that of the folder."""
    opened = bundle.read(directory)
    if opened.version != directory.name:
        raise RegistryError(f"{directory}: its manifest is of version {opened.version!r}, expected the folder's name")
    return opened


def _recommend_once(servable: Servable, directory: Path) -> None:
    """Recommend to users with and without events for every objective, and to sessions; raises RegistryError."""
    snapshot, now = servable.bundle.snapshot, servable.bundle.manifest.live_watermark
    rows = np.repeat([0, UNKNOWN], len(OBJECTIVES))
    objectives = np.tile(np.arange(len(OBJECTIVES), dtype=np.int8), 2)
    explained = np.full(len(rows), TEST_EXPLAINED)
    histories = snapshot.take(rows)
    recommended = servable.recommender(histories, now, TEST_ITEMS, objectives, explained=explained)
    if servable.recommender.sessions is not None:
        in_session = np.ones(len(histories.times), bool)
        options = BatchOptions(TEST_ITEMS, objectives, explained=explained, in_session=in_session)
        by_session = mixed.recommend(servable.recommender, histories, now, options)
        if not np.isfinite(by_session.scores).all():
            raise RegistryError(f"{directory} recommends items to sessions with scores that are not finite")
    if not (np.isfinite(recommended.scores).all() and np.isfinite(recommended.lgb_scores).all()):
        raise RegistryError(f"{directory} recommends items with scores that are not finite")
    if not len(recommended.items):
        available = int(np.count_nonzero(servable.bundle.tables.statistics.available))
        raise RegistryError(
            f"{directory} recommends nothing, neither to a user with events nor to one without; {available:,} of its "
            f"{len(servable.bundle.items):,} items are available"
        )


def _relate_once(servable: Servable, directory: Path) -> None:
    """Every list that needs no user, for an item; raises RegistryError."""
    related, item = servable.related, np.zeros(min(len(servable.bundle.items), 1), np.int32)
    lists = (
        related.similar(item, TEST_ITEMS),
        related.basket(np.array([0, len(item)]), item, TEST_ITEMS),
        related.lists.trending(TEST_ITEMS),
        related.lists.newest(TEST_ITEMS),
    )
    for one in lists:
        if not ((one.scores >= 0) & (one.scores <= 1)).all():
            raise RegistryError(f"{directory} lists items with scores outside 0 to 1")
