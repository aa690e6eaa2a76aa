"""Recommendations to the sessions of a file, through Ray Data: the stages of the service over blocks of sessions."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import ray

from recsys.histories import Histories
from recsys.inference import mixed
from recsys.inference.batch import BLOCK, open_version, schema_of, table_of, write_blocks
from recsys.inference.files import check_arguments, open_for
from recsys.inference.list_rules import ListRules
from recsys.inference.options import BatchOptions
from recsys.inference.recommender import Recommender
from recsys.inference.session_events import EncodedSession, join
from recsys.inference.session_files import SESSION, SessionFile, read_sessions
from recsys.inference.stages import objectives
from recsys.registry.bundle import Bundle
from recsys.schema import USER, Objective

COLUMNS: Final = ("items", "events", "times")
"""Columns of a session's events, a list in each row."""
SESSIONS_OF_A_BLOCK: Final = 5000


@dataclass(frozen=True, slots=True)
class SessionBatch:
    """Sessions, and the recommendations that they get.

    registry, version: as in `prepare`, but with the name of the version
    table: one row for each session: its id, COLUMNS, and the user's id where the file has users
    schema: columns of the file; unknown_items: events that were passed over
    """

    registry: str
    version: str
    table: pa.Table
    n: int
    objective: Objective
    repeat_cap: float | None
    out: Path
    schema: pa.Schema
    unknown_items: int
    rules: ListRules | None = None


def prepare(
    registry: str,
    version: str | None,
    sessions: Path,
    n: int,
    out: Path,
    objective: Objective = "all",
    repeat_cap: float | None = None,
    rules: ListRules | None = None,
) -> SessionBatch:
    """A batch whose version opens and whose sessions and file are in order; needs no Ray.

    sessions: see `read_sessions`; the other arguments and errors as in `batch.prepare`
    """
    check_arguments(n, repeat_cap, sessions, out)
    name, checked = open_for(registry, version, rules)
    content = read_sessions(sessions, checked)
    schema = schema_of(SESSION, content.kind, checked.items.kind, list(checked.texts))
    table = session_table(content)
    unknown = content.unknown_items
    return SessionBatch(registry, name, table, n, objective, repeat_cap, out, schema, unknown, rules)


def session_table(content: SessionFile) -> pa.Table:
    """One row for each session, see SessionBatch."""
    sessions = content.sessions
    offsets = pa.array(sessions.offsets.astype(np.int32))
    lists = {name: pa.ListArray.from_arrays(offsets, pa.array(getattr(sessions, name))) for name in COLUMNS}
    users = {} if content.users is None else {USER: content.users}
    return pa.table({SESSION: content.ids, **lists, **users})


def write(batch: SessionBatch) -> None:
    """Write the best items of each session to a file, through Ray Data; needs Ray.

    Columns: session, rank (1 = best), itemid, score, lgb_score, mf_score (null if there is none), and title and image
    where the version has them. Sessions are in the order of their file. A session without a known item gets popular
    items.
    """
    dataset = ray.data.from_arrow(batch.table).repartition(max(1, len(batch.table) // SESSIONS_OF_A_BLOCK))

    def recommend_block(block: pa.Table) -> Iterator[pa.Table]:
        opened, recommender = open_version(batch.registry, batch.version)
        for start in range(0, len(block), BLOCK):
            some = block.slice(start, BLOCK)
            others = batch.objective, batch.repeat_cap, batch.rules
            yield recommend_to_sessions(some, opened, recommender, batch.n, *others)

    dataset = dataset.map_batches(recommend_block, batch_size=None, batch_format="pyarrow")
    dataset.set_name("recommendations to sessions")
    dataset.context.execution_options.preserve_order = True
    write_blocks(dataset, batch.schema, batch.out)


def recommend_to_sessions(
    table: pa.Table,
    opened: Bundle,
    recommender: Recommender,
    n: int,
    objective: Objective = "all",
    repeat_cap: float | None = None,
    rules: ListRules | None = None,
) -> pa.Table:
    """Recommendations to some sessions, one row for each session and rank; table: see SessionBatch."""
    lists = [table[name].combine_chunks() for name in COLUMNS]
    lengths = lists[0].value_lengths().to_numpy(zero_copy_only=False).astype(np.int64)
    ends = np.cumsum(lengths)
    items, events, times = (column.flatten().to_numpy(zero_copy_only=False) for column in lists)
    sessions = {
        row: EncodedSession(items[end - length : end], events[end - length : end], times[end - length : end], 0)
        for row, (length, end) in enumerate(zip(lengths.tolist(), ends.tolist(), strict=True))
    }
    joined = join(_histories(table, opened), sessions, opened.manifest.live_watermark)
    users = table[USER].to_pylist() if USER in table.column_names else [None] * len(table)
    options = BatchOptions(
        n,
        objectives(objective, len(table)),
        None if repeat_cap is None else np.full(len(table), repeat_cap),
        in_session=joined.in_session,
        rules=None if rules is None else rules.of_users(users, n),
    )
    ranked = mixed.recommend(recommender, joined.histories, joined.now, options)
    return table_of(SESSION, table[SESSION].combine_chunks(), opened, ranked)


def _histories(table: pa.Table, opened: Bundle) -> Histories:
    """The events of the sessions' users before; empty for sessions without a user, and for unknown users."""
    if USER in table.column_names:
        return opened.snapshot.take(opened.snapshot.rows(table[USER].combine_chunks()))
    return Histories.empty(len(table))
