"""The tables of a folder, a prefix on S3, a file or a pattern, by the names of the files alone. No Ray.

A table is one file; a folder, with all files below it; or several files whose names differ by a number, a date or the
word `part`, such as item_properties_part1.csv. Folders such as `dt=2017-01-01` become columns of their files.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from glob import glob
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import unquote

from recsys.data.reading import endings
from recsys.errors import DataError
from recsys.storage.address import is_s3
from recsys.storage.filesystem import Entry, File, FolderValue, file_at, is_file, walk

MAX_FILES: Final = 100_000
"""Files of a source at most. A folder with more is hardly a shop's."""
SHOWN: Final = 3
"""Files that a message names."""
SMALL_BYTES: Final = 64
"""A compressed file of at most this size may be empty."""
NO_VALUE: Final = "__HIVE_DEFAULT_PARTITION__"
"""The value in the name of a folder where it is missing, as Hive and Spark write it."""
DELTA_LOG: Final = "_delta_log"
NOTES: Final = (".txt", ".json", ".dat", ".data")
"""Endings of tables, but also of notes beside data."""
MARKERS: Final = re.compile(
    r"\..*|_(SUCCESS|metadata|common_metadata|committed_.*|started_.*|temporary)", re.IGNORECASE
)
"""Files that programs write beside data. These are passed over without a word."""

_WILD: Final = r"(\*|\?|\[[^]]+\])"
_DATE: Final = (
    r"\d+|(jan(uary)?|feb(ruary)?|mar(ch)?|apr(il)?|may|june?|july?|aug(ust)?|sept?(ember)?|oct(ober)?|nov(ember)?"
    r"|dec(ember)?)\d*"
)
_ID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_FRONT: Final = re.compile(_DATE, re.IGNORECASE)
_BACK: Final = re.compile(
    _DATE + r"|(part|chunk|split|shard|page|batch)\d*|of|c\d{3}|snappy|gz|zstd|lz4|(?=[a-f]*\d)[0-9a-f]{8,}",
    re.IGNORECASE,
)
"""Words at the front and at the back of a file's name that do not name a table."""
GENERIC: Final = ("", "part", "data")
"""Names of files that name no table. The folder does so."""


@dataclass(frozen=True, slots=True)
class Table:
    """The files of one table, at least one, in the order of their addresses; name: by the files, or their folder."""

    name: str
    files: tuple[File, ...]


class PassedOver(NamedTuple):
    """A file that belongs to no table, or has no rows."""

    address: str
    reason: str


def summary(files: Sequence[PassedOver]) -> str:
    """The files that were passed over in one line for a person, the first ones by name."""
    first = "; ".join(f"{file.address}: {file.reason}" for file in files[:SHOWN])
    return first + (f"; and {len(files) - SHOWN:,} more" if len(files) > SHOWN else "")


@dataclass(frozen=True, slots=True)
class Listing:
    """The tables of a source, by name, and the files in none of them. Two tables may have the same name.

    root: the folder or prefix that all files are below
    """

    tables: tuple[Table, ...]
    passed_over: tuple[PassedOver, ...]
    root: str = ""


class _Part(NamedTuple):
    """A file of a table: its path below the source's root, and its size as stored."""

    path: str
    size: int
    file: File


def list_tables(spec: str) -> Listing:
    """The tables of a folder, a file, a pattern with `*`, `?` or `[…]`, or of one of these on S3.

    spec: an absolute path or s3://bucket/…
    Raises DataError if there are no such files, the files are those of a Delta table, or S3 or the disk fails.
    """
    if (is_s3(spec) or not Path(spec).exists()) and re.search(r"[*?[]", spec):
        return _of_pattern(spec)
    name = spec.rpartition("/")[2]
    stem = _stem(name)
    if is_file(spec):
        if stem is None:
            raise DataError(f"{spec}: no reader for this file; expected a name that ends in {', '.join(endings())}")
        return Listing((Table(stem, (file_at(spec),)),), (), spec.rpartition("/")[0])
    return _listing(spec, list(_entries(spec)), by_folder=stem is None)


