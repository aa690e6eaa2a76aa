"""Probing: a version is tried before it is promoted or loaded, once on a machine."""

import hashlib
import json
import threading
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as release
from pathlib import Path
from typing import Final

from recsys.errors import RegistryError
from recsys.inference.trial import open_and_check, run_trial
from recsys.inference.verdicts import accept, accepted, shared_verdict
from recsys.registry.artifact import read_manifest
from recsys.registry.store import Store

PROBE_SECONDS: Final = 30.0
"""Time limit of a trial, unless a service has its own. A version of a few gigabytes gets more, see `run_trial`."""
CHECKS: Final = 3
"""Number of the checks that a trial consists of. It is raised when they become stricter: then all versions are tried
anew."""
LIBRARIES: Final = ("lightgbm", "numpy", "pyarrow", "xgboost")
"""The libraries that read the files of a version."""


def check_here(directory: Path) -> str:
    """A check for promotions in this process; the fingerprint of the version and its libraries, see `probe`.

    Raises RegistryError if the version cannot be opened, or if a number in it is not finite.
    """
    open_and_check(directory)
    return _fingerprint(directory)


def check_in_subprocess(directory: Path) -> str:
    """As `check_here`, but in a subprocess, since a damaged version may end the process that opens it."""
    fingerprint = _fingerprint(directory)
    run_trial(directory, PROBE_SECONDS, threading.Event()).check()
    return fingerprint


def probe(
    directory: Path,
    checked: str | None = None,
    seconds: float | None = None,
    stop: threading.Event | None = None,
) -> None:
    """Try the version in a folder, once on a machine. Raises RegistryError if it cannot be opened.

    checked: the fingerprint from the version's promotion; if it is the same on this machine, nothing is tried
    seconds: time limit of a trial, by default PROBE_SECONDS
    stop: another thread sets it to end the trial, which raises TransientError
    """
    fingerprint = _fingerprint(directory)
    if _is_ready(fingerprint, checked):
        return
    event, limit = stop or threading.Event(), PROBE_SECONDS if seconds is None else seconds
    shared_verdict(directory, fingerprint, lambda: run_trial(directory, limit, event), event).check()


def ready_path(store: Store, version: str) -> Path | None:
    """The folder of a version that needs no trial, since its promotion or this machine tried it and it opened; or None.

    Raises RegistryError if there is no such version.
    """
    directory = store.path(version)
    return directory if _is_ready(_fingerprint(directory), _checked(store, directory)) else None


def probed_path(
    store: Store, version: str | None = None, seconds: float | None = None, stop: threading.Event | None = None
) -> Path:
    """The folder of a version that was tried, see `probe`; by default of the one in production."""
    directory = store.path(version)
    probe(directory, _checked(store, directory), seconds, stop)
    return directory


def _is_ready(fingerprint: str, checked: str | None) -> bool:
    """Whether a version was tried and opened; checked: the fingerprint from its promotion, if it is in production."""
    if checked == fingerprint:
        accept(fingerprint)  # so that it needs no trial either when another version is in production
        return True
    return accepted(fingerprint)


def _checked(store: Store, directory: Path) -> str | None:
    """The fingerprint from the promotion of a version, if the version is in production."""
    try:
        pointer = store.pointer()
    except RegistryError:  # a named version can be opened without the pointer
        return None
    return pointer.checked if pointer and pointer.version == directory.name else None


def _fingerprint(directory: Path) -> str:
    """A hash of a version and of the releases of the libraries that read it, since another release may fail.

    Raises RegistryError if there is no valid manifest.
    """
    manifest, _ = read_manifest(directory)
    text = json.dumps([CHECKS, manifest, [(name, _release(name)) for name in LIBRARIES]])
    return hashlib.sha256(text.encode()).hexdigest()


def _release(name: str) -> str:
    """The installed release of a library, "" for an optional one that is missing."""
    try:
        return release(name)
    except PackageNotFoundError:
        return ""
