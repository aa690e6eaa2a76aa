"""Comparison of two checkouts, bit by bit, to see if a rewrite changed a result: both train, recommend and serve.

    python benchmarks/identity.py OLD NEW [--data SOURCE …] [--users N] [--quick] [--keep FOLDER] [--json FILE]

OLD and NEW are folders of checkouts. Both run on this machine, one after the other, in this environment: cmfrec is
compiled for its machine, so a record of another machine proves nothing. Each trains on every source with default
settings, recommends to the same users in a batch, and serves. Then these are compared:

- files: their names, and the sha256 of each array and table;
- ranker texts: line by line; without LightGBM's `tree_sizes=`, the lengths of its texts;
- config.json, metrics.json, report.json and the manifest: every value; the order of keys does not count;
- recommend: ten items of each user, their order and the bits of their scores; some ids are unknown;
- http: status and body of about one request for each user, and of some errors. Requests are sent one at a time.

Pages, pictures and times of day are not compared, and the version's name is masked. Names that NEW changed on purpose
are listed in `identity_parts/renames.py`. They are applied to OLD first, so a pure renaming is no difference.

The table counts values by source and kind, with the largest gap between two floats that differ. At most 20 differences
are listed, in turn from every kind. The exit code is 0 without differences, 1 with differences, and 2 if a run failed.

Two runs of the same code have shown no difference so far, even on a machine that is busy with other work.

--keep FOLDER keeps OLD's outcome in FOLDER/old-COMMIT-SOURCE. A later call with the same commit, settings, packages
and processor reuses it and runs only NEW. NEW's outcome stays in FOLDER/new-SOURCE and all differences in
FOLDER/differences-SOURCE.txt, until the next call.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from identity_parts import asking, checkouts  # noqa: E402
from identity_parts.comparison import Compared, Difference, compare  # noqa: E402
from identity_parts.documents import OF_NEW, OF_OLD  # noqa: E402
from identity_parts.outcomes import Outcome, emptied, file_name, kept, stamp  # noqa: E402

from recsys import console  # noqa: E402

SOURCES: Final = ("completejourney", "synthetic:0.2")
QUICK_SOURCES: Final = ("synthetic:0.02",)
QUICK: Final = ("evaluation.page=false", "ranker.max_trees=15", "examples.cuts=2", "evaluation.seeds=1")
"""Settings in OLD's names."""
N: Final = 10
"""Number of items that a batch recommends to a user."""
LISTED: Final = 20
"""Largest number of differences in the printed list."""

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two checkouts, and the settings of its training in its own names."""

    name: str
    checkout: Path
    settings: Sequence[str]


@dataclass(frozen=True, slots=True)
class Run:
    """A comparison.

    keep: folder for the outcomes, None to keep none
    seconds: rows of the JSON file, one for each stage that ran
    """

    old: Side
    new: Side
    users: int
    keep: Path | None
    seconds: list[Row] = field(default_factory=list)


def compared(run: Run, data: str, scratch: Path) -> list[Compared]:
    """The comparison of both sides' outcomes for a data source; outcomes that are not kept go into `scratch`."""
    outcomes = run.keep or scratch
    if run.keep is None:
        folder = emptied(scratch / f"old-{file_name(data)}")
    else:
        folder = kept(run.keep, stamp(run.old.checkout, data, run.old.settings))
    old = Outcome(folder, run.users)
    train(run, run.old, data, old)
    users = asking.draw_users(old.version, run.users)
    use(run, run.old, data, old, users)
    new = Outcome(emptied(outcomes / f"new-{file_name(data)}"), run.users)
    train(run, run.new, data, new)
    use(run, run.new, data, new, users)
    kinds = compare(old, new, OF_OLD, OF_NEW)
    if run.keep is not None:
        lines = [f"{one.path}\t{one.old}\t{one.new}\n" for kind in kinds for one in kind.differences]
        (run.keep / f"differences-{file_name(data)}.txt").write_text("".join(lines), encoding="utf-8")
    return kinds


def train(run: Run, side: Side, data: str, outcome: Outcome) -> None:
    """Train, unless the outcome of an earlier training is kept."""
    if outcome.trained:
        console.progress(f"{side.name}, {data}: the kept training is used")
        return
    with timed(run, side, data, "train"):
        checkouts.train(side.checkout, data, side.settings, outcome.registry)