def _of_pattern(pattern: str) -> Listing:
    """The tables of the files that match, and of those below folders that match, by the names of the files."""
    root = re.split(r"[*?[]", pattern)[0].rpartition("/")[0]
    rest = pattern[len(root) + 1 :].strip("/")
    entries = _matches_on_s3(root, rest) if is_s3(pattern) else _matches_on_disk(root, rest)
    if not entries:
        raise DataError(f"{pattern}: no file matches")
    return _listing(root, entries, by_folder=False)


def _matches_on_s3(root: str, pattern: str) -> list[Entry]:
    """The files below a prefix whose path, or the beginning of it up to a slash, matches a pattern."""
    expression = path_pattern(pattern)
    return [entry for entry in _entries(root) if expression.fullmatch(entry.path)]


def path_pattern(pattern: str) -> re.Pattern[str]:
    """Matches the paths of files that a pattern means, and those below the folders that it means.

    pattern: with `*`, `?` and `[…]`, which match no slash, and `**` for any folders
    Raises DataError for another text in `[…]`.
    """
    parts = [".*" if part == "**" else "".join(map(_regex, re.split(_WILD, part))) for part in pattern.split("/")]
    try:
        return re.compile("/".join(parts).replace(".*/", "(?:.*/)?") + r"(?:/.*)?")
    except re.error as error:
        raise DataError(f"{pattern!r} is no pattern of files: {error}") from error


def _regex(text: str) -> str:
    """The regular expression of a wildcard or of a text without one. A wildcard matches no slash."""
    if text in ("*", "?"):
        return "[^/]*" if text == "*" else "[^/]"
    return text.replace("[!", "[^", 1) if re.fullmatch(_WILD, text) else re.escape(text)


def _matches_on_disk(root: str, pattern: str) -> list[Entry]:
    """The files that match a pattern below a folder, and the files below the folders that match."""
    entries: dict[str, Entry] = {}
    for path in sorted(glob(pattern, root_dir=root or "/", recursive=True)):
        place = Path(root or "/", path)
        if place.is_file():
            entries[path] = Entry(path, place.stat().st_size)
        else:
            inside = (Entry(f"{path.rstrip('/')}/{entry.path}", entry.size) for entry in _entries(str(place)))
            entries.update((entry.path, entry) for entry in inside)
    return list(entries.values())


def _entries(root: str) -> Iterator[Entry]:
    """The files below a folder or prefix. Raises DataError if they are too many, or the disk fails."""
    if not is_s3(root) and not Path(root).is_dir():
        return
    try:
        for number, entry in enumerate(walk(root)):
            if number == MAX_FILES:
                raise DataError(f"{root}: more than {MAX_FILES:,} files; expected the folder of one shop")
            if DELTA_LOG in entry.path.split("/"):
                problem = "it belongs to a Delta table, whose files hold deleted rows too; export the table as Parquet"
                raise DataError(f"{root}/{entry.path}: {problem}")
            yield entry
    except OSError as error:
        raise DataError(f"{root}: cannot be listed: {error.strerror}") from error


def _listing(root: str, entries: Sequence[Entry], by_folder: bool = True) -> Listing:
    """The tables of files below a folder.

    by_folder: False for a pattern and for a folder such as events.parquet/, where no folder is a table of its own
    """
    passed: list[PassedOver] = []
    folders: dict[str, list[_Part]] = {}
    files: dict[str, list[_Part]] = {}
    for path, size in entries:
        *above, name = path.split("/")
        address = f"{root}/{path}"
        if any(MARKERS.fullmatch(part) for part in (*above, name)):
            continue
        problem = _problem(name, above)
        if problem:
            passed.append(PassedOver(address, problem))
            continue
        part = _Part(path, size, replace(file_at(address), values=_values(above)))
        if by_folder and above and not _is_part(above[0]):
            folders.setdefault(above[0], []).append(part)
        else:
            files.setdefault(_base(name), []).append(part)
    tables = [(_folder_name(folder), parts, True) for folder, parts in folders.items()]
    tables += [(name, parts, False) for base, group in files.items() for name, parts in _grouped(root, base, group)]
    filled = [(name, _filled(parts, folder, passed)) for name, parts, folder in tables]
    named = sorted((name, parts) for name, parts in filled if parts)
    return Listing(
        tuple(Table(name, tuple(part.file for part in parts)) for name, parts in named), tuple(sorted(passed)), root
    )


