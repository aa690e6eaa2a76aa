"""The gate before the routes: keys, scopes, limits, other sites, and the size of headers."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import hypothesis
import pytest
import schemathesis
from fastapi import APIRouter, FastAPI
from fastapi.responses import Response
from httpx import AsyncClient
from hypothesis import strategies
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance
from starlette.routing import Mount

from recsys.registry.bundle import Bundle
from recsys.registry.folder import FolderStore
from recsys.serving.api.create import ROUTERS, create_api
from recsys.serving.api.gate import MAX_HEADER_BYTES, MAX_HEADERS, MAX_URL
from recsys.serving.api.health import HIDDEN
from recsys.serving.api.messages import json_response
from recsys.serving.api.scopes import NEEDS, needs
from recsys.serving.service import Service
from tests.support.bundles import publish
from tests.support.keys import ADMIN_KEY, READ_KEY, bearer, entry, keys_file
from tests.support.services import FakeStages, http, service_bundle, service_of, until
from tests.support.soak import SOAK, scaled

pytestmark = pytest.mark.anyio

READ, ADMIN = bearer(READ_KEY), bearer(ADMIN_KEY)
HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
PATHS = [
    *("/", "/recommend/1000", "/recommend?user_id=1000", "/user/1000/stats", "/user/stats?user_id=1000"),
    *("/user/1000/events", "/user/events?user_id=1000", "/users/random", "/openapi.json", "/docs"),
    *("/docs/swagger-ui-bundle.js", "/docs/swagger-ui.css", "/items/500/similar", "/items/similar?item_id=500"),
    *("/trending", "/new"),
]
BYPASSES = [
    *(
        "/health/",
        "//health",
        "/HEALTH",
        "/health%2F",
        "/health%00",
        "/health%20",
        "/./health/x",
        "/health;x",
        "/health/.",
    ),
    *(
        "/%2Fhealth",
        "/health%0A",
        "/recommend/health",
        "/recommend/..%2Fhealth",
        "/health/../trending",
        "/%252568ealth",
    ),
]


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return service_bundle()


@pytest.fixture(scope="module")
async def locked(store: FolderStore, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[AsyncClient]:
    """A client of a service with READ_KEY and ADMIN_KEY."""
    async with http(service_of(store, keys=str(keys_file(tmp_path_factory.mktemp("keys"))))) as client:
        yield client


def assert_refused(answer: httpx.Response, status: int) -> str:
    """An error of the contract; its text."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers.get("www-authenticate") == ("Bearer" if status == 401 else None)
    [(name, text)] = answer.json().items() if answer.content else [("detail", "")]
    assert name == "detail"
    return str(text)


# Keys


@pytest.mark.parametrize("path", PATHS)
async def test_every_route_needs_a_key(locked: AsyncClient, path: str) -> None:
    assert "needs an API key" in assert_refused(await locked.get(path), 401)
    assert_refused(await locked.head(path), 401)
    for headers in (READ, ADMIN, {"X-API-Key": READ_KEY}, {"authorization": f"bearer  {READ_KEY} "}):
        assert (await locked.get(path, headers=headers)).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        bearer(READ_KEY + "x"),
        bearer(READ_KEY[:-1]),
        bearer(""),
        bearer("x" * 5000),
        {"Authorization": READ_KEY},
        {"Authorization": f"Basic {READ_KEY}"},
        {"X-API-Key": ""},
        {"X-API-Key": f"Bearer {READ_KEY}"},
        {"Cookie": f"X-API-Key={READ_KEY}"},
        {"X-API-Key": entry(READ_KEY)["sha256"]},
        {**READ, "X-API-Key": READ_KEY},
        {**READ, "X-API-Key": "wrong"},
        [("X-API-Key", "wrong"), ("X-API-Key", READ_KEY)],
    ],
)
async def test_a_wrong_key_is_refused(locked: AsyncClient, headers: Any) -> None:
    for path in ("/trending", "/nowhere"):
        text = assert_refused(await locked.get(path, headers=headers), 401)
        assert READ_KEY not in text


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"])
async def test_without_a_key_nobody_learns_which_routes_there_are(locked: AsyncClient, method: str) -> None:
    answers = [await locked.request(method, path) for path in ("/trending", "/nowhere", "/basket", "/docs/x", "/a%2Fb")]
    for answer in answers:
        assert_refused(answer, 401)
        answer.headers.pop("X-Request-ID")
        assert answer.headers == answers[0].headers
    if method not in ("GET", "HEAD"):
        assert_refused(await locked.request(method, "/health"), 401)
        assert (await locked.request(method, "/health", headers=READ)).status_code == 405


