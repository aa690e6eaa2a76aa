"""The page in a real browser: what a person sees, with mouse, keyboard, phone and dark mode."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import quote, urlencode, urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Page, Route, expect

from recsys.serving.api.page import PAGE
from tests.support import stub_service

STATUS_LOGGED = "Failed to load resource: the server responded with a status of"
"""Chromium itself logs each answer of 400 and above; no page can prevent it."""


@dataclass(frozen=True, slots=True)
class Service:
    """A running service and users that it has, or has not."""

    url: str
    warm: str
    cold: str
    odd: str
    """An id full of characters that URLs and markup treat as special."""
    unknown: str


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    """The only fixture that knows which service is tested."""
    with stub_service.running() as url:
        yield Service(url, str(stub_service.WARM), str(stub_service.COLD), stub_service.ODD, "424242")


class Tab:
    """A page of the service, with everything it asked for and complained about."""

    def __init__(self, page: Page, service: Service) -> None:
        self.page, self.service = page, service
        self.requests: list[str] = []
        self.complaints: list[str] = []
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("console", self._listen)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _listen(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and not message.text.startswith(STATUS_LOGGED):
            self.complaints.append(message.text)

    def open(self, user: str | None = None, n: int = 10) -> Page:
        hash_ = "" if user is None else "#" + urlencode({"user": user, "n": n})
        self.page.goto(f"{self.service.url}/{hash_}")
        expect(self.page.locator("#results")).to_have_attribute("aria-busy", "false")
        return self.page

    @property
    def asked(self) -> list[str]:
        """Paths of the recommendation requests."""
        return [request for request in self.requests if "/recommend/" in request]


@pytest.fixture
def tab(browser: Browser, service: Service, request: pytest.FixtureRequest) -> Iterator[Tab]:
    """A fresh tab; whatever a test does, the console stays clean and no other host is asked."""
    options = {"reduced_motion": "reduce"} | getattr(request, "param", {})
    context = browser.new_context(**options)
    context.set_default_timeout(20_000)
    opened = Tab(context.new_page(), service)
    yield opened
    context.close()
    assert not opened.complaints
    assert {urlsplit(url).netloc for url in opened.requests} <= {urlsplit(service.url).netloc}


def rows(page: Page) -> list[str]:
    """Texts of the recommended items, best first."""
    return page.locator("#list > li").all_inner_texts()


def number(text: str, pattern: str) -> float:
    found = re.search(pattern, text)
    assert found is not None, f"{pattern!r} is not in {text!r}"
    return float(found[1])


def test_the_first_visit_shows_somebody(tab: Tab) -> None:
    page = tab.open()
    expect(page.locator("#list > li")).to_have_count(10)
    expect(page.locator("#who .badge")).to_have_text("warm")
    assert "#user=" in page.url
    expect(page.locator("#model summary")).to_contain_text("Healthy")


def test_recommendations_of_a_user(tab: Tab) -> None:
    page = tab.open()
    page.get_by_label("User id").fill(tab.service.warm)
    page.get_by_label("Items").select_option("20")
    page.get_by_role("button", name="Recommend", exact=True).click()
    expect(page.get_by_role("heading", name=f"User {tab.service.warm}")).to_be_visible()
    expect(page.locator("#list > li")).to_have_count(20)
    assert page.url.endswith("#" + urlencode({"user": tab.service.warm, "n": 20}))
    expect(page.get_by_role("status")).to_contain_text(
        re.compile(r"20 of [\d,]+ scored candidates in [\d.]+ ms, model .+")
    )
    expect(page.locator("#who dt")).to_have_text(
        [
            "Events",
            "Purchases",
            "Purchases per event",
            "Items viewed",
            "Categories viewed",
            "First seen (UTC)",
            "Last seen (UTC)",
        ]
    )
    expect(page.locator("#past [data-event]").first).to_be_visible()


def test_shares_add_up_to_the_score(tab: Tab) -> None:
    page = tab.open(tab.service.warm, 20)
    texts = rows(page)
    scores = [number(text, r"\b(\d\.\d+)\n") for text in texts]
    assert scores == sorted(scores, reverse=True)
    for text, score in zip(texts, scores, strict=True):
        if "no MF score" in text:
            continue
        shares = number(text, r"LightGBM .* = ([\d.e-]+)") + number(text, r"MF .* = ([\d.e-]+)")
        assert shares == pytest.approx(score, abs=0.002)
    bar = page.locator(".bar").first
    width = sum(part.bounding_box()["width"] for part in bar.locator("span").all())
    assert width == pytest.approx(bar.bounding_box()["width"], abs=2)  # the best item fills its bar
    expect(bar).to_have_attribute("aria-label", re.compile("Score .* from LightGBM, .* from the matrix factorization"))


def test_touched_items_are_marked_on_both_sides(tab: Tab) -> None:
    page = tab.open(tab.service.warm)
    first = page.locator("#list > li", has=page.locator(".touched")).first
    item = first.get_attribute("data-item")
    place = first.locator(".rank").inner_text()
    past = page.locator("#past [data-event]", has_text=item).first
    expect(past.locator(".touched")).to_have_text(f"#{place}")


def test_sources_explain_themselves(tab: Tab) -> None:
    page = tab.open(tab.service.warm)
    chip = page.get_by_role("group", name="Candidate sources").get_by_role("button").first
    source, claimed = chip.get_attribute("data-source"), int(chip.inner_text().split()[-1])
    chip.click()
    expect(chip).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#meaning")).to_have_text(chip.get_attribute("title"))
    expect(page.locator("#list > li:visible")).to_have_count(claimed)
    expect(page.locator(f"#list > li[data-sources~={source}]:visible")).to_have_count(claimed)
    chip.click()
    expect(page.locator("#list > li:visible")).to_have_count(10)


def test_a_source_that_the_page_does_not_describe_goes_by_its_name(tab: Tab) -> None:
    def with_toy_source(route: Route) -> None:
        response = route.fetch()
        body = response.json()
        for item in body["recommendations"]:
            item["sources"].append("toy_source")
        route.fulfill(response=response, json=body)

    tab.page.route("**/recommend/*", with_toy_source)
    page = tab.open(tab.service.warm)
    chip = page.get_by_role("group", name="Candidate sources").get_by_text("toy source 10")
    chip.click()
    expect(page.locator("#meaning")).to_have_text("The candidate source toy_source proposed it.")
    expect(page.locator("#list > li:visible")).to_have_count(10)


def test_reasons_in_words_are_shown_on_request(tab: Tab) -> None:
    page = tab.open(tab.service.warm)
    shown = page.locator("#list .why")
    expect(shown).to_have_count(10)
    expect(shown.first).to_be_hidden()
    page.get_by_label("Reasons in words").check()
    expect(shown.last).to_be_visible()
    expect(shown.first).to_contain_text("Because you bought “")
    parts = "Raw score -0.81 = -1.50 expected + 0.50 score of the <i>source (0.25)"
    expect(shown.first).to_contain_text(parts + " \N{MINUS SIGN} 0.13 the item's category (not known)")
    expect(shown.first).to_contain_text("+ 0.06 rank (3) + 0.25 all other features")
    expect(shown.first).to_contain_text("Rules: boost <tea>.")
    assert page.locator(".why i, .why b").count() == 0  # data are text, never markup
    page.get_by_label("User id").fill(tab.service.cold)
    page.keyboard.press("Enter")
    expect(shown.first).to_contain_text("Position 1 in the lists of popular items.")  # the box stays ticked
    page.get_by_label("Reasons in words").uncheck()
    expect(shown.first).to_be_hidden()


@pytest.mark.parametrize("kind", ["warm", "cold"])
def test_random_users(tab: Tab, kind: str) -> None:
    page = tab.open(tab.service.cold if kind == "warm" else tab.service.warm)
    page.get_by_role("button", name=f"Random {kind}", exact=True).click()
    expect(page.locator("#who .badge")).to_have_text(kind)
    expect(page.locator("#list > li").first).to_be_visible()


def test_nobody_of_a_type(tab: Tab) -> None:
    tab.page.route("**/users/random*", answer(404, '{"detail": "no cold user found"}'))
    page = tab.open(tab.service.warm)
    page.get_by_role("button", name="Random cold").click()
    expect(page.get_by_role("alert")).to_contain_text("No cold user found")


def test_a_new_visitor(tab: Tab) -> None:
    page = tab.open(tab.service.warm)
    page.get_by_role("button", name="New visitor").click()
    expect(page.get_by_role("heading", name="New visitor")).to_be_visible()
    expect(page.locator("#list > li")).to_have_count(10)
    expect(page.locator("#past")).to_be_hidden()
    assert "cold_start=true" in tab.asked[-1]


def test_a_session_grows_with_each_click(tab: Tab) -> None:
    page = tab.open(tab.service.warm)
    page.get_by_role("button", name="Session", exact=True).click()
    expect(page.get_by_role("heading", name="Session of a visitor")).to_be_visible()
    expect(page.locator("#list > li")).to_have_count(10)
    expect(page.locator("#kind")).to_have_text("cold")
    expect(page.locator("#who, #past, #json")).to_have_count(3)
    for other in ("#who", "#past", "#json"):
        expect(page.locator(other)).to_be_hidden()
    page.get_by_label("Item id").fill("4711")
    page.get_by_label("Event", exact=True).select_option("addtocart")
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.locator("#visited li")).to_have_text(["in cart4711"])
    first = page.locator("#list > li").first
    expect(first).to_have_attribute("data-item", "4712")
    expect(page.locator("#kind")).to_have_text("warm")
    expect(page.get_by_label("Item id")).to_have_value("")
    first.get_by_role("button", name="View item 4712").click()
    expect(page.locator("#visited li")).to_have_text(["viewed4712", "in cart4711"])
    expect(page.locator("#heading")).to_be_focused()
    expect(first).to_have_attribute("data-item", "4713")
    page.get_by_label("Items").select_option("5")
    expect(page.locator("#list > li")).to_have_count(5)
    page.reload()
    expect(page.locator("#visited li")).to_have_count(2)
    expect(page.locator("#list > li")).to_have_count(5)
    page.go_back()
    page.go_back()
    expect(page.locator("#visited li")).to_have_count(1)
    page.get_by_role("button", name="Clear").click()
    expect(page.locator("#visited li")).to_have_count(0)
    expect(page.locator("#kind")).to_have_text("cold")
    page.get_by_role("button", name="Random warm").click()
    expect(page.locator("#who")).to_be_visible()
    expect(page.locator("#session")).to_be_hidden()
    expect(page.locator("#list [data-act]")).to_have_count(0)


def test_a_session_shows_what_was_passed_over_and_what_went_wrong(tab: Tab) -> None:
    page = tab.open(tab.service.warm)
    page.goto(f"{tab.service.url}/#{urlencode([('session', 'view:12'), ('session', 'view:<b>x:y</b>')])}")
    expect(page.get_by_role("status")).to_contain_text("1 event on unknown items passed over")
    expect(page.locator("#visited li b")).to_have_text(["<b>x:y</b>", "12"])
    page.route("**/recommend", answer(400, '{"detail": "events.1.event: no event of this shop"}'))
    page.get_by_role("button", name="Buy item 13").click()
    expect(page.get_by_role("alert")).to_contain_text("events.1.event: no event of this shop")
    expect(page.get_by_label("Item id")).to_be_visible()


def test_an_unknown_user_may_be_served_as_a_new_visitor(tab: Tab) -> None:
    page = tab.open(tab.service.unknown)
    expect(page.get_by_role("alert")).to_contain_text("Nobody by this id")
    expect(page.get_by_role("alert")).to_contain_text(tab.service.unknown)
    page.get_by_role("button", name="Recommend as to a new visitor").click()
    expect(page.get_by_role("heading", name="New visitor")).to_be_visible()
    expect(page.locator("#list > li")).to_have_count(10)
    assert urlsplit(tab.asked[-1]).path.endswith(f"/recommend/{tab.service.unknown}")
    page.reload()
    expect(page.locator("#list > li")).to_have_count(10)


def test_an_answer_without_items(tab: Tab) -> None:
    empty = (
        '{"user_id": 1, "user_type": "cold", "model_version": "v", "recommendations": [], "total_candidates_scored": 0}'
    )
    tab.page.route("**/recommend/**", answer(200, empty))
    expect(tab.open(tab.service.warm).locator("#answer")).to_contain_text("Nothing to recommend")


@pytest.mark.parametrize(
    ("status", "body", "shown"),
    [
        (503, '{"detail": "replicas are loading"}', "replicas are loading"),
        (503, "<html>no server is available</html>", "The service is not ready"),
        (500, '{"detail": "internal server error"}', "internal server error (500)"),
        (400, '{"detail": "user_id: an integer is expected"}', "an integer is expected"),
    ],
    ids=["busy", "a proxy's page", "fault", "bad id"],
)
def test_errors(tab: Tab, status: int, body: str, shown: str) -> None:
    tab.page.route("**/recommend/**", answer(status, body))
    page = tab.open(tab.service.warm)
    expect(page.get_by_role("alert")).to_contain_text(shown)
    page.unroute("**/recommend/**")
    again = page.get_by_role("button", name="Random warm user" if status == 400 else "Try again")
    again.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#list > li")).to_have_count(10)
    expect(page.locator("#heading")).to_be_focused()  # the button is gone, the keyboard is not lost


def test_an_unreachable_service(tab: Tab) -> None:
    page = tab.open(tab.service.warm)
    page.context.set_offline(True)
    page.get_by_role("button", name="Recommend", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("cannot be reached")
    page.context.set_offline(False)
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("#list > li")).to_have_count(10)
    tab.complaints.remove("Failed to load resource: net::ERR_INTERNET_DISCONNECTED")


def test_a_page_opened_too_early_fills_itself(tab: Tab) -> None:
    for path in ("**/health", "**/recommend/**"):
        tab.page.route(path, answer(503, '{"detail": "starting"}'))
    page = tab.open(tab.service.warm)
    expect(page.locator("#model .light")).to_have_text("starting")
    for path in ("**/health", "**/recommend/**"):
        page.unroute(path)
    expect(page.locator("#list > li")).to_have_count(10)
    expect(page.locator("#model .light")).to_have_text("Healthy")


def test_while_an_answer_is_awaited(tab: Tab) -> None:
    page = tab.open(tab.service.warm)
    held: list[Route] = []
    page.route("**/recommend/**", lambda route: held.append(route))  # noqa: PLW0108 - playwright marks its handlers
    page.get_by_label("Items").select_option("5")
    expect(page.get_by_role("status")).to_have_text("Loading …")
    expect(page.locator("#results")).to_have_attribute("aria-busy", "true")
    expect(page.locator("#list > li")).to_have_count(10)  # the last answer stays until the next one is here
    held[0].continue_()
    expect(page.locator("#list > li")).to_have_count(5)
    expect(page.locator("#results")).to_have_attribute("aria-busy", "false")


def test_a_question_that_is_overtaken_is_dropped(tab: Tab) -> None:
    page = tab.open(tab.service.warm)
    overtaken = f"/recommend/{tab.service.cold}?"
    page.route(f"**{overtaken}*", lambda _: None)  # never answered
    page.get_by_label("User id").fill(tab.service.cold)
    with page.expect_request(lambda request: overtaken in request.url):
        page.keyboard.press("Enter")
    with page.expect_event("requestfailed", lambda request: overtaken in request.url):
        page.get_by_role("button", name="New visitor").click()
    expect(page.get_by_role("heading", name="New visitor")).to_be_visible()
    expect(page.locator("#results")).to_have_attribute("aria-busy", "false")


def test_ids_are_text(tab: Tab) -> None:
    page = tab.open(tab.service.odd)
    expect(page.get_by_role("heading", name=f"User {tab.service.odd}", exact=True)).to_be_visible()
    expect(page.locator("#list > li")).to_have_count(10)
    expect(page.get_by_label("User id")).to_have_value(tab.service.odd)
    expect(page.locator("#past [data-event]").first).to_be_visible()
    encoded = quote(tab.service.odd, safe="'")
    assert f"/recommend/{encoded}?" in tab.asked[-1]
    page.get_by_role("button", name="Recommend", exact=True).click()
    expect(page.locator("#list > li")).to_have_count(10)
    assert page.locator("main i:not(.dot, .swatch), main b b").count() == 0  # no id became markup


def test_integers_beyond_doubles_keep_their_digits(tab: Tab) -> None:
    tab.page.route("**/users/random*", answer(200, '{"user_id": 9007199254740993, "user_type": "warm"}'))
    tab.open()
    assert "/recommend/9007199254740993?" in tab.asked[-1]


def test_history_and_reload(tab: Tab) -> None:
    page = tab.open(tab.service.warm)
    page.get_by_label("Items").select_option("5")
    expect(page.locator("#list > li")).to_have_count(5)
    page.get_by_label("User id").fill(tab.service.cold)
    page.keyboard.press("Enter")
    expect(page.locator("#who .badge")).to_have_text("cold")
    page.go_back()
    expect(page.locator("#who .badge")).to_have_text("warm")
    expect(page.locator("#list > li")).to_have_count(5)
    page.go_back()
    expect(page.locator("#list > li")).to_have_count(10)
    page.go_forward()
    expect(page.locator("#list > li")).to_have_count(5)
    page.reload()
    expect(page.locator("#list > li")).to_have_count(5)
    expect(page.get_by_label("User id")).to_have_value(tab.service.warm)


def test_a_permalink_with_an_unusual_n(tab: Tab) -> None:
    page = tab.open(tab.service.warm, 7)
    expect(page.locator("#list > li")).to_have_count(7)
    expect(page.get_by_label("Items")).to_have_value("7")


def test_the_model_is_described(tab: Tab) -> None:
    page = tab.open(tab.service.warm)
    page.locator("#model summary").click()
    details = page.locator("#model > div")
    for text in ("Weight of MF (alpha)", "Held-out users", "ingress", "candidates", "factors", "rank"):
        expect(details).to_contain_text(text)


def test_a_refused_version_is_named(tab: Tab) -> None:
    body = tab.page.request.get(f"{tab.service.url}/health").json()
    body["refused"] = {"version": "v9", "reason": "ranker.txt: <wrong> hash"}
    tab.page.route("**/health", lambda route: route.fulfill(json=body))
    page = tab.open(tab.service.warm)
    expect(page.locator("#model summary")).to_contain_text("v9 refused: ranker.txt: <wrong> hash")


def test_with_the_keyboard_alone(tab: Tab) -> None:
    page = tab.open(tab.service.warm)
    order = ["API", "User id", "Items", "Recommend", "Random warm", "Random cold", "New visitor", "Session"]
    seen = []
    for _ in order:
        page.keyboard.press("Tab")
        name, outline = page.evaluate(
            "() => { const at = document.activeElement; return ["
            "(at.labels?.[0] ?? at).firstChild.textContent.trim(), getComputedStyle(at).outlineWidth] }"
        )
        seen.append(name)
        assert outline == "3px", name  # the focus can be seen
    assert seen == order
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Space")
    expect(page.locator("#who .badge")).to_have_text("cold")
    expect(page.get_by_role("button", name="Random cold")).to_be_focused()
    for _ in range(3):
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#model")).to_have_attribute("open", "")
    page.keyboard.press("Tab")  # Reasons in words
    page.keyboard.press("Tab")  # JSON
    page.keyboard.press("Tab")
    expect(page.locator("#answer .key button").first).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#answer .key button").first).to_have_attribute("aria-pressed", "true")


@pytest.mark.parametrize("tab", [{"viewport": {"width": 320, "height": 640}, "has_touch": True}], indirect=True)
@pytest.mark.parametrize("who", ["warm", "odd", "unknown", "session"])
def test_on_a_phone(tab: Tab, who: str) -> None:
    page = tab.open(getattr(tab.service, who, None))
    if who == "session":
        page.get_by_role("button", name="Session", exact=True).tap()
        expect(page.locator("#session")).to_be_visible()
        expect(page.locator("#results")).to_have_attribute("aria-busy", "false")
    page.locator("#model summary").tap()
    assert page.evaluate("document.documentElement.scrollWidth") == 320
    for button in page.get_by_role("button").all():
        box = button.bounding_box()
        assert box["height"] >= 32
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 320


def barriers(page: Page) -> list[str]:
    """What axe finds: contrast below AA, missing labels, wrong roles, …"""
    found = Axe().run(page).response["violations"]
    return [f"{problem['id']}: {node['html']}" for problem in found for node in problem["nodes"]]


@pytest.mark.parametrize(
    ("tab", "dark"), [({"color_scheme": "light"}, False), ({"color_scheme": "dark"}, True)], indirect=["tab"]
)
def test_both_colour_schemes_are_accessible(tab: Tab, dark: bool) -> None:
    page = tab.open(tab.service.warm)
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(int(channel) for channel in re.findall(r"\d+", background)[:3]) < 150) is dark
    page.locator("#model summary").click()
    page.locator("#answer .key button").first.click()
    page.get_by_label("Reasons in words").check()
    assert barriers(page) == []
    page.goto(f"{tab.service.url}/#{urlencode({'user': tab.service.unknown})}")
    expect(page.get_by_role("alert")).to_be_visible()
    assert barriers(page) == []
    page.goto(f"{tab.service.url}/#session=view:4711")
    expect(page.locator("#visited li")).to_have_count(1)
    assert barriers(page) == []


def test_the_page_is_one_small_file(tab: Tab) -> None:
    page = tab.open(tab.service.warm)
    own = [url for url in tab.requests if not re.search(r"/(health|recommend/|users?/)", url)]
    assert {urlsplit(url).path for url in own} == {"/"}
    assert len(page.content()) < 100_000
    assert PAGE.stat().st_size < 64_000


def answer(status: int, body: str) -> Callable[[Route], None]:
    """A route handler that answers in the service's place."""
    kind = "application/json" if body.startswith("{") else "text/html"
    return lambda route: route.fulfill(status=status, content_type=kind, body=body)


