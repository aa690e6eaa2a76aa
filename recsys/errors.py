"""Errors a person can act on. Messages name the field, the value and what was expected."""


def first_line(problem: object) -> str:
    """Of the text of another library's error, whose stack trace follows it."""
    return _lines(problem)[0]


def last_line(problem: object) -> str:
    """Of the text of a remote error, which begins with its stack trace."""
    return _lines(problem)[-1]


def _lines(problem: object) -> list[str]:
    """Lines with something on them, at least one."""
    return [line.strip() for line in str(problem).splitlines() if line.strip()] or [type(problem).__name__]


class RecsysError(Exception):
    """Base of every error this package raises on purpose; entry points print it as one line, exit 2."""


class ConfigError(RecsysError):
    """A setting is unknown, of the wrong type or out of range."""


class DataError(RecsysError):
    """Input rows, files or columns are missing or unusable."""


class ModelError(RecsysError):
    """A model cannot be fitted or applied on what it was given."""


class RegistryError(RecsysError):
    """A bundle or a registry is missing, broken or in the wrong state."""