@pytest.mark.parametrize("path", BYPASSES)
async def test_no_spelling_of_the_open_route_opens_another(locked: AsyncClient, path: str) -> None:
    client = locked
    scope_path = httpx.URL(f"http://shop{path}")
    answer = await client.get(scope_path)
    if httpx.URL(answer.request.url).path != "/health":  # the client takes dots out of a path
        assert_refused(answer, 401)


async def test_health_is_open_however_it_is_spelled(locked: AsyncClient) -> None:
    for headers in ({}, READ, bearer("wrong"), {**READ, "X-API-Key": "x"}):
        for path in ("/health", "/%68ealth", "/health?"):
            assert (await locked.get(f"http://shop{path}", headers=headers)).status_code == 200
        assert (await locked.head("/health", headers=headers)).status_code == 200
    assert_refused(await locked.get("/health?x=1"), 400)


async def test_behind_a_prefix_health_is_open_and_nothing_else(store: FolderStore, tmp_path: Path) -> None:
    api = create_api(service_of(store, keys=str(keys_file(tmp_path))), 100)
    transport = httpx.ASGITransport(api, root_path="/shop")
    async with api.router.lifespan_context(api), AsyncClient(transport=transport, base_url="http://x") as client:
        assert (await client.get("/shop/health")).status_code == 200
        assert (await client.get("/shop/trending", headers=READ)).status_code == 200
        for path in ("/shop/trending", "/shop/shop/health", "/shop", "/shop/"):
            assert_refused(await client.get(path), 401)


async def test_a_refused_request_is_not_read(store: FolderStore, tmp_path: Path) -> None:
    api = create_api(service_of(store, keys=str(keys_file(tmp_path))), 100)
    sent: list[Any] = []

    async def receive() -> Any:
        raise AssertionError("the body is read")

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/basket", "query_string": b"", "headers": [], "root_path": ""}
    await api(scope, receive, send)
    assert sent[0]["status"] == 401
    await api({**scope, "type": "websocket"}, receive, send)
    assert sent[-1]["type"] == "websocket.close"


async def test_two_keys_are_valid_while_one_replaces_the_other(store: FolderStore, tmp_path: Path) -> None:
    path = keys_file(tmp_path, entry("old"))
    async with http(service_of(store, keys=str(path))) as client:

        async def statuses() -> list[int]:
            return [(await client.get("/trending", headers=bearer(key))).status_code for key in ("old", "new")]

        assert await statuses() == [200, 401]
        for entries, wanted in (
            ((entry("old"), entry("new")), [200, 200]),
            ((entry("new"),), [401, 200]),
        ):
            keys_file(tmp_path, *entries)
            async with asyncio.timeout(60):
                while await statuses() != wanted:  # without a restart
                    await asyncio.sleep(0.01)


async def test_a_bad_file_is_reported_and_the_keys_of_before_stay(store: FolderStore, tmp_path: Path) -> None:
    path = keys_file(tmp_path)
    service = service_of(store, keys=str(path))
    async with http(service) as client:
        path.write_text("keys: [")
        assert service.access.keys is not None
        await service.access.keys.update()
        shown = (await client.get("/health", headers=ADMIN)).json()["keys"]
        assert (shown["valid"], str(path) in shown["problem"]) == (2, True)
        assert shown["problem_since"].startswith("20")
        for headers in ({}, READ):
            assert "keys" not in (await client.get("/health", headers=headers)).json()


