"""Training steps as tasks of Ray: how users are dealt out to partitions does not matter."""

from dataclasses import replace

import numpy as np
import pytest
import ray

from recsys.config import TrainConfig
from recsys.errors import ModelError
from recsys.models.rankers.base import RankingData
from recsys.models.tables import Tables
from recsys.retrieval.preranker import (
    NO_PRERANKERS,
    PreRankerModels,
)
from recsys.schema import OBJECTIVES
from recsys.training.examples import (
    build_examples,
)
from recsys.training.plan import make_plan
from recsys.training.preranker import fit_prerankers
from tests.support.shop_data import END, START
from tests.support.trained import world_shop
from tests.support.world import small_config, small_world, tables_of

AGE = 42


@pytest.fixture(scope="module")
def tables() -> Tables:
    return tables_of(small_world(), AGE)


def groups_of(data: RankingData) -> list[bytes]:
    """The rows of each query group with their labels, in an order of their own."""
    assert data.groups.sum() == len(data.labels) == len(data.features)
    rows = np.column_stack([data.features, data.labels.astype(np.float32)])
    return sorted(part.tobytes() for part in np.split(rows, np.cumsum(data.groups)[:-1]))


@pytest.mark.usefixtures("ray_session")
def test_examples_do_not_depend_on_partitions(tables: Tables) -> None:
    config: TrainConfig = small_config("examples.max_users=60")
    ages = (AGE, 28)
    refs = {AGE: ray.put(tables), 28: ray.put(tables_of(small_world(), 28))}
    found = [build_examples(world_shop(n), refs, ages, NO_PRERANKERS, OBJECTIVES, config) for n in (1, 5)]
    for objective in OBJECTIVES:
        for one, other in zip(*(examples[objective] for examples in found), strict=True):
            assert len(one.groups) > 10
            assert groups_of(one) == groups_of(other)


@pytest.mark.usefixtures("ray_session")
@pytest.mark.parametrize("age", [AGE, 28])
def test_windows_without_a_hit_stop_the_run(age: int, tables: Tables, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing happens after END, and no cut has a candidate when no source has a share."""
    shop, names = world_shop(2), ("own", "covisitation", "mf_neighbours", "recent", "popular", "category")
    nothing = small_config(*(f"inference.candidates.sources.{name}.weight=0" for name in names))
    refs = {at: ray.put(tables_of(small_world(), at)) for at in (age, 14)}
    with pytest.raises(ModelError, match="0 candidates for them, 0 labels; nothing is proposed"):
        build_examples(shop, refs, [age], NO_PRERANKERS, ["all"], nothing)
    build_examples(
        shop, refs, [14], NO_PRERANKERS, ["all"], nothing
    )  # neither learned from before the choice nor chosen on
    assert "nothing is proposed" in capsys.readouterr().err


@pytest.mark.usefixtures("ray_session")
def test_prerankers_do_not_depend_on_partitions(tables: Tables) -> None:
    config = small_config()
    plan = replace(make_plan(START, END, config), select=AGE)
    one, other = (fit_prerankers(world_shop(n), {AGE: ray.put(tables)}, plan, config) for n in (1, 4))
    assert one == other
    assert one.all is not None
    assert fit_prerankers(world_shop(1), {}, replace(plan, select=None), config) == PreRankerModels()