def _problem(name: str, above: Sequence[str]) -> str | None:
    """The reason why a file is in no table, None if it is in one."""
    if any(part.startswith("_") for part in (*above, name)):
        return "its name, or that of its folder, begins with an underscore"
    if _stem(name) is None:
        return "no reader for this file"
    if any("\udc80" <= character <= "\udcff" for part in (*above, name) for character in part):
        return "its name is not UTF-8"
    return None


def _stem(name: str) -> str | None:
    """The name without the ending of a format; None without such an ending."""
    known = sorted((ending for ending in endings() if name.lower().endswith(ending)), key=len)
    return name[: -len(known[-1])] if known else None


def _folder_name(folder: str) -> str:
    """The name of a folder without the ending of a format, as in events.parquet/."""
    return _stem(folder) or folder


def _is_part(folder: str) -> bool:
    """True for a folder of some rows of the table above it, such as dt=2017-01-01 or 2017."""
    return "=" in folder or folder.isdecimal()


def _values(folders: Sequence[str]) -> tuple[FolderValue, ...]:
    """The columns that the folders give."""
    pairs = (folder.partition("=") for folder in folders if "=" in folder)
    return tuple(FolderValue(unquote(name), "" if value == NO_VALUE else unquote(value)) for name, _, value in pairs)


def _base(name: str) -> str:
    """The name of a file without its ending, and without dates in front and numbers, dates and `part` at the back."""
    stem = _stem(name) or name
    words = list(re.finditer(r"[^-_. ]+", _ID.sub(lambda match: "-" * len(match[0]), stem)))
    while words and _BACK.fullmatch(words[-1][0]):
        words.pop()
    while words and _FRONT.fullmatch(words[0][0]):
        words.pop(0)
    return stem[words[0].start() : words[-1].end()] if words else ""


def _grouped(root: str, base: str, group: Sequence[_Part]) -> Iterator[tuple[str, list[_Part]]]:
    """The tables of the files with the same base, with their names.

    Files in folders such as dt=2017-01-01 are parts. A file whose whole name is the base is a table of its own.
    """
    generic = base.lower() in GENERIC
    whole = {part.path for part in group if _stem(part.path) == base and not generic}
    yield from ((base, [part]) for part in group if part.path in whole)
    parts = [part for part in group if part.path not in whole]
    alone = len(parts) == 1 and (stem := _stem(parts[0].path) or "").lower() not in GENERIC and "/" not in stem
    if whole or (alone and generic):  # events_2.csv beside events.csv may be anything
        yield from ((_stem(part.file.name) or base, [part]) for part in parts)
    elif parts:
        yield (_folder_name(root.rpartition("/")[2]) if generic else base), parts


def _filled(parts: Sequence[_Part], folder: bool, passed: list[PassedOver]) -> list[_Part]:
    """The parts that are not empty, nor notes beside data. One file alone stays, so that an error can name it."""
    if len(parts) == 1 and not folder:
        return list(parts)
    left_out = {part.path: "empty" for part in parts if _is_empty(part)}
    notes = [part.path for part in parts if part.path.lower().endswith(NOTES)]
    if len(notes) < len(parts):
        left_out |= dict.fromkeys(notes, "another format than the other files of its table")
    passed += [PassedOver(part.file.address, left_out[part.path]) for part in parts if part.path in left_out]
    return [part for part in parts if part.path not in left_out]


def _is_empty(part: _Part) -> bool:
    """True if a file has no bytes, or none once it is decompressed."""
    if part.size > (SMALL_BYTES if part.file.compressed else 0):
        return False
    if not part.size:
        return True
    try:
        with part.file.stream() as stream:
            return not stream.read(1)
    except OSError:
        return False  # reading the table names the error
