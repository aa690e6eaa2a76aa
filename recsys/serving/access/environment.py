"""Where the environment has the API keys."""

import os
from typing import Final

from recsys.errors import ConfigError
from recsys.storage.address import is_s3

DOCUMENT: Final = "API_KEYS"
"""The environment variable with the document of keys itself, or with the address of its file."""
FILE: Final = "API_KEYS_FILE"
"""The environment variable with the address of the file of keys."""
ENVIRONMENT: Final = f"env:{DOCUMENT}"
"""In place of an address: each replica reads the document from its own environment. So no setting has it."""


def address_from_environment() -> str | None:
    """Where the environment has the keys: the address of a file, or ENVIRONMENT. None where no variable is set.

    Raises ConfigError for a variable that is set but empty: the service must not start without the keys it should have.
    """
    names = [name for name in (FILE, DOCUMENT) if name in os.environ]
    if len(names) > 1:
        raise ConfigError(f"{FILE} and {DOCUMENT} are both set; expected one of them")
    for name in names:
        text = os.environ[name].strip()
        if not text:
            raise ConfigError(f"{name} is set but empty; a service without keys needs it unset")
        is_address = name == FILE or is_s3(text) or text.startswith("/")
        return text if is_address else ENVIRONMENT
    return None
