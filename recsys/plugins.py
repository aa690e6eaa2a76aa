"""Registries of components by name, and plugins: modules of a shop that register their own components.

A registry maps names to components of one kind: candidate sources, rankers, readers of files. The environment variable
RECSYS_PLUGINS names plugins, separated by commas. Every process imports them before its first lookup. So a shop can
add components without a change of this package.
"""

import importlib
import os
import re
from functools import cache
from typing import Final, Generic, TypeVar, cast

from recsys.errors import ConfigError

VARIABLE: Final = "RECSYS_PLUGINS"
"""Name of the environment variable."""

NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
"""Names of components: they become parts of settings, files and features."""
FAULTS: Final = (
    *(ImportError, SyntaxError, NameError, AttributeError, TypeError, ValueError, LookupError, ArithmeticError),
    *(RuntimeError, OSError, AssertionError, SystemExit),
)
"""Errors of a module that cannot be imported."""

Component = TypeVar("Component")


class Registry(Generic[Component]):
    """Components of one kind by name, in the order in which they were added."""

    def __init__(self, kind: str) -> None:
        """kind: a word for error messages, such as "ranker"."""
        self._kind = kind
        self._components: dict[str, Component | str] = {}

    def add(self, name: str, component: Component | str) -> None:
        """Register a component under a name; raises ConfigError if the name is in use.

        component: the component itself, or a text "module:attribute" that is imported at the first use
        """
        if not NAME.fullmatch(name):
            raise ConfigError(f"{self._kind} {name!r}: a name has letters, digits and _, and begins with a letter")
        if name in self._components:
            raise ConfigError(f"there is already a {self._kind} named {name!r}; expected another name")
        self._components[name] = component

    def remove(self, name: str) -> None:
        """Remove a component from the registry."""
        del self._components[name]

    @property
    def names(self) -> tuple[str, ...]:
        """All names, in the order of registration."""
        load_plugins()
        return tuple(self._components)

    def __getitem__(self, name: str) -> Component:
        """The component with this name.

        Raises ConfigError if there is no such component, or if a Python package that it needs is not installed.
        """
        if name not in self.names:
            raise ConfigError(f"there is no {self._kind} named {name!r}; expected one of: {', '.join(self.names)}")
        component = self._components[name]
        if isinstance(component, str):
            component = self._components[name] = cast(Component, _load(f"the {self._kind} {name}", component))
        return component


@cache
def load_plugins() -> None:
    """Import the modules in RECSYS_PLUGINS, once in each process; raises ConfigError if an import fails."""
    for name in filter(None, (part.strip() for part in os.environ.get(VARIABLE, "").split(","))):
        try:
            importlib.import_module(name)
        except FAULTS as error:
            problem = f"{type(error).__name__}: {error}"
            raise ConfigError(f"{VARIABLE}: module {name!r} cannot be imported: {problem}") from error


def _load(title: str, place: str) -> object:
    """The object at "module:attribute"; raises ConfigError that names a missing package or the module's fault."""
    module, _, attribute = place.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"{title} needs the Python package {error.name}, which is not installed: install it"
        ) from error
    except FAULTS as error:
        raise ConfigError(f"{title} cannot be loaded from {place!r}: {type(error).__name__}: {error}") from error
