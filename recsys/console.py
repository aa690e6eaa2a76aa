"""Output for people: results on stdout; progress, errors and logs on stderr.

Progress is whole lines, never redrawn, so that `ray job logs` and a file show what a terminal shows.
"""

import resource
import sys
import textwrap
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from recsys.errors import RecsysError

PLAIN_WIDTH: Final = 200
"""Columns of a table that is not printed to a terminal."""
TEXT_WIDTH: Final = 100
"""Columns of a paragraph."""
ERROR_LENGTH: Final = 2000
"""Characters of an error at most, about."""
BAD_INPUT: Final = 2
INTERRUPTED: Final = 130


def _console(stderr: bool = False) -> Console:
    # Made for each call, so that importing touches no stream and a replaced sys.stdout is honoured. Markup is
    # off because ids may hold square brackets.
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else PLAIN_WIDTH
    return Console(file=stream, width=width, markup=False, highlight=False, emoji=False)


def line(text: str) -> None:
    """Print one line of results."""
    _console().print(text, soft_wrap=True)


def paragraph(text: str) -> None:
    """Text of results, wrapped into lines; the second and later lines are indented."""
    for part in textwrap.wrap(text, TEXT_WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False):
        line(part)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], title: str | None = None) -> None:
    """Print rows under column names; numbers are set to the right, floats with four digits, None as a dash."""
    cells = [list(row) for row in rows]
    grid = Table(title=title, title_justify="left", title_style="", box=SIMPLE_HEAD, show_edge=False)
    for column, name in enumerate(columns):
        numeric = all(isinstance(row[column], int | float | None) for row in cells)
        grid.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for row in cells:
        grid.add_row(*map(_cell, row))
    _console().print(grid)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def error(text: str) -> None:
    """Print one line about what went wrong."""
    _console(stderr=True).print(f"error: {text}", style="bold red", soft_wrap=True)


def guarded(command: Callable[[], None]) -> int:
    """Run a command and return its exit code.

    An error made on purpose, or one of the operating system's, becomes one line on stderr and exit code 2, also
    where it was raised in a Ray task; so does an interruption, with exit code 130.
    """
    try:
        command()
    except KeyboardInterrupt:
        error("interrupted")
        return INTERRUPTED
    except (RecsysError, OSError) as problem:
        cause = getattr(problem, "cause", problem)  # of Ray's errors, whose own text is the task's stack trace
        if isinstance(cause, OSError) and cause.filename:
            error(_shortened(f"{cause.filename}: {cause.strerror}"))
        else:
            error(_shortened(str(cause)))
        return BAD_INPUT
    return 0


def _shortened(text: str) -> str:
    """On one line, its middle left out where it is long: input is quoted in it."""
    text = " ".join(text.split())
    half = ERROR_LENGTH // 2
    return text if len(text) <= ERROR_LENGTH else f"{text[:half]} … {text[-half:]}"


@dataclass(slots=True)
class Step:
    """A step of a run: its name and, once it is over, the seconds it took."""

    name: str
    seconds: float = 0.0


@contextmanager
def step(name: str, memory: bool = False) -> Iterator[Step]:
    """Print one line when a step is over, with the time it took; with `memory` also this process's peak so far."""
    done, started, verdict = Step(name), time.monotonic(), "failed after"
    try:
        yield done
        verdict = "took"
    finally:
        done.seconds = time.monotonic() - started
        peak = f", peak {_peak_gigabytes():.2f} GB" if memory else ""
        progress(f"{name} {verdict} {done.seconds:.1f} s{peak}")


def progress(text: str) -> None:
    """Print one line about the running command, with the time of day."""
    _console(stderr=True).print(f"{time.strftime('%H:%M:%S')} {text}", soft_wrap=True)


def _peak_gigabytes() -> float:
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is in bytes on macOS, in KiB on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9