async def test_details_of_health_are_for_admins(bundle: Bundle, tmp_path: Path) -> None:
    own = FolderStore(tmp_path / "registry")
    publish(own, bundle, "v1")
    rules = tmp_path / "rules.yaml"
    rules.write_text("rules:\n- name: x\n  filter: without\n  where: {items: [nothing-like-it]}\n")
    service = service_of(own, keys=str(keys_file(tmp_path)), rules=str(rules), poll_seconds=0.01)
    async with http(service) as client:
        (own.root / "production").write_text("{broken")
        await until(lambda: service.following.problem)
        rules.write_text("broken")
        await service.rules.update()
        admin, public = [(await client.get("/health", headers=headers)).json() for headers in (ADMIN, {})]
    admin.pop("keys")
    assert public.keys() == admin.keys()
    assert str(tmp_path) in json.dumps(admin)
    assert str(tmp_path) not in json.dumps(public)
    assert (public["problem"], public["rules"]["problem"], public["rules"]["file"]) == (HIDDEN,) * 3
    assert (public["stats"], public["model"], public["status"]) == (admin["stats"], admin["model"], "healthy")


# Scopes


def add_toys(api: FastAPI, _: Service) -> None:
    @api.get("/toy/undeclared")
    async def undeclared() -> Response:
        return json_response({})

    @api.get("/toy/admin")
    @needs("admin")
    async def administer() -> Response:
        return json_response({})

    @api.get("/toy/open")
    @needs("open")
    async def anybody() -> Response:
        return json_response({})

    api.mount("/toy/mounted", json_response({}))


async def test_a_route_without_a_scope_needs_admin(store: FolderStore, tmp_path: Path) -> None:
    keys = keys_file(tmp_path, entry(READ_KEY), entry(ADMIN_KEY, "operator", ("admin",)))
    async with http(service_of(store, keys=str(keys)), routers=(*ROUTERS, add_toys)) as client:
        for path in ("/toy/undeclared", "/toy/admin", "/toy/mounted/x"):
            assert_refused(await client.get(path), 401)
            assert "lacks the scope admin" in assert_refused(await client.get(path, headers=READ), 403)
            assert (await client.get(path, headers=ADMIN)).status_code == 200
        assert_refused(await client.get("/toy/open"), 401)  # the gate has its own list of what is open
        assert "lacks the scope read" in assert_refused(await client.get("/trending", headers=ADMIN), 403)
    async with http(service_of(store), routers=(*ROUTERS, add_toys)) as client:
        assert (await client.get("/toy/undeclared")).status_code == 200


async def test_a_route_that_cannot_be_guarded_is_refused(store: FolderStore, tmp_path: Path) -> None:
    router = APIRouter()
    router.get("/hidden")(lambda: {})
    service = service_of(store, keys=str(keys_file(tmp_path)))
    with pytest.raises(TypeError, match="is not guarded"):
        create_api(service, 100, (*ROUTERS, lambda api, _: api.include_router(router)))


async def test_each_route_of_the_service_declares_its_scope(store: FolderStore) -> None:
    routes = create_api(service_of(store), 100).routes
    declared = {route.path: getattr(route.endpoint, NEEDS, None) for route in routes if not isinstance(route, Mount)}  # type: ignore[attr-defined]
    assert {path: need for path, need in declared.items() if need != "read"} == {"/health": "open"}


# Limits