def use(run: Run, side: Side, data: str, outcome: Outcome, users: Sequence[asking.Id]) -> None:
    """Recommend and serve, unless the responses for these users are kept."""
    outcome.asked.mkdir(exist_ok=True)
    if not outcome.recommended.exists():
        file = outcome.asked / "users.csv"
        asking.write_users(users, file)
        with timed(run, side, data, "recommend"):
            checkouts.recommend(side.checkout, outcome.registry, file, N, outcome.recommended)
    paths = asking.requests_for(users)
    if outcome.answers.exists() and list(json.loads(outcome.answers.read_text(encoding="utf-8"))) == paths:
        return
    with (
        timed(run, side, data, "serve"),
        checkouts.served(side.checkout, outcome.registry, outcome.asked / "serve.log") as client,
    ):
        asking.ask(client, paths, outcome.answers)


@contextmanager
def timed(run: Run, side: Side, data: str, stage: str) -> Iterator[None]:
    """Announce a stage and note its seconds."""
    with console.step(f"{side.name}, {data}: {stage}") as step:
        yield
    run.seconds.append(row(side.name, data, stage, round(step.seconds, 1), "s"))


def row(system: str, setting: str, metric: str, value: float, unit: str) -> Row:
    return {"system": system, "setting": setting, "metric": metric, "value": value, "unit": unit}


# Reporting.


def show(by_source: dict[str, list[Compared]]) -> None:
    """Print a line for each data source and kind, then some of the differences."""
    columns = ["data", "kind", "documents", "same", "different", "largest gap"]
    lines = [
        [data, kind.kind, kind.documents, kind.same, len(kind.differences), f"{kind.largest_gap:.3g}"]
        for data, kinds in by_source.items()
        for kind in kinds
    ]
    console.table(columns, lines)
    listed = [[data, one.path, *one.excerpts()] for data, one in some_differences(by_source)]
    if listed:
        console.table(["data", "difference", "old", "new"], listed)
    total = sum(len(kind.differences) for kinds in by_source.values() for kind in kinds)
    console.line(f"{total:,} differences, {len(listed)} of them listed" if total else "identical")


def some_differences(by_source: dict[str, list[Compared]]) -> list[tuple[str, Difference]]:
    """At most LISTED differences: the first one of every kind, then the second ones, and so on."""
    everything = [
        (number, data, one)
        for data, kinds in by_source.items()
        for kind in kinds
        for number, one in enumerate(kind.differences)
    ]
    everything.sort(key=lambda entry: entry[0])
    return [(data, one) for _, data, one in everything[:LISTED]]


def rows_of(by_source: dict[str, list[Compared]]) -> list[Row]:
    """Flat rows of the counts."""
    rows = []
    for data, kinds in by_source.items():
        for kind in kinds:
            rows.append(row(kind.kind, data, "same", kind.same, "count"))
            rows.append(row(kind.kind, data, "different", len(kind.differences), "count"))
            rows.append(row(kind.kind, data, "largest gap", kind.largest_gap, "1"))
    return rows


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path, metavar="OLD", help="folder of the checkout with the right results")
    parser.add_argument("new", type=Path, metavar="NEW", help="folder of the checkout that is compared with it")
    parser.add_argument(
        "--data", action="append", metavar="SOURCE", help=f"may be repeated; default: {' and '.join(SOURCES)}"
    )
    parser.add_argument("--users", type=int, default=200, metavar="N")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_SOURCES[0]}, a small model; about three minutes")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep OLD's outcome there, or reuse it")
    parser.add_argument("--json", type=Path, metavar="FILE")
    return parser.parse_args()


def main() -> int:
    options = parse()
    settings = QUICK if options.quick else ()
    run = Run(
        Side("old", options.old.absolute(), settings),
        Side("new", options.new.absolute(), [OF_OLD.setting(one) for one in settings]),
        options.users,
        options.keep and options.keep.absolute(),
    )
    by_source: dict[str, list[Compared]] = {}

    def command() -> None:
        with tempfile.TemporaryDirectory(prefix="identity-") as scratch:
            for data in options.data or (QUICK_SOURCES if options.quick else SOURCES):
                source = str(Path(data).absolute()) if Path(data).is_dir() else data
                by_source[data] = compared(run, source, Path(scratch))
        show(by_source)
        if options.json:
            content = json.dumps([*rows_of(by_source), *run.seconds], indent=1)
            options.json.write_text(f"{content}\n", encoding="utf-8")

    code = console.guarded(command)
    return code or int(any(kind.differences for kinds in by_source.values() for kind in kinds))


if __name__ == "__main__":
    sys.exit(main())
