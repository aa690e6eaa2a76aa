"""Make a RayJob from a file, from inside the cluster: python create_job.py FILE NAME ENTRYPOINT

The job is that of the file under another name and with another entry point. Exit code 1 if the API refuses it, such as
while a job of that name exists. Needs a service account that may create RayJobs, and PyYAML.
"""

import json
import ssl
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Final

import yaml

ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
API: Final = "https://kubernetes.default.svc"
SECONDS: Final = 30


def job(text: str, name: str, entrypoint: str) -> dict[str, Any]:
    """The RayJob of a file, renamed and with another entry point."""
    made: dict[str, Any] = yaml.safe_load(text)
    made["metadata"]["name"] = name
    made["spec"]["entrypoint"] = entrypoint
    return made


def create(made: dict[str, Any], api: str, account: Path) -> str | None:
    """Send a RayJob to the API. Returns None, or one line with the reason why it was refused.

    account: the folder with the account's token, its namespace, and the certificate of the API
    """
    namespace = (account / "namespace").read_text(encoding="utf-8").strip()
    token = (account / "token").read_text(encoding="utf-8").strip()
    request = urllib.request.Request(
        f"{api}/apis/ray.io/v1/namespaces/{namespace}/rayjobs?fieldValidation=Strict",
        data=json.dumps(made).encode(),
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )
    certificate = account / "ca.crt"
    context = ssl.create_default_context(cafile=str(certificate)) if certificate.exists() else None
    try:
        with urllib.request.urlopen(request, timeout=SECONDS, context=context):
            return None
    except urllib.error.HTTPError as error:
        with error:
            return f"{error.code}: {error.read().decode(errors='replace')[:500]}"
    except urllib.error.URLError as error:
        return f"{api}: {error.reason}"


def main() -> int:
    """The exit code."""
    file, name, entrypoint = sys.argv[1:]
    refused = create(job(Path(file).read_text(encoding="utf-8"), name, entrypoint), API, ACCOUNT)
    print(f"RayJob {name}: {refused or 'made'}", file=sys.stderr if refused else sys.stdout)
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())
