"""The page over HTTP, from the command to its end."""

import contextlib
import json
import re
import signal
import socket
import time
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from panvision.cli.main import main
from panvision.inference.predictor import Predictor
from panvision.page import server
from panvision.page.model import PageError, SharedModel
from panvision.page.server import MAX_FRAME_BYTES
from tests.page.conftest import FRESH, FROZEN
from tests.page.serving import Served, png
from tests.tiny import SUBSETS, PartBackend, picture, write_onnx

LINK = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate"}


def test_get_serves_the_page_and_its_files(site):
    for path, kind in (("/", "text/html"), ("/page.css", "text/css"), ("/page.js", "text/javascript")):
        response = site.ask("GET", path)
        assert response.status == 200 and response.headers["Content-Type"].startswith(kind)


def test_get_page_names_nothing_outside(site):
    addresses = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag, attrs):
            addresses.extend(value for name, value in attrs if name in ("src", "href") and value)
            assert not [name for name, _ in attrs if name.startswith("on") or name == "style"], "the policy forbids it"

    Reader().feed(site.ask("GET", "/").content.decode())
    assert [address for address in addresses if not address.startswith("data:")] == ["page.css", "page.js"]
    assert b"innerHTML" not in site.ask("GET", "/page.js").content
    assert not re.search(rb"https?:|url\(", site.ask("GET", "/page.js").content + site.ask("GET", "/page.css").content)


def test_get_model_gives_the_facts_of_the_file(site):
    facts = json.loads(site.ask("GET", "/model").content)
    assert (facts["name"], facts["size"], facts["image_size"], facts["max_upload"]) == ("m.onnx", 3, 64, 2**20)
    assert facts["sha256"] == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert facts["scores"]["about"].startswith("No metrics found") and not facts["scores"]["rows"]
    assert facts["sliders"]["score"] == [0, 1, 0.3] and facts["sliders"]["half_life"] == [0.1, 10, 0.5]


@pytest.mark.parametrize("tasks", SUBSETS, ids="+".join)
def test_post_image_answers_the_tasks_of_the_model(serve, tasks):
    site = serve(SharedModel(Predictor(PartBackend(*tasks))))
    status, (found,) = site.post("/image?name=a.png", png(picture(box=(4, 4, 24, 24))))
    parts = {"mask": "segmentation", "boxes": "detection", "state": "classification"}
    assert status == 200 and set(found) & set(parts) == {part for part, task in parts.items() if task in tasks}
    sliders = json.loads(site.ask("GET", "/model").content)["sliders"]
    assert ("nms" in sliders, "margin" in sliders) == ("detection" in tasks, "classification" in tasks)


def test_post_image_uses_the_sliders(site):
    body = png(picture(box=(4, 4, 24, 24)))
    _, (found,) = site.post("/image?name=a.png&score=0.5", body)
    assert [box["name"] for box in found["boxes"]] == ["stirrer"] and found["state"]["class_name"] == "frozen"
    assert site.post("/image?name=a.png&score=1", body)[1][0]["boxes"] == []


@pytest.mark.parametrize(
    ("path", "body", "status", "reason"),
    [
        ("/image?name=up/%3Cb%3E.png", b"no image", 400, "<b>.png: "),
        ("/image", b"", 400, "the file: "),
        ("/camera", b"no image", 400, "the frame: "),
        ("/clip?name=a.mp4", b"#EXTM3U\nhttp://192.0.2.1/\n", 200, "a.mp4: is not a video that can be read here"),
        ("/image?name=a.png", bytes(2**20 + 1), 413, "a.png: is larger than 1 MB; --max_upload_mb N allows more"),
        ("/clip?name=a.mp4", bytes(2**20 + 1), 413, "a.mp4: is larger than 1 MB"),
        ("/camera", bytes(MAX_FRAME_BYTES + 1), 413, "the frame: is larger than"),
        ("/model", b"", 404, "not served here"),
    ],
)
def test_post_names_what_is_wrong(site, path, body, status, reason):
    # Only the head of a body that is too large: the server does not read more.
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    first, _, answer = site.raw(head + (body if status != 413 else b"")).partition(b"\r\n\r\n")
    assert first.startswith(b"HTTP/1.0 %d " % status)
    assert json.loads(answer)["error"].startswith(reason)