async def test_a_key_that_asks_too_often_waits(store: FolderStore, tmp_path: Path) -> None:
    keys = keys_file(tmp_path, entry("a"), entry("b", "other"), entry("c", "shop"), entry("d", "d", limit="5/hour"))
    async with http(service_of(store, keys=str(keys), key_limit="3/hour")) as client:

        async def ask(key: str, path: str = "/trending") -> httpx.Response:
            return await client.get(path, headers=bearer(key))

        assert [(await ask(key)).status_code for key in ("a", "c", "a")] == [200] * 3
        for path in ("/trending", "/nowhere", "/"):
            refused = await ask("c", path)
            assert "too many requests of the key of shop" in assert_refused(refused, 429)
            assert 3500 < int(refused.headers["retry-after"]) <= 3600
        assert [(await ask("b")).status_code for _ in range(4)] == [200] * 3 + [429]
        assert [(await ask("d")).status_code for _ in range(6)] == [200] * 5 + [429]
        assert (await client.get("/health", headers=bearer("a"))).status_code == 200


async def test_an_address_that_asks_too_often_waits(store: FolderStore, tmp_path: Path) -> None:
    settings = {"keys": str(keys_file(tmp_path)), "address_limit": "3/hour", "trusted_proxies": "10.0.0.0/8"}

    def forwarded(*addresses: str) -> dict[str, str]:
        return {"X-Forwarded-For": ", ".join(addresses)}

    async with http(service_of(store, **settings)) as client:
        for claimed in ("1.1.1.1", "2.2.2.2", "10.9.9.9"):  # what a client writes itself changes nothing
            answer = await client.get("/trending", headers=forwarded(claimed, "203.0.113.9", "10.0.0.1"))
            assert_refused(answer, 401)  # wrong keys count too
        for path, key in (("/trending", READ), ("/trending", {}), ("/health", {})):
            refused = await client.get(path, headers=key | forwarded("203.0.113.9"))
            assert "too many requests of this address" in assert_refused(refused, 429)
            assert int(refused.headers["retry-after"]) > 3500
        assert (await client.get("/trending", headers=READ | forwarded("203.0.113.8"))).status_code == 200
        for _ in range(5):  # the balancer's own checks
            assert (await client.get("/health", headers=forwarded("10.0.0.1"))).status_code == 200
    async with http(service_of(store, address_limit="1/hour", trusted_proxies="10.0.0.0/8")) as client:
        statuses = [(await client.get("/trending", headers=forwarded("1.1.1.1"))).status_code for _ in range(2)]
        assert statuses == [200, 429]


async def test_without_trusted_proxies_no_address_counts(store: FolderStore, tmp_path: Path) -> None:
    async with http(service_of(store, keys=str(keys_file(tmp_path)))) as client:
        for _ in range(20):
            answer = await client.get("/trending", headers=READ | {"X-Forwarded-For": "1.1.1.1"})
            assert answer.status_code == 200


# Other sites

SITE = "https://shop.example"
PREFLIGHT = {"Origin": SITE, "Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "x-api-key"}


def cors_headers(answer: httpx.Response) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name.startswith("access-control-")}


async def test_without_named_sites_no_answer_has_headers_of_cors(locked: AsyncClient) -> None:
    for headers in ({"Origin": SITE}, READ | {"Origin": SITE}):
        assert cors_headers(await locked.get("/trending", headers=headers)) == {}
    preflight = await locked.options("/trending", headers=PREFLIGHT)
    assert_refused(preflight, 401)
    assert cors_headers(preflight) == {}


