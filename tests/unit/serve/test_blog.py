"""The blog: what it accepts, what it refuses, what it shows, and who may moderate."""

import re
import stat
from urllib.parse import quote

import pytest
from bs4 import BeautifulSoup
from starlette.requests import Request

from mlops_helpers.errors import ParameterError
from mlops_helpers.serve import archive
from mlops_helpers.serve.asgi import Limits
from mlops_helpers.serve.blog import make_blog
from mlops_helpers.serve.ratelimit import ClientAddresses, RateLimit
from tests.support.blog import POST, TOKEN, Visitor, running

COMMENTS = f"/posts/{POST}/comments"
XSS = [
    "<script>alert(1)</script>",
    "\"'><img src=x onerror=alert(1)>",
    "</textarea></p></article><svg onload=alert(1)>",
    "javascript:alert(1) {{ 7 * 7 }} {% raw %} &lt;b&gt; &#x27;",
    "]]><!-- --> <style>*{display:none}</style>",
]


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A blog for tests that leave nothing which another one minds."""
    with running(tmp_path_factory.mktemp("blog")) as visitor:
        yield visitor


@pytest.fixture
def visitor(shared: Visitor) -> Visitor:
    return shared.another()


def page(visitor: Visitor, path: str = f"/posts/{POST}") -> BeautifulSoup:
    answer = visitor.get(path)
    assert answer.status == 200, answer.text
    return BeautifulSoup(answer.body, "html.parser")


def moderator(visitor: Visitor) -> Visitor:
    signed_in = visitor.another()
    assert signed_in.get(f"/login?token={TOKEN}").status == 200
    return signed_in


# what a comment may be


@pytest.mark.parametrize(
    "text", ["a", "x" * 10_000, "🌱" * 10_000, "two\r\nlines\rthree\n\tfour", "مرحبا", "  round  "]
)
def test_texts_are_kept_as_sent(visitor, text):
    kept = text.strip().replace("\r\n", "\n").replace("\r", "\n")
    comment = visitor.comment(text, accept="application/json").json()
    assert comment["state"] == "published"
    assert page(visitor).find(id=comment["id"]).find("p", class_="text").get_text() == kept


@pytest.mark.parametrize(
    ("text", "author", "says"),
    [
        ("", "Ada", "visible"),
        (" \n\t ", "Ada", "visible"),
        ("\u200b\u200d", "Ada", "visible"),
        ("x" * 10_001, "Ada", "10,001"),
        ("bell \x07", "Ada", "U+0007"),
        ("text", "", "Your name"),
        ("text", "A\nda", "U+000A"),
        ("text", "x" * 81, "81"),
        (["text"], "Ada", "visible"),
        ("text", {"a": 1}, "visible"),
    ],
)
def test_what_is_no_comment_is_refused_and_not_stored(visitor, text, author, says):
    before = visitor.get("/metrics").text
    answer = visitor.comment(text, author)
    assert answer.status == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert says in answer.json()["detail"]
    stored = re.compile(r"^blog_comments_total.*$", re.MULTILINE)
    assert stored.findall(visitor.get("/metrics").text) == stored.findall(before)


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b'{"text": "\xff\xfe", "author": "Ada"}', "application/json", 400),
        (b'{"text": "\\ud800", "author": "Ada"}', "application/json", 400),
        (b"{", "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
        (b"text=%ff%fe&author=Ada", "application/x-www-form-urlencoded", 400),
        (b"text=\xff&author=Ada", "application/x-www-form-urlencoded", 400),
        (b"&".join(b"f%d=1" % i for i in range(11)), "application/x-www-form-urlencoded", 400),
        (b"text=a&author=b", "text/plain", 415),
        (b"text=a&author=b", "multipart/form-data; boundary=x", 415),
        (b'{"text": "' + b"x" * 200_000 + b'"}', "application/json", 413),
    ],
)
def test_a_bad_body_is_refused_by_name(visitor, body, kind, status):
    answer = visitor.ask("POST", COMMENTS, body, {"content-type": kind, "accept": "*/*"})
    assert (answer.status, answer.json()["status"]) == (status, status)


def test_a_body_of_unknown_length_is_bounded(visitor):
    answer = visitor.ask("POST", COMMENTS, [b"x" * 50_000] * 5, {"content-type": "application/json"})
    assert answer.status == 413


def test_a_repeated_request_stores_one_comment(visitor):
    first = visitor.comment("Once only", idempotency_key="key-1")
    again = visitor.comment("Once only", idempotency_key="key-1")
    assert (first.status, again.status) == (201, 200)
    assert first.json() == again.json()
    other = visitor.comment("Something else", idempotency_key="key-1")
    assert other.status == 409 and "another comment" in other.json()["detail"]
    assert visitor.comment("x", idempotency_key="k" * 129).status == 422
    assert visitor.comment("Once only").json()["id"] != first.json()["id"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404),
        ("GET", "/posts/nowhere", 404),
        ("GET", "/comments/c-0", 404),
        ("GET", f"/posts/{POST}?before=" + "9" * 5000, 200),
        ("GET", f"/posts/{POST}?sent=%00%ff", 200),
        ("GET", "/posts/" + quote("<script>\x00"), 404),
        ("GET", COMMENTS, 405),
        ("DELETE", f"/posts/{POST}", 405),
    ],
)
def test_paths_that_lead_nowhere_are_answered_in_the_blogs_own_look(visitor, method, path, status):
    answer = visitor.ask(method, path, headers={"accept": "text/html"})
    assert answer.status == status
    document = BeautifulSoup(answer.body, "html.parser")
    assert document.h1 and document.find("main") and document.html["lang"] == "en"
    if status != 200:
        assert f"Error {status}" in document.main.get_text()


# what pages consist of


@pytest.mark.parametrize("text", XSS)
def test_nothing_that_is_sent_becomes_markup(visitor, text):
    comment = visitor.comment(text, text).json()
    held = visitor.comment(f"{text} casino", text).json()
    assert held["state"] == "held"
    refused = visitor.form(COMMENTS, {"author": text, "text": f"{text}\x00"})  # shown again in the form
    queue = moderator(visitor).get("/moderation")
    for document in (page(visitor), *(BeautifulSoup(a.body, "html.parser") for a in (refused, queue))):
        assert not document.find_all(["script", "svg", "img", "style"])
        assert not [tag for tag in document.find_all(True) if any(name.startswith("on") for name in tag.attrs)]
    shown = page(visitor).find(id=comment["id"])
    assert (shown.bdi.get_text(), shown.find("p").get_text()) == (text, text)
    shown = BeautifulSoup(queue.body, "html.parser").find(id=f"{held['id']}-by")
    assert shown.bdi.get_text() == text
    assert BeautifulSoup(refused.body, "html.parser").textarea.get_text().startswith(f"\n{text}")


@pytest.mark.parametrize(
    "path", ["/", f"/posts/{POST}", "/login", "/moderation", "/nowhere", "/posts/about-the-comments"]
)
def test_pages_are_well_formed_and_accessible(visitor, path):
    visitor.comment("beans")
    visitor.comment("casino")
    answer = moderator(visitor).get(path)
    document = BeautifulSoup(answer.body, "html.parser")
    assert document.html["lang"] == "en" and document.title.get_text().endswith("Slow Garden")
    assert len(document.find_all("main")) == len(document.find_all("h1")) == 1
    assert document.find("a", class_="skip")["href"] == f"#{document.main['id']}"
    for field in document.find_all(["input", "textarea"]):
        if field.get("type") != "hidden" and not field.has_attr("hidden"):
            assert document.find("label", attrs={"for": field["id"]})
    for form in document.find_all("form", method="post"):
        assert form.find("input", attrs={"name": "csrf"})["value"]
        assert form.find("button")
    assert not document.find_all(["script", "style"]) and not [t for t in document.find_all(True) if t.get("style")]
    for link in [*document.find_all(href=True), *document.find_all(src=True)]:
        assert not re.match(r"\w+:|//", link.get("href") or link.get("src")), "nothing comes from elsewhere"


def test_answers_carry_the_headers_that_guard_them(visitor):
    for path in ("/", f"/posts/{POST}", "/nowhere", "/style.css", "/login", "/metrics"):
        headers = visitor.get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "same-origin"
    cookie = visitor.another().get(f"/posts/{POST}").headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=strict" in cookie and "path=/" in cookie


def test_comments_are_shown_page_by_page_the_newest_first(tmp_path):
    with running(tmp_path) as visitor:
        assert "first" in page(visitor).find("p", class_="empty").get_text()
        ids = [visitor.comment(f"beans {i}").json()["id"] for i in range(60)]
        document = page(visitor)
        shown = [tag["id"] for tag in document.find_all("article", class_="comment")]
        assert shown == ids[:9:-1]
        assert document.find(id="comments").get_text() == "60 comments"
        older = page(visitor, document.find("a", rel="next")["href"])
        assert [tag["id"] for tag in older.find_all("article", class_="comment")] == ids[9::-1]
        assert "60 comments" in page(visitor, "/").get_text()


# forms


def test_a_form_sent_twice_is_one_comment(visitor):
    document = page(visitor)
    fields = {tag["name"]: tag.get("value", "") for tag in document.find("form", class_="write").find_all("input")}
    fields |= {"author": "Ada", "text": "Sent by a nervous finger"}
    assert fields["key"]
    assert visitor.form(COMMENTS, fields).headers["location"] == visitor.form(COMMENTS, fields).headers["location"]


@pytest.mark.parametrize("token", [None, "", "wrong", "é", "other"])
def test_a_form_without_this_sessions_token_stores_nothing(visitor, token):
    visitor.csrf()  # the session
    sent = visitor.another().csrf() if token == "other" else token
    fields = {"author": "Ada", "text": "kept"} | ({} if sent is None else {"csrf": sent})
    answer = visitor.form(COMMENTS, fields)
    assert answer.status == 403
    document = BeautifulSoup(answer.body, "html.parser")
    assert document.textarea.get_text().strip() == "kept"
    fresh = document.find("input", attrs={"name": "csrf"})["value"]
    assert visitor.form(COMMENTS, fields | {"csrf": fresh}).status == 303


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://elsewhere.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
    ],
)
def test_requests_from_other_sites_are_refused_even_with_a_token(visitor, headers):
    fields = {"author": "Ada", "text": "beans", "csrf": visitor.csrf()}
    assert visitor.form(COMMENTS, fields, headers).status == 403
    own = {"origin": "http://service.example", "sec-fetch-site": "same-origin"}
    assert visitor.form(COMMENTS, fields, own).status == 303
    signed_in = moderator(visitor)
    comment = visitor.comment("casino").json()["id"]
    fields = {"csrf": signed_in.csrf("/moderation"), "decision": "publish"}
    assert signed_in.form(f"/moderation/{comment}", fields, headers).status == 403
    assert visitor.state(comment) == ("held", "spam")


# moderation


def test_only_a_moderator_sees_the_queue_and_decides(visitor):
    comment = visitor.comment("casino").json()["id"]
    assert visitor.get("/moderation").headers["location"] == "/login"
    assert visitor.ask("GET", "/moderation", headers={"accept": "*/*"}).status == 401
    fields = {"csrf": visitor.csrf(), "decision": "publish"}
    assert visitor.form(f"/moderation/{comment}", fields).status == 401
    wrong = {"authorization": "Bearer wrong", "accept": "application/json"}
    assert visitor.ask("GET", "/moderation", headers=wrong).status == 401
    assert visitor.get("/login?token=wrong-token").status == 403
    forged = visitor.another()
    forged.cookies = {"opslab_blog_session": "eyJpZCI6IngiLCJwcm9vZiI6IiJ9.x.y"}
    assert forged.get("/moderation").status == 303
    assert visitor.state(comment) == ("held", "spam")


def test_a_moderator_signs_in_decides_and_signs_out(visitor):
    held = [visitor.comment(f"casino {i}").json()["id"] for i in range(2)]
    signed_in = visitor.another()
    before = signed_in.csrf("/login")
    cookie = dict(signed_in.cookies)
    assert signed_in.form("/login", {"token": TOKEN, "csrf": "wrong"}).status == 403
    answer = signed_in.form("/login", {"token": TOKEN, "csrf": before})
    assert "url=/moderation" in answer.text and signed_in.cookies != cookie, "a session of its own"
    csrf = signed_in.csrf("/moderation")
    assert csrf != before
    for comment, decision in zip(held, ("publish", "reject"), strict=True):
        assert signed_in.form(f"/moderation/{comment}", {"decision": decision, "csrf": "wrong"}).status == 403
        assert signed_in.form(f"/moderation/{comment}", {"decision": "forget", "csrf": csrf}).status == 422
        answer = signed_in.form(f"/moderation/{comment}", {"decision": decision, "csrf": csrf})
        assert answer.headers["location"] == f"/moderation?done={comment}"
    assert "rejected" in page(signed_in, answer.headers["location"]).find(role="status").get_text()
    assert [visitor.state(comment)[0] for comment in held] == ["published", "rejected"]
    assert page(visitor).find(id=held[0]) and not page(visitor).find(id=held[1])
    assert signed_in.form("/logout", {"csrf": csrf}).status == 303
    assert signed_in.get("/moderation").status == 303


def test_a_new_token_signs_old_moderators_out(tmp_path):
    with running(tmp_path) as visitor:
        signed_in = moderator(visitor)
        assert signed_in.get("/moderation").status == 200
        assert "Nothing waits" in signed_in.get("/moderation").text
    key = tmp_path / "session.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600 and key.stat().st_size == 32
    for token, status in ((TOKEN, 200), ("another-token-of-the-tests", 303)):
        with running(tmp_path, moderator_token=token) as visitor:
            visitor.cookies = signed_in.cookies
            assert visitor.get("/moderation").status == status


def test_the_queue_is_shown_page_by_page_the_oldest_first(tmp_path):
    with running(tmp_path) as visitor:
        ids = [visitor.comment(f"casino {i}").json()["id"] for i in range(25)]
        signed_in = moderator(visitor)
        document = page(signed_in, "/moderation")
        assert "25 comments wait" in document.get_text()
        shown = document.find_all("article")
        assert [tag["aria-labelledby"] for tag in shown] == [f"{i}-by" for i in ids[:20]]
        later = page(signed_in, document.find("a", rel="next")["href"])
        assert [tag["aria-labelledby"] for tag in later.find_all("article")] == [f"{i}-by" for i in ids[20:]]
        token = {"authorization": f"Bearer {TOKEN}"}
        queue = visitor.ask("GET", "/moderation?format=json", headers=token).json()
        assert queue["waiting"] == 25 and [comment["id"] for comment in queue["comments"]] == ids
        assert visitor.ask("GET", "/moderation?after=x", headers=token).status == 422
        assert [visitor.decide(i, "reject").status for i in (ids[0], ids[0], "c-0")] == [200, 200, 404]
        assert 'blog_decisions_total{decision="reject"} 1.0' in visitor.get("/metrics").text
        assert len(archive.labels(tmp_path)) == 1


def test_readers_report_what_slipped_through(visitor):
    comment = visitor.comment("cheap watches").json()["id"]
    path = f"/comments/{comment}/report"
    assert visitor.form(path, {"csrf": "wrong"}, {"accept": "text/html"}).status == 403
    answer = visitor.form(path, {"csrf": visitor.csrf()})
    assert answer.status == 303
    assert "report" in page(visitor, answer.headers["location"]).find(role="status").get_text()
    assert visitor.state(comment) == ("held", "reported")
    visitor.decide(comment, "publish")
    assert visitor.post(path, b"{}").json()["state"] == "published", "a moderator has decided"


# limits


def test_a_client_may_send_so_many_comments_a_minute(tmp_path):
    with running(tmp_path, comments_per_minute=3, trusted_proxies=["127.0.0.0/8"]) as visitor:
        assert [visitor.comment(f"beans {i}").status for i in range(4)] == [201, 201, 201, 429]
        refused = visitor.comment("beans")
        assert 1 <= int(refused.headers["retry-after"]) <= 20
        assert visitor.comment("beans", x_forwarded_for="198.51.100.7").status == 201
        form = visitor.form(COMMENTS, {"author": "Ada", "text": "kept", "csrf": visitor.csrf()})
        assert form.status == 429 and "retry-after" in form.headers
        assert BeautifulSoup(form.body, "html.parser").textarea.get_text().strip() == "kept"
    with running(tmp_path, comments_per_minute=1) as visitor:
        answers = [visitor.comment("beans", x_forwarded_for=f"198.51.100.{i}").status for i in range(2)]
        assert answers == [201, 429], "nobody is trusted to speak for others"


def test_buckets_refill_and_are_bounded():
    now = [0.0]
    rate = RateLimit(2, clients=3, clock=lambda: now[0])
    assert [rate.take("a") for _ in range(3)] == [0, 0, pytest.approx(30)]
    now[0] = 29.0
    assert rate.take("a") == pytest.approx(1)
    now[0] = 30.5
    assert rate.take("a") == 0 < rate.take("a")
    for client in "bcd":
        assert rate.take(client) == 0
    assert len(rate._buckets) == 3
    assert rate.take("a") == 0, "forgotten"


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("192.0.2.1", "198.51.100.1", "192.0.2.1"),
        ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "203.0.113.9, 198.51.100.1, 10.0.0.2", "198.51.100.1"),
        ("10.0.0.1", "2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.1", None, "192.0.2.1"),
    ],
)
def test_a_client_is_who_a_trusted_proxy_says(peer, forwarded, client):
    headers = [(b"x-forwarded-for", forwarded.encode())] if forwarded else []
    request = Request({"type": "http", "headers": headers, "client": (peer, 1)})
    assert ClientAddresses(["10.0.0.0/8"]).of(request) == client


def test_requests_beyond_the_limit_are_shed_and_probes_are_not(tmp_path):
    with running(tmp_path, limits=Limits(concurrency=0)) as visitor:
        visitor.app.under_way = lambda: 1  # a server counts them
        shed = visitor.comment("beans")
        assert (shed.status, shed.headers["retry-after"]) == (503, "1")
        assert "too many requests" in visitor.get("/").text.lower()
        assert visitor.get("/healthz").status == visitor.get("/readyz").status == 200
        assert 'code="503"' in visitor.get("/metrics").text
        visitor.app.draining = True
        answer = visitor.get("/readyz")
        assert (answer.status, answer.headers["connection"]) == (503, "close")
    assert len(archive.comments(tmp_path)) == 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"gateway": "nowhere"},
        {"moderator_token": "short"},
        {"moderator_token": "é" * 20},
        {"hold_after": float("nan")},
        {"comments_per_minute": 0},
        {"trusted_proxies": ["here"]},
    ],
)
def test_arguments_out_of_range_are_named(tmp_path, wrong):
    with pytest.raises(ParameterError, match="accepted"):
        make_blog(tmp_path, **({"gateway": "127.0.0.1:1", "moderator_token": TOKEN} | wrong))
