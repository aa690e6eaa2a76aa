"""The scripts that deploy, run as the workflow runs them: verify.sh against a service, deploy.py against moto."""

import importlib.util
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import boto3
import pytest
from moto import mock_aws

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
OLD, NEW, BAD = (f"1.dkr.ecr.eu-central-1.amazonaws.com/recsys@sha256:{digit * 64}" for digit in "abc")
KEY = "rk_test"
HEALTHY = {"status": "ok", "model_version": "v1"}
LISTED = {"recommendations": [{"item_id": 1}, {"item_id": 2}]}


@dataclass
class Answers:
    """What the service answers: the status and body by path."""

    url: str = ""
    health: Callable[[], tuple[int, Any]] = lambda: (200, HEALTHY)
    recommend: Callable[[], tuple[int, Any]] = lambda: (200, LISTED)
    keys: list[str | None] = field(default_factory=list)


@contextmanager
def serving(answers: Answers) -> Iterator[Answers]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            is_health = self.path == "/health"
            if not is_health:
                answers.keys.append(self.headers.get("X-API-Key"))
            status, body = answers.health() if is_health else answers.recommend()
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, format: str, *values: object) -> None:
            """Nothing goes to the terminal."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        answers.url = f"http://127.0.0.1:{server.server_port}"
        yield answers
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def service() -> Iterator[Answers]:
    with serving(Answers()) as answers:
        yield answers


def verify(url: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"VERIFY_SECONDS": "0"} | variables
    return subprocess.run(
        [str(DEPLOY / "verify.sh"), url], env=environment, capture_output=True, text=True, check=False
    )


def test_a_service_that_recommends_is_verified(service: Answers) -> None:
    done = verify(f"{service.url}/", RECSYS_API_KEY=KEY)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{service.url}: healthy with version v1, recommends 2 items\n"
    assert service.keys == [KEY]


def test_without_a_key_no_header_is_sent(service: Answers) -> None:
    assert verify(service.url).returncode == 0
    assert service.keys == [None]


@pytest.mark.parametrize(
    ("health", "recommend", "named"),
    [
        ((503, {"detail": "not ready"}), (200, LISTED), "/health answered 503"),
        ((200, {"status": "ok"}), (200, LISTED), "names no version"),
        ((200, []), (200, LISTED), "names no version"),
        ((200, HEALTHY), (401, {"detail": "no key"}), "/recommend/1 answered 401"),
        ((200, HEALTHY), (200, {"recommendations": []}), "has no items"),
        ((200, HEALTHY), (200, "text"), "has no items"),
    ],
)
def test_what_does_not_recommend_is_one_line(
    service: Answers, health: tuple[int, Any], recommend: tuple[int, Any], named: str
) -> None:
    service.health, service.recommend = lambda: health, lambda: recommend
    done = verify(service.url)
    assert (done.returncode, done.stdout) == (1, "")
    [line] = done.stderr.splitlines()
    assert named in line


def test_a_service_that_becomes_healthy_in_time_is_verified(service: Answers) -> None:
    states = iter([(503, {}), (200, HEALTHY)])
    service.health = lambda: next(states)
    assert verify(service.url, VERIFY_SECONDS="60").returncode == 0


def test_nothing_listens_and_wrong_calls() -> None:
    assert verify("http://127.0.0.1:9").returncode == 1
    assert verify("shop.example").returncode == 2


def load() -> ModuleType:
    """deploy.py, which is no package."""
    spec = importlib.util.spec_from_file_location("deploy_ecs", DEPLOY / "ecs" / "deploy.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


deploy = load()


TEMPLATE = """
Parameters:
  ImageUri: {Type: String}
  Days: {Type: Number, Default: 30}
Resources:
  Task:
    Type: AWS::ECS::TaskDefinition
    Properties:
      Family: shop
      ContainerDefinitions:
        - {Name: service, Image: !Ref ImageUri, Memory: 512}
"""
"""moto cannot update all resources of service.yaml, so the stack of these tests is a small one."""


@pytest.fixture
def template(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """The file of a template, while moto stands in for AWS."""
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    monkeypatch.setenv("VERIFY_SECONDS", "0")
    file = tmp_path / "service.yaml"
    file.write_text(TEMPLATE)
    with mock_aws():
        yield file


def in_force() -> dict[str, str]:
    [stack] = boto3.client("cloudformation").describe_stacks(StackName="shop")["Stacks"]
    return {one["ParameterKey"]: one["ParameterValue"] for one in stack["Parameters"]}


def run(image: str, template: Path, service: Answers, *more: str) -> int:
    arguments = ["shop", "--image", image, "--verify", service.url, "--template", str(template)]
    code: int = deploy.main([*arguments, *more])
    return code


def test_an_image_is_deployed_and_a_bad_one_is_rolled_back(
    template: Path, service: Answers, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The service is healthy unless the stack has the bad image."""
    service.health = lambda: (503, {}) if in_force()["ImageUri"] == BAD else (200, HEALTHY)
    (tmp_path / "parameters.json").write_text('{"Days": 60}')
    assert run(OLD, template, service, "--parameters", str(tmp_path / "parameters.json")) == 0
    assert in_force() == {"ImageUri": OLD, "Days": "60"}

    assert run(NEW, template, service) == 0
    assert in_force() == {"ImageUri": NEW, "Days": "60"}  # values that are not given stay

    # The template goes back with the image. It may have lost a parameter.
    template.write_text(TEMPLATE.replace("  Days: {Type: Number, Default: 30}\n", ""))
    assert run(BAD, template, service) == 1
    assert in_force() == {"ImageUri": NEW, "Days": "60"}
    assert boto3.client("cloudformation").get_template(StackName="shop")["TemplateBody"] == TEMPLATE
    assert f"back to {NEW}" in capsys.readouterr().err


