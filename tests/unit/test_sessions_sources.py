"""The kernels of the session sources equal slow, plain code on small random logs."""

import math
from collections import defaultdict

import numpy as np
import pytest

from recsys.arrays import offsets_of
from recsys.histories import Histories
from recsys.schema import DAY, UNKNOWN
from recsys.sessions import neighbours, pairs, vectors
from recsys.sessions.log import Steps, distinct_steps
from recsys.sessions.proposals import Proposal
from recsys.sessions.settings import NeighbourConfig, PairConfig, VectorConfig

N_ITEMS = 12
WEIGHTS = (1.0, 2.0, 2.0)


def random_sessions(seed: int, n: int = 40) -> Histories:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 7, n)
    items = (rng.integers(0, N_ITEMS, lengths.sum()) * rng.random(lengths.sum())).astype(np.int32)
    events = rng.integers(0, 3, len(items)).astype(np.int8)
    return Histories(offsets_of(lengths), items, events, np.arange(len(items)) * 1000)


def steps_of_sessions(sessions: Histories) -> Steps:
    return distinct_steps(sessions, N_ITEMS, WEIGHTS, 15)


def by_session(steps: Steps) -> dict[int, list[int]]:
    """The distinct items of each session, the newest first."""
    lists: dict[int, list[int]] = defaultdict(list)
    for row, item in zip(steps.rows.tolist(), steps.items.tolist(), strict=True):
        lists[row].append(item)
    return lists


def as_dict(proposal: Proposal) -> dict[tuple[int, int], float]:
    pairs_of_rows = zip(proposal.users.tolist(), proposal.items.tolist(), strict=True)
    return dict(zip(pairs_of_rows, proposal.scores.tolist(), strict=True))


def slow_neighbours(
    past: Steps, ages: np.ndarray, query: Steps, config: NeighbourConfig
) -> dict[tuple[int, int], float]:
    lists = by_session(past)
    containing = defaultdict(list)
    for session, items in lists.items():
        for item in items:
            containing[item].append(session)
    idf = {item: math.log(len(ages) / len(sessions)) ** config.idf for item, sessions in containing.items()}
    result: dict[tuple[int, int], float] = defaultdict(float)
    for user, own in by_session(query).items():
        weight = {
            item: math.exp(-slot / config.query_decay) * float(query.weight[(query.rows == user)][slot])
            for slot, item in enumerate(own)
        }
        listed = {
            item: sorted((s for s in containing[item] if len(lists[s]) > 1), reverse=True)[: config.per_item]
            for item in own
        }
        candidates = sorted({s for sessions in listed.values() for s in sessions}, reverse=True)[: config.recent]
        rated = []
        for session in candidates:
            common = [item for item in own if session in listed[item]]
            similarity = sum(weight[item] * idf[item] for item in common) / math.sqrt(len(lists[session]))
            similarity = similarity**config.power * math.exp(-float(np.float32(ages[session])) / config.recency_days)
            rated.append((similarity * math.exp(-own.index(common[0]) / config.last_decay), session, common[0]))
        for similarity, session, match in sorted(rated, reverse=True)[: config.neighbours]:
            at_match = lists[session].index(match)
            for slot, item in enumerate(lists[session]):
                side = config.before if slot > at_match else 1.0
                decay = math.exp(-abs(slot - at_match) / config.distance_decay)
                result[user, item] += similarity * side * decay * idf[item]
    return result


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    "changes", [{}, {"recent": 7}, {"neighbours": 4}, {"per_item": 3}, {"idf": 0.5, "power": 1.0, "before": 0.2}]
)
def test_neighbours_equal_plain_code(seed: int, changes: dict[str, float]) -> None:
    config = NeighbourConfig().model_copy(update=changes)
    past, query = steps_of_sessions(random_sessions(seed)), steps_of_sessions(random_sessions(seed + 100, 6))
    ages = np.linspace(30, 0, 40)
    table = neighbours.fit_index(ages, past, N_ITEMS, config)
    proposal = neighbours.propose(table, neighbours.Weights.create(table, config), query, config)
    expected = slow_neighbours(past, ages, query, config)
    assert as_dict(proposal).keys() == expected.keys()
    assert as_dict(proposal) == pytest.approx(expected, rel=1e-5, abs=1e-12)
    keys = proposal.users * N_ITEMS + proposal.items
    assert (np.diff(keys) > 0).all()


def test_an_item_lists_its_newest_sessions_however_long_the_log_is() -> None:
    config = NeighbourConfig(per_item=5)
    for n in (40, 400):
        past = steps_of_sessions(random_sessions(1, n))
        table = neighbours.fit_index(np.linspace(30, 0, n), past, N_ITEMS, config)
        assert np.diff(table["listed_offsets"]).max() == 5
        assert len(table["ages"]) <= 5 * N_ITEMS


