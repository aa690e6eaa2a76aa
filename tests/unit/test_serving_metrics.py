"""What the service counts, its names, and the ids of requests."""

import json
import logging
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from fastapi import FastAPI
from fastapi.responses import Response
from httpx import ASGITransport, AsyncClient
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from recsys import logs
from recsys.registry.bundle import Bundle
from recsys.registry.decisions import Decision, record
from recsys.registry.folder import FolderStore
from recsys.serving.api.create import create_api
from recsys.serving.api.request_ids import OneId, request_id
from recsys.serving.deployments import RankReplica
from recsys.serving.metrics import definitions as named
from recsys.serving.metrics.definitions import METRICS
from recsys.serving.metrics.export import series
from recsys.serving.metrics.recorder import Recorder
from recsys.serving.metrics.stages import StageMetrics
from recsys.serving.metrics.state import ReplicaState, RetrainState, ServiceState
from recsys.serving.service import Service
from recsys.serving.settings import ServeSettings
from tests.support.bundles import publish, small_bundle
from tests.support.keys import keys_document
from tests.support.modules import ROOT
from tests.support.services import http, service_of

pytestmark = pytest.mark.anyio
MONITORING = ROOT / "deploy" / "monitoring"
NAME = re.compile(r"\bray_recsys_\w+")


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return small_bundle()


def values(recorder: Recorder) -> dict[tuple[str, ...], float]:
    """The value of each series by its name and labels, without those that are 0."""
    recorder.sample()
    return {(name, *labels): value for name, labels, value in series(recorder) if value}


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    logger = logging.getLogger("recsys")
    before = logger.handlers[:], logger.level, logger.propagate
    logs.configure_logging(as_json=True)
    yield
    logger.handlers[:], logger.propagate = before[0], before[2]
    logger.setLevel(before[1])


def records(capfd: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capfd.readouterr().err.splitlines() if line.startswith("{")]


# Counting


def test_a_histogram_counts_up_to_each_bound() -> None:
    recorder = Recorder()
    for size in (1, 2, 3, 500):
        recorder.observe(named.BATCH_REQUESTS, size)
    seen = values(recorder)
    assert [seen["recsys_batch_requests_bucket", bound] for bound in ("1", "2", "4", "128", "+Inf")] == [1, 2, 3, 3, 4]
    assert seen["recsys_batch_requests_sum",] == 506
    assert seen["recsys_batch_requests_count",] == 4


def test_counters_begin_at_0_so_that_the_first_count_is_an_increase() -> None:
    recorder = Recorder()
    StageMetrics(recorder, "fused")
    assert (named.LISTS.name + "_total", ("cold", "empty"), 0) in list(series(recorder))


async def test_requests_are_counted_by_route_and_status(store: FolderStore, bundle: Bundle) -> None:
    recorder = Recorder()
    user = bundle.snapshot.users[0]
    async with http(service_of(store), recorder=recorder) as client:
        for path in (f"/recommend/{user}?n=5", f"/recommend/{user}?n=6", "/recommend/3?n=0", "/x/y", "/health"):
            await client.get(path)
        await client.get(f"/user/{user}/stats")
    seen = {key[1:]: value for key, value in values(recorder).items() if key[0] == "recsys_requests_total"}
    assert seen == {
        ("/recommend/{user_id:path}", "200"): 2,
        ("/recommend/{user_id:path}", "400"): 1,
        ("/user/{user_id:path}/stats", "200"): 1,
        ("other", "404"): 1,
        ("/health", "200"): 1,
    }
    assert values(recorder)["recsys_request_seconds_count", "/recommend/{user_id:path}"] == 3


async def test_lists_are_counted_by_visitor_and_length(store: FolderStore, bundle: Bundle) -> None:
    recorder = Recorder()
    user, item = bundle.snapshot.users[0], bundle.items.to_list(np.arange(1))[0]
    async with http(service_of(store, metrics=StageMetrics(recorder, "fused")), recorder=recorder) as client:
        assert (await client.get(f"/recommend/{user}?n=2")).json()["user_type"] == "warm"
        await client.get("/recommend/999999?n=2&cold_start=true")
        await client.post("/recommend", json={"events": [{"itemid": item}], "n": 2})
        await client.get(f"/items/{item}/similar?n=2")
        await client.get(f"/recommend/{user}?n=50")
        await client.post("/recommend", json={"events": [], "only": [{"items": [-1]}]})
    seen = values(recorder)
    assert {key[1:]: value for key, value in seen.items() if key[0] == "recsys_lists_total"} == {
        ("warm", "full"): 1,
        ("cold", "full"): 1,
        ("session", "full"): 1,
        ("none", "full"): 1,
        ("warm", "short"): 1,
        ("session", "empty"): 1,
    }
    assert seen["recsys_filtered_items_total",] > 0
    assert sum(value for key, value in seen.items() if key[0] == "recsys_candidates_total") > 10
    stages = {key[1] for key in seen if key[0] == "recsys_stage_seconds_count"}
    assert stages == {"queue", "histories", "candidates", "factors", "rank", "blend", "related"}


