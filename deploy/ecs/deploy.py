"""Deploy an image to ECS: update the stack, verify the service, and go back to the stack of before if that fails.

    python deploy/ecs/deploy.py STACK --image URI --verify URL [--parameters FILE.json] [--role ARN]

Exit codes: 0 deployed; 1 not deployed, and the stack of before is in force; 2 wrong call or nothing begun; 3 not
deployed and not back: a person has to look. Needs boto3 and curl.
"""

import argparse
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import boto3
from botocore.exceptions import BotoCoreError, ClientError, EndpointConnectionError, WaiterError

HERE: Final = Path(__file__).resolve().parent
VERIFY: Final = HERE.parent / "verify.sh"
UNCHANGED: Final = "No updates are to be performed"
STEADY: Final = (
    *("CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE"),
    *("IMPORT_COMPLETE", "IMPORT_ROLLBACK_COMPLETE"),
)
"""States in which a stack can be updated."""
TAKEN_BACK: Final = ("UPDATE_ROLLBACK_COMPLETE", "UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS")
"""States in which the stack of before is in force again."""
BEGUN: Final = ("CREATE_IN_PROGRESS", "UPDATE_IN_PROGRESS")
ONCE: Final = "DesiredCount"
"""The parameter that is for one deployment alone: kept, it would take back what scaling has added."""


class DeployError(Exception):
    """One line: what failed, and what CloudFormation gives as the reason. The stack of before is in force."""


class StuckError(DeployError):
    """A change was begun, and the stack of before is not in force, or nobody knows which one is."""


@dataclass(frozen=True, slots=True)
class Stack:
    """A stack as it can be put in force: the text of the template, and the values of its parameters by name."""

    template: str
    parameters: dict[str, str]


class Stacks:
    """The stack of one name."""

    def __init__(self, client: Any, name: str, role: str | None = None) -> None:
        """client: of CloudFormation; role: the ARN that CloudFormation acts as, None for the caller's own"""
        self._client, self._name = client, name
        self._role = {} if role is None else {"RoleARN": role}

    def read(self) -> Stack | None:
        """The stack in force; None if there is none. Raises DeployError for one that cannot be updated."""
        try:
            [found] = self._client.describe_stacks(StackName=self._name)["Stacks"]
        except ClientError as error:
            if "does not exist" in str(error):
                return None
            raise
        if found["StackStatus"] not in STEADY:
            raise DeployError(f"stack {self._name} is in {found['StackStatus']}, expected one of {', '.join(STEADY)}")
        template = self._client.get_template(StackName=self._name, TemplateStage="Original")["TemplateBody"]
        values = {one["ParameterKey"]: one["ParameterValue"] for one in found.get("Parameters", ())}
        values.pop(ONCE, None)
        return Stack(template if isinstance(template, str) else json.dumps(template), values)

    def put(self, stack: Stack, *, new: bool) -> None:
        """Create or update the stack and wait for the end. Raises DeployError where CloudFormation takes it back."""
        call = self._client.create_stack if new else self._client.update_stack
        try:
            declared = {one["ParameterKey"] for one in self._summary(stack)}
        except (ClientError, BotoCoreError) as error:
            raise DeployError(f"stack {self._name}: {error}") from error
        try:
            call(
                StackName=self._name,
                TemplateBody=stack.template,
                Parameters=[
                    {"ParameterKey": name, "ParameterValue": value}
                    for name, value in stack.parameters.items()
                    if name in declared  # a template may have lost a parameter
                ],
                Capabilities=["CAPABILITY_IAM"],
                ClientRequestToken=uuid4().hex,  # a call that is sent again is the same one
                **self._role,
            )
        except ClientError as error:
            if UNCHANGED in str(error):
                return
            if "_IN_PROGRESS" in str(error):  # an update whose answer was lost, or somebody else's
                raise StuckError(f"stack {self._name}: {error}") from error
            raise DeployError(f"stack {self._name}: {error}") from error
        except EndpointConnectionError as error:
            raise DeployError(f"stack {self._name}: {error}") from error
        except BotoCoreError as error:  # the call may have come through, and its answer not
            raise StuckError(f"stack {self._name}: {error}") from error
        try:
            self._client.get_waiter("stack_create_complete" if new else "stack_update_complete").wait(
                StackName=self._name, WaiterConfig={"Delay": 10, "MaxAttempts": 180}
            )
        except WaiterError as error:
            raise self._failure(error) from error
        except (ClientError, BotoCoreError) as error:
            raise StuckError(f"stack {self._name}: a change was begun, and its end was not seen: {error}") from error

    def _failure(self, error: WaiterError) -> DeployError:
        """The error of a change that did not end well."""
        try:
            [found] = self._client.describe_stacks(StackName=self._name)["Stacks"]
            line = f"stack {self._name} is in {found['StackStatus']}: {self._reason() or error}"
        except (ClientError, BotoCoreError) as problem:
            return StuckError(f"stack {self._name}: {error}; its state cannot be read: {problem}")
        return DeployError(line) if found["StackStatus"] in TAKEN_BACK else StuckError(line)

    def _summary(self, stack: Stack) -> list[dict[str, Any]]:
        declared: list[dict[str, Any]] = self._client.get_template_summary(TemplateBody=stack.template)["Parameters"]
        return declared

    def _reason(self) -> str:
        """The earliest failure of the last change, which the others follow from."""
        failed = ""
        for event in self._client.describe_stack_events(StackName=self._name)["StackEvents"]:  # the newest first
            if event["ResourceStatus"].endswith("_FAILED"):
                failed = f"{event['LogicalResourceId']}: {event.get('ResourceStatusReason', 'no reason given')}"
            if event["LogicalResourceId"] == self._name and event["ResourceStatus"] in BEGUN:
                break
        return failed


