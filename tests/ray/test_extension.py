"""What comes in with few lines: a feature with two files, a source and a ranker with a class and a line each.

A version from before all three is served by the same process as before.
"""

import json
import os
import shutil
import subprocess
import sys
from typing import Any

import pytest

from recsys.retrieval.sources.registry import SOURCES
from tests.support.modules import ROOT
from tests.support.shop_data import write_shop

FEATURE = {
    "recsys/features/definitions.py": (
        '    "user_session_events": "events of the newest session",\n',
        '    "user_views": "views so far",\n',
    ),
    "recsys/features/build.py": (
        '        "user_session_events": profiles.session_events,\n',
        '        "user_views": sums_within(by_item.users, by_item.counts[:, [0]], n_users)[:, 0],\n',
    ),
}
"""By file: a line, and the line that comes after it."""


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("extended")
    for name in ("recsys", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for file, (line, further) in FEATURE.items():
        text = (folder / file).read_text(encoding="utf-8")
        assert text.count(line) == 1
        (folder / file).write_text(text.replace(line, line + further), encoding="utf-8")
    own = {"PYTHONPATH": str(folder), "RECSYS_PLUGINS": "tests.support.toy_plugin"}
    out = folder / "out.json"
    arguments = map(str, (write_shop(folder / "data"), folder / "registry", out))
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.extended", *arguments],
        cwd=folder,
        env={name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"} | own,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    summary: dict[str, Any] = json.loads(out.read_text())
    version = folder / "registry" / "versions" / summary["newer"]
    texts = {name: (version / name).read_text() for name in ("metrics.json", "report.json")}
    return summary | texts | {"page": (folder / "report" / "report.html").read_text()}


def test_the_new_version_has_all_three(extended: dict[str, Any]) -> None:
    assert {"user_views", "score_rare"} <= set(extended["features"])
    assert extended["sources"] == [*(name for name in SOURCES.names if not SOURCES[name].needs_attributes), "rare"]
    assert extended["backend"] == "means"
    assert extended["weights"] == extended["sources"]
    metrics = json.loads(extended["metrics.json"])
    assert "source rare" in {row["system"] for row in metrics["table"]}
    assert "rare" in {row["source"] for row in metrics["candidates"]["sources"]}
    assert {"user_views", "score_rare"} <= set(metrics["importance"])


def test_the_report_shows_all_three(extended: dict[str, Any]) -> None:
    sections = json.loads(extended["report.json"])["sections"]
    assert "rare" in {row["name"] for row in sections["candidates"]["sources"]}
    assert "rare" in {row["name"] for row in sections["ablation"]["sources"]}
    assert {"user_views", "score_rare"} <= {row["name"] for row in sections["features"]["importance"]}
    assert sections["features"]["backend"] == "means"
    assert "views so far" in extended["page"]


def test_a_version_of_before_answers_as_before(extended: dict[str, Any]) -> None:
    for objective, by_user in extended["expected"].items():
        for user, own in by_user.items():
            answer = extended["answers"][objective][user]
            assert answer["items"] == own["items"]
            assert answer["scores"] == pytest.approx(own["scores"], abs=1e-6)


def test_both_are_served_by_one_process(extended: dict[str, Any]) -> None:
    """The new version was promoted over the one of before, then rolled back."""
    assert list(extended["served"]) == [extended["newer"], extended["older"]]
    assert extended["served"][extended["older"]] == extended["expected"]["all"][str(extended["user"])]["items"]
