"""Versions of a registry, ready to recommend."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

from recsys.errors import RecsysError, RegistryError
from recsys.inference.recommender import Recommender
from recsys.registry import bundle
from recsys.registry.bundle import Bundle
from recsys.schema import OBJECTIVES, UNKNOWN

UNUSABLE: Final = (
    *(RecsysError, ValueError, LookupError, TypeError, ArithmeticError, AttributeError),
    *(RuntimeError, OSError, EOFError, MemoryError, pa.ArrowException),
)
"""Errors of code that reads a file with unexpected content, or cannot read it."""
TEST_ITEMS: Final = 50
"""Items of the recommendations that a version makes when it is opened."""


@dataclass(frozen=True, slots=True)
class Servable:
    """A version, and the stages over it."""

    bundle: Bundle
    recommender: Recommender


def open_servable(directory: Path, alpha: float | None = None) -> Servable:
    """The version in a folder of a registry, its files checked, after a first recommendation.

    That recommendation shows that the version works, and warms it up for the first request.

    alpha: weight of the factorization instead of the version's own
    Raises RegistryError where the version is broken or does not recommend.
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
        raise RegistryError(f"{directory} does not answer: {type(error).__name__}: {error}") from error
    return servable


def read_version(directory: Path) -> Bundle:
    """The version in a folder of a registry, hashes checked; raises RegistryError, also where its name is another."""
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
        raise RegistryError(f"{directory} answers with scores that are no numbers")
