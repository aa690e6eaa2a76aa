"""The service on real Ray Serve, over HTTP: one answer whatever the topology, the version, or who dies."""

import asyncio
import http.client
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import ray
from ray import serve

from recsys.inference.item_lists import ItemLists
from recsys.inference.probe import PROBE_SECONDS, check_here
from recsys.inference.recommender import Recommender
from recsys.inference.related import RelatedItems
from recsys.inference.sentences import load_sentences
from recsys.registry import bundle
from recsys.registry.bundle import Bundle
from recsys.registry.folder import FolderStore
from recsys.registry.store import check_hashes
from recsys.schema import OBJECTIVES
from recsys.serving.api.recommendations import recommendations_message
from recsys.serving.app import QUIET, build_app
from recsys.serving.recommendations import Response
from recsys.serving.run import answers
from recsys.serving.settings import ServeSettings
from tests.support.bundles import flip_a_byte, halve_ranker, tie_ranker, with_sessions
from tests.support.processes import family, free_port, wait_until
from tests.support.services import http as in_process
from tests.support.services import service_of
from tests.support.shop_data import USERS, user_id
from tests.support.soak import scaled
from tests.support.trained import trained_shop

N = 7
SWITCHES = scaled(30, 300)
REQUESTS = scaled(300, 10_000)
"""Under load, of each topology."""
DEPLOYMENTS = ("Ingress", "Candidates", "Factors", "Rank")
"""Of the graph."""
Answer = dict[str, Any]


@dataclass
class Client:
    """Keeps one connection; not for several threads."""

    port: int
    prefix: str = ""

    def __post_init__(self) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)

    def get(self, path: str) -> tuple[int, Any]:
        self.connection.request("GET", self.prefix + path)
        response = self.connection.getresponse()
        return response.status, json.loads(response.read())

    def post(self, path: str, body: Any) -> tuple[int, Any]:
        self.connection.request("POST", self.prefix + path, json.dumps(body), {"content-type": "application/json"})
        response = self.connection.getresponse()
        return response.status, json.loads(response.read())

    def close(self) -> None:
        self.connection.close()

    def recommend(self, user: int, n: int = N) -> tuple[int, Any]:
        return self.get(f"/recommend/{user}?n={n}&cold_start=true")


def expected_answers(path: Path) -> dict[int, Answer]:
    """The answers of a version for every user and one without events, computed in this process one by one."""
    opened = bundle.read(path)
    recommender = Recommender.from_bundle(opened)
    answers = {}
    for user in (*opened.snapshot.users.values.to_pylist(), -5):
        histories = opened.snapshot.take(np.array([opened.snapshot.users.code(user)]))
        found = recommender(histories, opened.manifest.live_watermark, N)
        mf_scores = [None if np.isnan(score) else score for score in found.mf_scores.tolist()]
        columns = opened.items.decode(found.items).to_pylist(), found.scores.tolist(), found.lgb_scores.tolist()
        names = ("itemid", "score", "lgb_score", "mf_score")
        answers[user] = {
            "user_id": user,
            "user_type": "warm" if found.warm[0] else "cold",
            "model_version": opened.version,
            "recommendations": [dict(zip(names, row, strict=True)) for row in zip(*columns, mf_scores, strict=True)],
            "total_candidates_scored": int(found.n_candidates[0]),
        }
    return answers


SESSIONS = tuple((number, user) for number in range(24) for user in (None, user_id(number), -5))[::2]
"""Numbers of sessions, and their users."""


def session_body(opened: Bundle, number: int, user: int | None) -> dict[str, Any]:
    """A session of one to four events after the end of the data."""
    codes = [(7 * number + 11 * step) % len(opened.items) for step in range(1 + number % 4)]
    at = opened.manifest.live_watermark + 60_000 * number
    events = [{"itemid": opened.items[code], "timestamp": at + step} for step, code in enumerate(codes)]
    return {"events": events, "user_id": user, "n": N, "objective": OBJECTIVES[number % 2]}


def expected_session_answers(path: Path) -> list[Answer]:
    """The answers of a service in this process to SESSIONS, one by one."""
    opened = bundle.read(path)
    store = FolderStore(path.parent.parent)

    async def answers() -> list[Answer]:
        async with in_process(service_of(store, version=opened.version)) as client:
            bodies = [session_body(opened, *one) for one in SESSIONS]
            return [(await client.post("/recommend", json=body)).json() for body in bodies]

    return asyncio.run(answers())


