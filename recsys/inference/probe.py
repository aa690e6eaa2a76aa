"""Test-opening: a version is opened in a subprocess before it is loaded and served.

A library may crash on a damaged file and end its process. Then only the subprocess ends.
"""

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
from recsys.inference.servable import open_servable
from recsys.registry.artifact import read_manifest
from recsys.registry.cache import cache_root
from recsys.registry.store import Store
from recsys.storage.files import locked

REJECTED_CODE: Final = 3
"""Exit code of a subprocess that printed why the version cannot be opened."""
PROBE_SECONDS: Final = 120.0
"""Time limit; a version that is not open by then is rejected."""
RETRY_SECONDS: Final = 20.0
"""Time for which all processes of the machine reuse a rejection. Then the next one opens the version again."""
LIBRARIES: Final = ("lightgbm", "numpy", "pyarrow", "xgboost")
"""The libraries that read the files of a version."""


def check_here(directory: Path) -> str:
    """A check for promotions in this process; the fingerprint of the version and its libraries, see `probe`.

    Raises RegistryError if the version cannot be opened.
    """
    open_servable(directory)
    return _fingerprint(directory)


def check_in_subprocess(directory: Path) -> str:
    """As `check_here`, but in a subprocess, since a damaged version may end the process that opens it."""
    fingerprint = _fingerprint(directory)
    if reason := _open_in_subprocess(directory):
        raise RegistryError(reason)
    return fingerprint


def probe(directory: Path, checked: str | None = None) -> None:
    """Test-open the version in a folder, once on a machine; raises RegistryError if it cannot be opened.

    checked: the fingerprint from the version's promotion; if it is the same on this machine, nothing is opened
    """
    fingerprint = _fingerprint(directory)
    if checked == fingerprint:
        return
    reason = _reason(directory, cache_root() / "probed" / fingerprint)
    if reason:
        raise RegistryError(reason)


def probed_path(store: Store, version: str | None = None) -> Path:
    """The folder of a version that was test-opened, by default of the one in production; raises RegistryError."""
    directory = store.path(version)
    try:
        pointer = store.pointer()
    except RegistryError:  # a named version can be opened without the pointer
        pointer = None
    probe(directory, pointer.checked if pointer and pointer.version == directory.name else None)
    return directory


def _reason(directory: Path, outcome: Path) -> str:
    """The reason why a version cannot be opened, "" if it can; outcome: the file that keeps this text."""
    reason = _kept_reason(outcome)
    if reason is not None:
        return reason
    with suppress(OSError):  # the text cannot be kept, for example on a read-only disk
        outcome.parent.mkdir(parents=True, exist_ok=True)
        with locked(outcome.with_suffix(".lock")):
            reason = _kept_reason(outcome)
            if reason is None:
                reason = _open_in_subprocess(directory)
                draft = outcome.with_suffix(".new")
                draft.write_text(reason, encoding="utf-8")
                draft.replace(outcome)
    return _open_in_subprocess(directory) if reason is None else reason


def _kept_reason(outcome: Path) -> str | None:
    """The kept text; None if there is none, or if it is an old rejection, which a faulty disk may have caused."""
    try:
        reason = outcome.read_text(encoding="utf-8")
        fresh = time.time() - outcome.stat().st_mtime < RETRY_SECONDS
    except OSError:
        return None
    return reason if fresh or not reason else None


def _fingerprint(directory: Path) -> str:
    """A hash of a version and of the releases of the libraries that read it, since another release may fail.

    Raises RegistryError if there is no valid manifest.
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


def _open_in_subprocess(directory: Path) -> str:
    """The reason why a subprocess could not open a version, "" if it could."""
    root = str(Path(recsys.__file__).parents[1])
    path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    try:
        child = subprocess.run(
            [sys.executable, "-m", __name__, str(directory), str(math.ceil(PROBE_SECONDS))],
            env=os.environ | {"PYTHONPATH": path},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PROBE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"{directory} could not be opened within {PROBE_SECONDS:g} s"
    except OSError as error:
        return f"{directory}: no process can be started to open it: {error}"
    if child.returncode == 0:
        return ""
    last_line = (child.stderr.strip().splitlines() or ["it printed nothing"])[-1][-1000:]
    if child.returncode == REJECTED_CODE:
        return last_line
    code = child.returncode
    end = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    return f"{directory}: the process that opened it ended with {end}: {last_line}"


def main() -> None:
    """Open a version; arguments: its folder, and the time limit in seconds."""
    directory, seconds = sys.argv[1:]
    signal.alarm(int(seconds))  # ends this process even if its parent is gone
    sys.modules["pandas"] = None  # type: ignore[assignment]  # LightGBM starts sooner without it
    try:
        open_servable(Path(directory))
    except RegistryError as error:
        sys.stderr.write(f"{' '.join(str(error).split())}\n")
        sys.exit(REJECTED_CODE)


if __name__ == "__main__":
    main()