def test_post_limits_the_pixels(site, monkeypatch):
    monkeypatch.setattr(server, "MAX_PIXELS", 1000)
    assert "megapixels; make it smaller" in site.post("/image?name=a.png", png(picture()))[1][0]["error"]
    frame = png(np.zeros((2001, 2000, 3), np.uint8))
    assert "the frame: has more than 4 megapixels" in site.post("/camera?visitor=a", frame)[1][0]["error"]


def test_post_clip_streams_lines(site, clip):
    status, items = site.post("/clip?name=clip.avi&half_life=0.4", clip.read_bytes())
    assert status == 200 and [state for _, _, state in items[-1]["states"]] == [None, "frozen", "fresh"]
    assert items[-1]["video"] and "error" not in items[-1]


def test_post_camera_keeps_visitors_apart(site):
    for _ in range(2):
        for visitor, colour in (("a", FROZEN), ("b", FRESH)):
            status, (found,) = site.post(f"/camera?visitor={visitor}", png(picture(colour=colour)))
            assert status == 200
    assert found["state"]["class_name"] == "fresh" and found["decided"] is None


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "127.0.0.1"}, 200),
        ({"Host": "localhost:8000"}, 200),
        ({"Host": "[::1]:7860"}, 200),
        ({"Host": "127.0.0.1.evil.example"}, 421),
        ({"Host": "localhost.evil.example:7860"}, 421),
        ({"Host": "127.0.0.1@evil"}, 421),
        ({"Host": "127.0.0.1:1", "Origin": "http://127.0.0.1:1"}, 200),
        ({"Host": "127.0.0.1:1", "Origin": "http://127.0.0.1:3000"}, 403),
        ({"Host": "127.0.0.1:1", "Origin": "http://localhost:1"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec_Fetch_Site": "same-origin"}, 200),
        ({"Sec_Fetch_Site": "none"}, 200),
        ({"Sec_Fetch_Site": "same-site"}, 403),
        ({"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "no-cors"}, 403),
        (LINK, 403),
    ],
)
def test_requests_of_other_sites_are_refused(site, headers, status):
    response = site.ask("GET", "/model", **headers)
    assert response.status == status and (b"image_size" in response.content) is (status == 200)
    assert site.ask("POST", "/image?name=a.png", png(picture()), **headers).status == status


def test_a_link_from_elsewhere_leads_to_the_page(site):
    assert site.ask("GET", "/", **LINK).status == 200
    assert site.ask("GET", "/page.js", **LINK).status == site.ask("POST", "/", b"", **LINK).status == 403


@settings(max_examples=60, deadline=None)
@given(host=st.text("127.0localhost[]:@e", max_size=20))
def test_no_other_host_is_answered(host, served):
    own = re.fullmatch(r"(127\.0\.0\.1|localhost|\[::1\])(:[0-9]{1,5})?", host) is not None
    assert (served.ask("GET", "/page.css", Host=host).status == 200) is own


@pytest.mark.parametrize("hosts", ["", "Host: localhost\r\nHost: evil.example\r\n"])
def test_one_host_must_be_named(site, hosts):
    assert site.raw(f"GET /model HTTP/1.1\r\n{hosts}\r\n".encode()).startswith(b"HTTP/1.0 421 ")


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", path) for path in ("/../server.py", "//etc/passwd", "/page.html", "/%2e%2e/server.py", "/image", "/docs")]
    + [("POST", "/"), ("PUT", "/image"), ("OPTIONS", "/image"), ("DELETE", "/"), ("CONNECT", "a:1"), ("TRACE", "/")],
)
def test_nothing_else_is_served(site, method, path):
    response = site.ask(method, path)
    assert response.status in (404, 501) and b"root:" not in response.content


@pytest.mark.parametrize(
    "length", ["", "Content-Length: many\r\n", "Content-Length: -1\r\n", "Transfer-Encoding: chunked\r\n"]
)
def test_a_body_must_have_a_length(site, length):
    head = f"POST /image HTTP/1.1\r\nHost: localhost\r\n{length}\r\n"
    assert site.raw(head.encode() + b"1\r\nx\r\n0\r\n\r\n").startswith(b"HTTP/1.0 411 ")


@pytest.mark.parametrize(
    "text",
    [b"GET / HTTP/9.9\r\n\r\n", b"\r\n\r\n", b"x" * 70_000, b"GET http://[/ HTTP/1.1\r\nHost: localhost\r\n\r\n"],
)
def test_no_malformed_request_disturbs(site, text, capfd):
    site.raw(text)
    assert site.ask("GET", "/").status == 200 and "".join(capfd.readouterr()) == ""


def test_every_response_binds_the_browser(site):
    for response in (site.ask("GET", "/"), site.ask("GET", "/", Host="evil.example"), site.ask("PUT", "/")):
        policy = response.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy and "//" not in policy and "*" not in policy
        assert response.headers["X-Content-Type-Options"] == "nosniff" and "Python" not in response.headers["Server"]


def test_the_command_listens_on_this_machine_alone(served):
    hosts = {"127.0.0.2"}
    with contextlib.suppress(OSError):  # a machine need not know its own name
        hosts |= {found[4][0] for found in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)}
    for host in hosts - {"127.0.0.1"}:
        with socket.socket() as probe:
            probe.settimeout(2)
            assert probe.connect_ex((host, served.port)) != 0, host


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.process
def test_a_signal_ends_requests_and_removes_their_files(tmp_path, number):
    with Served(tmp_path, "--checkpoint", write_onnx(tmp_path / "tiny.onnx")) as page, contextlib.ExitStack() as stack:
        idle, uploading = (stack.enter_context(socket.create_connection(("127.0.0.1", page.port))) for _ in range(2))
        uploading.sendall(b"POST /clip HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999\r\n\r\nbegin")
        ends = time.monotonic() + 30
        while not list(page.temporary.glob("panvision-page-*/clip")):
            assert time.monotonic() < ends
            time.sleep(0.01)
        page.stop(number)
        assert idle.recv(1) == b""


