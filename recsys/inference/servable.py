"""A version of a registry made ready to answer."""

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

UNFIT: Final = (
    *(RecsysError, ValueError, LookupError, TypeError, ArithmeticError, AttributeError),
    *(RuntimeError, OSError, EOFError, MemoryError, pa.ArrowException),
)
"""What code says of content that it cannot work with, or cannot get hold of."""


ANSWERS: Final = 50
"""Items asked for to see whether a version answers."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A version that is ready to answer."""

    bundle: Bundle
    recommender: Recommender


def read_version(directory: Path) -> Bundle:
    """The version in a registry's folder, hashes checked; raises RegistryError, also where it is another one."""
    opened = bundle.read(directory)
    if opened.version != directory.name:
        raise RegistryError(f"{directory}: its manifest is of version {opened.version!r}, expected the folder's name")
    return opened


def open_version(directory: Path, alpha: float | None = None) -> Loaded:
    """Open the version in a registry's folder, check it and answer once, so that the first request finds it warm.

    alpha: instead of the version's own. Raises RegistryError where it is broken or does not answer.
    """
    try:
        opened = read_version(directory)
        if alpha is not None:
            opened = replace(opened, manifest=opened.manifest.with_alpha(alpha))
        loaded = Loaded(opened, Recommender.from_bundle(opened))
        rows = np.repeat([0, UNKNOWN], len(OBJECTIVES))  # somebody and nobody
        objectives = np.tile(np.arange(len(OBJECTIVES), dtype=np.int8), 2)
        found = loaded.recommender(opened.snapshot.take(rows), opened.manifest.live_watermark, ANSWERS, objectives)
        if not (np.isfinite(found.scores).all() and np.isfinite(found.lgb_scores).all()):
            raise RegistryError(f"{directory} answers with scores that are no numbers")
    except RegistryError:
        raise
    except UNFIT as error:  # the hashes are right, but files may hold anything
        raise RegistryError(f"{directory} does not answer: {type(error).__name__}: {error}") from error
    return loaded
