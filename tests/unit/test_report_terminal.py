"""The page that a training run prints."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from recsys.data.catalog import TreeProblems
from recsys.data.ingest import ShopData
from recsys.data.layout.mapping import DataMapping
from recsys.data.shop import PropertyQuality, Quality
from recsys.evaluation.metrics import Difference
from recsys.evaluation.table import Row
from recsys.models.blend import AlphaCurves
from recsys.registry.folder import FolderStore
from recsys.report.terminal import show_choices, show_data, show_evaluation, show_outlook, show_published, verdict
from recsys.training.from_log import FromLog
from recsys.training.outlook import LabelWindow, Outlook
from recsys.training.ranker import DiscoveryRanker, SelectedRanker, SelectedRankers
from recsys.training.results import CandidateSummary, Evaluation, Lead
from recsys.training.sweep.config import SweepConfig
from recsys.training.sweep.result import SweepResult, TrialResult
from tests.support.bundles import BLEND, small_ranker
from tests.support.shop_data import END, START, USERS
from tests.support.world import small_config, small_world

MOST_LINES, MOST_COLUMNS = 12, 100
FREQUENCY = "personal frequency, 120 days"
SYSTEMS = {
    "hybrid": 0.3351,
    "ranker alone": 0.3340,
    "factorization alone": 0.1,
    "popularity": 0.2442,
    "personal frequency, 60 days": 0.3217,
    FREQUENCY: 0.3240,
    **{f"source {name}": 0.2 for name in ("own", "covisitation", "recent")},
}


def rows(systems: dict[str, float], users: int) -> list[Row]:
    names = [f"{name}@10" for name in ("recall", "precision", "hit", "mrr", "coverage")]
    return [
        Row(
            system,
            group,
            users,
            {
                "ndcg@10": ndcg,
                **dict.fromkeys(names, 0.25),
                "ndcg@10_low": ndcg - 0.01,
                "ndcg@10_high": ndcg + 0.01,
                "roc_auc": 0.875,
            },
        )
        for system, ndcg in systems.items()
        for group in ("all", "warm", "cold")
    ]


def evaluation(lead: tuple[float, float, float] = (0.0111, 0.0074, 0.0147), discovered: bool = True) -> Evaluation:
    """lead: over personal frequency with the best half-life"""
    new_items = rows(SYSTEMS, 1_400_000)
    if discovered:
        new_items += rows({"hybrid, objective discover": 0.0515}, 1_400_000)
    return Evaluation(
        table=rows(SYSTEMS, 1_407_580),
        new_items=new_items,
        leads=[Lead(name, Difference(*lead)) for name in SYSTEMS if name != "hybrid"],
        half_lives={"personal frequency, 60 days": 60.0, FREQUENCY: 120.0},
        candidates=CandidateSummary(0.5, 120.0, ()),
    )


def test_one_short_table(capsys: pytest.CaptureFixture[str]) -> None:
    show_evaluation(evaluation(), small_config("evaluation.confidence=0.9").evaluation)
    *table, sentence = capsys.readouterr().out.splitlines()
    assert len(table) <= MOST_LINES
    assert max(map(len, table)) <= MOST_COLUMNS
    text = "\n".join(table)
    assert "90% interval" in text
    assert "95%" not in text
    for label in (
        "hybrid",
        "its ranker alone",
        "its factorization alone",
        "popularity",
        FREQUENCY,
        "hybrid, warm users",
        "hybrid, cold users",
        "popularity, items new to the user",
    ):
        assert len([line for line in table if line.strip().startswith(f"{label}  ")]) == 1, label
    assert "60 days" not in text
    assert "0.3251 to 0.3451" in text
    [new] = [line for line in table if "hybrid, items new to the user" in line]
    assert "0.0515" in new
    assert sentence == "The hybrid beats personal frequency (120 days) by 0.0111 (0.0074 to 0.0147) in NDCG@10."


def test_the_table_where_nobody_chose_a_new_item(capsys: pytest.CaptureFixture[str]) -> None:
    shown = replace(evaluation(discovered=False), new_items=[])
    show_evaluation(shown, small_config().evaluation)
    assert "new to the user" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("lead", "sentence"),
    [
        ((0.0111, 0.0074, 0.0147), "beats personal frequency (120 days) by 0.0111 (0.0074 to 0.0147)"),
        (
            (-0.003, -0.005, -0.001),
            "does not beat personal frequency (120 days): it is behind by 0.0030 (0.0010 to 0.0050)",
        ),
        (
            (0.001, -0.002, 0.004),
            "does not beat personal frequency (120 days): its lead in NDCG@10, 0.0010 (-0.0020 to 0.0040), may be "
            "chance",
        ),
    ],
)
def test_the_verdict(lead: tuple[float, float, float], sentence: str) -> None:
    text = verdict(evaluation(lead), 10)
    assert text.startswith(f"The hybrid {sentence}")
    assert text.endswith(".")


def test_the_verdict_is_against_the_best_baseline() -> None:
    systems = SYSTEMS | {"popularity": 0.5}
    assert "beats popularity by" in verdict(replace(evaluation(), table=rows(systems, 7)), 10)


def selected(lead: Difference | None = None) -> SelectedRankers:
    ranker = SelectedRanker(small_ranker(), 7, (), BLEND, AlphaCurves({BLEND.alpha: 0.5}), np.zeros(1))
    inputs: Any = None
    return SelectedRankers(ranker, None if lead is None else DiscoveryRanker(inputs, ranker, lead))


@pytest.mark.parametrize(
    ("lead", "settings", "text"),
    [
        (Difference(0.01, 0.005, 0.015), (), "a ranker of its own, which leads the ranker of all items by 0.0100"),
        (Difference(0.01, -0.005, 0.015), (), "no ranker of its own: its lead, 0.0100 (-0.0050 to 0.0150), may be"),
        (None, (), "no ranker of its own: nobody chose a new item"),
        (None, ("examples.discover=false",), "no ranker of its own: examples.discover is off"),
    ],
)
def test_choices_are_a_line_each(
    lead: Difference | None, settings: tuple[str, ...], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    show_choices(selected(lead), None, small_config(*settings))
    first, *lines = capsys.readouterr().out.splitlines()
    assert first == "chosen on the validation window:"
    own_alpha = [f"{BLEND.alpha:g}"] if lead is not None and lead.low > 0 else []
    assert [line.split()[0] for line in lines] == ["ranker", "alpha", *own_alpha, "discovery"]
    assert "15 trees x 7 leaves, the smallest size within 0.5% of the best NDCG@10" in lines[0]
    assert "0.2, the smallest weight of the factorization within 0.2% of the best NDCG@10" in lines[1]
    assert text in lines[-1]
    if own_alpha:
        assert lines[2].strip() == "0.2 with objective discover"
    assert max(map(len, lines)) <= MOST_COLUMNS


def test_the_reason_for_alpha(capsys: pytest.CaptureFixture[str]) -> None:
    rankers = selected()
    curves = AlphaCurves({BLEND.alpha: 0.5}, {BLEND.alpha: 0.03})
    show_choices(replace(rankers, all_items=replace(rankers.all_items, curves=curves)), None, small_config())
    line = capsys.readouterr().out.splitlines()[2]
    assert "0.2, of those within 0.2% of the best NDCG@10 the best for items new to the user" in line
    assert len(line) <= MOST_COLUMNS


@pytest.mark.parametrize("lead", [None, Difference(0.0123, 0.0045, 0.0234), Difference(-0.0123, -0.0345, 0.0234)])
def test_the_outcome_of_a_sweep_is_a_line(lead: Difference | None, capsys: pytest.CaptureFixture[str]) -> None:
    best = TrialResult(64, {"ranker.num_leaves": 12, "ranker.learning_rate": 0.088412}, "finished", 0.5)
    nothing: Any = None
    result = SweepResult(SweepConfig(search={"ranker.num_leaves": [7, 12]}), [best], best, lead, nothing, nothing)
    show_choices(selected(), result, small_config())
    *_, outcome, settings = capsys.readouterr().out.splitlines()
    if result.adopted:
        assert outcome.split(maxsplit=1) == ["sweep", result.outcome]
        assert settings.strip() == "ranker.num_leaves 12, ranker.learning_rate 0.08841"
    else:
        lead_in_words = "the lead of trial 64, -0.0123 (-0.0345 to 0.0234), may be chance"
        assert settings.split(maxsplit=1)[1] == f"no trial is adopted: {lead_in_words}"
    assert max(len(outcome), len(settings)) <= MOST_COLUMNS


def test_an_alpha_that_is_set_is_no_choice(capsys: pytest.CaptureFixture[str]) -> None:
    show_choices(selected(), None, small_config("hybrid.alpha=0.2"))
    assert "0.2, as hybrid.alpha sets it" in capsys.readouterr().out


@pytest.mark.parametrize("promoted", [True, False])
def test_the_end_names_version_report_and_next_command(
    promoted: bool, tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    store = FolderStore(tmp_path / "my registry")
    show_published("v7", store, withheld=None if promoted else "--promote never", page=promoted)
    first, report, following = capsys.readouterr().out.splitlines()
    assert first == f"published v7, {'now in production' if promoted else 'not in production: --promote never'}"
    if promoted:
        assert report.split(maxsplit=1)[1] == f"{tmp_path}/my registry/versions/v7/report.html"
    else:
        assert "evaluation.page is off" in report
    command = f"recsys serve --registry '{tmp_path}/my registry'" if promoted else "recsys models promote"
    assert command in following


def shop_of(quality: Quality) -> ShopData:
    world = small_world()
    return ShopData(
        world.items, "int64", (), USERS, {"view": 1234}, START, END, world.daily, world.catalog, quality, "", "small"
    )


def test_every_row_set_aside_is_counted_by_reason(capsys: pytest.CaptureFixture[str]) -> None:
    tree = TreeProblems(cycles=2, not_in_tree=1)
    properties = PropertyQuality(2000, 1990, 0, 0, {"itemid blank": 10}, {"categoryid blank": 3}, tree)
    show_data(shop_of(Quality(5000, 3993, {"timestamp not positive": 1000}, 7, 0, properties, "/w/quarantine.parquet")))
    first, second, *lines = capsys.readouterr().out.splitlines()
    assert first == "1,234 view, 2015-05-01 to 2015-07-30"
    assert second == "200 users, 60 items, 8 categories; 7 repeated rows dropped, 1,013 rows set aside"
    assert " ".join(" ".join(lines).split()) == (
        "set aside: 1,000 event rows (timestamp not positive), 10 item property rows (itemid blank), "
        "3 category rows (categoryid blank) "
        "every row set aside is listed in /w/quarantine.parquet "
        "category tree, mended: 2 cycles, 1 not in tree"
    )
    assert max(map(len, lines)) <= MOST_COLUMNS


def test_what_was_understood_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    properties = PropertyQuality(0, 0, 0, 0, {}, {}, TreeProblems())
    quality = Quality(9, 9, {}, 0, 0, properties, events_left_out=1200, event_words={"buy": 7, "fave": 2})
    mapping = DataMapping(
        columns={"user": "customer", "item": "sku", "time": "when", "event": "what"},
        types={"buy": "transaction", "fave": "ignore"},
        times="day/month/year, UTC where no zone is given",
        dates=True,
        ids={"user": "string", "item": "int64"},
    )
    shop = replace(shop_of(quality), mapping=mapping, text_ids={"user": "guest-7"}, passed_over=("notes (a, b)",))
    show_data(shop)
    lines = capsys.readouterr().out.splitlines()[2:]
    assert " ".join(" ".join(lines).split()) == (
        "left out by data.events.where: 1,200 event rows "
        "columns: user customer, item sku, time when, event what; "
        "times: day/month/year, UTC where no zone is given "
        "types: buy 7 (transaction), fave 2 (ignore) "
        "ids: user string (such as 'guest-7'), item int64 "
        "times are dates without a time of day: rows that repeat count, and the rows of a user's day keep the order of "
        "the files not read: notes (a, b)"
    )
    show_data(replace(shop, mapping=mapping.model_copy(update={"types": "transaction"})))
    assert "types: the log has no column of types; every row is a transaction" in capsys.readouterr().out


def test_property_rows_of_items_without_events_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    show_data(shop_of(Quality(9, 9, {}, 0, 0, PropertyQuality(2000, 800, 0, 1200, {}, {}, TreeProblems()))))
    assert "passed over: 1,200 item property rows of items without events" in capsys.readouterr().out.splitlines()


def test_a_clean_shop_takes_two_lines(capsys: pytest.CaptureFixture[str]) -> None:
    show_data(shop_of(Quality(9, 9, {}, 0, 0, PropertyQuality(0, 0, 0, 0, {}, {}, TreeProblems()))))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[1].endswith("0 repeated rows dropped, no row set aside")


def test_the_outcome_of_an_outlook_is_that_of_the_rows_too(capsys: pytest.CaptureFixture[str]) -> None:
    outlook = Outlook(FromLog(small_config(), {}), (LabelWindow("test", START, END, 118),), ())
    stops = "642 of 3,257 event rows (19.71%) are unusable, more than data.max_bad_fraction = 1.00% allows"
    texts = []
    for arguments in ((), (stops,), (stops, True)):
        show_outlook(outlook, *arguments)
        texts.append(" ".join(capsys.readouterr().out.split()))
    assert all("118 users with a label and an earlier event" in text for text in texts)
    outcomes = [text.partition("outcome ")[2] for text in texts]
    assert outcomes == [
        "a ranker would be trained",
        f"training would stop: {stops}",
        f"training would stop: {stops}; with the settings below a ranker would be trained",
    ]
