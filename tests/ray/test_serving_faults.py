"""The service as a person starts it, and what happens when a part of it dies: the faults of benchmarks/faults.py."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.soak import SOAK
from tests.support.trained import trained_shop

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.timeout(3600 if SOAK else 600)
def test_nothing_happens_that_no_fault_excuses(
    ray_session: None, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """No wrong answer, none of another service, no 404 for a user, nothing left behind, and every start succeeds."""
    trained, results = trained_shop(tmp_path_factory), tmp_path / "results.json"
    command = [sys.executable, "benchmarks/faults.py", "--registry", str(trained.registry), "--json", str(results)]
    chosen = [] if SOAK else ["--together"]
    ended = subprocess.run([*command, *chosen], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    outcomes: dict[str, Any] = json.loads(results.read_text())
    assert len(outcomes) >= 4
    assert {name: outcome["problems"] for name, outcome in outcomes.items() if outcome["problems"]} == {}
    assert {name for name, outcome in outcomes.items() if outcome["seconds"] is None} == set()
    assert outcomes["SIGTERM to the group"]["failed"] == {}