def test_without_a_way_back_the_exit_code_is_another(template: Path, service: Answers) -> None:
    service.health = lambda: (503, {})
    assert run(OLD, template, service) == 3  # the first deployment
    assert run(NEW, template, service) == 3  # what was before is unhealthy too
    assert in_force()["ImageUri"] == OLD


@dataclass
class InState:
    """A client of CloudFormation whose stack is in a state that moto does not have."""

    state: str

    def describe_stacks(self, **_: str) -> dict[str, Any]:
        given = {"ImageUri": OLD, "DesiredCount": "3"}
        parameters = [{"ParameterKey": name, "ParameterValue": value} for name, value in given.items()]
        return {"Stacks": [{"StackStatus": self.state, "Parameters": parameters}]}

    def get_template(self, **_: str) -> dict[str, Any]:
        return {"TemplateBody": "Resources: {}"}


def test_a_stack_that_is_being_changed_is_left_alone() -> None:
    with pytest.raises(deploy.DeployError, match="is in UPDATE_IN_PROGRESS"):
        deploy.Stacks(InState("UPDATE_IN_PROGRESS"), "shop").read()


def test_the_number_of_tasks_of_one_deployment_is_not_kept() -> None:
    """It would take back what scaling has added."""
    stack = deploy.Stacks(InState("UPDATE_ROLLBACK_COMPLETE"), "shop").read()
    assert stack == deploy.Stack("Resources: {}", {"ImageUri": OLD})


def test_a_wrong_call_begins_nothing(template: Path, service: Answers, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(OLD, template, service, "--parameters", str(template.parent / "absent.json")) == 2
    assert boto3.client("cloudformation").describe_stacks()["Stacks"] == []
    assert "absent.json" in capsys.readouterr().err


PUSHED = """#!/bin/sh
echo "$0 $*" >> "$CALLS"
case "$*" in
    *inspect*) printf 'other/name@sha256:1\\n%s@sha256:2\\n' "$REPOSITORY" ;;
    *get-login-password*) echo password ;;
    *login*) cat > /dev/null ;;
esac
"""


def test_an_image_is_pushed_by_its_commit_and_named_by_its_digest(tmp_path: Path) -> None:
    repository = "1.dkr.ecr.eu-central-1.amazonaws.com/recsys"
    for program in ("aws", "docker"):
        (tmp_path / program).write_text(PUSHED)
        (tmp_path / program).chmod(0o755)
    calls = tmp_path / "calls"
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "CALLS": str(calls), "REPOSITORY": repository}
    command = [str(DEPLOY / "ecs" / "push.sh"), "recsys:4f1c", repository]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == f"uri={repository}@sha256:2\n"
    assert f"docker push --quiet {repository}:4f1c" in calls.read_text()


DOCKER = """#!/bin/sh
echo "$*" >> "$CALLS"
case "$1" in
    inspect) echo "$EXIT_CODE" ;;
    logs) echo "last words" ;;
esac
"""


@pytest.fixture
def docker(tmp_path: Path, service: Answers) -> Callable[[str], subprocess.CompletedProcess[str]]:
    """Runs try_image.sh with a docker that writes its calls down; its argument is the exit code of the service."""
    (tmp_path / "docker").write_text(DOCKER)
    (tmp_path / "docker").chmod(0o755)
    port = service.url.rpartition(":")[2]
    own = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "CALLS": str(tmp_path / "calls"), "TRY_PORT": port}

    def try_image(code: str) -> subprocess.CompletedProcess[str]:
        environment = own | {"EXIT_CODE": code, "VERIFY_SECONDS": "0"}
        command = [str(DEPLOY / "try_image.sh"), "recsys:4f1c"]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    return try_image


def test_an_image_is_tried_as_ecs_runs_it(
    docker: Callable[[str], subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    assert docker("0").returncode == 0
    calls = (tmp_path / "calls").read_text().splitlines()
    train, serve = (next(call for call in calls if f" recsys:4f1c {name} " in call) for name in ("train", "serve"))
    assert all("--read-only --cap-drop ALL" in call for call in (train, serve))
    assert [call.split()[0] for call in calls[-4:]] == ["stop", "inspect", "rm", "volume"]


def test_an_image_that_does_not_serve_or_stop_is_refused(
    docker: Callable[[str], subprocess.CompletedProcess[str]], service: Answers
) -> None:
    done = docker("137")
    assert done.returncode == 1
    assert "ended with 137" in done.stderr
    service.health = lambda: (503, {})
    done = docker("0")
    assert done.returncode == 1
    assert "last words" in done.stderr