async def test_pages_of_named_sites_may_ask(store: FolderStore, tmp_path: Path) -> None:
    service = service_of(store, keys=str(keys_file(tmp_path)), cors_origins=f"{SITE},https://other.example")
    async with http(service) as client:
        preflight = await client.options("/trending", headers=PREFLIGHT)
        assert preflight.status_code == 200
        assert preflight.headers["access-control-allow-origin"] == SITE
        assert "X-API-Key" in preflight.headers["access-control-allow-headers"]
        for headers, status in ((READ, 200), ({}, 401)):
            answer = await client.get("/trending", headers=headers | {"Origin": SITE})
            assert answer.status_code == status
            assert answer.headers["access-control-allow-origin"] == SITE
            assert "access-control-allow-credentials" not in answer.headers
            assert "Origin" in answer.headers["vary"]
        for origin in ("https://evil.example", "null", f"{SITE}.evil.example", "http://shop.example"):
            assert (
                "access-control-allow-origin"
                not in (await client.get("/trending", headers=READ | {"Origin": origin})).headers
            )
            refused = await client.options("/trending", headers=PREFLIGHT | {"Origin": origin})
            assert_refused(refused, 401)
            assert "access-control-allow-origin" not in refused.headers
        for changed in ({"Access-Control-Request-Method": "PUT"}, {"Access-Control-Request-Headers": "x-other"}):
            assert_refused(await client.options("/trending", headers=PREFLIGHT | changed), 400)
        assert_refused(await client.options("/trending", headers={"Origin": SITE}), 401)  # no preflight


# Sizes


async def test_long_addresses_and_headers_are_refused(client: AsyncClient) -> None:
    assert (await client.get("/trending", headers={"a": "x" * (MAX_HEADER_BYTES - 500)})).status_code == 200
    assert "bytes" in assert_refused(await client.get("/trending", headers={"a": "x" * MAX_HEADER_BYTES}), 431)
    many = [(f"a{number}", "") for number in range(MAX_HEADERS)]
    assert "more than 100 headers" in assert_refused(await client.get("/trending", headers=many), 431)
    assert_refused(await client.get("/trending?a=" + "x" * (MAX_URL - 100)), 400)
    for path in ("/trending?a=" + "x" * MAX_URL, "/" + "x" * MAX_URL):
        assert_refused(await client.get(path), 414)


# People


@pytest.mark.parametrize("path", ["/", "/docs"])
async def test_a_browser_gets_a_page_that_asks_for_the_key(locked: AsyncClient, path: str) -> None:
    asked = await locked.get(path, headers=HTML)
    assert asked.status_code == 401
    assert asked.headers["www-authenticate"] == "Bearer"
    assert asked.headers["content-type"] == "text/html; charset=utf-8"
    assert 'name="key"' in asked.text
    policy = asked.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in policy
    assert "'unsafe-inline'" not in policy.partition("script-src")[2].partition(";")[0]
    for headers in (HTML | bearer("wrong"), {}):
        assert_refused(await locked.get(path, headers=headers), 401)
    for other in ("/trending", "/recommend/1000", "/nowhere", "/openapi.json"):
        assert_refused(await locked.get(other, headers=HTML), 401)


# Logs


