"""The pointer to the version in production, and the versions that were there before it."""

from typing import Final

from pydantic import ConfigDict, ValidationError

from recsys.errors import RegistryError
from recsys.schema import Config

POINTER_BYTES: Final = 1 << 20
"""Largest size of a pointer. A larger one is refused before it is read into memory."""
HISTORY: Final = 1000
"""Promotions that the pointer lists; older ones are forgotten. So its size is bounded."""


class BrokenPointer(RegistryError):
    """The pointer has no valid content. A promotion replaces it; the versions promoted before are forgotten then."""

    @classmethod
    def at(cls, place: str, reason: str) -> "BrokenPointer":
        """The error of the pointer at a path or an address."""
        repair = "a promotion repairs it (models promote VERSION)"
        return cls(f"{place} is broken, expected JSON with a version: {reason}; {repair}")


class Pointer(Config):
    """The version in production.

    history: the versions promoted before it, oldest first, at most HISTORY
    checked: the text that the check of its promotion returned, see `recsys.registry.store.Check`
    """

    model_config = ConfigDict(extra="ignore")  # a later release may add entries

    version: str
    history: tuple[str, ...] = ()
    checked: str | None = None

    @property
    def promoted(self) -> tuple[str, ...]:
        """The version in production and the versions promoted before it, newest first."""
        return (self.version, *reversed(self.history))

    @classmethod
    def parse(cls, content: bytes, place: str) -> "Pointer":
        """The pointer in a file; raises BrokenPointer if it is invalid. place: path or address, for the message."""
        try:
            return cls.model_validate_json(content)
        except ValidationError as error:
            raise BrokenPointer.at(place, error.errors()[0]["msg"]) from error

    @classmethod
    def after(cls, before: "Pointer | None", version: str, checked: str | None) -> "Pointer":
        """The pointer after the promotion of a version; before: None if nothing was promoted yet."""
        history = () if before is None else before.history
        if before is not None and before.version != version:
            history = (*history, before.version)
        return cls(version=version, history=history[-HISTORY:], checked=checked)

    def without(self, version: str) -> "Pointer":
        """The pointer whose history does not have a version."""
        return self.model_copy(update={"history": tuple(name for name in self.history if name != version)})

    def dump(self) -> bytes:
        """The pointer as the text of a file."""
        return f"{self.model_dump_json(exclude_none=True)}\n".encode()
