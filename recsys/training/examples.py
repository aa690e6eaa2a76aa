"""The ranker's rows from label windows, through Ray Data: one task for each window and partition of users."""

import itertools
from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
import ray

from recsys import console
from recsys.arrays import belongs, ragged_indices, run_starts
from recsys.cluster import run_tasks
from recsys.config import TrainConfig
from recsys.data.shop import UserPartition
from recsys.errors import TooLittleData
from recsys.histories import Histories
from recsys.ids import Ids, draw, hashes
from recsys.inference.stages import CandidateStage, chunks, objectives
from recsys.models.rankers.rows import RankingData
from recsys.models.tables import Tables
from recsys.retrieval.preranker import PreRankerModels
from recsys.schema import OBJECTIVES, USER, Objective
from recsys.timeline import Cut, day
from recsys.training.context import Context
from recsys.training.windows import Window, chosen_users, label_windows

CHUNK: Final = 500
"""Users that one call of the stages handles."""
WINDOW, PARTITION, OBJECTIVE, GROUP, LABEL = "window", "partition", "objective", "group", "label"
"""Columns of an example beside its features."""


def build_examples(
    context: Context,
    tables: "Mapping[Cut, ray.ObjectRef[Tables]]",
    cuts: Sequence[Cut],
    prerankers: PreRankerModels,
    wanted: Sequence[Objective],
) -> dict[Objective, list[RankingData]]:
    """The rankers' rows of each cut, in the order of `cuts`, for each of the wanted objectives.

    Raises TooLittleData if the rows with objective "all" have no hit in any training window, or none in the validation
    window.
    """
    config, windows = context.config, label_windows(context, cuts)
    table_refs, partition_refs = [tables[cut] for cut in cuts], list(context.shop.partitions)
    work = [{WINDOW: w, PARTITION: p} for w in range(len(windows)) for p in range(len(partition_refs))]

    def example_rows(batch: pa.Table) -> pa.Table:
        # The closure carries references. A task fetches only the two that it needs.
        window, number = batch[WINDOW][0].as_py(), batch[PARTITION][0].as_py()
        fitted, partition = ray.get([table_refs[window], partition_refs[number]])
        rows = make_examples(partition, windows[window], fitted, prerankers, wanted, config)
        rows = rows.add_column(0, USER, partition.users.take(rows[GROUP].combine_chunks()))
        for name, value in ((PARTITION, number), (WINDOW, window)):
            rows = rows.add_column(0, name, pa.array(np.full(len(rows), value, np.int32)))
        return rows

    dataset = ray.data.from_items(work, override_num_blocks=len(work)).map_batches(
        example_rows, batch_size=1, batch_format="pyarrow"
    )
    dataset.set_name("ranking examples")
    # A block holds rows of one window and one partition, objective after objective.
    blocks = [part for block in ray.get(dataset.to_arrow_refs()) for part in _by_objective(block)]
    keys = WINDOW, OBJECTIVE, PARTITION, GROUP
    names = config.inference.feature_names
    parts = sorted(((tuple(block[name][0].as_py() for name in keys), block) for block in blocks), key=itemgetter(0))
    examples = {
        objective: [
            _collect([block for key, block in parts if key[:2] == (index, OBJECTIVES.index(objective))], names)
            for index in range(len(windows))
        ]
        for objective in wanted
    }
    if "all" in examples:
        _check(context, windows, examples["all"], tables, prerankers)
    return examples


def _by_objective(block: pa.Table) -> list[pa.Table]:
    """The rows of each objective that occurs in a block, as views."""
    if not len(block):  # an empty block may have no columns either
        return []
    borders = run_starts(block[OBJECTIVE].to_numpy()).tolist()
    return [block.slice(a, b - a) for a, b in itertools.pairwise([*borders, len(block)])]


def _check(
    context: Context,
    windows: Sequence[Window],
    examples: Sequence[RankingData],
    tables: "Mapping[Cut, ray.ObjectRef[Tables]]",
    prerankers: PreRankerModels,
) -> None:
    """Explain the windows without a hit: as TooLittleData if the run cannot go on, else as lines of progress."""
    shop, config, validation = context.shop, context.config, context.plan.validation
    without = [w for w, data in zip(windows, examples, strict=True) if not (data.labels > 0).any()]
    of_validation = [w for w in windows if w.cut == validation]
    of_training = [w for w in windows if w.cut > validation]
    groups = (of_training, of_validation)
    fatal = next((group for group in groups if group and all(w in without for w in group)), [])
    for window in fatal or without:
        calls = [(partition, window, tables[window.cut], prerankers, config) for partition in shop.partitions]
        counts = sum(ray.get(run_tasks(survey, "survey a window without a hit", calls)))
        message = explain(window, Survey(*np.asarray(counts).tolist()), shop.end, config)
        if fatal:
            raise TooLittleData(message)
        console.progress(message)


def _collect(blocks: Sequence[pa.Table], names: Sequence[str]) -> RankingData:
    """The rows of one window as matrices: the query groups by user id, since the order of rows changes the trees."""
    if not blocks:
        return RankingData(np.zeros((0, len(names)), np.float32), np.zeros(0, np.int8), np.zeros(0, np.int64))
    users = pa.chunked_array([chunk for block in blocks for chunk in block[USER].chunks])
    group = Ids.from_values(users).encode(users)
    row = np.empty(len(group), np.int64)
    row[np.argsort(group, kind="stable")] = np.arange(len(group))
    features, labels = np.empty((len(row), len(names)), np.float32), np.empty(len(row), np.int8)
    start = 0
    for block in blocks:
        target = row[start : start + len(block)]
        features[target] = np.column_stack([block[name].to_numpy() for name in names])
        labels[target] = block[LABEL].to_numpy()
        start += len(block)
    return RankingData(features, labels, np.bincount(group))