def verified(url: str) -> bool:
    """Whether the service is healthy and recommends, see verify.sh, which prints the reason."""
    return subprocess.run([str(VERIFY), url], check=False).returncode == 0


def deploy(stacks: Stacks, template: str, given: dict[str, str], url: str) -> int:
    """Put a template with these values in force; values that are not given stay. Returns the exit code."""
    before = stacks.read()
    known = {} if before is None else before.parameters
    try:
        stacks.put(Stack(template, known | given), new=before is None)
    except DeployError as error:
        print(f"error: {error}", file=sys.stderr)
        is_back = before is not None and not isinstance(error, StuckError)
        return 1 if is_back and verified(url) else 3
    if verified(url):
        print(f"deployed {given['ImageUri']}")
        return 0
    if before is None:
        print("error: the service is not healthy, and there is no stack of before to go back to", file=sys.stderr)
        return 3
    print(f"error: the service is not healthy: back to {known.get('ImageUri')}", file=sys.stderr)
    try:
        stacks.put(before, new=False)
    except DeployError as error:
        print(f"error: not back: {error}", file=sys.stderr)
        return 3
    return 1 if verified(url) else 3


def _parameters(file: Path) -> dict[str, Any]:
    """The values of parameters in a file; raises DeployError that names it."""
    try:
        values: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise DeployError(f"{file}: {error}") from error
    return values


def main(arguments: list[str] | None = None) -> int:
    """The exit code, see the head of this file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stack", help="name of the stack")
    parser.add_argument("--image", required=True, metavar="URI", help="the image in ECR, with its digest")
    parser.add_argument("--verify", required=True, metavar="URL", help="the address of the service")
    parser.add_argument("--parameters", type=Path, metavar="FILE.json", help='values of parameters: {"VpcId": "…", …}')
    parser.add_argument("--role", metavar="ARN", help="the role that CloudFormation acts as")
    parser.add_argument("--template", type=Path, metavar="FILE", default=HERE / "service.yaml")
    options = parser.parse_args(arguments)
    try:
        values = {} if options.parameters is None else _parameters(options.parameters)
        given = {name: str(value) for name, value in values.items()} | {"ImageUri": options.image}
        stacks = Stacks(boto3.client("cloudformation"), options.stack, options.role)
        return deploy(stacks, options.template.read_text(encoding="utf-8"), given, options.verify)
    except (DeployError, ClientError, BotoCoreError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
