"""Versions of a registry, ready to recommend."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

from recsys.errors import RecsysError, RegistryError, failure_of
from recsys.inference.recommender import Recommender
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


@dataclass(frozen=True, slots=True)
class Servable:
    """A version, and the stages over it."""

    bundle: Bundle
    recommender: Recommender


def open_servable(directory: Path, alpha: float | None = None) -> Servable:
    """The version in a folder of a registry, after a check of its files and a test recommendation.

    The test shows that the version works, and makes the first request faster.

    alpha: weight of the factorization; None for the version's own
    Raises RegistryError if the version is broken or cannot recommend, TransientError if it cannot do so now.
    """
    try:
        opened = read_version(directory)
        if alpha is not None:
            opened = replace(opened, manifest=opened.manifest.with_alpha(alpha))
        servable = Servable(opened, Recommender.from_bundle(opened))
        _recommend_once(servable, directory)
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
    """Recommend to a user with and to one without events, for every objective; raises RegistryError."""
    snapshot, now = servable.bundle.snapshot, servable.bundle.manifest.live_watermark
    rows = np.repeat([0, UNKNOWN], len(OBJECTIVES))
    objectives = np.tile(np.arange(len(OBJECTIVES), dtype=np.int8), 2)
    recommended = servable.recommender(snapshot.take(rows), now, TEST_ITEMS, objectives)
    if not (np.isfinite(recommended.scores).all() and np.isfinite(recommended.lgb_scores).all()):
        raise RegistryError(f"{directory} recommends items with scores that are not finite")
    if not len(recommended.items):
        raise RegistryError(f"{directory} recommends nothing, neither to a user with events nor to one without")