@dataclass
class Running:
    """A graph with two replicas of each kind and a fused service, over a registry of two versions.

    The second version has a session model.
    """

    store: FolderStore
    versions: list[str]
    port: int
    expected: dict[str, dict[int, Answer]] = field(default_factory=dict)

    def client(self, prefix: str = "") -> closing[Client]:
        return closing(Client(self.port, prefix))

    def get(self, path: str, prefix: str = "") -> tuple[int, Any]:
        """Over a connection of its own."""
        with self.client(prefix) as client:
            return client.get(path)

    def serves(self, version: str, prefix: str = "") -> bool:
        status, health = self.get("/health", prefix)
        return status == 200 and health["model_version"] == version

    def serve(self, version: str) -> None:
        """Put a version into production, and wait until every replica serves it: the tests come in any order."""
        if self.store.production() != version:
            self.store.promote(version, check_here)
        for prefix in ("", "/fused"):
            wait_until(lambda prefix=prefix: all(self.serves(version, prefix) for _ in range(20)))


@pytest.fixture(scope="module")
def running(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    trained = trained_shop(tmp_path_factory)
    store = FolderStore(tmp_path_factory.mktemp("serving"))
    opened = bundle.read(trained.path)
    for alpha, version in ((0.2, "first"), (0.7, "second")):
        manifest = opened.manifest.model_copy(
            update={"blend": opened.manifest.blend.model_copy(update={"alpha": alpha})}
        )
        changed = replace(opened, version=version, manifest=manifest)
        if version == "second":
            changed = with_sessions(changed)
        else:  # the training made a session model
            changed = replace(changed, manifest=manifest.model_copy(update={"sessions": None}), sessions=None)
        store.publish(lambda folder, changed=changed: bundle.write(changed, folder, {}), version)
    store.promote("first", check_here)
    rules = store.root / "rules.yaml"
    rules.write_text("rules: []\n")
    settings = ServeSettings(
        registry=str(store.root),
        rules=str(rules),
        ingress="2",
        candidates="2",
        factors="2",
        rank="2",
        cpus=0,
        poll_seconds=0.1,
        deadline_ms=20_000,  # no request may fail, however busy the machine is that starts replicas anew
    )
    running = Running(store, ["first", "second"], free_port())
    running.expected = {version: expected_answers(store.path(version)) for version in running.versions}
    serve.start(http_options={"host": "127.0.0.1", "port": running.port}, logging_config=QUIET)
    try:
        serve.run(build_app(settings), name="recsys", route_prefix="/")
        fused = settings.model_copy(update={"topology": "fused", "ingress": (1, 1)})
        serve.run(build_app(fused), name="fused", route_prefix="/fused")
        wait_until(lambda: answers("127.0.0.1", running.port))
        wait_until(lambda: running.get("/health", "/fused")[0] == 200)
        yield running
    finally:
        serve.shutdown()


@pytest.mark.parametrize("prefix", ["", "/fused"])
def test_every_topology_says_what_the_stages_say_in_process(running: Running, prefix: str) -> None:
    running.serve("first")
    with running.client(prefix) as client:
        for user, answer in running.expected["first"].items():
            assert client.recommend(user) == (200, answer)


@pytest.mark.parametrize("prefix", ["", "/fused"])
def test_every_topology_explains_as_the_stages_in_process(running: Running, prefix: str) -> None:
    running.serve("first")
    opened = bundle.read(running.store.path("first"))
    recommender, templates = Recommender.from_bundle(opened), load_sentences().templates["de"]
    users = list(running.expected["first"])[::40]
    with running.client(prefix) as client:
        for user in (*users, -5):
            histories = opened.snapshot.take(np.array([opened.snapshot.users.code(user)]))
            best = recommender(histories, opened.manifest.live_watermark, N, explained=np.array([N]))
            response = Response(user, opened, best, 0, N, recommender.source_names)
            expected = recommendations_message(response, templates)
            path = f"/recommend/{user}?n={N}&cold_start=true&explain=true&language=de"
            assert client.get(path) == (200, json.loads(json.dumps(expected)))


@pytest.mark.parametrize("prefix", ["", "/fused"])
def test_lists_without_a_user_are_the_same_in_every_topology(running: Running, prefix: str) -> None:
    running.serve("first")
    opened = bundle.read(running.store.path("first"))
    related = RelatedItems.from_bundle(opened)
    codes = np.array([3, 8], np.int32)
    first, second = opened.items.to_list(codes)
    expected = {
        f"/items/{first}/similar?n={N}": related.similar(codes[:1], N),
        f"/trending?n={N}": related.lists.trending(N),
        f"/new?n={N}": related.lists.newest(N),
    }
    for path, listed in expected.items():
        status, answer = running.get(path, prefix)
        assert (status, rows_of(answer)) == (200, rows_of_lists(opened, listed))
    response = httpx.post(f"http://127.0.0.1:{running.port}{prefix}/basket", json={"items": [first, second], "n": N})
    assert response.status_code == 200
    assert rows_of(response.json()) == rows_of_lists(opened, related.basket(np.array([0, 2]), codes, N))


def rows_of(answer: Any) -> list[tuple[Any, float]]:
    return [(row["itemid"], row["score"]) for row in answer["recommendations"]]


def rows_of_lists(opened: Bundle, listed: ItemLists) -> list[tuple[Any, float]]:
    return list(zip(opened.items.to_list(listed.items), listed.scores.tolist(), strict=True))


@pytest.mark.parametrize("version", ["first", "second"])
@pytest.mark.parametrize("prefix", ["", "/fused"])
def test_every_topology_answers_sessions_as_one_process_does(running: Running, prefix: str, version: str) -> None:
    """Alone, and in batches with users."""
    running.serve(version)
    opened = bundle.read(running.store.path(version))
    expected = expected_session_answers(running.store.path(version))
    assert {answer["model_version"] for answer in expected} == {version}
    by_session_model = [all(one["mf_score"] is None for one in answer["recommendations"]) for answer in expected]
    assert all(by_session_model) is (version == "second")
    assert {len(answer["recommendations"]) for answer in expected} == {N}

    def ask(number: int) -> tuple[int, Any]:
        with running.client(prefix) as client:
            return client.post("/recommend", session_body(opened, *SESSIONS[number]))

    with Load(running, prefix, 4) as load, ThreadPoolExecutor(8) as pool:
        together = list(pool.map(ask, range(len(SESSIONS))))
    assert not load.faults
    assert [status for status, _ in together] == [200] * len(SESSIONS)
    assert [answer for _, answer in together] == expected == [ask(number)[1] for number in range(len(SESSIONS))]


@pytest.mark.parametrize("prefix", ["", "/fused"])
@pytest.mark.parametrize(
    ("body", "status"),
    [
        ([], 400),
        ({"events": [{"itemid": 1, "event": "glance"}]}, 400),
        ({"events": [{"itemid": "x" * (1 << 18)}]}, 413),
        ({"events": [{"itemid": "nothing"}]}, 200),
    ],
)
def test_bad_sessions_are_told_what_is_wrong(running: Running, prefix: str, body: Any, status: int) -> None:
    with running.client(prefix) as client:
        answered, content = client.post("/recommend", body)
    assert answered == status
    assert status == 200 or [*content] == ["detail"]


def test_a_changed_rules_file_holds_on_all_replicas_of_every_topology(running: Running) -> None:
    """The graph has two replicas of each stage. An invalid file changes nothing and is named."""
    running.serve("first")
    path, user = running.store.root / "rules.yaml", user_id(2)
    plain = [item["itemid"] for item in running.expected["first"][user]["recommendations"]]
    best = plain[0]

    def listed(prefix: str) -> list[list[Any]]:
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: running.get(f"/recommend/{user}?n={N}", prefix), range(24)))
        assert {status for status, _ in answers} == {200}
        return [[item["itemid"] for item in answer["recommendations"]] for _, answer in answers]

    try:
        path.write_text(f"rules:\n- name: sold out\n  filter: without\n  where: {{items: [{best}]}}\n")
        for prefix in ("", "/fused"):
            wait_until(lambda prefix=prefix: all(best not in items for items in listed(prefix)))
            assert all(len(items) == N for items in listed(prefix))
        path.write_text("rules:\n- name: sold out\n  filter: with\n")
        for prefix in ("", "/fused"):
            wait_until(lambda prefix=prefix: "line 3" in str(running.get("/health", prefix)[1]["rules"]["problem"]))
            assert all(best not in items for items in listed(prefix))
    finally:
        path.write_text("rules: []\n")
        for prefix in ("", "/fused"):
            wait_until(lambda prefix=prefix: all(items == plain for items in listed(prefix)))


