import numpy as np
import pytest

from recsys.studies.phases.event_rows import event_rows
from recsys.timeline import Cut
from recsys.training.context import Context
from tests.support.shop_data import END
from tests.support.trained import world_shop
from tests.support.world import small_config, small_world, tables_of


@pytest.mark.usefixtures("ray_session")
def test_windows_whatever_the_partitions() -> None:
    """Whole users up to the cap, each event by the newest tables before it."""
    import ray

    older, newest = Cut.at(END, 28), Cut.at(END, 0)
    tables = {cut: ray.put(tables_of(small_world(), cut.age)) for cut in (older, Cut.at(END, 14))}
    config, histories = small_config(), small_world().partition.histories
    between = histories.between(older.time, END)

    def context(n_partitions: int) -> Context:
        return Context.create(world_shop(n_partitions), config, work="")

    one, three = (event_rows(context(n), tables, older, newest, 400) for n in (1, 3))
    counts = np.unique(one.users, return_counts=True)[1]
    assert 300 < len(one.labels) <= 400
    assert set(counts) <= set(between.lengths)
    for name in ("users", "features", "labels", "mf"):
        np.testing.assert_array_equal(getattr(one, name), getattr(three, name))
    assert set(one.labels.tolist()) == {0, 1}
    tiny = event_rows(context(2), tables, older, newest, 1)
    assert len(np.unique(tiny.users)) == 1
