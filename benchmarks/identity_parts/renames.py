"""What NEW calls otherwise than OLD on purpose: the table that `benchmarks/identity.py` applies before it compares.

The order is FILES, WORDS, MOVED, then DROPPED and ADDED, so write the paths of DROPPED as the script prints them, which
is in the words of NEW.

A path is dotted: the document, then the keys and the places in lists that lead to a value. `*` stands for any text,
dots included. The documents are

- `files`: the names of a version's files, as in `files.arrays/gram.npy`
- `manifest`, and `config`, `metrics`, `report` for the version's JSON files, as in `metrics.table.3.system`
- `ranker.txt` and the like: lines by number, as in `ranker.txt.12`
- `recommend USER`: ranks and columns of the batch, as in `recommend 17.1.score`
- `http PATH`: status and body of an answer, as in `http /recommend/17?n=10.body.recommendations.0.score`
"""

from typing import Final

FILES: Final[dict[str, str]] = {}
"""Name of a file in OLD's version: its name in NEW's, both exact, such as "arrays/gram.npy"."""

WORDS: Final[dict[str, dict[str, str]]] = {}
"""By document (`*`: every one): a word in the text of OLD's JSON and ranker files: the word in NEW's.

A word is replaced where it stands whole, not between letters, digits or underscores, in keys and in values alike; it
may hold blanks. With its quotes and colon, as in '"alpha":', it is replaced where it is a key alone. All words of a
document are replaced at once, so two may change places.
"""

MOVED: Final[dict[str, str]] = {}
"""Path in OLD, to a value or to a branch: its path in NEW, with as many `*`, such as "config.a.size": "config.b.size".

It also serves for a name that is changed in one place alone. Settings that `--quick` passes are moved with it.
"""

DROPPED: Final[dict[str, str]] = {}
"""Path, to a value or to a branch, that OLD has and NEW has no more: the reason.

Where an entry of a list is left out, the next one takes its place. A path in both DROPPED and ADDED is not compared.
"""

ADDED: Final[dict[str, str]] = {}
"""Path, to a value or to a branch, that NEW has and OLD had not yet: the reason."""

UNORDERED: Final[dict[str, str]] = {}
"""Path of a list whose entries may stand in another order: the reason.

Such as "report.reasons.importance", where features of equal gain are in the order of their names. It is applied to both
before MOVED.
"""

VARYING: Final[dict[str, str]] = {
    "manifest.created": "the time of day",
    "report.created": "the time of day",
    "http /health.body.model.created": "the time of day",
    "metrics.quality.quarantine": "a path that holds the work folder",
}
"""Path whose value differs from run to run of the same code: the reason."""
