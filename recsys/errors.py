"""Errors that a person can act on. A message names the field, its value and the expected value."""

from tokenize import TokenError
from typing import Final


def first_line(problem: object) -> str:
    """The first line of an error of another library. The other lines are a stack trace."""
    return _lines(problem)[0]


def last_line(problem: object) -> str:
    """The last line of an error from a remote process. The other lines are a stack trace."""
    return _lines(problem)[-1]


def reason_of(problem: BaseException) -> str:
    """The text of an error. The text of Ray's own error is the stack trace of the task, so its cause is taken."""
    return str(getattr(problem, "cause", problem))


def _lines(problem: object) -> list[str]:
    """The lines that are not blank; the type of the error if all lines are blank."""
    return [line.strip() for line in str(problem).splitlines() if line.strip()] or [type(problem).__name__]


class RecsysError(Exception):
    """Base of the errors that this package raises on purpose. Commands print one line and exit with code 2."""


class ConfigError(RecsysError):
    """A setting is unknown, has the wrong type, or is out of range."""


class DataError(RecsysError):
    """Input rows, files or columns are missing or unusable."""


class RuleError(RecsysError):
    """A filter or a rule is wrong, or a version lacks what it needs."""


class ModelError(RecsysError):
    """A model cannot be fitted to the data, or cannot be applied to it."""


class TooLittleData(ModelError):
    """The data are too few to learn from. A training then publishes a version that is not learned."""


class RegistryError(RecsysError):
    """A version or a registry is missing, damaged or in the wrong state."""


CONTENT: Final = (
    *(RecsysError, ValueError, LookupError, TypeError, ArithmeticError, AttributeError, EOFError),
    *(SyntaxError, TokenError, RecursionError, NotImplementedError),
)
"""Errors of code that reads unexpected content."""


class TransientError(RegistryError):
    """A version cannot be opened now, although its content may be right. Another attempt may succeed.

    The disk, the network, memory or time may be at fault, or its files are not complete yet.
    """


def failure_of(cause: BaseException) -> type[RegistryError]:
    """The class of a version's error: RegistryError if its content is the cause, else TransientError.

    Memory, threads or a disk may lack at one moment and not at another.
    """
    unnumbered = isinstance(cause, OSError) and cause.errno is None  # so Arrow complains about content
    return RegistryError if unnumbered or isinstance(cause, CONTENT) else TransientError
