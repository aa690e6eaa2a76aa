from recsys.schema import DAY
from recsys.timeline import Cut


def test_cut_is_whole_days_before() -> None:
    assert Cut.at(10 * DAY + 5, 3) == Cut(age=3, time=7 * DAY + 5)
