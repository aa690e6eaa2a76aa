"""The exit codes of deploy.py where CloudFormation fails, with answers by its own model; moto never fails."""

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import boto3
import pytest
from botocore.exceptions import ConnectTimeoutError
from botocore.stub import ANY, Stubber

FILE = Path(__file__).resolve().parents[2] / "deploy" / "ecs" / "deploy.py"
NAME, URL, NEW = "shop", "https://shop.example", {"ImageUri": "repo@sha256:new"}
OLD = [{"ParameterKey": "ImageUri", "ParameterValue": "repo@sha256:old"}]


@pytest.fixture(scope="module")
def deploy() -> ModuleType:
    """The script; it is no module of the package."""
    spec = importlib.util.spec_from_file_location("ecs_deploy", FILE)
    if spec is None or spec.loader is None:
        raise RuntimeError(f"{FILE} cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class CloudFormation:
    """Answers in the order in which they are expected."""

    def __init__(self) -> None:
        self.client = boto3.client(
            "cloudformation", "eu-central-1", aws_access_key_id="none", aws_secret_access_key="none"
        )
        self.stub = Stubber(self.client)

    def stack(self, status: str) -> None:
        """The stack is in a state."""
        found = {"StackName": NAME, "CreationTime": "2026-11-01T00:00:00Z", "StackStatus": status, "Parameters": OLD}
        self.stub.add_response("describe_stacks", {"Stacks": [found]}, {"StackName": NAME})

    def before(self) -> None:
        """The stack of before can be updated."""
        self.stack("UPDATE_COMPLETE")
        self.stub.add_response("get_template", {"TemplateBody": "old"})

    def change(self, image: str) -> None:
        """A change is begun, with one image."""
        self.stub.add_response("get_template_summary", {"Parameters": [{"ParameterKey": "ImageUri"}]})
        wanted = {"ParameterKey": "ImageUri", "ParameterValue": image}
        template = "old" if image.endswith("old") else "new"
        expected = {"StackName": NAME, "TemplateBody": template, "Parameters": [wanted]}
        self.stub.add_response(
            "update_stack", {"StackId": "1"}, expected | {"Capabilities": ["CAPABILITY_IAM"], "ClientRequestToken": ANY}
        )

    def reason(self) -> None:
        """The events of the last change."""
        events = [("NAME", "ROLLBACK_IN_PROGRESS"), ("Service", "UPDATE_FAILED"), (NAME, "UPDATE_IN_PROGRESS")]
        rows = [
            {
                "StackId": "1",
                "EventId": str(number),
                "StackName": NAME,
                "Timestamp": "2026-11-01T00:00:00Z",
                "LogicalResourceId": one,
                "ResourceStatus": status,
                "ResourceStatusReason": "unhealthy",
            }
            for number, (one, status) in enumerate(events)
        ]
        self.stub.add_response("describe_stack_events", {"StackEvents": rows})

    def ends(self, status: str) -> None:
        """The change ends in a state that is no success."""
        for _ in range(2):  # seen by the waiter, then read
            self.stack(status)
        self.reason()


@pytest.fixture
def aws() -> Iterator[CloudFormation]:
    cloud = CloudFormation()
    with cloud.stub:
        yield cloud
    cloud.stub.assert_no_pending_responses()


@pytest.fixture
def run(deploy: ModuleType, aws: CloudFormation, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """The exit code of a deployment; verified: what verify.sh finds, call by call."""

    def run_it(*verified: bool) -> int:
        found = iter(verified)
        monkeypatch.setattr(deploy, "verified", lambda url: next(found))
        code: int = deploy.deploy(deploy.Stacks(aws.client, NAME), "new", NEW, URL)
        assert next(found, None) is None, "verified less often than expected"
        return code

    return run_it


def test_a_change_that_is_taken_back_leaves_what_was(
    aws: CloudFormation, run: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    aws.before()
    aws.change("repo@sha256:new")
    aws.ends("UPDATE_ROLLBACK_COMPLETE")
    assert run(True) == 1
    assert "stack shop is in UPDATE_ROLLBACK_COMPLETE: Service: unhealthy" in capsys.readouterr().err


def test_a_change_that_cannot_be_taken_back_needs_a_person(aws: CloudFormation, run: Callable[..., int]) -> None:
    aws.before()
    aws.change("repo@sha256:new")
    aws.ends("UPDATE_ROLLBACK_FAILED")
    assert run() == 3


def test_a_change_whose_end_is_not_seen_needs_a_person(
    aws: CloudFormation, run: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut_off(name: str) -> Any:
        raise ConnectTimeoutError(endpoint_url="https://cloudformation.example")

    aws.before()
    aws.change("repo@sha256:new")
    monkeypatch.setattr(aws.client, "get_waiter", cut_off)
    assert run() == 3


def test_a_change_that_meets_another_needs_a_person(aws: CloudFormation, run: Callable[..., int]) -> None:
    aws.before()
    aws.stub.add_response("get_template_summary", {"Parameters": [{"ParameterKey": "ImageUri"}]})
    aws.stub.add_client_error("update_stack", "ValidationError", "Stack:1 is in UPDATE_IN_PROGRESS state")
    assert run() == 3


def test_a_change_that_is_refused_leaves_what_was(aws: CloudFormation, run: Callable[..., int]) -> None:
    aws.before()
    aws.stub.add_client_error("get_template_summary", "ValidationError", "the template is wrong")
    assert run(True) == 1


def test_a_rollback_that_fails_needs_a_person(aws: CloudFormation, run: Callable[..., int]) -> None:
    aws.before()
    aws.change("repo@sha256:new")
    aws.stack("UPDATE_COMPLETE")
    aws.stub.add_client_error("get_template_summary", "Throttling", "too fast")
    assert run(False) == 3
