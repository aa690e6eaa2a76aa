"""The state of the catalog in the tables of a cut."""

import numpy as np
import pyarrow as pa

from recsys.data.catalog import Catalog, Records, build_catalog
from recsys.schema import DAY
from recsys.timeline import Cut
from recsys.training.tables import catalog_state
from tests.support.shop_data import END


def catalog_of(*changes: tuple[int, bool]) -> Catalog:
    """One item that becomes available or sold out at the given times."""
    times, flags = zip(*changes, strict=True)
    codes = np.zeros(len(changes), np.int32)
    nothing = pa.array([], pa.int64())
    categories = Records(np.zeros(0, np.int32), np.zeros(0, np.int64), nothing)
    return build_catalog(1, categories, Records(codes, np.array(times), pa.array(flags)), nothing, nothing)[0]


def test_the_newest_cut_has_the_newest_state_and_older_ones_that_of_their_time() -> None:
    catalog = catalog_of((END - 20 * DAY, True), (END - 10 * DAY, False), (END - 5 * DAY, True), (END + 1, False))
    available = {age: catalog_state(catalog, Cut.at(END, age)).available.tolist() for age in (0, 3, 7, 14)}
    assert available == {0: [False], 3: [True], 7: [False], 14: [True]}


def test_a_catalog_dated_after_the_log_is_not_known_at_older_cuts() -> None:
    catalog = catalog_of((END + DAY, False))
    assert catalog_state(catalog, Cut.at(END, 1)).available.tolist() == [True]
    assert catalog_state(catalog, Cut.at(END, 0)).available.tolist() == [False]
