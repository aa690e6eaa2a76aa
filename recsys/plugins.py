"""Components by name, and the modules of a shop's own that add to them.

A registry maps names to components of one kind: candidate sources, rankers, readers of files. A module named in the
environment variable RECSYS_PLUGINS (several separated by commas) is imported before the first lookup, in every process,
so that a shop can register components without a change of this package.
"""

import importlib
import os
from functools import cache
from typing import Final, Generic, TypeVar, cast

from recsys.errors import ConfigError

VARIABLE: Final = "RECSYS_PLUGINS"

Component = TypeVar("Component")


class Registry(Generic[Component]):
    """Components of one kind by name, in the order in which they were added."""

    def __init__(self, kind: str) -> None:
        """kind: for error messages, such as "ranker"."""
        self._kind = kind
        self._components: dict[str, Component | str] = {}

    def add(self, name: str, component: Component | str) -> None:
        """Register a component, or "module:attribute" of one that is imported at its first use.

        Raises ConfigError where the name is taken.
        """
        if name in self._components:
            raise ConfigError(f"there is a {self._kind} named {name} already")
        self._components[name] = component

    def remove(self, name: str) -> None:
        """Undo `add`."""
        del self._components[name]

    @property
    def names(self) -> tuple[str, ...]:
        """All names, in the order of registration."""
        load_plugins()
        return tuple(self._components)

    def __getitem__(self, name: str) -> Component:
        """The component of a name; raises ConfigError that lists the names."""
        if name not in self.names:
            raise ConfigError(f"there is no {self._kind} named {name!r}; there are: {', '.join(self.names)}")
        component = self._components[name]
        if isinstance(component, str):
            module, _, attribute = component.partition(":")
            try:
                loaded = importlib.import_module(module)
            except ModuleNotFoundError as error:
                raise ConfigError(
                    f"the {self._kind} {name} needs the Python package {error.name}: install it"
                ) from error
            component = self._components[name] = cast(Component, getattr(loaded, attribute))
        return component


@cache
def load_plugins() -> None:
    """Import the modules of RECSYS_PLUGINS, once a process; raises ConfigError that names a module it cannot import."""
    for name in filter(None, (part.strip() for part in os.environ.get(VARIABLE, "").split(","))):
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise ConfigError(f"{VARIABLE}: module {name!r} cannot be imported: {error}") from error