def make_examples(
    partition: UserPartition,
    window: Window,
    tables: Tables,
    prerankers: PreRankerModels,
    wanted: Sequence[Objective],
    config: TrainConfig,
) -> pa.Table:
    """One row for each kept candidate, objective after objective.

    Columns OBJECTIVE (a position in OBJECTIVES), GROUP (the user's position), LABEL and the features.
    """
    chosen = chosen_users(partition, window, config)
    user_hashes = draw(partition.users.take(pa.array(chosen)), "examples", config.seed)
    histories = partition.histories.take(chosen)
    stage = CandidateStage(tables, prerankers, config.inference)
    names = config.inference.feature_names
    arrays: dict[Objective, list[tuple[np.ndarray, ...]]] = {
        objective: [
            (
                objectives(objective, 0),
                np.zeros(0, np.int64),
                np.zeros(0, np.int8),
                np.zeros((0, len(names)), np.float32),
            )
        ]
        for objective in wanted
    }
    for users in chunks(histories, CHUNK):
        chunk = histories.take(users)
        profiles = stage.profile(chunk.until(window.cut.time), window.cut.time)
        after = chunk.between(window.cut.time, window.end)
        for objective in wanted:
            candidates = stage(profiles, objectives(objective, len(users)))
            label = hits(after, candidates.users, candidates.items, config)
            negatives = config.examples.negatives
            rows = sample_rows(candidates.users, candidates.items, label, user_hashes[users], negatives)
            groups = chosen[users[candidates.users[rows]]]
            matrix = stage.features(profiles, candidates, rows)
            arrays[objective].append((objectives(objective, len(rows)), groups, label[rows], matrix))
    parts = [part for objective in wanted for part in arrays[objective]]
    codes, groups, labels, matrix = (np.concatenate(column) for column in zip(*parts, strict=True))
    columns = {name: matrix[:, i] for i, name in enumerate(names)}
    return pa.table({OBJECTIVE: codes, GROUP: groups, LABEL: labels, **columns})


def hits(after: Histories, users: np.ndarray, items: np.ndarray, config: TrainConfig) -> np.ndarray:
    """Whether `after`, the events of a label window, has a target event of each (user, item); int8 (n_pairs,).

    Other events do not count as weaker hits. A shop has about a hundred views for each purchase, so a ranker trained on
    both would mainly learn to predict views.
    """
    targets = after.where(np.isin(after.events, config.target_codes))
    return belongs(users, items, targets.offsets, targets.items).astype(np.int8)


def mixed(user_hashes: np.ndarray, items: np.ndarray) -> np.ndarray:
    """A hash of each pair, uint64 (n,); user_hashes: uint64 (n,); items: int32 (n,)"""
    return hashes(pa.array((user_hashes ^ items.astype(np.uint64)).view(np.int64)))


def sample_rows(
    users: np.ndarray, items: np.ndarray, label: np.ndarray, user_hashes: np.ndarray, negatives: int
) -> np.ndarray:
    """Positions of the rows to keep, int64, ascending: for each user with a hit all hits, and negatives drawn by hash.

    label: int8 (n,), 1 for a hit; user_hashes: uint64 (n_users,); negatives: number of rows without a hit for a user
    """
    labelled = np.bincount(users[label > 0], minlength=len(user_hashes))
    order = np.lexsort((mixed(user_hashes[users], items), label == 0, users))
    counts = np.bincount(users, minlength=len(user_hashes))
    quota = np.where(labelled > 0, np.minimum(counts, labelled + negatives), 0)
    return np.sort(order[ragged_indices(np.cumsum(counts) - counts, quota)])


class Survey(NamedTuple):
    """Counts of a label window.

    users: users with a history and a target event, who become query groups; candidates: candidates of these users
    """

    events: int
    targets: int
    users: int
    candidates: int


def survey(
    partition: UserPartition, window: Window, tables: Tables, prerankers: PreRankerModels, config: TrainConfig
) -> np.ndarray:
    """The Survey of a partition as int64 (4,), so that those of all partitions can be added up."""
    after = partition.histories.between(window.cut.time, window.end)
    chosen = chosen_users(partition, window, config)
    histories = partition.histories.take(chosen).until(window.cut.time)
    stage = CandidateStage(tables, prerankers, config.inference)
    candidates = (
        len(stage(stage.profile(histories.take(users), window.cut.time), objectives("all", len(users))).users)
        for users in chunks(histories, CHUNK)
    )
    targets = np.isin(after.events, config.target_codes)
    return np.array([len(after.events), targets.sum(), len(chosen), sum(candidates)], np.int64)


def explain(window: Window, counts: Survey, end: int, config: TrainConfig) -> str:
    """The message for a window without a hit: its counts, the likely cause, and the settings to check."""
    if not counts.events:
        cause = (
            f"the log has a gap there, or one event dated long after the others sets its end to {day(end)}: check the "
            "newest events, evaluation.test_days and examples.horizon_days"
        )
    elif not counts.targets:
        cause = "check targets, evaluation.test_days and examples.horizon_days"
    elif not counts.users:
        cause = "no user with a target event has an earlier event: check examples.min_history_days and the visitor ids"
    elif not counts.candidates:
        cause = "the sources propose no item: check the items' property available and inference.candidates.sources"
    else:
        cause = "no user chose a candidate: check inference.candidates (size, sources, exclude_purchased)"
    return (
        f"the label window after {day(window.cut.time)} up to {day(window.end)} (UTC) has no hit to learn from: "
        f"{counts.events:,} events, of which {counts.targets:,} are targets ({', '.join(config.target_types)}), "
        f"{counts.users:,} users with one and a history, {counts.candidates:,} candidates for these users; {cause}"
    )
