"""What every registry shares, wherever it lies: names of versions, and the pointer to the one in production."""

import re
import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Protocol

from pydantic import ConfigDict, ValidationError

from recsys.errors import RegistryError
from recsys.registry.artifact import Artifact
from recsys.schema import Config

VERSION_NAME: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}")
_LISTED: Final = 5
_READERS: Final = 8
"""Manifests read at the same time."""


@dataclass(frozen=True, slots=True)
class Version:
    """A published version.

    created: UTC, ISO 8601, as its manifest says ("" where that cannot be read)
    summary: the manifest without its file entries, or {"broken": why it cannot be read}
    """

    name: str
    created: str
    summary: Mapping[str, Any]


Check = Callable[[Path], str | None]
"""Raises RecsysError where the version in a folder cannot be used. A text that it gives is kept beside the version's
name, for those who come later and would else check the same."""


class Pointer(Config):
    """The version in production.

    history: those promoted before it, oldest first
    checked: what the check of its promotion vouched for, see Check
    """

    model_config = ConfigDict(extra="ignore")  # what a later release adds is not to stop this one

    version: str
    history: tuple[str, ...] = ()
    checked: str | None = None

    @property
    def promoted(self) -> tuple[str, ...]:
        """The version in production and those before it, the newest first."""
        return (self.version, *reversed(self.history))

    @classmethod
    def parse(cls, content: bytes, place: str) -> "Pointer":
        """Raises RegistryError where it is none; place: where it lies, for the error."""
        try:
            return cls.model_validate_json(content)
        except ValidationError as error:
            raise RegistryError(
                f"{place} is broken, expected JSON with a version: {error.errors()[0]['msg']}"
            ) from error

    def dump(self) -> bytes:
        return f"{self.model_dump_json(exclude_none=True)}\n".encode()


def check_hashes(directory: Path) -> None:
    """The least check: raises RegistryError unless the files in a version's folder are whole."""
    Artifact.open(directory)


class Store(Protocol):
    """What a registry does, wherever it lies. Every method raises RegistryError."""

    def publish(self, fill: Callable[[Path], None], version: str | None = None) -> str:
        """Make a version of what `fill` writes into the folder it is given, whose name is the version's."""

    def prepare(self) -> None:
        """Make the registry where there is none yet, and find out whether it can be written to."""

    def promote(self, version: str, check: Check = check_hashes) -> None:
        """Put a version into production, once `check` finds its folder in order; by default its files' hashes."""

    def rollback(self, check: Check = check_hashes) -> str:
        """Put back the version that was in production before, checked as in `promote`; the one now in production."""

    def production(self) -> str | None:
        """The version in production, if any."""

    def pointer(self) -> Pointer | None:
        """The version in production and those before it, None where nothing was promoted yet."""

    def versions(self) -> list[Version]:
        """All published versions, oldest first."""

    def path(self, version: str | None = None) -> Path:
        """A local folder with the version, by default the one in production; its name is the version's."""

    def address(self, version: str) -> str:
        """Where a version's files lie: a folder, or s3://bucket/prefix."""


def new_version() -> str:
    """A name such as v20261123-083501-3fa9c1: UTC time, then a random part.

    Names sort by time, need no counter that concurrent publishers would have to share, and stay unique when a
    version is copied to another registry.
    """
    return f"v{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"


def checked_name(version: str) -> str:
    """The name of a version; raises RegistryError where it cannot be one."""
    if not VERSION_NAME.fullmatch(version):
        raise RegistryError(
            f"bad version {version!r}: expected at most 100 of letters, digits, '.', '_', '-', not '.' first"
        )
    return version


Step = Callable[[Pointer | None], Pointer]
"""From the pointer as it is, None where nothing was promoted yet, to the pointer as it shall be."""


class PointedStore(ABC):
    """The part of a store that works alike everywhere: the pointer, and what is said about versions."""

    @abstractmethod
    def __str__(self) -> str:
        """Where the registry lies."""

    @abstractmethod
    def pointer(self) -> Pointer | None:
        """See Store."""

    @abstractmethod
    def _change(self, step: Step) -> Pointer:
        """Replace the pointer, so that no change of another process in between is lost; the one that stands then."""

    @abstractmethod
    def _names(self) -> Sequence[str]:
        """Names of the published versions, ascending."""

    @abstractmethod
    def _manifest(self, version: str) -> Mapping[str, Any]:
        """Of a published version; raises RegistryError where it cannot be read."""

    @abstractmethod
    def path(self, version: str | None = None) -> Path:
        """See Store."""

    def address(self, version: str) -> str:
        """See Store."""
        return f"{self}/versions/{version}"

    def promote(self, version: str, check: Check = check_hashes) -> None:
        """See Store."""
        checked = check(self.path(version))

        def step(pointer: Pointer | None) -> Pointer:
            history = () if pointer is None else pointer.history
            if pointer is not None and pointer.version != version:
                history = (*history, pointer.version)
            return Pointer(version=version, history=history, checked=checked)

        self._change(step)

    def rollback(self, check: Check = check_hashes) -> str:
        """See Store."""

        def step(pointer: Pointer | None) -> Pointer:
            if pointer is None or not pointer.history:
                raise RegistryError(
                    f"nothing to roll back to in {self}: no version was promoted before "
                    f"{pointer.version if pointer else 'now'}; {self._listing()}"
                )
            *history, version = pointer.history
            return Pointer(version=version, history=tuple(history), checked=check(self.path(version)))

        return self._change(step).version

    def production(self) -> str | None:
        """See Store."""
        pointer = self.pointer()
        return pointer.version if pointer else None

    def versions(self) -> list[Version]:
        """See Store."""
        with ThreadPoolExecutor(_READERS) as pool:
            versions = list(pool.map(self._version, self._names()))
        return sorted(versions, key=lambda version: (version.created, version.name))

    def _version(self, name: str) -> Version:
        try:
            manifest = self._manifest(name)
        except RegistryError as error:
            return Version(name, "", {"broken": str(error)})
        summary = {key: value for key, value in manifest.items() if key != "files"}
        return Version(name, str(manifest.get("created", "")), summary)

    def _wanted(self, version: str | None) -> str:
        """The name of a version, by default of the one in production."""
        if version is None and (version := self.production()) is None:
            raise RegistryError(f"no version is in production in {self}; {self._listing()}")
        return checked_name(version)

    def _unknown(self, version: str) -> RegistryError:
        return RegistryError(f"no version {version} in {self}; {self._listing()}")

    def _listing(self) -> str:
        names = self._names()
        if not names:
            return "it holds no versions"
        more = len(names) - _LISTED
        return f"versions: {', '.join(names[-_LISTED:])}" + (f" and {more} older" if more > 0 else "")
