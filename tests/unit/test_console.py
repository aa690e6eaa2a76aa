"""Output for people goes to the right stream, complete and without styles if the stream is no terminal."""

import json
import logging
import os
import sys
from collections.abc import Callable, Iterator

import pytest

from recsys import console, logs
from recsys.errors import DataError
from tests.support.processes import wait_until


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    package = logging.getLogger("recsys")
    before = package.handlers[:], package.level, package.propagate
    yield logging.getLogger("recsys.test")
    package.handlers[:], package.level, package.propagate = before


def test_lines_are_never_wrapped_or_interpreted(capsys: pytest.CaptureFixture[str]) -> None:
    text = "item [bold]x[/bold] :smile: " + "y" * 500
    console.line(text)
    assert capsys.readouterr() == (text + "\n", "")


def test_errors_and_progress_go_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    console.error("events.csv has no column 'event'")
    console.progress("42 of 100 blocks")
    out, err = capsys.readouterr()
    assert out == ""
    first, second = err.splitlines()
    assert first == "error: events.csv has no column 'event'"
    assert second[8:] == " 42 of 100 blocks"


def test_table(capsys: pytest.CaptureFixture[str]) -> None:
    console.table(["model", "NDCG@10", "users"], [["hybrid", 0.33514, 1726], ["[x]", None, 3]], title="All")
    rows = [text.split() for text in capsys.readouterr().out.splitlines() if text.strip()]
    assert rows[:2] == [["All"], ["model", "NDCG@10", "users"]]
    assert rows[3:] == [["hybrid", "0.3351", "1726"], ["[x]", "-", "3"]]


def test_a_table_has_no_line_but_title_names_rule_and_rows(capsys: pytest.CaptureFixture[str]) -> None:
    console.table(["model", "users"], [["hybrid", 3], ["popularity", 4]], title="All")
    assert len(capsys.readouterr().out.splitlines()) == 5


def test_a_paragraph_is_wrapped_between_words(capsys: pytest.CaptureFixture[str]) -> None:
    path = "/w/" + "x" * 120
    console.paragraph(f"{'word ' * 30}{path}")
    first, *others = capsys.readouterr().out.splitlines()
    assert len(first) <= console.TEXT_WIDTH
    assert all(line.startswith("  ") for line in others)
    assert path in others[-1]


def test_a_table_without_rows(capsys: pytest.CaptureFixture[str]) -> None:
    console.table(["model", "users"], [])
    assert capsys.readouterr().out.split()[:2] == ["model", "users"]


def test_step_reports_its_time(capsys: pytest.CaptureFixture[str]) -> None:
    with console.step("reading events", memory=True) as step:
        assert capsys.readouterr().err == ""
    [end] = (text[9:] for text in capsys.readouterr().err.splitlines())
    assert end.startswith("reading events took 0.0 s, peak ")
    assert end.endswith(" GB")
    assert 0 < step.seconds < 1


def test_a_long_step_shows_that_it_is_under_way(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "LONG_SECONDS", 0.0)
    printed = []

    def under_way() -> bool:
        printed.append(capsys.readouterr().err[9:])
        return "fitting …\n" in printed

    with console.step("fitting"):
        wait_until(under_way)
    assert "".join(printed) == "fitting …\n"


def test_a_failing_step_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ZeroDivisionError), console.step("fitting"):
        raise ZeroDivisionError
    assert "fitting failed after 0.0 s" in capsys.readouterr().err


def test_logs_as_key_and_value(logger: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure_logging()
    logger.info("switched to %s", "v2", extra={"seconds": 0.5, "note": ""})
    (text,) = capsys.readouterr().err.splitlines()
    time, rest = text.split(" ", 1)
    assert time.startswith("time=2")
    assert rest == 'level=info logger=recsys.test message="switched to v2" seconds=0.5 note=""'


def test_logs_as_json_reach_the_process_own_stderr(
    logger: logging.Logger, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", None)  # Ray Serve replaces it by an object of its own
    logs.configure_logging(as_json=True)
    logs.configure_logging(as_json=True)  # does not log twice
    logger.debug("unheard")
    try:
        raise KeyError("itemid")
    except KeyError:
        logger.exception("request failed", extra={"user": 7})
    (text,) = capfd.readouterr().err.splitlines()
    fields = json.loads(text)
    assert list(fields) == ["time", "level", "logger", "message", "request_id", "fields"]
    assert (fields["level"], fields["message"], fields["fields"]["user"]) == ("error", "request failed", 7)
    assert "KeyError: 'itemid'" in fields["fields"]["exception"]
    assert fields["request_id"] is None


def test_records_have_the_ids_of_their_requests(logger: logging.Logger, capfd: pytest.CaptureFixture[str]) -> None:
    logs.configure_logging(as_json=True)
    with logs.for_requests(("a", "b")):
        logger.info("of a batch")
    logger.info("of nothing")
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    assert [line["request_id"] for line in lines] == ["a,b", None]


def test_errors_on_purpose_are_one_line_and_others_are_not_hidden(capfd: pytest.CaptureFixture[str]) -> None:
    def fail(error: Exception) -> Callable[[], None]:
        def command() -> None:
            raise error

        return command

    assert console.guarded(lambda: None) == 0
    assert console.guarded(fail(DataError("events.csv:\n  no [rows]"))) == 2
    assert capfd.readouterr().err == "error: events.csv: no [rows]\n"
    with pytest.raises(ZeroDivisionError):
        console.guarded(fail(ZeroDivisionError()))
    assert console.guarded(fail(OSError(28, "No space left on device", "/data/x"))) == 2
    assert capfd.readouterr().err == "error: /data/x: No space left on device\n"
    assert console.guarded(fail(DataError("x" * 100_000))) == 2
    assert len(capfd.readouterr().err) < 2100


def test_an_interrupted_command(capfd: pytest.CaptureFixture[str]) -> None:
    def command() -> None:
        raise KeyboardInterrupt

    assert console.guarded(command) == 130
    assert capfd.readouterr().err == "error: interrupted\n"


def test_a_closed_stream_takes_the_output(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    console.line("nobody reads this")
    console.table(["a"], [[1]])


def test_a_reader_that_left_does_not_end_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """As after `recsys train | head -1`."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        console.line("nobody reads this")
        console.line("nor this")
