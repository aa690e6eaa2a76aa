"""Output for people: results on stdout, progress and errors on stderr.

Progress is printed in whole lines that are never redrawn. So a terminal, a file and `ray job logs` show the same text.
"""

import io
import os
import re
import resource
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from recsys.errors import RecsysError

PLAIN_WIDTH: Final = 200
"""Characters in a line of a table that goes to a file or a pipe."""
TEXT_WIDTH: Final = 100
"""Characters in a line of a paragraph."""
ERROR_LENGTH: Final = 2000
"""Largest number of characters of an error. Longer errors are shortened in the middle."""
LONG_SECONDS = 10.0
"""Seconds after which a step that has not ended shows that it is under way."""
BAD_INPUT: Final = 2
"""Exit code after bad input."""
NOT_TEXT: Final = re.compile("[\udc80-\udcff]")
"""Characters by which Python stands for the bytes of a path that are not UTF-8."""
RETRIES: Final = "\nFailed to apply UDF transform after"
"""Beginning of the advice on retries that Ray Data appends to the text of an error in its tasks."""
INTERRUPTED: Final = 130
"""Exit code after an interruption."""


class _Console(Console):
    """A console whose command goes on where nobody reads its output any more, as after `| head -1`."""

    def on_broken_pipe(self) -> None:
        """Further output is dropped; rich would end the process with exit code 1."""
        self.quiet = True
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.file.fileno())
        os.close(nowhere)


def _console(stderr: bool = False) -> Console:
    """A console on the current stdout or stderr."""
    # Each call makes a new console: so the import of this module touches no stream, and a replaced sys.stdout is used.
    # Markup is off because ids may hold square brackets.
    stream = sys.stderr if stderr else sys.stdout
    if stream is None:  # closed by the caller, as `>&-` does
        return Console(file=io.StringIO(), markup=False)
    width = None if stream.isatty() else PLAIN_WIDTH
    return _Console(file=stream, width=width, markup=False, highlight=False, emoji=False)


def line(text: str) -> None:
    """Print one line of results."""
    _console().print(text, soft_wrap=True)


def paragraph(text: str) -> None:
    """Print a text of results, wrapped into lines. All lines but the first are indented."""
    for part in textwrap.wrap(text, TEXT_WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False):
        line(part)


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    title: str | None = None,
    width: int = PLAIN_WIDTH,
    folding: Collection[str] | None = None,
) -> None:
    """Print a table. Columns of numbers are aligned to the right, floats have four decimals, and None is a dash.

    width: largest number of characters in a line
    folding: columns whose texts go on in a further line if the table would be too wide; None for all columns
    """
    cells = [list(row) for row in rows]
    grid = Table(title=title, title_justify="left", title_style="", box=SIMPLE_HEAD, show_edge=False)
    for column, name in enumerate(columns):
        numeric = all(isinstance(row[column], int | float | None) for row in cells)
        whole = folding is not None and name not in folding
        grid.add_column(name, justify="right" if numeric else "left", overflow="fold", no_wrap=whole)
    for row in cells:
        grid.add_row(*map(_cell, row))
    _console().print(grid, width=width)


def is_narrower(width: int) -> bool:
    """Whether a line of the output has fewer characters."""
    return _console().width < width


def _cell(value: object) -> str:
    """The text of a table's cell."""
    if value is None:
        return "-"
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def error(text: str) -> None:
    """Print one line about an error."""
    _console(stderr=True).print(f"error: {printable(text)}", style="bold red", soft_wrap=True)


def printable(text: str) -> str:
    r"""The text, with \xff for the byte 255 of a path that is not UTF-8, and so on for other bytes."""
    escaped = NOT_TEXT.sub(lambda byte: f"\\x{ord(byte[0]) - 0xDC00:02x}", text)
    return escaped.encode(errors="backslashreplace").decode()


def guarded(command: Callable[[], None]) -> int:
    """The exit code of a command: 0, BAD_INPUT or INTERRUPTED.

    A RecsysError or OSError, also from a Ray task, is printed as one line on stderr and gives BAD_INPUT. So is a path
    that is not UTF-8 text, which no library but the system's own can open.
    """
    try:
        command()
    except KeyboardInterrupt:
        error("interrupted")
        return INTERRUPTED
    except (RecsysError, OSError, UnicodeEncodeError) as problem:
        cause = getattr(problem, "cause", problem)  # the text of Ray's own error is the stack trace of the task
        if isinstance(cause, UnicodeEncodeError):
            if (shown := printable(cause.object)) == cause.object:
                raise  # its text is no path
            error(_shortened(f"{shown}: the path is not UTF-8 text; expected a name in UTF-8"))
        elif isinstance(cause, OSError) and cause.filename:
            error(_shortened(f"{cause.filename}: {cause.strerror}"))
        else:
            error(_shortened(str(cause).partition(RETRIES)[0]))
        return BAD_INPUT
    return 0


def _shortened(text: str) -> str:
    """The text on one line of about ERROR_LENGTH characters at most: the middle of a longer text is left out."""
    text = " ".join(text.split())
    half = ERROR_LENGTH // 2
    return text if len(text) <= ERROR_LENGTH else f"{text[:half]} … {text[-half:]}"


@dataclass(slots=True)
class Step:
    """A step of a run; seconds: 0 until the step has ended."""

    name: str
    seconds: float = 0.0


@contextmanager
def step(name: str, memory: bool = False) -> Iterator[Step]:
    """A context that prints one line with the duration of the step when the step ends.

    A step of more than LONG_SECONDS also prints a line that it is under way.
    memory: also print the peak memory of this process so far
    """
    this_step, started, outcome = Step(name), time.monotonic(), "failed after"
    under_way = threading.Timer(LONG_SECONDS, progress, [f"{name} …"])
    under_way.daemon = True
    under_way.start()
    try:
        yield this_step
        outcome = "took"
    finally:
        under_way.cancel()
        this_step.seconds = time.monotonic() - started
        peak = f", peak {_peak_gigabytes():.2f} GB" if memory else ""
        progress(f"{name} {outcome} {this_step.seconds:.1f} s{peak}")


def progress(text: str) -> None:
    """Print one line about the current run, with the time of day."""
    _console(stderr=True).print(f"{time.strftime('%H:%M:%S')} {text}", soft_wrap=True)


def _peak_gigabytes() -> float:
    """The peak memory (resident set) of this process so far, in GB."""
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss counts bytes on macOS and KiB on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9