def test_a_visitor_who_leaves_takes_the_upload_along(served):
    with socket.create_connection(("127.0.0.1", served.port)) as visitor:
        visitor.sendall(b"POST /clip HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999\r\n\r\nbegin")
    ends = time.monotonic() + 30
    while list(served.temporary.iterdir()):
        assert time.monotonic() < ends
        time.sleep(0.01)


def test_a_port_in_use_is_one_line(tmp_path, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        code = main(["page", "--checkpoint", str(write_onnx(tmp_path / "m.onnx")), "--port", port])
    assert (code, *capsys.readouterr()) == (
        1,
        "",
        f"panvision page: port {port}: Address already in use; name another with --port, or leave it out\n",
    )


def test_serve_takes_the_next_free_port(model, monkeypatch):
    first = socket.socket()
    first.bind(("127.0.0.1", 0))
    first.listen()
    monkeypatch.setattr(server, "FIRST_PORT", first.getsockname()[1])
    addresses = []

    def ready(address):
        addresses.append(address)
        signal.raise_signal(signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    server.serve(model, {}, ready)
    assert int(addresses[0].rpartition(":")[2]) > first.getsockname()[1] and signal.getsignal(signal.SIGTERM) is before
    monkeypatch.setattr(server, "PORTS", 2)
    second = socket.socket()
    with contextlib.suppress(OSError):  # then another program has it
        second.bind(("127.0.0.1", first.getsockname()[1] + 1))
        second.listen()
    with pytest.raises(PageError, match=r"^no port from \d+ to \d+ is free; name another with --port$"):
        server.serve(model, {}, ready)
    first.close()
    second.close()