def test_items_of_longer_lists_of_the_same_batch_do_not_count() -> None:
    recorder = Recorder()
    metrics = StageMetrics(recorder, "fused")
    batch = SimpleNamespace(
        offsets=np.array([0, 3, 6]),
        provenance=np.array([[1, 0], [1, 0], [0, 1], [1, 1], [1, 1], [1, 1]], bool),
        warm=np.array([True, False]),
    )
    metrics.listed(batch, ("own", "popularity", "sessions"), [3, 1], {1})  # type: ignore[arg-type]
    seen = values(recorder)
    assert seen["recsys_listed_items_total", "own"] == 3
    assert seen["recsys_listed_items_total", "popularity"] == 2
    assert seen["recsys_lists_total", "warm", "full"] == 1
    assert seen["recsys_lists_total", "session", "full"] == 1


async def test_refusals_have_a_reason(tmp_path: Path) -> None:
    recorder = Recorder()
    async with http(service_of(FolderStore(tmp_path)), recorder=recorder) as client:
        assert (await client.get("/recommend/3")).status_code == 503
    assert values(recorder)["recsys_refusals_total", "not_ready"] == 1


async def test_the_state_shows_versions_and_a_registry_that_is_gone(bundle: Bundle, tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "registry")
    publish(store, bundle, "v1")
    service, recorder = service_of(store), Recorder()
    settings = ServeSettings(registry=str(store), topology="graph", rank="2-3")  # type: ignore[arg-type]
    state = ServiceState(service, settings)
    state(recorder)
    assert values(recorder)["recsys_replicas_wanted", "Rank"] == 2
    await service.following.update()
    state(recorder)
    [version] = [key[1] for key in values(recorder) if key[0] == "recsys_version_served"]
    assert version == store.production()
    assert values(recorder)["recsys_version_age_seconds",] > 0
    assert ("recsys_registry_unreadable_seconds",) not in values(recorder)
    Path(str(store)).rename(tmp_path / "away")
    await service.following.read()
    state(recorder)
    assert values(recorder)["recsys_registry_unreadable_seconds",] > 0


async def test_the_state_shows_a_file_of_keys_that_is_broken(tmp_path: Path) -> None:
    path = tmp_path / "keys.yaml"
    path.write_bytes(keys_document())
    service, recorder = service_of(FolderStore(tmp_path), keys=str(path)), Recorder()
    state = ServiceState(service, ServeSettings(registry=str(tmp_path)))
    state(recorder)
    assert ("recsys_keys_unusable_seconds",) not in values(recorder)
    path.write_text("keys: [")
    assert service.access.keys is not None
    await service.access.keys.update()
    state(recorder)
    assert values(recorder)["recsys_keys_unusable_seconds",] > 0


def test_a_version_that_was_dropped_is_held_no_more() -> None:
    recorder = Recorder()
    names = iter([["a", "b"], ["b", "c"]])
    state = ReplicaState(SimpleNamespace(names=lambda: next(names)))  # type: ignore[arg-type]
    state(recorder)
    state(recorder)
    assert recorder.gauges[named.VERSION_HELD] == {("a",): 0, ("b",): 1, ("c",): 1}


def test_the_last_decision_of_retraining_is_shown(bundle: Bundle, tmp_path: Path) -> None:
    store, recorder = FolderStore(tmp_path), Recorder()
    publish(store, bundle, "v1")
    state = RetrainState(store)
    state.read()
    state(recorder)
    assert values(recorder) == {}
    decided = (datetime.now(UTC) - timedelta(days=2)).isoformat()
    record(store, Decision(outcome="refused", reason="a test", decided=decided, data="shop", end=0))
    state.read()
    state(recorder)
    assert recorder.gauges[named.RETRAIN_OUTCOME] == {("promoted",): 0, ("kept",): 0, ("refused",): 1}
    assert 86_400 * 2 <= recorder.gauges[named.RETRAIN_AGE][()] < 86_400 * 2.1


# Names


def test_names_are_unique_and_prefixed() -> None:
    names = [name for metric in METRICS for name in metric.series]
    assert len(set(names)) == len(names)
    assert all(name.startswith("ray_recsys_") for name in names)


@pytest.mark.parametrize("file", ["alerts.yml", "alerts.test.yml", "prometheus.yml", "grafana/dashboards/recsys.json"])
def test_the_files_of_monitoring_name_only_metrics_that_exist(file: str) -> None:
    text = (MONITORING / file).read_text(encoding="utf-8")
    exist = {name for metric in METRICS for name in metric.series}
    assert set(NAME.findall(text)) <= exist
    if file != "prometheus.yml":
        assert NAME.search(text)


