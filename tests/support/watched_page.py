"""A page of the real service in a real browser, watched for complaints and for other hosts."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Page


@contextmanager
def watched_page(browser: Browser, url: str, is_expected: Callable[[str], bool] = lambda text: False) -> Iterator[Page]:
    """A page that asks no other host than that of `url`, and complains of nothing; else the test fails at its end.

    is_expected: whether a complaint is one that a test expects
    """
    context = browser.new_context(reduced_motion="reduce")
    context.set_default_timeout(20_000)
    page = context.new_page()
    complaints: list[str] = []
    hosts: set[str] = set()
    page.on("console", lambda message: complaints.append(message.text) if message.type != "log" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
    yield page
    context.close()
    assert [text for text in complaints if not is_expected(text)] == []
    assert hosts - {""} == {urlsplit(url).netloc}
