"""Training steps as tasks of Ray: how users are dealt out to partitions does not matter."""

from dataclasses import replace

import numpy as np
import pytest
import ray

from recsys.config import TrainConfig
from recsys.errors import ModelError
from recsys.models.tables import Tables
from recsys.retrieval.preranker import (
    NO_PRERANKERS,
    PreRankerModels,
)
from recsys.schema import OBJECTIVES
from recsys.timeline import Cut
from recsys.training.context import Context
from recsys.training.examples import (
    build_examples,
)
from recsys.training.preranker import fit_prerankers
from tests.support.shop_data import END
from tests.support.trained import world_shop
from tests.support.world import small_config, small_world, tables_of

AGE = 42
CUT = Cut.at(END, AGE)


def context_of(n: int, config: TrainConfig) -> Context:
    """The small world's shop in n partitions."""
    return Context.create(world_shop(n), config, work="")


@pytest.fixture(scope="module")
def tables() -> Tables:
    return tables_of(small_world(), AGE)


@pytest.mark.usefixtures("ray_session")
def test_examples_do_not_depend_on_partitions(tables: Tables) -> None:
    config: TrainConfig = small_config("examples.max_users=60")
    cuts = (CUT, Cut.at(END, 28))
    refs = {CUT: ray.put(tables), cuts[1]: ray.put(tables_of(small_world(), 28))}
    found = [build_examples(context_of(n, config), refs, cuts, NO_PRERANKERS, OBJECTIVES) for n in (1, 5, 300)]
    for objective in OBJECTIVES:
        for one, *others in zip(*(examples[objective] for examples in found), strict=True):
            assert len(one.groups) > 10
            assert one.groups.sum() == len(one.labels) == len(one.features)
            for other in others:
                for name in ("features", "labels", "groups"):
                    np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


@pytest.mark.usefixtures("ray_session")
@pytest.mark.parametrize("age", [AGE, 28])
def test_windows_without_a_hit_stop_the_run(age: int, tables: Tables, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing happens after END, and no cut has a candidate where every source has weight 0."""
    names = ("own", "covisitation", "mf_neighbours", "recent", "popular", "category")
    nothing = small_config(*(f"inference.candidates.sources.{name}.weight=0" for name in names))
    context, cut, newer = context_of(2, nothing), Cut.at(END, age), Cut.at(END, 14)
    refs = {at: ray.put(tables_of(small_world(), at.age)) for at in (cut, newer)}
    with pytest.raises(ModelError, match="0 candidates for these users; the sources propose no item"):
        build_examples(context, refs, [cut], NO_PRERANKERS, ["all"])
    build_examples(
        context, refs, [newer], NO_PRERANKERS, ["all"]
    )  # neither learned from before the choice nor chosen on
    assert "the sources propose no item" in capsys.readouterr().err


@pytest.mark.usefixtures("ray_session")
def test_prerankers_do_not_depend_on_partitions(tables: Tables) -> None:
    config = small_config()

    def fit(n: int, cut: Cut | None) -> PreRankerModels:
        context = context_of(n, config)
        return fit_prerankers(replace(context, plan=replace(context.plan, preranker=cut)), {CUT: ray.put(tables)})

    one = fit(1, CUT)
    assert one == fit(4, CUT) == fit(300, CUT)  # with 300 partitions, most have no user with a hit, and some no user
    assert one.all is not None
    assert fit(1, None) == PreRankerModels()
