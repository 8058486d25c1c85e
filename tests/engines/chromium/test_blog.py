"""The blog in a real browser: written to by keyboard, moderated, looked at in the dark and on a telephone."""

import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from mlops_helpers.serve.server import serving
from tests.support.blog import POST, TOKEN, FakeGateway, made

ELSEWHERE = "http://elsewhere.example/"
KEEP = os.environ.get("OPSLAB_SCREENSHOTS")  # a folder: pictures to look at are kept there


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    comments = [
        ("We lift ours a week later, and lost none.", "Ada"),
        ("\u202eturned around", "\u202eevE"),
        ("One line\n\n  and an indented one, with a verylongword" + "o" * 120, "Grace"),
    ]
    with made(tmp_path / "blog", FakeGateway()) as blog, serving(blog) as running:
        for text, author in comments:
            answer = httpx.post(f"http://{running}/posts/{POST}/comments", json={"text": text, "author": author})
            answer.raise_for_status()
        yield f"http://{running}"


@pytest.fixture
def page(browser, address):
    context = browser.new_context(base_url=address)
    page = context.new_page()
    page.set_default_timeout(10_000)
    complaints: list[str] = []

    def look_at(response) -> None:
        if response.status >= 400 and response.request.resource_type != "document":
            complaints.append(f"{response.status} {response.url}")
        if not response.url.startswith((address, ELSEWHERE)):
            complaints.append(f"from elsewhere: {response.url}")

    page.on("response", look_at)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on(
        "console", lambda said: complaints.append(said.text) if "Failed to load resource" not in said.text else None
    )
    yield page
    context.close()
    assert complaints == []


def write(page, author: str, text: str) -> None:
    page.goto(f"/posts/{POST}")
    page.get_by_label("Your name").fill(author)
    page.get_by_label("Your comment").fill(text)
    page.get_by_role("button", name="Send the comment").click()


def write_by_keyboard(page, author: str, text: str) -> None:
    page.goto(f"/posts/{POST}")
    page.keyboard.press("Tab")
    assert page.locator(":focus").inner_text() == "Skip to the content"
    page.get_by_label("Your name").focus()
    for words, reached in ((author, "Your comment"), (text, "Send the comment")):
        page.keyboard.type(words)
        page.keyboard.press("Tab")
        assert page.locator(":focus").evaluate("e => (e.labels[0] || e).innerText") == reached
    page.keyboard.press("Enter")


def picture(page, name: str) -> None:
    if KEEP:
        page.screenshot(path=Path(KEEP) / f"{name}.png", full_page=True)


def test_comments_are_written_shown_held_and_moderated(page, browser, address):
    write_by_keyboard(page, "Lin", "Ours stayed in the ground.")
    assert "published" in page.get_by_role("status").inner_text()
    assert page.get_by_role("article").filter(has_text="Ours stayed in the ground.").is_visible()
    picture(page, "published")
    for text in ("Come to the casino", "The casino gave us its compost"):
        write(page, "Sam", text)
        assert "waits for a moderator" in page.get_by_role("status").inner_text()
        assert page.get_by_text(text).count() == 0
    picture(page, "held")

    page.goto("/moderation")
    assert page.url.endswith("/login")
    picture(page, "login")
    page.goto(f"/login?token={TOKEN}")
    page.wait_for_url("**/moderation")
    assert TOKEN not in page.content()
    assert page.get_by_text("2 comments wait").is_visible()
    picture(page, "moderation")
    page.get_by_role("article").filter(has_text="compost").get_by_role("button", name="Publish").click()
    assert "published" in page.get_by_role("status").inner_text()
    page.get_by_role("article").filter(has_text="Come to").get_by_role("button", name="Reject as spam").click()
    assert "rejected" in page.get_by_role("status").inner_text()
    assert page.get_by_text("Nothing waits for you").is_visible()
    picture(page, "empty")

    context = browser.new_context(base_url=address)
    try:
        reader = context.new_page()
        reader.goto(f"/posts/{POST}")
        assert reader.get_by_text("The casino gave us its compost").is_visible()
        assert reader.get_by_text("Come to the casino").count() == 0
    finally:
        context.close()


def test_the_token_of_a_followed_link_signs_in_and_leaves_the_address(page, address):
    # as from a notebook: browsers do not send SameSite=Strict cookies along with what a redirect from there leads to
    link = f'<a href="{address}/login?token={TOKEN}">moderate</a>'
    page.route(ELSEWHERE, lambda route: route.fulfill(body=link, content_type="text/html"))
    page.goto(ELSEWHERE)
    page.get_by_role("link").click()
    page.wait_for_url(f"{address}/moderation")
    assert page.get_by_role("heading", name="Moderation").is_visible()
    page.go_back()
    assert page.url == ELSEWHERE


def test_mistakes_are_pointed_at(page):
    page.goto(f"/posts/{POST}")
    page.get_by_label("Your name").fill("\u200b")  # the browser itself lets this pass
    page.get_by_label("Your comment").fill("Kept as it was written")
    page.get_by_role("button", name="Send the comment").click()
    page.get_by_role("alert").get_by_role("link").click()
    assert page.locator(":focus").get_attribute("id") == "author"
    assert page.get_by_label("Your comment").input_value() == "Kept as it was written"
    picture(page, "mistake")


def contrast(page, selector: str) -> float:
    """Return the ratio of an element's colour to what lies behind it (WCAG 2)."""
    return page.locator(selector).first.evaluate(
        """element => {
            const parse = text => text.match(/[\\d.]+/g).map(Number)
            const style = element => getComputedStyle(element)
            const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
                .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
                .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0)
            let behind = element
            while (parse(style(behind).backgroundColor)[3] === 0) behind = behind.parentElement
            const pair = [light(parse(style(element).color)), light(parse(style(behind).backgroundColor))]
            return (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05)
        }"""
    )


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 320)])
def test_pages_are_readable_in_light_and_dark_and_on_a_telephone(page, scheme, width):
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 800})
    write(page, "Sam", "Come to the casino")
    assert "waits for a moderator" in page.get_by_role("status").inner_text()
    page.goto(f"/login?token={TOKEN}")
    page.wait_for_url("**/moderation")
    places = {
        "/": ["h1", ".lead", ".meta", "h2 a", "nav a", "footer p"],
        f"/posts/{POST}": [".post p", ".comment .text", ".comment .meta", ".hint", ".write button", "button.quiet"],
        "/moderation": ["dt", "dd", ".decide button", ".reject", ".meta a"],
        "/nowhere": [],
    }
    for path, selectors in places.items():
        page.goto(path)
        picture(page, f"{scheme}-{width}-{path.strip('/').replace('/', '-') or 'home'}")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, f"{path} must be scrolled sideways"
        for selector in selectors:
            assert contrast(page, selector) >= 4.5, (path, selector)
