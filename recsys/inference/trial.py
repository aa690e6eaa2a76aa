"""Versions of a registry made ready to answer, and found out to be unfit before anybody depends on them."""

import hashlib
import json
import math
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as release
from pathlib import Path
from typing import Final

import recsys
from recsys.errors import RegistryError
from recsys.inference.servable import open_version
from recsys.registry.artifact import read_manifest
from recsys.registry.cache import cache_root
from recsys.registry.store import Store
from recsys.storage.files import locked

UNFIT_CODE: Final = 3
"""Exit code of a trial that says why a version cannot be opened."""
TRIAL_SECONDS: Final = 120.0
"""A version that is not open by then hangs."""
AGAIN_SECONDS: Final = 20.0
"""For so long a bad verdict counts for all on the machine."""
LIBRARIES: Final = ("lightgbm", "numpy", "pyarrow", "xgboost")
"""What reads the files of a version."""


def check_version(directory: Path) -> str:
    """The check of promotions: raises RegistryError unless the version in a folder answers; what `try_version` asks."""
    open_version(directory)
    return _fingerprint(directory)


def check_apart(directory: Path) -> str:
    """As `check_version`, for a version that may end the process that opens it."""
    fingerprint = _fingerprint(directory)
    if reason := _opened_apart(directory):
        raise RegistryError(reason)
    return fingerprint


def try_version(directory: Path, checked: str | None = None) -> None:
    """Open a version in a process of its own, once on a machine: a library that is given a bad file may abort.

    checked: what the check gave when the version was promoted; where it is the same here that is enough
    Raises RegistryError where it cannot be opened. Others on the machine that ask within AGAIN_SECONDS hear the same.
    """
    fingerprint = _fingerprint(directory)
    if checked == fingerprint:
        return
    reason = _known_reason(directory, cache_root() / "tried" / fingerprint)
    if reason:
        raise RegistryError(reason)


def tried(store: Store, version: str | None = None) -> Path:
    """The folder of a version, by default the one in production; raises RegistryError where it cannot be opened."""
    directory = store.path(version)
    try:
        pointer = store.pointer()
    except RegistryError:  # a version that was named can be opened all the same
        pointer = None
    try_version(directory, pointer.checked if pointer and pointer.version == directory.name else None)
    return directory


def _known_reason(directory: Path, verdict: Path) -> str:
    """Why a version cannot be opened, "" where it can be; verdict: the file that keeps it."""
    reason = _read(verdict)
    if reason is not None:
        return reason
    with suppress(OSError):  # where nothing can be kept, such as in a container that may only read
        verdict.parent.mkdir(parents=True, exist_ok=True)
        with locked(verdict.with_suffix(".lock")):
            reason = _read(verdict)
            if reason is None:
                reason = _opened_apart(directory)
                draft = verdict.with_suffix(".new")
                draft.write_text(reason, encoding="utf-8")
                draft.replace(verdict)
    return _opened_apart(directory) if reason is None else reason


def _read(verdict: Path) -> str | None:
    """What was found out, None where nobody has yet or where it was bad and long ago: a disk may have been at fault."""
    try:
        reason = verdict.read_text(encoding="utf-8")
        fresh = time.time() - verdict.stat().st_mtime < AGAIN_SECONDS
    except OSError:
        return None
    return reason if fresh or not reason else None


def _fingerprint(directory: Path) -> str:
    """Of a version and the libraries that read it: another release may fail where one did not.

    Raises RegistryError where it has no manifest.
    """
    manifest, _ = read_manifest(directory)
    text = json.dumps([manifest, [(name, _release(name)) for name in LIBRARIES]])
    return hashlib.sha256(text.encode()).hexdigest()


def _release(name: str) -> str:
    """The installed release of a library, "" for an optional one that is missing."""
    try:
        return release(name)
    except PackageNotFoundError:
        return ""


def _opened_apart(directory: Path) -> str:
    """Why a process of its own could not open a version, "" where it could."""
    root = str(Path(recsys.__file__).parents[1])
    path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    try:
        child = subprocess.run(
            [sys.executable, "-m", __name__, str(directory), str(math.ceil(TRIAL_SECONDS))],
            env=os.environ | {"PYTHONPATH": path},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TRIAL_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"{directory} is not open after {TRIAL_SECONDS:g} s"
    except OSError as error:
        return f"{directory}: no process can be started to open it: {error}"
    if child.returncode == 0:
        return ""
    said = (child.stderr.strip().splitlines() or ["without a word"])[-1][-1000:]
    if child.returncode == UNFIT_CODE:
        return said
    code = child.returncode
    how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    return f"{directory}: opening it ended a process by {how}: {said}"


def main() -> None:
    """Open the version in the folder that is this program's first argument, within as many seconds as the second."""
    directory, seconds = sys.argv[1:]
    signal.alarm(int(seconds))  # also where whoever started this is gone
    sys.modules["pandas"] = None  # type: ignore[assignment]  # LightGBM does without, and is up sooner
    try:
        open_version(Path(directory))
    except RegistryError as error:
        sys.stderr.write(f"{' '.join(str(error).split())}\n")
        sys.exit(UNFIT_CODE)


if __name__ == "__main__":
    main()