def test_many_at_once_are_told_what_one_is_told(running: Running) -> None:
    for prefix in ("", "/fused"):
        with Load(running, prefix, 16) as load:
            wait_until(lambda load=load: load.answered > REQUESTS)
        assert not load.faults


class Load:
    """Clients that ask for users in turn and check every answer against the version it names."""

    def __init__(self, running: Running, prefix: str = "", clients: int = 8) -> None:
        self.running, self.prefix, self.clients = running, prefix, clients
        self.answered = 0
        self.seen: dict[str, int] = {}
        self.faults: list[Any] = []
        self._over = threading.Event()

    def __enter__(self) -> "Load":
        self._pool = ThreadPoolExecutor(self.clients)
        self._running = [self._pool.submit(self._ask, number) for number in range(self.clients)]
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for asking in self._running:
            asking.result(timeout=60)
        self._pool.shutdown()

    def _ask(self, number: int) -> None:
        with self.running.client(self.prefix) as client:
            users = [*self.running.expected["first"]]
            at = number
            while not self._over.is_set():
                at += self.clients
                self._ask_for(users[at % len(users)], client)

    def _ask_for(self, user: int, client: Client) -> None:
        try:
            status, answer = client.recommend(user)
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.faults.append(repr(error))
            client.close()  # the next request opens it again
            return
        version = answer.get("model_version")
        if status != 200 or answer != self.running.expected[version][user]:
            self.faults.append((status, answer))
        self.answered += 1
        self.seen[version] = self.seen.get(version, 0) + 1


