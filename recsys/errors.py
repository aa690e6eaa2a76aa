"""Errors a person can act on. Messages name the field, the value and what was expected."""


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
