"""The files of the container image and of Compose, as far as they can be checked without building."""

import fnmatch
import importlib.util
import json
import re
import threading
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.resources import files
from pathlib import Path
from types import ModuleType
from typing import Any

import jsonschema
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import recsys

ROOT = Path(__file__).resolve().parents[2]
IMAGE_VARIABLE = re.compile(r"^\$\{RECSYS_IMAGE:-(.*)\}$")


@pytest.fixture(scope="module")
def dockerfile() -> list[str]:
    """The instructions, each on one line, without comments."""
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "Dockerfile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    return [" ".join(line.split()) for line in text.replace("\\\n", " ").splitlines() if line.strip()]


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
    return content


@pytest.fixture(scope="module")
def health() -> ModuleType:
    """The module of the health check, which is no package."""
    spec = importlib.util.spec_from_file_location("image_health", ROOT / "docker" / "health.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def last(dockerfile: list[str], word: str) -> str:
    """The rest of the last instruction that begins with a word."""
    return [line for line in dockerfile if line.startswith(f"{word} ")][-1].removeprefix(f"{word} ")


def requirements(name: str) -> set[str]:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    found = [Requirement(line.partition("#")[0]) for line in lines if re.match(r"\w", line)]
    return {canonicalize_name(one.name) for one in found}


def test_the_last_stage_runs_as_a_user_by_number_and_ends_on_sigterm(dockerfile: list[str]) -> None:
    assert last(dockerfile, "USER") == "10001:10001"
    assert last(dockerfile, "STOPSIGNAL") == "SIGTERM"
    assert last(dockerfile, "ENTRYPOINT") == '["tini", "--", "entrypoint"]'
    assert last(dockerfile, "HEALTHCHECK").endswith('CMD ["python", "/app/health.py"]')
    assert any(line.startswith("ENV") and " RAY_AUTH_MODE=token" in line for line in dockerfile)


def test_compilers_stay_in_the_first_stage(dockerfile: list[str]) -> None:
    second = [number for number, line in enumerate(dockerfile) if line.startswith("FROM")][1]
    build, final = " ".join(dockerfile[:second]), " ".join(dockerfile[second:])
    assert "DONT_SET_MARCH=1" in build
    assert re.search(r"\bg\+\+ gcc\b", build)
    assert not re.search(r"\b(gcc|g\+\+|python3-dev|python3-pip|python3-venv)(?=\s)", final)
    assert {line for line in dockerfile if line.startswith("FROM")} == {
        "FROM debian:bookworm-slim AS build",
        "FROM debian:bookworm-slim",
    }


def test_the_label_has_the_version_of_the_package(dockerfile: list[str]) -> None:
    assert f"ARG VERSION={recsys.__version__}" in dockerfile
    assert 'org.opencontainers.image.version="$VERSION"' in last(dockerfile, "LABEL")


def test_what_is_copied_reaches_the_builder(dockerfile: list[str]) -> None:
    lines = [line for line in dockerfile if line.startswith("COPY ") and "--from" not in line]
    sources = [source for line in lines for source in line.split()[1:-1]]
    rules = [line for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line[:1] != "#"]
    assert rules[0] == "*"
    for source in sources:
        assert (ROOT / source).exists(), source
        assert any(fnmatch.fnmatch(source, rule[1:]) for rule in rules if rule.startswith("!")), source


@pytest.mark.parametrize("file", ["requirements.txt", "requirements-test.txt", "requirements-dev.txt"])
def test_each_pin_is_among_the_constraints(file: str) -> None:
    """Else what it needs would be chosen anew at each build: `make constraints`."""
    chosen = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    constraints = {canonicalize_name(one.name): one for one in map(Requirement, chosen[2:])}
    for line in (ROOT / file).read_text(encoding="utf-8").splitlines():
        if re.match(r"\w", line):
            pin = Requirement(line.partition("#")[0])
            assert constraints[canonicalize_name(pin.name)].specifier == pin.specifier


def test_the_image_needs_nothing_of_the_tests() -> None:
    """What runs lies in requirements.txt, what only tests need in requirements-test.txt."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [one for extra in project["optional-dependencies"].values() for one in extra]
    ranges = {canonicalize_name(Requirement(one).name) for one in [*project["dependencies"], *extras]}
    assert requirements("requirements.txt") - ranges == {"pandas", "pytest"}  # pandas comes with Ray's extras
    assert not requirements("requirements-test.txt") & ranges
    assert "-r requirements.txt" in (ROOT / "requirements-test.txt").read_text(encoding="utf-8").splitlines()


@contextmanager
def service(status: int) -> Iterator[int]:
    """The port of a server that answers every request with a status."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(self.path.encode())

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("status", [200, 503])
def test_the_health_check_asks_the_service(health: ModuleType, status: int) -> None:
    with service(status) as port:
        assert health.check("127.0.0.1", port) == (status == 200, f"{status} /health")
    healthy, line = health.check("127.0.0.1", port)
    assert not healthy
    assert "refused" in line


def test_a_container_that_does_not_serve_is_healthy(
    health: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(health.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(health, "check", lambda *_: (False, "503"))
    assert health.main() == 1  # no file: the container has only just started
    for command, code in (("serve", 1), ("train", 0), ("worker", 0)):
        (tmp_path / health.COMMAND).write_text(f"{command}\n", encoding="utf-8")
        assert (command, health.main()) == (command, code)
    assert capsys.readouterr().out == "503\n503\n"


def test_compose_accepts_the_file(compose: dict[str, Any]) -> None:
    schema = files("check_jsonschema.builtin_schemas.vendor") / "compose-spec.json"
    jsonschema.validate(compose, json.loads(schema.read_text(encoding="utf-8")))


def test_images_are_pinned_and_every_service_has_limits(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        image = IMAGE_VARIABLE.sub(r"\1", service["image"])
        tag = image.rpartition(":")[2]
        assert image == "recsys:latest" or re.fullmatch(r"v?\d+\.\d+\.\d+", tag), f"{name}: {image}"
        assert "mem_limit" in service, name
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ())), name


def test_no_secret_is_in_the_file(compose: dict[str, Any]) -> None:
    secrets = 0
    for name, service in compose["services"].items():
        for variable, value in service.get("environment", {}).items():
            if re.search("KEY|SECRET|PASSWORD|TOKEN", variable):
                assert re.fullmatch(r"\$\{RECSYS_\w+:\?.*\}", value), f"{name}: {variable}"
                secrets += 1
    assert secrets >= 5


def test_services_wait_for_what_they_need(compose: dict[str, Any]) -> None:
    services = compose["services"]
    for name, service in services.items():
        for other, wanted in service.get("depends_on", {}).items():
            if wanted["condition"] == "service_healthy":
                assert "test" in services[other]["healthcheck"], f"{name} waits for {other}"
    mounted = {mount.partition(":")[0] for service in services.values() for mount in service.get("volumes", ())}
    assert {mount for mount in mounted if mount[:1] not in "./"} == set(compose["volumes"])


def test_files_that_compose_mounts_are_read_only(compose: dict[str, Any]) -> None:
    mounts = [mount for service in compose["services"].values() for mount in service.get("volumes", ())]
    here = [mount for mount in mounts if mount.startswith("./")]
    assert {mount.split(":")[0].removeprefix("./deploy/monitoring/") for mount in here} == {
        "prometheus.yml",
        "alerts.yml",
        "grafana",
    }
    assert all(mount.endswith(":ro") for mount in here)


def test_prometheus_asks_where_the_service_shows_its_metrics(compose: dict[str, Any]) -> None:
    """Both are in one network, so the addresses of a service on this host hold there too."""
    monitoring = ROOT / "deploy" / "monitoring"
    services = compose["services"]
    mounts = [mount for name in ("prometheus", "grafana") for mount in services[name]["volumes"]]
    assert all((ROOT / mount.split(":")[0]).exists() for mount in mounts if mount.startswith("./"))
    environment = services["recommender"]["environment"]
    ports = {environment["RECSYS_METRICS_PORT"], environment["RAY_SERVE_HAPROXY_METRICS_PORT"]}
    jobs = yaml.safe_load((monitoring / "prometheus.yml").read_text(encoding="utf-8"))["scrape_configs"]
    targets = {target for job in jobs for part in job["static_configs"] for target in part["targets"]}
    assert targets == {f"127.0.0.1:{port}" for port in ports}
    assert services["recommender"]["network_mode"] == services["prometheus"]["network_mode"] == "service:pod"