def test_promotions_and_rollbacks_under_load_fail_no_request_and_mix_no_versions(running: Running) -> None:
    running.serve("first")
    with Load(running, clients=4) as load:
        for turn in range(SWITCHES):
            if turn % 2:
                running.store.rollback(check_here)
            else:
                running.store.promote("second", check_here)
            version = running.store.production()
            assert version is not None
            wait_until(lambda version=version: running.serves(version))
    assert not load.faults
    assert min(load.seen.values()) > SWITCHES
    assert sorted(load.seen) == running.versions


def test_a_broken_version_is_refused_and_the_old_one_serves_on(running: Running) -> None:
    opened = bundle.read(running.store.path("second"))
    running.store.publish(lambda folder: bundle.write(replace(opened, version="broken"), folder, {}), "broken")

    def damage(folder: Path) -> None:
        """After its promotion was found in order, and before any replica can load it."""
        check_hashes(folder)
        flip_a_byte(folder / "arrays" / "factorization_factors.npy")

    running.store.promote("broken", damage)

    def refused() -> bool:
        _, health = running.get("/health")
        return health["refused"] is not None and health["refused"]["version"] == "broken"

    with Load(running) as load:
        wait_until(refused)
        running.store.rollback(check_here)
        wait_until(lambda: running.get("/health")[1]["refused"] is None)
    assert not load.faults


@pytest.mark.soak(10)
def test_killed_replicas_come_back_and_a_version_that_would_end_them_all_is_refused(running: Running) -> None:
    opened = bundle.read(running.store.path("second"))
    deadly = f"deadly-{len(running.store.versions())}"
    running.store.publish(lambda folder: bundle.write(replace(opened, version=deadly), folder, {}), deadly)
    halve_ranker(running.store.path(deadly))
    serving = running.store.production() or ""
    running.store.promote(deadly)  # by its hashes alone

    def refused() -> bool:
        _, health = running.get("/health")
        return health["model_version"] == serving and "the process that opened it ended" in str(health["refused"])

    with Load(running) as load:
        wait_until(refused)
        kill_one_of_each()  # those that come instead find the deadly version in production
        wait_until(lambda: running.serves(serving))
        reached = load.answered
        wait_until(lambda: load.answered > reached + 100)
        running.store.rollback(check_here)
        wait_until(lambda: running.get("/health")[1]["refused"] is None)
    assert not load.faults
    logged = [json.loads(line) for line in own_log() if '"version rejected"' in line]
    reasons = [record["fields"]["reason"] for record in logged if record["fields"]["version"] == deadly]
    assert any("the process that opened it ended" in reason for reason in reasons)


