"""The real service in a real browser: what its headers forbid, its documentation, and ids that no path can hold."""

from collections.abc import Iterator
from contextlib import closing
from urllib.parse import urlencode

import pytest
from fastapi import FastAPI
from fastapi.responses import HTMLResponse
from playwright.sync_api import Browser, Page, expect

from recsys.registry.folder import FolderStore
from recsys.serving.api.create import create_api
from tests.support import stub_service
from tests.support.bundles import odd_bundle, publish
from tests.support.services import service_of
from tests.support.shop_data import DOT_IDS, ODD_IDS
from tests.support.watched_page import watched_page

ADDRESSABLE = [user for user in ODD_IDS if user.isprintable() and len(user) < 50]
"""Ids that a person can type into the page."""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    store = FolderStore(tmp_path_factory.mktemp("odd"))
    publish(store, odd_bundle(), "v1")
    with stub_service.running(create_api(service_of(store), 100)) as url:
        yield url


@pytest.fixture
def page(browser: Browser, url: str) -> Iterator[Page]:
    """A page that asks no other host, and complains of nothing but what a test expects."""
    with watched_page(browser, url) as page:
        yield page


@pytest.mark.parametrize("user", [*DOT_IDS, *ADDRESSABLE])
def test_every_id_can_be_asked_for(page: Page, url: str, user: str) -> None:
    page.goto(f"{url}/#{urlencode({'user': user, 'n': 5})}")
    expect(page.locator("#name")).to_have_text(f"User {user}")
    expect(page.locator("#list > li")).to_have_count(5)
    expect(page.locator("#past [data-event]").first).to_be_visible()
    expect(page.locator("#who .tiles")).to_be_visible()
    shown = page.evaluate("fetch(document.querySelector('#json').href).then((response) => response.json())")
    assert shown["user_id"] == user


def test_the_documentation_lets_one_try_a_route(page: Page, url: str) -> None:
    page.goto(f"{url}/docs")
    paths = page.evaluate("fetch('openapi.json').then((response) => response.json())")["paths"]
    expect(page.locator(".opblock")).to_have_count(sum(map(len, paths.values())))
    route = page.locator(".opblock", has_text="/recommend/{user_id}")
    route.click()
    route.get_by_role("button", name="Try it out").click()
    route.locator("tr", has_text="user_id").locator("input").fill("007")
    with page.expect_response(lambda response: "/recommend/007" in response.url) as asked:
        route.get_by_role("button", name="Execute").click()
    assert asked.value.status == 200
    expect(route.locator(".live-responses-table td.response-col_status").last).to_contain_text("200")
    assert asked.value.json()["user_id"] == "007"


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_no_other_page_can_frame_it(browser: Browser, url: str, path: str) -> None:
    other = FastAPI()
    other.get("/", response_class=HTMLResponse)(lambda: f'<iframe src="{url}{path}"></iframe>')
    with stub_service.running(other) as elsewhere, closing(browser.new_page()) as page:
        with page.expect_event("requestfailed", lambda request: request.url == url + path) as failed:
            page.goto(elsewhere)
        assert failed.value.failure == "net::ERR_BLOCKED_BY_RESPONSE"
