"""The script that makes RayJobs in a cluster, against a server in the API's place."""

import importlib.util
import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from tests.support.kubernetes import FOLDER, documents, faults

ENTRYPOINT = "recsys retrain --data s3://BUCKET/raw --registry s3://BUCKET/registry"


def load() -> ModuleType:
    """create_job.py, which is no package."""
    spec = importlib.util.spec_from_file_location("create_job", FOLDER / "create_job.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


create_job = load()


class Api(BaseHTTPRequestHandler):
    """Takes a RayJob once; a second one of the same name is a conflict."""

    requests: list[tuple[str, str, Any]]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        names = [one["metadata"]["name"] for *_, one in self.requests]
        taken = body["metadata"]["name"] in names
        self.requests.append((self.path, self.headers["Authorization"], body))
        self.send_response(409 if taken else 201)
        self.end_headers()
        self.wfile.write(b'{"message": "already exists"}' if taken else b"{}")

    def log_message(self, format: str, *values: object) -> None:
        """Nothing goes to the terminal."""


@pytest.fixture
def api() -> Iterator[str]:
    Api.requests = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def account(tmp_path: Path) -> Path:
    (tmp_path / "namespace").write_text("shop\n")
    (tmp_path / "token").write_text("secret-of-the-account\n")
    return tmp_path


def test_the_schedule_makes_a_job_that_fits_the_schema(
    api: str, account: Path, shared: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command of the schedule, with the files of kustomization.yaml."""
    pod = documents("schedule.yaml")[0]["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    _, _, file, *arguments = pod["containers"][0]["command"]
    monkeypatch.setattr(create_job, "API", api)
    monkeypatch.setattr(create_job, "ACCOUNT", account)
    monkeypatch.setattr(sys, "argv", ["create_job.py", str(FOLDER / Path(file).name), *arguments])
    assert create_job.main() == 0
    [(path, authorization, body)] = Api.requests
    assert path == "/apis/ray.io/v1/namespaces/shop/rayjobs?fieldValidation=Strict"
    assert authorization == "Bearer secret-of-the-account"
    assert (body["metadata"]["name"], body["spec"]["entrypoint"]) == ("recsys-retrain", ENTRYPOINT)
    assert faults(body, shared / "kuberay") == []

    assert create_job.main() == 1  # the first one still exists
    captured = capsys.readouterr()
    assert "409" in captured.err
    assert "secret" not in captured.out + captured.err


def test_an_api_that_cannot_be_reached_is_one_line(account: Path) -> None:
    made = create_job.job(yaml.safe_dump({"metadata": {}, "spec": {}}), "name", "recsys retrain")
    reason = create_job.create(made, "http://127.0.0.1:9", account)
    assert reason is not None
    assert reason.startswith("http://127.0.0.1:9: ")
