"""Small files that several processes may change: replaced as a whole, and only if nobody changed them meanwhile."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Protocol

from recsys.errors import RecsysError
from recsys.storage.files import locked, read_regular, sync

LARGEST_BYTES: Final = 1 << 20
"""Largest size of a file."""
LOCK: Final = ".files.lock"
"""The file that is held while another one of its folder is replaced. Who may write into one folder needs no other."""


class SmallFiles(Protocol):
    """Small files by their name, such as `decisions/v1.json`. `S3Folder` has these methods too.

    Every method raises a RecsysError in one line if the place cannot be reached or is not writable.
    """

    def read(self, name: str) -> tuple[bytes, str] | None:
        """The content of a file and a tag of this content; None if there is no such file."""

    def write(self, name: str, content: bytes) -> None:
        """Write a file as a whole, over an older one if there is one."""

    def replace(self, name: str, content: bytes, etag: str | None) -> bool:
        """Write a file if the stored one still has this tag. True if it was written.

        etag: None to write only if there is no such file
        """

    def names(self, name: str) -> list[str]:
        """The names that begin with `name`, ascending."""

    def remove(self, *names: str) -> None:
        """Remove files. Names without a file are no error."""


class FolderFiles:
    """Small files in a folder, which is made by the first write. The tag of a content is its hash."""

    def __init__(self, root: Path, error: type[RecsysError]) -> None:
        self._root, self._error = root, error

    def read(self, name: str) -> tuple[bytes, str] | None:
        """See SmallFiles."""
        with self._explained(name):
            try:
                content = read_regular(self._root / name, LARGEST_BYTES)
            except (FileNotFoundError, NotADirectoryError):
                return None
        return content, hashlib.sha256(content).hexdigest()

    def write(self, name: str, content: bytes) -> None:
        """See SmallFiles."""
        with self._changing(name):
            self._put(self._root / name, content)

    def replace(self, name: str, content: bytes, etag: str | None) -> bool:
        """See SmallFiles."""
        with self._changing(name):
            stored = self.read(name)
            if (None if stored is None else stored[1]) != etag:
                return False
            self._put(self._root / name, content)
        return True

    def names(self, name: str) -> list[str]:
        """See SmallFiles."""
        folder, _, start = name.rpartition("/")
        with self._explained(name):
            try:
                paths = [path for path in (self._root / folder).iterdir() if path.name.startswith(start)]
            except (FileNotFoundError, NotADirectoryError):
                return []
        own = [path for path in paths if path.suffix != ".new" and path.name != LOCK and not path.is_dir()]
        return sorted(path.relative_to(self._root).as_posix() for path in own)

    def remove(self, *names: str) -> None:
        """See SmallFiles."""
        for name in names:
            with self._explained(name):
                (self._root / name).unlink(missing_ok=True)

    def _put(self, path: Path, content: bytes) -> None:
        """Write a file as a whole; call it with the lock held."""
        fresh = path.with_name(f"{path.name}.new")
        fresh.write_bytes(content)
        sync(fresh)
        fresh.replace(path)
        sync(path.parent)

    @contextmanager
    def _changing(self, name: str) -> Iterator[None]:
        with self._explained(name):
            (self._root / name).parent.mkdir(parents=True, exist_ok=True)
            with locked((self._root / name).parent / LOCK):
                yield

    @contextmanager
    def _explained(self, name: str) -> Iterator[None]:
        """Turns errors of the file system into `error`."""
        try:
            yield
        except OSError as error:
            raise self._error(f"{self._root / name}: {error.strerror}") from error
