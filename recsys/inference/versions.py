"""Versions of a registry made ready to answer, and found out to be unfit before anybody depends on them."""

import hashlib
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, replace
from importlib.metadata import version as release
from pathlib import Path
from typing import Final

import numpy as np

import recsys
from recsys.errors import RecsysError, RegistryError
from recsys.files import locked
from recsys.inference.stages import Recommender
from recsys.registry import bundle
from recsys.registry.artifact import MANIFEST
from recsys.registry.bundle import Bundle
from recsys.registry.cache import cache_root
from recsys.schema import UNKNOWN

UNFIT: Final = (RecsysError, ValueError, LookupError, TypeError, ArithmeticError, OSError, MemoryError)
"""What code says of content that it cannot work with, or cannot get hold of."""
TRIAL_SECONDS: Final = 120.0
"""A version that is not open by then hangs."""
LIBRARIES: Final = ("lightgbm", "numpy", "pyarrow", "xgboost")
"""What reads the files of a version."""


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
            blend = opened.about.blend.model_copy(update={"alpha": alpha})
            opened = replace(opened, about=opened.about.model_copy(update={"blend": blend}))
        loaded = Loaded(opened, Recommender.of(opened))
        somebody_and_nobody = opened.snapshot.take(np.array([0, UNKNOWN]))
        loaded.recommender(somebody_and_nobody, opened.about.live_watermark, 1)
    except RegistryError:
        raise
    except UNFIT as error:  # the hashes are right, but files may hold anything
        raise RegistryError(f"{directory} does not answer: {type(error).__name__}: {error}") from error
    return loaded


def check_version(directory: Path) -> str:
    """The check of promotions: raises RegistryError unless the version in a folder answers; what `try_version` asks."""
    open_version(directory)
    return _fingerprint(directory)


def try_version(directory: Path, checked: str | None = None) -> None:
    """Open a version in a process of its own, once on a machine: a library that is given a bad file may abort.

    checked: what `check_version` gave when the version was promoted; where it is the same here that is enough
    Raises RegistryError where that process died or hung. What else is wrong is left to `open_version` to say.
    """
    try:
        fingerprint = _fingerprint(directory)
        if checked == fingerprint:
            return
        tried = cache_root() / "tried"
        tried.mkdir(parents=True, exist_ok=True)
        with locked(tried):
            mark = tried / fingerprint
            if not mark.exists():
                _survive(directory)
                mark.touch()
    except OSError as error:
        raise RegistryError(f"{directory} cannot be tried: {error}") from error


def _fingerprint(directory: Path) -> str:
    """Of a version and the libraries that read it: another release may fail where one did not."""
    libraries = [f"{name} {release(name)}" for name in LIBRARIES]
    return hashlib.sha256((directory / MANIFEST).read_bytes() + str(libraries).encode()).hexdigest()


def _survive(directory: Path) -> None:
    """Raises RegistryError where a process does not survive opening a version."""
    root = str(Path(recsys.__file__).parents[1])
    try:
        child = subprocess.run(
            [sys.executable, "-m", __name__, str(directory)],
            env=os.environ | {"PYTHONPATH": os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])},
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TRIAL_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise RegistryError(f"{directory} is not open after {TRIAL_SECONDS:g} s") from None
    if child.returncode < 0:
        said = " ".join(child.stderr.split())[-300:]
        name = signal.Signals(-child.returncode).name
        raise RegistryError(f"{directory}: opening it ended a process by {name}: {said or 'without a word'}")


def main() -> None:
    """Open the version in the folder that is this program's argument."""
    # LightGBM imports them where they are there, for training; without them it is up in half of the time.
    sys.modules.update(dict.fromkeys(["dask", "matplotlib", "pandas", "sklearn"]))  # type: ignore[arg-type]
    try:
        check_version(Path(sys.argv[1]))
    except RegistryError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
