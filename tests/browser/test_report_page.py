"""The page of a report in a browser."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser

from recsys.report.model import PAGE
from tests.support.figures import FIGURES
from tests.support.trained import written_report


@pytest.fixture(scope="module")
def rebuilt(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written_report(tmp_path_factory)


@pytest.fixture
def shown(browser: Browser, rebuilt: Path, request: pytest.FixtureRequest) -> Iterator[Any]:
    context = browser.new_context(**request.param)
    tab = context.new_page()
    complaints: list[str] = []
    tab.on("console", lambda message: complaints.append(message.text))
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.on("requestfailed", lambda failed: complaints.append(failed.url))
    tab.goto((rebuilt / PAGE).as_uri())
    yield tab
    context.close()
    assert not complaints


@pytest.mark.parametrize(
    "shown",
    [
        {"viewport": {"width": 1280, "height": 800}, "color_scheme": "light"},
        {"viewport": {"width": 360, "height": 700}, "color_scheme": "dark"},
    ],
    indirect=True,
)
def test_it_opens_in_a_browser(shown: Any) -> None:
    shown.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert shown.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert shown.locator("figure img").count() == len(FIGURES)
    assert shown.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 500)")
    if shown.viewport_size["width"] < 1000:
        return
    shown.evaluate("document.querySelectorAll('section:nth-of-type(n + 3) details').forEach(one => one.open = false)")
    found = Axe().run(shown).response["violations"]
    assert [(one["id"], [node["html"][:200] for node in one["nodes"][:3]]) for one in found] == []