def test_titles_and_safe_images_are_shown(tab: Tab) -> None:
    """A title is text and never markup; only images of https or of the service itself are loaded."""
    page = tab.open(str(stub_service.TITLED), n=12)
    expect(page.locator("#list > li")).to_have_count(12)
    titled = page.locator("#list b", has_text=stub_service.TITLE)
    expect(titled).to_have_count(11)
    images = page.locator("#list img")
    expect(images).to_have_count(4)
    assert {urlsplit(str(image.get_attribute("src"))).path for image in images.all()} == {"/picture.svg"}


def test_the_rules_of_the_shop_can_be_left_out(tab: Tab) -> None:
    """The address keeps the choice; every list follows it. A service without a rules file has no such choice."""
    page = tab.open(tab.service.warm)
    expect(page.locator("#rules")).to_be_hidden()
    with_rules = {**stub_service.HEALTH, "rules": {"file": "/shop/rules.yaml", "rules": 3}}
    page.route("**/health", answer(200, json.dumps(with_rules)))
    page.reload()
    box = page.get_by_label("Rules of the shop")
    expect(box).to_be_checked()
    item = str(page.locator("#list > li").first.get_attribute("data-item"))
    page.get_by_label(f"Similar to {item}", exact=True).click()
    expect(page.locator("#shelf > li")).to_have_count(10)
    assert not any("rules_file" in url for url in tab.requests)
    box.uncheck()
    page.wait_for_url("**rules_file=false**")
    expect(page.locator("#results")).to_have_attribute("aria-busy", "false")
    assert "rules_file=false" in tab.asked[-1]
    page.wait_for_function("() => document.querySelectorAll('#shelf > li').length === 10")
    assert any("/similar?" in url and "rules_file=false" in url for url in tab.requests)
    assert barriers(page) == []
    page.reload()
    expect(box).not_to_be_checked()
    box.check()
    page.wait_for_url(lambda url: "rules_file" not in url)


