import asyncio
import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from panvision.page.guard import FORM_BYTES, MAX_MESSAGE, Guard

LIMIT = 1000


def asked(method="GET", path="/", *, host="127.0.0.1:7860", chunks=(), kind="http", **headers):
    """Status, headers and body of the guard's answer, and what came through to the application behind it."""
    came: list = []

    async def app(scope, receive, send):
        body, more = b"", scope["type"] == "http"
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        came.append((scope, body))
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-security-policy", b"none")]})
        await send({"type": "http.response.body", "body": b"here"})

    waiting = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    waiting.append({"type": "http.request", "body": b"", "more_body": False})
    sent: list = []

    async def receive():
        return waiting.pop(0)

    async def send(message):
        sent.append(message)

    named = [(name.replace("_", "-").encode(), str(value).encode()) for name, value in headers.items()]
    hosts = [(b"host", host.encode())] if host is not None else []
    scope = {"type": kind, "method": method, "path": path, "headers": [*hosts, *named]}
    asyncio.run(Guard(app, max_upload=LIMIT)(scope, receive, send))
    return sent[0]["status"], dict(sent[0]["headers"]), sent[1]["body"], came


def status(*arguments, **options):
    return asked(*arguments, **options)[0]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:7860", "localhost:8000", "[::1]:7860"])
def test_this_machine_is_answered_by_its_own_names(host):
    code, _, body, came = asked(host=host)
    assert (code, body, len(came)) == (200, b"here", 1)


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example",
        "evil.example:7860",
        "localhost.evil.example",
        "127.0.0.1@evil",
        "",
        None,
    ],
)
def test_a_name_that_was_made_to_point_here_is_not(host):
    code, _, _, came = asked(host=host)
    assert (code, came) == (421, [])


@settings(max_examples=100, deadline=None)
@given(st.text("127.0localhost[]:@e", max_size=20))
def test_no_other_host_gets_through(host):
    fits = re.fullmatch(r"(127\.0\.0\.1|localhost|\[::1\])(:[0-9]{1,5})?", host) is not None
    assert (status(host=host) == 200) is fits


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"origin": "http://127.0.0.1:7860"}, 200),
        ({"origin": "http://127.0.0.1:3000"}, 403),
        ({"origin": "http://localhost:7860"}, 403),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"sec_fetch_site": "same-origin"}, 200),
        ({"sec_fetch_site": "none"}, 200),
        ({"sec_fetch_site": "same-site"}, 403),
        ({"sec_fetch_site": "cross-site", "sec_fetch_mode": "no-cors"}, 403),
    ],
)
def test_other_sites_are_refused(headers, code):
    assert status(path="/config", **headers) == code
    assert status("POST", "/gradio_api/queue/join", **headers) == code


def test_a_link_from_elsewhere_leads_to_the_page_and_no_further():
    link = {"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate"}
    assert status(path="/", **link) == 200
    assert status(path="/config", **link) == 403


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/gradio_api/proxy=http://evil.example/"),
        ("GET", "/gradio_api/file=http://evil.example/a.png"),
        ("GET", "/gradio_api/info"),
        ("GET", "/monitoring"),
        ("GET", "/docs"),
        ("GET", "/assets/"),
        ("POST", "/gradio_api/run/predict"),
        ("POST", "/gradio_api/call/predict"),
        ("POST", "/gradio_api/vibe-edit/"),
        ("POST", "/gradio_api/process_recording"),
        ("POST", "/"),
        ("GET", "/gradio_api/upload"),
        ("PUT", "/gradio_api/upload"),
        ("OPTIONS", "/gradio_api/queue/join"),
    ],
)
def test_what_the_page_does_not_need_is_not_served(method, path):
    code, _, _, came = asked(method, path)
    assert code in (404, 405) and came == []


def test_a_web_socket_is_not_served():
    assert status(kind="websocket") == 403


def test_an_upload_within_the_limit_gets_through_whole():
    chunks = [b"x" * LIMIT, b"y" * FORM_BYTES]
    code, _, _, came = asked("POST", "/gradio_api/upload", chunks=chunks, content_length=LIMIT + FORM_BYTES)
    assert code == 200 and came[0][1] == b"".join(chunks)


def test_an_upload_that_is_too_large_by_its_own_word_is_not_read():
    assert asked("POST", "/gradio_api/upload", content_length=LIMIT + FORM_BYTES + 1)[::3] == (413, [])
    assert status("POST", "/gradio_api/upload", content_length="many") == 413


def test_an_upload_that_grows_too_large_is_cut_off():
    code, _, _, came = asked("POST", "/gradio_api/upload", chunks=[b"x" * FORM_BYTES, b"x" * LIMIT, b"x"])
    assert (code, came) == (413, [])


def test_a_message_gets_through_unchanged():
    text = json.dumps({"data": [{"path": "/here/a/C: \\ b.png", "url": "data:image/jpeg;base64,AA=="}, 0.3]}).encode()
    code, _, _, came = asked("POST", "/gradio_api/queue/join", chunks=[text[:10], text[10:]])
    assert code == 200 and came[0][1] == text


@pytest.mark.parametrize(
    "path", ["http://evil.example/a", " HTTPS://x/", "file:///etc/passwd", "\\\\share\\a", "//share/a"]
)
def test_a_message_that_has_something_fetched_is_refused(path):
    text = json.dumps({"data": [[{"deep": {"path": path, "meta": {"_type": "gradio.FileData"}}}]]})
    text = text.replace('"path"', '"p\\u0061th"')  # however it is written
    for place in ("/gradio_api/queue/join", "/gradio_api/stream/0123abc"):
        code, _, _, came = asked("POST", place, chunks=[text.encode()])
        assert (code, came) == (403, [])


@pytest.mark.parametrize("text", [b"{", b"\xff", b"[" * 100_000])
def test_a_message_that_is_none_is_refused(text):
    assert status("POST", "/gradio_api/queue/join", chunks=[text]) == 400


def test_a_message_is_limited():
    assert status("POST", "/gradio_api/queue/join", chunks=[b'"', b"x" * MAX_MESSAGE, b'"']) == 413


def test_every_answer_binds_the_browser():
    for code, headers, _, _ in (asked(), asked(host="evil.example"), asked(path="/docs")):
        policy = headers[b"content-security-policy"].decode()
        assert "default-src 'self'" in policy and "frame-ancestors 'none'" in policy and "//" not in policy, code
        assert headers[b"x-content-type-options"] == b"nosniff"


def test_what_a_proxy_would_say_is_dropped():
    _, _, _, came = asked(x_forwarded_host="evil.example", accept="text/html")
    assert [name for name, _ in came[0][0]["headers"]] == [b"host", b"accept"]
