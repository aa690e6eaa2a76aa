"""The part that all registries share: names of versions, the list of them, and promotions."""

import logging
import re
import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Protocol

from recsys.errors import RegistryError
from recsys.registry.artifact import Artifact
from recsys.registry.pointer import Pointer
from recsys.storage.small_files import SmallFiles

logger = logging.getLogger(__name__)

VERSION_NAME: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}")
_LISTED: Final = 5
_READERS: Final = 8
"""Manifests read at the same time."""


@dataclass(frozen=True, slots=True)
class Version:
    """A published version.

    created: UTC, ISO 8601, from the manifest; "" if the manifest cannot be read
    summary: the manifest without its file entries, or {"broken": the reason why it cannot be read}
    """

    name: str
    created: str
    summary: Mapping[str, Any]


Check = Callable[[Path], str | None]
"""Checks the version in a folder; raises RecsysError if the version cannot be used.

The pointer keeps the returned text, so that later readers of the version can skip the same check.
"""


def check_hashes(directory: Path) -> None:
    """The simplest check: raises RegistryError if a file in the version's folder has another hash."""
    Artifact.open(directory)


Confirm = Callable[[Pointer | None], None]
"""Looks at the pointer that a promotion replaces, None if it is absent or broken. Raises RegistryError to refuse."""


def accept(pointer: Pointer | None) -> None:
    """Accept every pointer."""


class Store(Protocol):
    """A registry of versions. Every method may raise RegistryError.

    files: small files beside the versions, which are no part of any version
    """

    files: SmallFiles

    def publish(self, fill: Callable[[Path], None], version: str | None = None) -> str:
        """Publish the files that `fill` writes into a folder as a new version; the name of the version.

        fill: called with the folder, which has the version's name; version: None for a new name
        """

    def check_writable(self) -> None:
        """Test that versions can be published, also if there is no registry yet. No registry is made."""

    def check_exists(self) -> None:
        """Raises RegistryError if there is no registry, as at a mistyped address."""

    def promote(self, version: str, check: Check = check_hashes, confirm: Confirm = accept) -> None:
        """Put a version into production if `check` accepts its folder; the default checks the hashes.

        confirm: asked right before the change; nothing can change the pointer between its answer and the change
        A broken pointer is replaced.
        """

    def rollback(self, check: Check = check_hashes) -> str:
        """Put the previous version back into production after the check; the name of this version.

        Raises RegistryError also if the version in production changed during the check.
        """

    def production(self) -> str | None:
        """The version in production, if any."""

    def pointer(self) -> Pointer | None:
        """The version in production and the versions before it; None if nothing was promoted yet.

        Raises BrokenPointer if the pointer is invalid.
        """

    def versions(self) -> list[Version]:
        """All published versions, oldest first."""

    def path(self, version: str | None = None) -> Path:
        """A local folder with the version, by default the one in production; its name is the version's."""

    def address(self, version: str) -> str:
        """The address of a version's files: a folder, or s3://bucket/prefix."""

    def remove(self, version: str) -> None:
        """Remove a version. First it is not listed any more, then its files go. Raises if it is in production."""

    def remove_unfinished(self) -> None:
        """Remove what a publisher or a removal left that died long ago."""


def new_version() -> str:
    """A name such as v20261123-083501-3fa9c1: UTC time, then a random part.

    Names sort by time, need no counter that concurrent publishers would have to share, and stay unique when a
    version is copied to another registry.
    """
    return f"v{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"


def checked_name(version: str) -> str:
    """The name, if it is valid for a version; raises RegistryError otherwise."""
    if not VERSION_NAME.fullmatch(version):
        raise RegistryError(
            f"bad version {version!r}: expected at most 100 letters, digits, '.', '_' or '-', without '.' at the start"
        )
    return version


Step = Callable[[Pointer | None], Pointer]
"""A function from the current pointer to the new one; the current one is None if it is absent or broken."""


class PointedStore(ABC):
    """The part of a store that folders and buckets share: the pointer, and the list of versions."""

    files: SmallFiles

    @abstractmethod
    def __str__(self) -> str:
        """The folder or the address of the registry."""

    @abstractmethod
    def pointer(self) -> Pointer | None:
        """See Store."""

    @abstractmethod
    def _change(self, step: Step) -> Pointer:
        """Replace the pointer without losing a change of another process; the new pointer.

        Others wait meanwhile or repeat the step, so a step takes no time.
        """

    @abstractmethod
    def _is_published(self, version: str) -> bool:
        """Whether there is such a version; raises RegistryError if this cannot be told."""

    @abstractmethod
    def _names(self) -> Sequence[str]:
        """Names of the published versions, ascending."""

    @abstractmethod
    def _manifest(self, version: str) -> Mapping[str, Any]:
        """The manifest of a published version; raises RegistryError if it cannot be read."""

    @abstractmethod
    def path(self, version: str | None = None) -> Path:
        """See Store."""

    @abstractmethod
    def check_exists(self) -> None:
        """See Store."""

    def address(self, version: str) -> str:
        """See Store."""
        return f"{self}/versions/{version}"

    def promote(self, version: str, check: Check = check_hashes, confirm: Confirm = accept) -> None:
        """See Store."""
        checked = check(self.path(version))

        def step(before: Pointer | None) -> Pointer:
            confirm(before)
            return Pointer.after(before, version, checked)

        self._point(step)

    def rollback(self, check: Check = check_hashes) -> str:
        """See Store."""
        before = self.pointer()
        if before is None or not before.history:
            raise RegistryError(
                f"nothing to roll back to in {self}: no version was promoted before "
                f"{before.version if before else 'now'}; {self._listing()}"
            )
        *history, version = before.history
        pointer = Pointer(version=version, history=tuple(history), checked=check(self.path(version)))

        def step(current: Pointer | None) -> Pointer:
            if current != before:
                now = f"{current.version} instead of {before.version}" if current else "none"
                raise RegistryError(
                    f"not rolled back: during the check the version in production of {self} became {now}"
                )
            return pointer

        return self._point(step).version

    def _point(self, step: Step) -> Pointer:
        """Change the pointer to a version that is there, before the change and after it; the new pointer.

        So either a removal at the same time sees the new pointer and takes itself back, or it is seen here.
        """
        replaced: Pointer | None = None

        def checked(before: Pointer | None) -> Pointer:
            nonlocal replaced
            replaced, pointer = before, step(before)
            if not self._is_published(pointer.version):
                raise self._unknown(pointer.version)
            return pointer

        pointer = self._change(checked)
        try:
            is_there = self._is_published(pointer.version)
        except RegistryError as error:  # the change is in force
            logger.warning("not looked at again", extra={"version": pointer.version, "reason": str(error)})
            return pointer
        if not is_there:
            if replaced is not None:
                back = replaced.without(pointer.version)
                self._change(lambda now: back if now in (pointer, None) else now.without(pointer.version))
            raise self._unknown(pointer.version)
        return pointer

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
            self.check_exists()
            raise RegistryError(f"no version is in production in {self}; {self._listing()}")
        return checked_name(version)

    def _check_removable(self, version: str) -> None:
        if version == self.production():
            raise RegistryError(f"version {version} is in production in {self}; it is not removed")

    def _unknown(self, version: str) -> RegistryError:
        self.check_exists()
        return RegistryError(f"no version {version} in {self}; {self._listing()}")

    def _listing(self) -> str:
        names = self._names()
        if not names:
            return "it holds no versions"
        more = len(names) - _LISTED
        return f"versions: {', '.join(names[-_LISTED:])}" + (f" and {more} older" if more > 0 else "")
