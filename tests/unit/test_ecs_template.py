"""The template for ECS, as far as it follows from the service; `make check-deploy` lints it."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from recsys.cli import commands
from recsys.config import parse_config, with_settings
from recsys.serving.settings import ServeSettings

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = ROOT / "deploy" / "ecs" / "service.yaml"
LIMIT = 51_200
"""Bytes of a template that CloudFormation takes in a request."""
IDLE_SECONDS = 30
"""After so long the service closes a connection without a request, see docs/how-to/serve.md."""
STOP_SECONDS = 10
"""The service ends so soon after SIGTERM."""


class Loader(yaml.SafeLoader):
    """Reads !Ref, !Sub and the others as their values."""


def _function(loader: Loader, suffix: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.ScalarNode):
        return loader.construct_scalar(node)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return None


Loader.add_multi_constructor("!", _function)


@pytest.fixture(scope="module")
def template() -> dict[str, Any]:
    content: dict[str, Any] = yaml.load(TEMPLATE.read_text(encoding="utf-8"), Loader)
    return content


@pytest.fixture(scope="module")
def resources(template: dict[str, Any]) -> dict[str, Any]:
    """The properties of each resource by its name."""
    return {name: resource["Properties"] for name, resource in template["Resources"].items()}


def attributes(resource: dict[str, Any], field: str) -> dict[str, str]:
    return {one["Key"]: one["Value"] for one in resource[field]}


def statements(role: dict[str, Any]) -> Iterator[tuple[set[str], list[str]]]:
    """Actions and resources of each permission of a role."""
    for policy in role["Policies"]:
        for statement in policy["PolicyDocument"]["Statement"]:
            action, resource = statement["Action"], statement["Resource"]
            assert statement["Effect"] == "Allow"
            yield (
                {action} if isinstance(action, str) else {*action},
                [resource] if isinstance(resource, str) else resource,
            )


def container(resources: dict[str, Any], task: str) -> dict[str, Any]:
    """The container of a task beside the one that prepares its volumes."""
    _, found = resources[task]["ContainerDefinitions"]
    assert isinstance(found, dict)
    return found


def test_the_template_can_be_sent() -> None:
    text = TEMPLATE.read_text(encoding="utf-8")
    assert len(text.encode()) < LIMIT
    assert not re.search(r": [&*]\w", text), "CloudFormation takes no aliases"


def test_a_task_is_stopped_after_its_requests_and_has_the_time_to_end(resources: dict[str, Any]) -> None:
    delay = float(attributes(resources["Targets"], "TargetGroupAttributes")["deregistration_delay.timeout_seconds"])
    deadline = ServeSettings(registry="registry").deadline_ms / 1000
    assert delay > 1.5 * deadline  # it waits in HAProxy for half of it
    assert STOP_SECONDS < container(resources, "ServiceTask")["StopTimeout"] <= 120


def test_the_balancer_closes_connections_before_the_service_does(resources: dict[str, Any]) -> None:
    idle = attributes(resources["Balancer"], "LoadBalancerAttributes")["idle_timeout.timeout_seconds"]
    assert int(idle) < IDLE_SECONDS
    assert f"closed after {IDLE_SECONDS} seconds" in (ROOT / "docs" / "how-to" / "serve.md").read_text()


def test_a_bad_deployment_goes_back_and_takes_no_task_away(resources: dict[str, Any]) -> None:
    deployment = resources["Service"]["DeploymentConfiguration"]
    assert deployment["MinimumHealthyPercent"] == 100
    assert deployment["DeploymentCircuitBreaker"] == {"Enable": True, "Rollback": True}
    assert resources["Targets"]["HealthCheckPath"] == "/health"


def test_the_balancer_alone_reaches_the_tasks(resources: dict[str, Any]) -> None:
    [rule] = resources["TaskGroup"]["SecurityGroupIngress"]
    assert (rule["SourceSecurityGroupId"], rule["FromPort"], rule["ToPort"]) == ("BalancerGroup.GroupId", 8000, 8000)
    assert "SecurityGroupIngress" not in resources["RetrainGroup"]
    network = resources["Service"]["NetworkConfiguration"]["AwsvpcConfiguration"]
    assert (network["AssignPublicIp"], network["Subnets"]) == ("DISABLED", "PrivateSubnets")
    assert resources["Redirect"]["DefaultActions"][0]["RedirectConfig"]["Protocol"] == "HTTPS"
    assert resources["Listener"]["Protocol"] == "HTTPS"


def test_the_service_reads_and_the_training_writes_the_registry_alone(resources: dict[str, Any]) -> None:
    registry, bucket = "${RegistryBucket}/${RegistryPrefix}/*", "s3:::${RegistryBucket}"
    read = {"s3:GetObject", "s3:ListBucket"}
    for actions, places in statements(resources["ServiceRole"]):
        leases = f"{registry.removesuffix('*')}leases/*"
        assert actions <= read or (actions == {"s3:PutObject"} and all(place.endswith(leases) for place in places))
        assert all(place.endswith((registry, leases, bucket)) for place in places)
    for actions, places in statements(resources["RetrainRole"]):
        assert actions <= read or all(place.endswith(registry) for place in places)
    page = (ROOT / "docs" / "how-to" / "s3.md").read_text()
    written = set().union(*(actions for actions, _ in statements(resources["RetrainRole"])))
    assert all(f"`{action.removeprefix('s3:')}`" in page for action in written)
    assert len(written) == 5


def test_no_permission_is_for_everything(resources: dict[str, Any]) -> None:
    roles = [name for name in resources if name.endswith("Role")]
    assert len(roles) == 4
    wide = [actions for name in roles for actions, places in statements(resources[name]) if {"*"} & {*places, *actions}]
    assert wide == [{"ecr:GetAuthorizationToken"}]
    assert not [a for name in roles for actions, _ in statements(resources[name]) for a in actions if "*" in a]


@pytest.mark.parametrize("task", ["ServiceTask", "RetrainTask"])
def test_nothing_can_be_written_but_named_volumes(resources: dict[str, Any], task: str) -> None:
    volumes = {volume["Name"] for volume in resources[task]["Volumes"]}
    for one in resources[task]["ContainerDefinitions"]:
        assert one["ReadonlyRootFilesystem"] is True
        assert {mount["SourceVolume"] for mount in one["MountPoints"]} == volumes
    environment = {entry["Name"]: entry["Value"] for entry in container(resources, task)["Environment"]}
    places = [mount["ContainerPath"] for mount in container(resources, task)["MountPoints"]]
    assert "/tmp" in places
    assert environment["HOME"] in places
    assert environment["RAY_AUTH_MODE"] == "token"
    assert container(resources, task)["LinuxParameters"]["Capabilities"] == {"Drop": ["ALL"]}


def test_secrets_come_from_the_secrets_manager(resources: dict[str, Any]) -> None:
    service = container(resources, "ServiceTask")
    assert service["Secrets"] == [{"Name": "API_KEYS", "ValueFrom": "KeysSecretArn"}]
    assert "Secrets" not in container(resources, "RetrainTask")


@pytest.mark.parametrize("task", ["ServiceTask", "RetrainTask"])
def test_the_commands_and_their_settings_exist(resources: dict[str, Any], task: str) -> None:
    name, *words = container(resources, task)["Command"]
    options = {option for parameter in commands.commands[name].params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= options
    given = [word.replace("${Replicas}", "2") for word in words if re.match(r"\w+=", word)]
    settings = parse_config(ServeSettings, with_settings({"registry": "registry"}, given))
    assert not given or (settings.topology, settings.ingress) == ("fused", (2, 2))
