"""What CI runs: the script, and the workflows, which `make check-deploy` lints."""

import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = ROOT / ".github" / "workflows"


def workflow(name: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((WORKFLOWS / f"{name}.yaml").read_text(encoding="utf-8"))
    return content


def test_ci_runs_what_contributors_run() -> None:
    """Each target whose result .ci/run prints is run there and described."""
    script, page = (ROOT / ".ci" / "run").read_text(), (ROOT / "CONTRIBUTING.md").read_text()
    for target in ("check", "check-deploy", "docs", "test"):
        assert re.search(rf"^make {target}$|^make {target} 2>", script, re.MULTILINE)
        assert f"make {target}" in page
    assert workflow("check")["jobs"]["check"]["steps"][-1] == {"run": ".ci/run"}


def test_actions_are_pinned_by_commit() -> None:
    for path in sorted(WORKFLOWS.glob("*.yaml")):
        for line in path.read_text(encoding="utf-8").splitlines():
            if match := re.search(r"uses: (\S+)(.*)", line):
                local = match[1].startswith("./.github/workflows/")
                assert local or re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v[0-9.]+", match[1] + match[2]), line


def test_nothing_is_deployed_that_was_not_checked_and_tried() -> None:
    jobs = workflow("deploy")["jobs"]
    assert (jobs["image"]["needs"], jobs["deploy"]["needs"]) == ("check", "image")
    assert jobs["check"]["uses"] == "./.github/workflows/check.yaml"
    commands = " ".join(step.get("run", "") for step in jobs["image"]["steps"])
    assert 0 < commands.index("try_image.sh") < commands.index("push.sh")
    assert jobs["deploy"]["environment"] == "production"


def test_every_job_has_few_rights_and_an_end() -> None:
    for path in WORKFLOWS.glob("*.yaml"):
        content = workflow(path.stem)
        assert content["permissions"] == {}
        assert "concurrency" in content
        for job in content["jobs"].values():
            assert set(job["permissions"]) <= {"contents", "id-token"}
            assert job["permissions"]["contents"] == "read"
            assert "uses" in job or job["timeout-minutes"] <= 90