@pytest.mark.soak(10)
def test_a_version_that_is_tried_without_end_holds_nobody_up(running: Running) -> None:
    """Neither replicas that start, nor the next promotion, which comes long before the end of the trial."""
    running.serve("first")
    opened = bundle.read(running.store.path("second"))
    endless = f"endless-{len(running.store.versions())}"
    running.store.publish(lambda folder: bundle.write(replace(opened, version=endless), folder, {}), endless)
    tie_ranker(running.store.path(endless))
    with Load(running) as load:
        running.store.promote(endless)  # by its hashes alone
        kill_one_of_each()
        assert all(running.serves("first") for _ in range(20))
        begun = time.monotonic()
        running.store.promote("second", check_here)
        wait_until(lambda: running.serves("second"))
        assert time.monotonic() - begun < PROBE_SECONDS
        reached = load.answered
        wait_until(lambda: load.answered > reached + 100)
    assert not load.faults


def exported() -> str:
    """The metrics that Ray's exporter of this node shows to Prometheus."""
    [node] = ray.nodes()  # type: ignore[no-untyped-call]
    return httpx.get(f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics", timeout=30).text


def test_the_metrics_of_every_replica_are_exported(running: Running) -> None:
    user = next(iter(running.expected["first"]))
    assert running.get(f"/recommend/{user}?cold_start=true")[0] == 200

    def shown() -> bool:
        lines = [line for line in exported().splitlines() if line.startswith("ray_recsys_")]
        alive = [line for line in lines if line.startswith("ray_recsys_replica{")]
        answered = [line for line in lines if 'route="/recommend/{user_id:path}",status="200"' in line.replace(" ", "")]
        stages = [
            line for line in lines if line.startswith("ray_recsys_compute_seconds_bucket") and 'le="+Inf"' in line
        ]
        deployments = ("Ingress", "Candidates", "Factors", "Rank")
        return (
            all(any(f'deployment="{name}"' in line for line in alive) for name in deployments)
            and any(float(line.rpartition(" ")[2]) > 0 for line in answered)
            and any('stage="rank"' in line for line in stages)
        )

    wait_until(shown)


def test_a_response_has_one_id_also_through_serve_and_haproxy(running: Running) -> None:
    for given, expected in (("mine-1", "mine-1"), ("not safe", None), (None, None)):
        headers = {} if given is None else {"X-Request-ID": given}
        ids = httpx.get(f"http://127.0.0.1:{running.port}/nowhere", headers=headers).headers.get_list("x-request-id")
        assert len(ids) == 1
        assert ids[0] == expected or (expected is None and ids[0] != given)


def own_log() -> list[str]:
    """The lines that this package's code in Ray's processes wrote to stderr."""
    folder = Path(ray.get_runtime_context().worker.node.get_logs_dir_path())
    return [line for path in folder.glob("worker-*.err") for line in path.read_text().splitlines() if "recsys." in line]


def replica_pids(deployment: str) -> set[int]:
    """Processes of a deployment's replicas, by the name that Ray gives them; tests beside these have replicas too."""
    found = set()
    for pid in family(os.getpid()):
        with suppress(FileNotFoundError, ProcessLookupError):
            name = Path(f"/proc/{pid}/cmdline").read_bytes()
            if name.startswith(f"ray::ServeReplica:recsys:{deployment}".encode()):
                found.add(pid)
    return found


def test_replicas_have_the_priority_of_other_programs(running: Running) -> None:
    """Beside other work, replicas of Ray's niceness of 15 would starve."""
    running.serve("first")
    pids = {pid for name in DEPLOYMENTS for pid in replica_pids(name)}
    assert {os.getpriority(os.PRIO_PROCESS, pid) for pid in pids} == {os.getpriority(os.PRIO_PROCESS, 0)}


def kill_one_of_each() -> None:
    """End one of two replicas of every deployment at the same time and wait until there are two again."""
    before = {name: replica_pids(name) for name in DEPLOYMENTS}
    assert {len(pids) for pids in before.values()} == {2}
    for pids in before.values():
        os.kill(min(pids), signal.SIGKILL)
    for name, pids in before.items():
        wait_until(lambda name=name, pids=pids: len(replica_pids(name) - {min(pids)}) == 2)


def test_the_port_is_open_on_this_host_alone(running: Running) -> None:
    listening = [line.split()[1] for line in Path("/proc/net/tcp").read_text().splitlines()[1:] if " 0A " in line]
    assert [address for address in listening if address.endswith(f":{running.port:04X}")]
    assert {address.split(":")[0] for address in listening if address.endswith(f":{running.port:04X}")} == {"0100007F"}


@pytest.mark.parametrize("prefix", ["", "/fused"])
@pytest.mark.parametrize(
    ("path", "status"),
    [
        *((f"/recommend/{user_id(1)}?n={n}", 400) for n in ("0", "-1", "51", "abc", "1e9", "")),
        (f"/recommend/{user_id(1)}", 200),
        ("/recommend/", 400),
        ("/recommend/abc", 400),
        ("/recommend/" + "9" * 400, 400),
        ("/recommend/1%27%20OR%201=1--", 400),
        ("/recommend/%C3%A9", 400),
        ("/recommend/%FF%00", 400),
        ("/recommend/-17", 404),
        ("/user/-17/stats", 404),
        (f"/user/{user_id(1)}/stats", 200),
        ("/nothing", 404),
    ],
)
def test_bad_requests_are_told_what_is_wrong(running: Running, prefix: str, path: str, status: int) -> None:
    found, body = running.get(path, prefix)
    assert found == status
    assert status == 200 or ([*body] == ["detail"] and "Traceback" not in body["detail"])


def test_other_methods_are_405(running: Running) -> None:
    with running.client() as client:
        for method in ("POST", "PUT", "DELETE", "PATCH"):
            client.connection.request(method, f"/recommend/{user_id(1)}", body=b"{}")
            response = client.connection.getresponse()
            assert (response.status, [*json.loads(response.read())]) == (405, ["detail"])


@pytest.mark.parametrize("prefix", ["", "/fused"])
@pytest.mark.parametrize(
    "path",
    [
        *("/", "/health", "/docs", "/docs/swagger-ui-bundle.js", "/openapi.json", f"/recommend/{user_id(1)}?n=3"),
        *(f"/recommend?user_id={user_id(1)}", f"/user/{user_id(1)}/stats", "/recommend/..", "/recommend?n=1"),
        "/nowhere",
    ],
)
def test_head_is_get_without_a_body(running: Running, prefix: str, path: str) -> None:
    def asked() -> list[tuple[int, dict[str, str | None], bytes]]:
        answers = []
        for method in ("GET", "HEAD", "GET"):  # over one connection, on which a body of HEAD would be read next
            client.connection.request(method, prefix + path)
            response = client.connection.getresponse()
            headers = {name.lower(): value for name, value in response.getheaders()}
            ours = {name: headers.get(name) for name in ("content-length", "content-type", "x-content-type-options")}
            answers.append((response.status, ours, response.read()))
        return answers

    def steady() -> bool:
        """Whether no stage loaded a version meanwhile, which changes the body of /health."""
        (status, headers, body), head, again = asked()
        assert int(headers["content-length"] or 0) == len(body) > 0
        assert headers["x-content-type-options"] == "nosniff"
        assert (head[0], head[2]) == (status, b"")
        return again == (status, headers, body) and head[1] == headers

    with running.client(prefix) as client:
        if path == "/health":
            wait_until(steady, 30)
        else:
            assert steady()


@pytest.mark.parametrize("prefix", ["", "/fused"])
def test_the_documentation_names_the_address_of_its_routes(running: Running, prefix: str) -> None:
    status, document = running.get("/openapi.json", prefix)
    assert status == 200
    assert document.get("servers", [{"url": ""}]) == [{"url": prefix}]


@pytest.mark.soak(10)
def test_broken_connections_leave_the_service_alone(running: Running) -> None:
    """Half a request, a client that leaves at once, headers without end."""
    request = f"GET /recommend/{user_id(1)} HTTP/1.1\r\nHost: x\r\n".encode()
    held = []
    for data in (request, request + b"\r\n", request + b"X: " + b"a" * 100_000 + b"\r\n\r\n", b"\x16\x03\x01\x00"):
        for _ in range(20):
            opened = socket.create_connection(("127.0.0.1", running.port), timeout=10)
            opened.sendall(data)
            if data == request:
                opened.shutdown(socket.SHUT_WR)
                held.append(opened)
            else:
                opened.close()
    with Load(running) as load:
        wait_until(lambda: load.answered > 200)
    assert not load.faults
    for opened in held:
        opened.close()


def test_users_are_those_of_the_shop(running: Running) -> None:
    assert len(running.expected["first"]) == USERS + 1
    assert ray.is_initialized()
