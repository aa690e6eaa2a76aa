"""How the ranker's rows are dealt out to workers."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys.errors import ModelError
from recsys.models.rankers.registry import RankerConfig
from recsys.models.rankers.rows import RankingData, TrainingSet
from recsys.storage.filesystem import file_at
from recsys.training.distributed import xgboost as xgboost_workers
from recsys.training.distributed.shards import deal
from tests.support.planted import NAMES, planted


@pytest.mark.parametrize("n", [2, 3, 7])
def test_query_groups_are_dealt_out_whole_and_nearly_evenly(n: int) -> None:
    rng = np.random.default_rng(0)
    parts, first = [], 0
    for n_groups in (1, 40, 0, 25):
        groups = rng.integers(1, 30, n_groups)
        group = np.repeat(np.arange(first, first + n_groups), groups)
        first += n_groups
        weights = group.astype(np.float32)
        parts.append(RankingData(weights[:, None], (group % 2).astype(np.int8), groups, weights))
    found = deal(parts, n)
    assert len(found) == n
    columns = [np.concatenate([part.features[:, 0] for part in share]) for share in found]
    assert np.concatenate(columns).tolist() == np.concatenate([part.weights for part in parts]).tolist()
    assert not any(set(a) & set(b) for i, a in enumerate(columns) for b in columns[:i])
    for share in found:
        for part in share:
            assert part.groups.sum() == len(part.labels) == len(part.features) == len(part.weights)
            assert (np.repeat(np.unique(part.weights), part.groups) == part.weights).all()
    sizes = [len(column) for column in columns]
    assert max(sizes) - min(sizes) <= 2 * 29
    assert np.shares_memory(found[-1][-1].features, parts[-1].features)


def test_every_worker_gets_a_query_group() -> None:
    groups = np.array([50, 1, 1, 1])
    part = RankingData(np.zeros((53, 3), np.float32), np.zeros(53, np.int8), groups)
    assert [[part.groups.tolist() for part in share] for share in deal([part], 4)] == [[[50]], [[1]], [[1]], [[1]]]
    with pytest.raises(ModelError, match=r"4 query groups cannot be dealt out to ranker.num_workers=5"):
        deal([part], 5)


def test_weights_that_xgboost_ray_does_not_take_are_an_error(tmp_path: Path) -> None:
    rows, settings = planted(4), RankerConfig(backend="xgboost", num_workers=2)
    folder = file_at(str(tmp_path))

    def dealt(*weights: float) -> list[pa.Table]:
        weighted = replace(rows, weights=np.repeat(np.float32(weights), 20))
        job = xgboost_workers.prepare(TrainingSet([weighted], None, NAMES, []), settings, None, folder)
        return [pq.read_table(path) for path in job.shards]

    with pytest.raises(ModelError, match="weight of a query group must be 0 or 1"):
        dealt(0, 1, 0.5, 1)
    shards = dealt(0, 1, 1, 0)  # groups without weight are left out
    assert [len(shard) for shard in shards] == [20, 20]
    columns = [np.concatenate([shard[name].to_numpy() for shard in shards]) for name in ("signal", "noise")]
    np.testing.assert_array_equal(np.stack(columns, axis=1), rows.features[20:60, [0, 2]])


def test_validation_groups_without_a_hit_are_left_out(tmp_path: Path) -> None:
    """xgboost_ray takes no weights of query groups, so such groups would count."""
    rows, settings = planted(6), RankerConfig(backend="xgboost", num_workers=2)
    labels = rows.labels.copy()
    labels[20:60] = 0
    valid = replace(rows, labels=labels)
    job = xgboost_workers.prepare(TrainingSet([rows], valid, NAMES, []), settings, None, file_at(str(tmp_path)))
    signal = np.concatenate([pq.read_table(path)["signal"].to_numpy() for path in job.valid])
    np.testing.assert_array_equal(signal, np.delete(rows.features[:, 0], slice(20, 60)))
