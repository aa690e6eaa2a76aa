from recsys.data.split import Window, cut
from recsys.schema import DAY


def test_cut_is_whole_days_before() -> None:
    assert cut(10 * DAY + 5, 3) == 7 * DAY + 5


def test_window_excludes_its_start_and_includes_its_end() -> None:
    window = Window.before(10 * DAY, 2)
    assert window == Window(8 * DAY, 10 * DAY)
    assert [time in window for time in (8 * DAY, 8 * DAY + 1, 10 * DAY, 10 * DAY + 1)] == [
        False,
        True,
        True,
        False,
    ]