async def test_no_log_has_a_key_and_refused_requests_are_logged(
    store: FolderStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stages = FakeStages()
    stages.fault = ZeroDivisionError("x")
    async with http(service_of(store, stages, keys=str(keys_file(tmp_path))), log_every=1) as client:
        with caplog.at_level(logging.DEBUG):
            for headers in (READ, ADMIN, bearer("rk_wrong-key"), {"X-API-Key": READ_KEY}):
                await client.get("/recommend/1000", headers=headers)
    statuses = [record.status for record in caplog.records if record.message == "request"]  # type: ignore[attr-defined]
    assert statuses == [500, 500, 401, 500]
    text = caplog.text + str([vars(record) for record in caplog.records])
    assert not [key for key in (READ_KEY, ADMIN_KEY, "rk_wrong-key") if key in text]


# The documentation, and whatever it permits and forbids

SENT_KEYS = ("Authorization", "X-API-Key")
"""Headers that schemathesis makes up."""
EXPLORE = hypothesis.settings(max_examples=scaled(8, 1000), derandomize=not SOAK, database=None, deadline=None)


@pytest.fixture(scope="module")
def guarded(store: FolderStore, tmp_path_factory: pytest.TempPathFactory) -> FastAPI:
    keys = keys_file(
        tmp_path_factory.mktemp("keys"), entry(READ_KEY, limit="1000000/second"), entry("few", "few", limit="1/day")
    )
    settings = {"address_limit": "1000000/second", "trusted_proxies": "10.0.0.0/8", "cors_origins": SITE}
    return create_api(service_of(store, keys=str(keys), **settings), 100)


@pytest.fixture(scope="module")
def schema(guarded: FastAPI) -> Any:
    return schemathesis.openapi.from_asgi("/openapi.json", guarded, headers={**READ})


async def test_the_documentation_has_the_keys(locked: AsyncClient) -> None:
    document = (await locked.get("/openapi.json", headers=READ)).json()
    assert set(document["components"]["securitySchemes"]) == {"bearer", "header"}
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert ("security" in operation) is (path != "/health")
            assert ({"401", "403", "429"} <= set(operation["responses"])) is (path != "/health")


OPERATIONS = [
    *(("/recommend/{user_id}", "GET"), ("/user/{user_id}/events", "GET"), ("/trending", "GET"), ("/health", "GET")),
    *(("/recommend", "POST"), ("/basket", "POST")),
]


@pytest.mark.slow
@pytest.mark.parametrize(("path", "method"), OPERATIONS)
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_with_keys_and_limits_on_the_service_does_as_documented(
    schema: Any, path: str, method: str, mode: GenerationMode
) -> None:
    """No 5xx, and no answer without a key or with a wrong one: schemathesis asks with them too."""
    if path == "/health" and mode == GenerationMode.NEGATIVE:
        pytest.skip("the route has no parameters")

    @EXPLORE
    @hypothesis.given(
        schema[path][method].as_strategy(generation_mode=mode),
        strategies.sampled_from(({}, READ, {"X-API-Key": READ_KEY}, bearer("few"), bearer("wrong"))),
    )
    def conforms(case: schemathesis.Case, key: dict[str, str]) -> None:
        case.headers = {name: value for name, value in (case.headers or {}).items() if name not in SENT_KEYS}
        if key == READ:  # schemathesis asks without a key and with a wrong one too
            case.call_and_validate(headers={**READ}, excluded_checks=[positive_data_acceptance])
            return
        status = case.call(headers={**key}).status_code
        if path == "/health":
            assert status in {200, 503}
        elif key in ({}, bearer("wrong")):
            assert status == 401
        else:
            assert status in {200, 400, 404, 405, 413, 429}

    conforms()


TEXTS = strategies.text(strategies.characters(max_codepoint=255, exclude_characters="\r\n\0"), max_size=60)


@pytest.mark.slow
@hypothesis.settings(EXPLORE, max_examples=scaled(150, 5000))
@hypothesis.given(
    path=TEXTS.map(lambda text: "/" + text) | strategies.sampled_from([*PATHS, *BYPASSES]),
    method=strategies.sampled_from(["GET", "HEAD", "POST", "OPTIONS", "DELETE"]),
    names=strategies.lists(
        strategies.sampled_from(
            ["authorization", "x-api-key", "x-forwarded-for", "accept", "origin", "access-control-request-method"]
        ),
        max_size=6,
    ),
    values=strategies.lists(TEXTS | strategies.just("Bearer "), min_size=6, max_size=6),
)
def test_no_request_without_a_key_gets_more_than_401(
    guarded: FastAPI, path: str, method: str, names: list[str], values: list[str]
) -> None:
    """Whatever the headers hold. They go in as a server passes them on, since clients refuse to send some of them."""
    headers = [(name.encode(), value.encode("latin-1")) for name, value in zip(names, values, strict=False)]
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    where, _, query = path.partition("?")
    scope = {"type": "http", "method": method, "path": where, "query_string": query.encode(), "headers": headers}
    step = guarded({**scope, "root_path": ""}, receive, send)
    with pytest.raises(StopIteration):  # the gate waits for nothing
        step.send(None)
    assert sent[0]["status"] == 401 or where == "/health"
