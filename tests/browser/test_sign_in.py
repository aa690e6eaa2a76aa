"""The pages of a service with keys, in a real browser."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from recsys.registry.folder import FolderStore
from recsys.serving.api.create import create_api
from tests.support import stub_service
from tests.support.bundles import publish
from tests.support.keys import READ_KEY, keys_file
from tests.support.services import service_bundle, service_of
from tests.support.watched_page import watched_page

STATUS_LOGGED = "Failed to load resource: the server responded with a status of 401"
"""Chromium itself logs it."""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    store = FolderStore(tmp_path_factory.mktemp("registry"))
    publish(store, service_bundle(), "v1")
    keys = keys_file(tmp_path_factory.mktemp("keys"))
    with stub_service.running(create_api(service_of(store, keys=str(keys)), 100)) as url:
        yield url


@pytest.fixture
def page(browser: Browser, url: str) -> Iterator[Page]:
    """A page that asks no other host, and complains of nothing but the 401 that asks for the key."""
    with watched_page(browser, url, lambda text: text.startswith(STATUS_LOGGED)) as page:
        yield page


def sign_in(page: Page, key: str) -> None:
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Open").click()


def test_the_page_asks_for_the_key_and_works_with_it(page: Page, url: str) -> None:
    page.goto(f"{url}/#user=1000&n=5")
    sign_in(page, "wrong")
    expect(page.get_by_role("status")).to_have_text("this API key is not valid")
    sign_in(page, READ_KEY)
    expect(page.locator("#name")).to_have_text("User 1000")
    expect(page.locator("#list > li")).to_have_count(5)
    expect(page.locator("#model .healthy")).to_be_visible()
    expect(page.locator("#json")).to_be_hidden()
    page.get_by_role("button", name="Trending", exact=True).click()
    expect(page.locator("#shelf > li").first).to_be_visible()
    page.reload()  # the tab keeps the key
    expect(page.locator("#list > li")).to_have_count(5)
    assert READ_KEY not in page.url


def test_a_key_that_is_not_valid_any_more_is_asked_for_again(page: Page, url: str) -> None:
    page.goto(f"{url}/#user=1000&n=5")
    sign_in(page, READ_KEY)
    expect(page.locator("#list > li")).to_have_count(5)
    page.evaluate("sessionStorage.setItem('recsys-key', 'old')")
    page.get_by_role("button", name="Random warm").click()
    expect(page.get_by_label("API key")).to_be_visible()
    assert page.evaluate("sessionStorage.getItem('recsys-key')") is None


def test_the_documentation_sends_the_key(page: Page, url: str) -> None:
    page.goto(f"{url}/docs")
    sign_in(page, READ_KEY)
    route = page.locator(".opblock", has_text="/users/random")
    route.click()
    route.get_by_role("button", name="Try it out").click()
    with page.expect_response(lambda response: "/users/random" in response.url) as asked:
        route.get_by_role("button", name="Execute").click()
    assert asked.value.status == 200
