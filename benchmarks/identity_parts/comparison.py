"""What two checkouts wrote, side by side."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import polars as pl

from identity_parts.documents import Leaves, Table
from identity_parts.outcomes import Outcome

FILES: Final = "files"
MANIFEST: Final = "manifest"
RANKERS: Final = "ranker texts"
BATCH: Final = "recommend"
HTTP: Final = "http"
NOT_COMPARED: Final = frozenset({".html", ".png"})
"""Suffixes of pages and pictures: it is only compared whether they are there."""
VARYING_LINE: Final = "tree_sizes="
"""LightGBM's line of the lengths of its texts, which a renamed feature changes."""
EXCERPT: Final = 60
"""Characters shown of a value, from shortly before where the two part."""
BEFORE: Final = 15

Documents = dict[str, Leaves]


@dataclass(frozen=True, slots=True)
class Difference:
    """A value that the two have otherwise, as JSON texts; None where it is missing."""

    path: str
    old: str | None
    new: str | None

    @property
    def gap(self) -> float:
        """How far two floats are apart, 0 for anything else: ids and counts have no distance worth telling."""
        old, new = (json.loads(text or "null") for text in (self.old, self.new))
        return abs(old - new) if isinstance(old, float) and isinstance(new, float) else 0.0

    def excerpts(self) -> tuple[str, str]:
        """The beginning of both from shortly before where they part."""
        old, new = self.old, self.new
        if old is None or new is None:
            return _cut(old, 0), _cut(new, 0)
        apart = next((at for at, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))
        return _cut(old, apart), _cut(new, apart)


@dataclass(frozen=True, slots=True)
class Compared:
    """Documents of a kind; same: the number of values that are equal."""

    kind: str
    documents: int
    same: int
    differences: list[Difference]

    @property
    def largest_gap(self) -> float:
        """Between two floats."""
        return max((one.gap for one in self.differences), default=0.0)


def compare(old: Outcome, new: Outcome, of_old: Table, of_new: Table) -> list[Compared]:
    """One entry for each kind of document that either has."""
    before, after = documents(old, of_old), documents(new, of_new)
    return [_compared(kind, before.get(kind, {}), after.get(kind, {})) for kind in dict.fromkeys([*before, *after])]


def documents(outcome: Outcome, table: Table) -> dict[str, Documents]:
    """All that is compared of an outcome, by kind and by name."""
    version = outcome.version
    manifest = json.loads((version / "manifest.json").read_text(encoding="utf-8"))
    found: dict[str, Documents] = {FILES: {"files": table.of_files(_digests(version, manifest["files"], table))}}
    for name in manifest["files"]:
        called = table.files.get(name, name)
        if called.endswith(".json"):
            text = outcome.masked((version / name).read_text(encoding="utf-8"))
            stem = called.removesuffix(".json")
            found[called] = {stem: table.of_json(stem, text)}
        elif _is_ranker(called):
            lines = (version / name).read_text(encoding="utf-8").splitlines()
            kept = [line for line in lines if not line.startswith(VARYING_LINE)]
            found.setdefault(RANKERS, {})[called] = table.of_lines(called, kept)
    entries = {key: value for key, value in manifest.items() if key != "files"}
    found[MANIFEST] = {MANIFEST: table.of_json(MANIFEST, outcome.masked(json.dumps(entries)))}
    found[BATCH] = _batch(pl.read_parquet(outcome.recommended), table)
    answers = json.loads(outcome.masked(outcome.answers.read_text(encoding="utf-8")))
    found[HTTP] = {path: table.of_json(f"http {path}", json.dumps(answer)) for path, answer in answers.items()}
    return found


def _digests(version: Path, names: Mapping[str, Any], table: Table) -> dict[str, str]:
    """sha256 of each file as it lies there; of those that are compared as text, or not at all, a word instead."""
    digests = {}
    for name in names:
        called = Path(table.files.get(name, name))
        if called.suffix in NOT_COMPARED:
            digests[name] = "not compared"
        elif called.suffix == ".json" or _is_ranker(called.name):
            digests[name] = "compared as text"
        else:
            with (version / name).open("rb") as file:
                digests[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return digests


def _is_ranker(name: str) -> bool:
    return name.startswith("ranker") and name.endswith(".txt")


def _batch(frame: pl.DataFrame, table: Table) -> Documents:
    """Recommendations of a batch by user; in a document of its own the types of the columns and the users' order."""
    user, *columns = frame.columns
    lists: dict[str, list[Any]] = {}
    for row in frame.iter_rows(named=True):
        lists.setdefault(str(row[user]), []).append({column: row[column] for column in columns})
    types = {column: str(kind) for column, kind in frame.schema.items()}
    whole = table.of_json("recommend", json.dumps({"columns": types, "users": list(lists)}))
    return {"recommend": whole} | {
        name: table.of_json(f"recommend {name}", json.dumps(rows)) for name, rows in lists.items()
    }


def _compared(kind: str, old: Documents, new: Documents) -> Compared:
    names = dict.fromkeys([*old, *new])
    same, differences = 0, []
    for name in names:
        before, after = old.get(name, {}), new.get(name, {})
        for path in dict.fromkeys([*before, *after]):
            if path in before and path in after and before[path] == after[path]:
                same += 1
            else:
                differences.append(Difference(path, before.get(path), after.get(path)))
    return Compared(kind, len(names), same, differences)


def _cut(text: str | None, apart: int) -> str:
    if text is None:
        return "(missing)"
    start = max(0, apart - BEFORE)
    return ("…" if start else "") + text[start : start + EXCERPT] + ("…" if len(text) > start + EXCERPT else "")
