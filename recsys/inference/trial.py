"""The trial of a version: a subprocess opens it, within bounds of time and memory.

A library may crash on a damaged file, or never come to an end. Then only the subprocess ends.
"""

import math
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

import recsys
from recsys.errors import RegistryError, TransientError
from recsys.inference.servable import open_servable
from recsys.registry.artifact import read_manifest
from recsys.registry.bundle import check_numbers

OPENED, REJECTED, FAILED = 0, 3, 4
"""Exit codes of the subprocess: the version opens; its content is wrong; it cannot be opened now."""
SECONDS_PER_GIGABYTE: Final = 20
"""Seconds for each full gigabyte of a version, beside those of the caller. A slow disk reads 50 MB a second."""
MOST_SECONDS: Final = 600
"""Largest number of these seconds; a manifest may declare any size."""
MEMORY_BYTES: Final = 1 << 30
"""Memory of the subprocess without the version's own; LightGBM needs a fifth of it, XGBoost two fifths."""
MEMORY_PER_BYTE: Final = 4
"""Further memory for each byte of the version, up to half of the machine's. Arrays are mapped, which takes none."""
CHECK_SECONDS: Final = 0.05
"""Seconds between two checks whether the subprocess has ended, or has to end."""
GIGABYTE: Final = 10**9
MESSAGE: Final = 1000
"""Characters of a subprocess's last line that become part of a reason."""
MESSAGE_BYTES: Final = 4 * MESSAGE
PRINTED_BYTES: Final = 1 << 24
"""Bytes that a subprocess may print."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of a trial.

    reason: why the version cannot be opened, "" if it can
    final: whether the content of the version is the reason, so that no other attempt can succeed
    """

    reason: str = ""
    final: bool = True

    def check(self) -> None:
        """Raises RegistryError with the reason, if there is one, or TransientError if it is not final."""
        if self.reason:
            raise (RegistryError if self.final else TransientError)(self.reason)


def open_and_check(directory: Path) -> None:
    """Open the version in a folder, recommend once, and check its numbers. Raises RegistryError."""
    open_servable(directory)
    check_numbers(directory)


def run_trial(directory: Path, seconds: float, stop: threading.Event) -> Verdict:
    """The verdict of a subprocess that runs `open_and_check`.

    seconds: time limit of a small version
    stop: another thread sets it to end the trial, which raises TransientError
    Raises RegistryError if there is no valid manifest.
    """
    _, files = read_manifest(directory)
    size = sum(entry.bytes for entry in files.values())
    seconds += min(SECONDS_PER_GIGABYTE * (size // GIGABYTE), MOST_SECONDS)
    half = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    memory = min(MEMORY_BYTES + MEMORY_PER_BYTE * size, half)
    command = [sys.executable, "-m", __name__, str(directory), str(math.ceil(seconds)), str(memory)]
    try:
        with tempfile.TemporaryFile() as printed:
            child = subprocess.Popen(
                command, env=_environment(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=printed
            )
            with child:
                try:
                    code = _exit_code(child, seconds, stop)
                finally:
                    child.kill()
            last_line = _last_line(printed)
    except OSError as error:
        return Verdict(f"{directory}: no process can be started to open it: {error}", final=False)
    if stop.is_set():
        raise TransientError(f"{directory}: its trial was ended")
    return _verdict(directory, code, seconds, last_line)


def _environment() -> dict[str, str]:
    """The variables of the subprocess: it imports this package, and its libraries take no memory in advance."""
    root = str(Path(recsys.__file__).parents[1])
    path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    few = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "ARROW_DEFAULT_MEMORY_POOL": "system"}
    return os.environ | {"PYTHONPATH": path} | few


def _exit_code(child: "subprocess.Popen[bytes]", seconds: float, stop: threading.Event) -> int | None:
    """The exit code of the subprocess; None if it did not end in time, or has to end."""
    end = time.monotonic() + seconds
    while (code := child.poll()) is None and time.monotonic() < end and not stop.wait(CHECK_SECONDS):
        pass
    return code


def _verdict(directory: Path, code: int | None, seconds: float, last_line: str) -> Verdict:
    if code is None:
        return Verdict(f"{directory} could not be opened within {seconds:g} s", final=False)
    if code == OPENED:
        return Verdict()
    if code in (REJECTED, FAILED):
        return Verdict(last_line, final=code == REJECTED)
    end = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    # A machine that lacks memory ends processes too, so another attempt may succeed.
    return Verdict(f"{directory}: the process that opened it ended with {end}: {last_line}", final=False)


def _last_line(printed: IO[bytes]) -> str:
    """The last line that a subprocess printed, at most MESSAGE characters of it."""
    printed.seek(max(0, printed.seek(0, os.SEEK_END) - MESSAGE_BYTES))
    lines = printed.read().decode(errors="replace").strip().splitlines()
    return (lines or ["it printed nothing"])[-1][-MESSAGE:]


def _set_limits(seconds: int, memory: int) -> None:
    """Bound this process; beyond a bound, an allocation fails or a signal ends the process."""
    signal.alarm(seconds)  # also if the parent is gone
    for kind, bound in ((resource.RLIMIT_DATA, memory), (resource.RLIMIT_FSIZE, PRINTED_BYTES)):
        _, most = resource.getrlimit(kind)
        least = bound if most == resource.RLIM_INFINITY else min(bound, most)
        resource.setrlimit(kind, (least, least))
    with suppress(OSError):  # where memory runs out, the kernel ends this process before one that serves
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


def main() -> None:
    """Open a version; arguments: its folder, the time limit in seconds, the limit of memory in bytes."""
    directory, seconds, memory = sys.argv[1:]
    _set_limits(int(seconds), int(memory))
    sys.modules["pandas"] = None  # type: ignore[assignment]  # LightGBM starts sooner without it
    try:
        open_and_check(Path(directory))
    except RegistryError as error:
        reason = " ".join(str(error).split())
        if isinstance(error.__cause__, MemoryError):
            reason += f"; the limit of the trial is {int(memory) / 1e6:,.0f} MB"
        sys.stderr.write(f"{reason}\n")
        sys.exit(FAILED if isinstance(error, TransientError) else REJECTED)


if __name__ == "__main__":
    main()
