"""Recommendations for a file of users, through Ray Data: the stages of the service over blocks of users."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import ray

from recsys.ids import ID_TYPES, IdKind
from recsys.inference.files import (
    WRITERS,
    check_arguments,
    distinct_ids,
    open_for,
    rows_of_lists,
    text_column,
)
from recsys.inference.list_rules import ListRules
from recsys.inference.recommender import Recommendations, Recommender
from recsys.inference.sentences import Templates, sentences_of
from recsys.inference.stages import objectives
from recsys.registry import bundle
from recsys.registry.bundle import Bundle
from recsys.registry.locate import open_store
from recsys.schema import ITEM, LGB_SCORE, MF_SCORE, RANK, SCORE, UNKNOWN, USER, Objective

BLOCK = 500
"""Users that one call of the stages handles."""
EXPLANATIONS: Final = ("sources", "because_of", "sentence")
"""The columns of explanations."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Users, and the recommendations that they get.

    registry, version: as in `prepare`, but with the name of the version
    users: distinct ids, int64 or string; schema: columns of the file
    rules: filters and rules of every list
    """

    registry: str
    version: str
    users: pa.Array
    n: int
    objective: Objective
    repeat_cap: float | None
    templates: Templates | None
    out: Path
    schema: pa.Schema
    rules: ListRules | None = None


def prepare(
    registry: str,
    version: str | None,
    users: Path,
    n: int,
    out: Path,
    objective: Objective = "all",
    repeat_cap: float | None = None,
    templates: Templates | None = None,
    rules: ListRules | None = None,
) -> Batch:
    """A batch whose version opens and whose users and file are in order; needs no Ray.

    registry: a URI that is valid on every node, since each node opens the version itself
    version: None for the one in production
    users: a CSV file with a column visitorid; out: a file with one of the endings of WRITERS
    objective: recommend all items, only items new to a user, or only items of the user's history
    repeat_cap: largest fraction of a list for items of the user's history, in [0, 1]; None for the version's setting
    templates: of the sentences of explanations; None for recommendations without explanations
    rules: filters and rules of every list
    Raises DataError for an invalid argument or file, RuleError for a rule that the version cannot apply, RegistryError
    for a version that is missing or broken.
    """
    check_arguments(n, repeat_cap, users, out)
    rows = text_column(users, USER)
    name, checked = open_for(registry, version, rules)
    kind = checked.snapshot.users.kind
    schema = schema_of(USER, kind, checked.items.kind, list(checked.texts), explain=templates is not None)
    ids = distinct_ids(rows, users, USER, kind)
    return Batch(registry, name, ids, n, objective, repeat_cap, templates, out, schema, rules)


def write(batch: Batch) -> None:
    """Write the best items of each user to a file, through Ray Data; needs Ray.

    Columns: visitorid, rank (1 = best), itemid, score, lgb_score, mf_score (null if the item has no factor), and title
    and image where the version has them. With explanations: sources (names with commas between them), because_of (the
    item of the history, or null) and sentence. Users are in the order of their file. Users without events get the
    cold-start list; repeated users appear once.
    """
    ids = batch.users
    dataset = ray.data.from_arrow(pa.table({USER: ids})).repartition(max(1, len(ids) // 5000))

    def recommend_block(block: pa.Table) -> Iterator[pa.Table]:
        opened, recommender = open_version(batch.registry, batch.version)
        column = block[USER].combine_chunks()
        for start in range(0, len(column), BLOCK):
            users = column.slice(start, BLOCK)
            others = batch.objective, batch.repeat_cap, batch.templates, batch.rules
            yield recommend_to(users, opened, recommender, batch.n, *others)

    dataset = dataset.map_batches(recommend_block, batch_size=None, batch_format="pyarrow")
    dataset.set_name("recommendations")
    dataset.context.execution_options.preserve_order = True
    write_blocks(dataset, batch.schema, batch.out)


def write_blocks(dataset: ray.data.Dataset, schema: pa.Schema, out: Path) -> None:
    """Write the blocks in their order; `out` appears only when it is complete."""
    blocks = dataset.to_arrow_refs()
    out.parent.mkdir(parents=True, exist_ok=True)
    unfinished = out.with_name(f"{out.name}.unfinished")
    try:
        with WRITERS[out.suffix](unfinished, schema) as writer:
            for block in blocks:
                rows = ray.get(block)
                if len(rows):  # an empty block has no columns either
                    writer.write_table(rows.cast(schema))
        unfinished.replace(out)
    finally:
        unfinished.unlink(missing_ok=True)


def recommend_to(
    users: pa.Array,
    opened: Bundle,
    recommender: Recommender,
    n: int,
    objective: Objective = "all",
    repeat_cap: float | None = None,
    templates: Templates | None = None,
    rules: ListRules | None = None,
) -> pa.Table:
    """Recommendations to some users, one row for each user and rank; columns as in `recommend`."""
    histories = opened.snapshot.take(opened.snapshot.rows(users))
    caps = None if repeat_cap is None else np.full(len(users), repeat_cap)
    now, explained = opened.manifest.live_watermark, None if templates is None else np.full(len(users), n)
    batch_rules = None if rules is None else rules.of_users(users.to_pylist(), n)
    ranked = recommender(histories, now, n, objectives(objective, len(users)), caps, explained, batch_rules)
    return table_of(USER, users, opened, ranked, templates)


def table_of(
    name: str, ids: pa.Array, opened: Bundle, ranked: Recommendations, templates: Templates | None = None
) -> pa.Table:
    """The lists of a batch, one row for each request and rank; ids: of the requests, for the column `name`.

    templates: of the sentences; None without explanations
    """
    requests, ranks = rows_of_lists(ranked.offsets)
    return pa.table(
        {
            name: ids.take(pa.array(requests)),
            RANK: ranks,
            ITEM: opened.items.decode(ranked.items),
            SCORE: ranked.scores,
            LGB_SCORE: ranked.lgb_scores,
            MF_SCORE: pa.array(ranked.mf_scores, mask=np.isnan(ranked.mf_scores)),
            **{name: texts.take(pa.array(ranked.items)) for name, texts in opened.texts.items()},
            **({} if templates is None else _explanations(ranked, opened, templates)),
        }
    )


def _explanations(ranked: Recommendations, opened: Bundle, templates: Templates) -> dict[str, pa.Array]:
    """The columns of explanations, see `write`."""
    explanations = ranked.explanations
    if explanations is None:  # there is no user
        return {name: pa.array([], pa.string()) for name in EXPLANATIONS}
    names = np.array(opened.manifest.sources)
    sources = [",".join(names[proposed]) for proposed in ranked.provenance]
    origins = pa.array(explanations.origins, mask=explanations.origins == UNKNOWN)
    sentences = sentences_of(explanations, slice(None), opened, templates)
    columns = pa.array(sources, pa.string()), opened.items.values.take(origins), pa.array(sentences, pa.string())
    return dict(zip(EXPLANATIONS, columns, strict=True))


@cache
def open_version(registry: str, version: str) -> tuple[Bundle, Recommender]:
    """A version, opened once in each worker process. The caller or the node's cache has checked its hashes."""
    opened = bundle.read(open_store(registry).path(version), verify=False)
    return opened, Recommender.from_bundle(opened)


def schema_of(name: str, ids: IdKind, items: IdKind, texts: Sequence[str], *, explain: bool = False) -> pa.Schema:
    """The columns of a file of recommendations; name: the column of the requests' ids, of the type `ids`."""
    explanations = zip(EXPLANATIONS, (pa.string(), ID_TYPES[items], pa.string()), strict=True)
    return pa.schema(
        [
            (name, ID_TYPES[ids]),
            (RANK, pa.int32()),
            (ITEM, ID_TYPES[items]),
            (SCORE, pa.float64()),
            (LGB_SCORE, pa.float64()),
            (MF_SCORE, pa.float64()),
            *((name, pa.string()) for name in texts),
            *(explanations if explain else ()),
        ]
    )