@pytest.mark.parametrize("seed", range(3))
def test_pairs_equal_plain_code(seed: int) -> None:
    config = PairConfig(per_item=4, window=3)
    past = steps_of_sessions(random_sessions(seed))
    counts = np.zeros((N_ITEMS, N_ITEMS))
    sessions = np.zeros(N_ITEMS, np.int64)
    for items in by_session(past).values():
        for place, item in enumerate(items):
            sessions[item] += 1
            for apart, other in enumerate(items[place + 1 : place + 1 + config.window], 1):
                counts[item, other] += math.exp(-(apart - 1) / config.distance_decay)
                counts[other, item] += math.exp(-(apart - 1) / config.distance_decay)
    counted = pairs.count_pairs(past, N_ITEMS, config)
    assert counted.toarray() == pytest.approx(counts)
    lifted = pairs.normalized(counted, sessions, 0.5, 2.0)
    expected = counts / np.sqrt(np.outer(sessions + 2.0, sessions + 2.0))
    assert lifted.toarray() == pytest.approx(expected)

    table = pairs.best_of_rows(lifted, config.per_item)
    query = steps_of_sessions(random_sessions(seed + 100, 5))
    weights = np.exp(-query.slot / 2.0)
    sums: dict[tuple[int, int], float] = defaultdict(float)
    for row, item, weight in zip(query.rows.tolist(), query.items.tolist(), weights.tolist(), strict=True):
        best = sorted(((-value, other) for other, value in enumerate(expected[item]) if value > 0))[: config.per_item]
        for value, other in best:
            sums[row, other] -= weight * value
    assert as_dict(pairs.propose_listed(table, query, weights, N_ITEMS)) == pytest.approx(sums, rel=1e-5)


def test_the_nearest_items_equal_a_full_sort() -> None:
    rng = np.random.default_rng(0)
    n = 300
    steps = distinct_steps(
        Histories(
            offsets_of(np.full(400, 5)),
            rng.integers(0, n, 2000).astype(np.int32),
            np.zeros(2000, np.int8),
            np.arange(2000),
        ),
        n,
        WEIGHTS,
        15,
    )
    sessions = np.bincount(steps.items, minlength=n)
    lifted = pairs.normalized(pairs.count_pairs(steps, n, PairConfig()), sessions, 0.5, 2.0)
    table = vectors.fit_vectors(lifted, sessions, VectorConfig(dimensions=16, per_item=3, min_sessions=5))
    matrix, rows = table["matrix"].astype(np.float64), table["rows"]
    able = np.flatnonzero(rows != UNKNOWN)
    assert set(able.tolist()) == set(np.flatnonzero(sessions >= 5).tolist())
    assert np.linalg.norm(matrix, axis=1) == pytest.approx(1.0, abs=1e-5)
    cosines = matrix @ matrix.T
    np.fill_diagonal(cosines, -1)
    for place, item in enumerate(able.tolist()):
        listed = table["items"][table["offsets"][item] : table["offsets"][item + 1]]
        best = np.sort(cosines[place])[::-1][:3]
        assert cosines[place][rows[listed]] == pytest.approx(best[best > 0], abs=1e-5)


def test_vectors_bring_items_together_that_share_neighbours() -> None:
    """Items 0 and 1 never meet, but both meet item 2; items 3 to 5 are another world."""
    lists = [[0, 2], [1, 2], [2, 0], [2, 1], [3, 4], [4, 5], [3, 5]] * 5
    steps = distinct_steps(
        Histories(
            offsets_of(np.array([len(one) for one in lists])),
            np.concatenate(lists).astype(np.int32),
            np.zeros(70, np.int8),
            np.arange(70) * DAY,
        ),
        24,
        WEIGHTS,
        15,
    )
    sessions = np.bincount(steps.items, minlength=24)
    lifted = pairs.normalized(pairs.count_pairs(steps, 24, PairConfig()), sessions, 0.5, 0.0)
    table = vectors.fit_vectors(lifted, sessions, VectorConfig(per_item=3))
    listed = table["items"][table["offsets"][0] : table["offsets"][1]]
    assert len(table["matrix"][0]) == 1  # a small shop has few dimensions
    assert not set(listed.tolist()) & {0}
    assert rows_close(table, 0, 1) > 0.99


def rows_close(table: dict[str, np.ndarray], first: int, second: int) -> float:
    matrix, rows = table["matrix"], table["rows"]
    return float(matrix[rows[first]] @ matrix[rows[second]])
