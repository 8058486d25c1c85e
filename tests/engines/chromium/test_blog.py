"""The blog in a real browser: written to by keyboard, and moderated."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from mlops_helpers.serve.server import serving
from tests.support.blog import POST, TOKEN, FakeGateway, made

ELSEWHERE = "http://elsewhere.example/"


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


def test_comments_are_written_shown_held_and_moderated(page, browser, address):
    write_by_keyboard(page, "Lin", "Ours stayed in the ground.")
    assert "published" in page.get_by_role("status").inner_text()
    assert page.get_by_role("article").filter(has_text="Ours stayed in the ground.").is_visible()
    for text in ("Come to the casino", "The casino gave us its compost"):
        write(page, "Sam", text)
        assert "waits for a moderator" in page.get_by_role("status").inner_text()
        assert page.get_by_text(text).count() == 0

    page.goto("/moderation")
    assert page.url.endswith("/login")
    page.goto(f"/login?token={TOKEN}")
    page.wait_for_url("**/moderation")
    assert TOKEN not in page.content()
    assert page.get_by_text("2 comments wait").is_visible()
    page.get_by_role("article").filter(has_text="compost").get_by_role("button", name="Publish").click()
    assert "published" in page.get_by_role("status").inner_text()
    page.get_by_role("article").filter(has_text="Come to").get_by_role("button", name="Reject as spam").click()
    assert "rejected" in page.get_by_role("status").inner_text()
    assert page.get_by_text("Nothing waits for you").is_visible()

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