def test_the_dashboard_shows_every_metric() -> None:
    shown = set(NAME.findall((MONITORING / "grafana/dashboards/recsys.json").read_text(encoding="utf-8")))
    assert [metric.name for metric in METRICS if not shown & set(metric.series)] == []


def test_every_alert_has_a_test_and_a_section_of_the_playbook() -> None:
    [group] = yaml.safe_load((MONITORING / "alerts.yml").read_text(encoding="utf-8"))["groups"]
    tests = (MONITORING / "alerts.test.yml").read_text(encoding="utf-8")
    playbook = (ROOT / "docs" / "how-to" / "incidents.md").read_text(encoding="utf-8")
    for rule in group["rules"]:
        name = rule["alert"]
        assert f"alertname: {name}\n" in tests
        assert rule["annotations"]["runbook"] == f"docs/how-to/incidents.md#{name.lower()}"
        assert f"\n## {name}\n" in playbook


# Ids of requests


@pytest.mark.parametrize("given", ["a", "my-id_1.2", "x" * 64])
def test_a_safe_id_is_taken(given: str) -> None:
    assert request_id([(b"host", b"shop"), (b"x-request-id", given.encode())]) == given


@pytest.mark.parametrize("given", ["", "two words", "x" * 65, "a\n", 'a"b', "a,b", "é"])
def test_any_other_id_is_replaced(given: str) -> None:
    made = request_id([(b"x-request-id", given.encode())])
    assert re.fullmatch(r"[0-9a-f]{32}", made)


@pytest.mark.parametrize("path", ["/recommend/3", "/recommend/abc", "/nowhere", "/health"])
async def test_every_response_has_the_id_of_its_request(store: FolderStore, path: str) -> None:
    async with http(service_of(store)) as client:
        assert (await client.get(path, headers={"X-Request-ID": "mine"})).headers["x-request-id"] == "mine"
        first, second = [(await client.get(path)).headers["x-request-id"] for _ in range(2)]
    assert first != second


async def test_a_fault_has_the_id_in_its_response_and_in_all_its_records(
    store: FolderStore, logged: None, capfd: pytest.CaptureFixture[str]
) -> None:
    def add_routes(api: FastAPI, _: Service) -> None:
        @api.get("/fault/{word}")
        async def fault(word: str) -> Response:
            raise ZeroDivisionError

    async with http(service_of(store), routers=(add_routes,)) as client:
        response = await client.get("/fault/x", headers={"X-Request-ID": "mine", "X-Token": "secret"})
    assert (response.status_code, response.headers["x-request-id"]) == (500, "mine")
    about = [record for record in records(capfd) if record["request_id"] == "mine"]
    assert {record["message"] for record in about} == {"a request failed", "request"}
    assert "secret" not in json.dumps(about)
    [line] = [record["fields"] for record in about if record["message"] == "request"]
    assert isinstance(line, dict)
    assert (line["route"], line["path"], line["status"]) == ("/fault/{word}", "/fault/x", 500)


def test_a_failure_in_a_stage_names_the_requests_of_its_batch(
    store: FolderStore, logged: None, capfd: pytest.CaptureFixture[str]
) -> None:
    replica = RankReplica(ServeSettings(registry=str(store), probe=False))

    def fail(_: object) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        replica.compute("v1", fail, ("one", "two"))
    [record] = [record for record in records(capfd) if record["message"] == "a stage failed"]
    assert (record["request_id"], record["level"]) == ("one,two", "error")
    assert "ZeroDivisionError" in str(record["fields"])


async def test_the_path_of_no_route_is_not_logged(
    store: FolderStore, logged: None, capfd: pytest.CaptureFixture[str]
) -> None:
    async with http(service_of(store), log_every=1) as client:
        await client.get("/reset/secret-word")
    [line] = [record["fields"] for record in records(capfd) if record["message"] == "request"]
    assert isinstance(line, dict)
    assert (line["route"], line.get("path")) == ("other", None)


class NamesResponses:
    """A middleware that adds its own header, as Ray Serve's does."""

    def __init__(self, app: ASGIApp) -> None:
        self.app, self.ids = app, []  # type: ignore[var-annotated]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        [given] = [value for name, value in scope["headers"] if name == b"x-request-id"]
        self.ids.append(given)

        async def add(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"].append((b"X-Request-ID", given))
            await send(message)

        await self.app(scope, receive, add)


async def test_one_id_whatever_other_middleware_adds(store: FolderStore) -> None:
    inner = NamesResponses(create_api(service_of(store), 1))
    async with AsyncClient(transport=ASGITransport(OneId(inner)), base_url="http://shop") as client:
        response = await client.get("/nowhere", headers={"X-Request-ID": "not safe"})
    assert response.headers.get_list("x-request-id") == [inner.ids[0].decode()]
    assert re.fullmatch(rb"[0-9a-f]{32}", inner.ids[0])