def shelf(page: Page, name: str) -> list[str | None]:
    return [row.get_attribute("data-item") for row in page.locator(f"#{name} > li").all()]


def test_similar_items_of_a_recommended_item(tab: Tab) -> None:
    page = tab.open(tab.service.warm)
    item = str(page.locator("#list > li").first.get_attribute("data-item"))
    page.get_by_label(f"Similar to {item}", exact=True).click()
    expect(page.locator("#shelf-status")).to_contain_text(f"Similar to {item}")
    expect(page.locator("#shelf > li")).to_have_count(10)
    assert shelf(page, "shelf")[0] == f"like {item}, 1"
    page.get_by_label("Product id").fill(tab.service.unknown)
    page.keyboard.press("Enter")
    expect(page.locator("#shelf-status")).to_have_text(f"item {tab.service.unknown} not found")
    expect(page.locator("#shelf > li")).to_have_count(0)


def test_lists_of_the_shop_and_of_a_category(tab: Tab) -> None:
    page = tab.open(tab.service.warm)
    page.get_by_role("button", name="Trending", exact=True).click()
    expect(page.locator("#shelf-status")).to_contain_text("Trending, model")
    assert shelf(page, "shelf")[0] == "trending in None, 1"
    page.get_by_label("Category").fill("a&b")
    page.get_by_role("button", name="New", exact=True).click()
    expect(page.locator("#shelf-status")).to_contain_text("New in category a&b")
    assert shelf(page, "shelf")[0] == "new in a&b, 1"
    assert barriers(page) == []


def test_a_cart_shows_what_is_bought_together(tab: Tab) -> None:
    page = tab.open(tab.service.odd)
    item = str(page.locator("#list > li").first.get_attribute("data-item"))
    page.get_by_label(f"Add {item} to the cart", exact=True).click()
    expect(page.locator("#cart-status")).to_have_text("1 item; often bought together:")
    expect(page.locator("#basket > li")).to_have_count(5)
    page.get_by_label("Product id").fill("7")
    page.locator("#put").click()
    page.locator("#put").click()  # an item is in the cart once
    expect(page.locator("#cart > button")).to_have_count(2)
    assert barriers(page) == []
    page.get_by_label(f"Take {item} out of the cart", exact=True).click()
    page.get_by_label("Take 7 out of the cart", exact=True).click()
    expect(page.locator("#cart-status")).to_have_text("The cart is empty.")
    expect(page.locator("#basket > li")).to_have_count(0)
