"""The page over HTTP, from the command to its end."""

import contextlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.parse
from pathlib import Path

import pytest
from PIL import Image

from panvision.page.facts import read_facts
from panvision.page.model import PageError
from panvision.page.server import FIRST_PORT, PageOptions, _listener, make_app, serve
from tests.page.made import facts_of
from tests.page.serving import free_port
from tests.tiny import write_onnx


def config(served):
    return json.loads(served.ask("GET", "/config")[1])


def test_the_page_is_served(served):
    code, body = served.ask("GET", "/")
    assert code == 200 and b"tiny.onnx" in body
    code, body = served.ask("GET", "/favicon.ico")
    assert code == 200 and Image.open(io.BytesIO(body)).size == (64, 64)


def test_it_listens_on_this_machine_alone(served):
    hosts = {"127.0.0.2"}
    with contextlib.suppress(OSError):  # a machine need not know its own name
        hosts |= {found[4][0] for found in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)}
    for host in hosts - {"127.0.0.1"}:
        with socket.socket() as probe:
            probe.settimeout(2)
            assert probe.connect_ex((host, served.port)) != 0, host


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "127.0.0.1.evil.example:7860"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec_Fetch_Site": "cross-site"},
    ],
)
def test_other_sites_and_names_are_refused(served, headers):
    assert served.ask("GET", "/config", **headers)[0] in (403, 421)
    assert served.ask("POST", "/gradio_api/queue/join", b"{}", **headers)[0] in (403, 421)


@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", "//etc/passwd", "/proc/self/environ", "/root/../etc/passwd", str(Path(__file__)), sys.executable],
)
def test_no_file_of_the_machine_can_be_read(served, path):
    code, body = served.ask("GET", f"/gradio_api/file={path}")
    assert code in (403, 404) and b"root:" not in body
    code, body = served.ask("GET", f"/gradio_api/file={urllib.parse.quote(path, safe='')}")
    assert code in (403, 404) and b"root:" not in body


@pytest.mark.parametrize("path", ["/static/../../../etc/passwd", "/assets/..%2f..%2f..%2f..%2f..%2fetc%2fpasswd"])
def test_nor_by_way_of_the_toolkits_own(served, path):
    code, body = served.ask("GET", path)
    assert code >= 400 and b"root:" not in body


def test_what_is_next_to_an_upload_cannot_be_read(served):
    (served.temporary / "secret.txt").write_text("secret")
    path = json.loads(served.upload("a.png", b"picture")[1])[0]
    assert served.ask("GET", f"/gradio_api/file={path}") == (200, b"picture")
    assert Path(path).is_relative_to(served.temporary)
    for other in (served.temporary / "secret.txt", Path(path).parents[2] / "secret.txt", f"{path}/../../../secret.txt"):
        assert served.ask("GET", f"/gradio_api/file={other}")[0] == 403


def test_an_upload_is_limited(served):
    assert served.upload("a.png", b"x" * 2**20)[0] == 200
    before = sorted(served.temporary.rglob("*"))
    assert served.upload("b.png", b"y" * (2**20 + 1))[0] == 413
    assert served.upload("c.png", b"z" * 3_000_000)[0] == 413
    assert sorted(served.temporary.rglob("*")) == before, "nothing of it is left"


def test_an_uploads_name_leads_nowhere(served):
    for name in ("../../evil.png", "/etc/evil.png", "..", "<img src=x>.png"):
        code, body = served.upload(name, name.encode())
        if code == 200:
            path = Path(json.loads(body)[0])
            assert path.is_relative_to(served.temporary) and "<" not in path.name, name
    assert not Path("/etc/evil.png").exists()


def test_the_toolkit_offers_nothing_else(served):
    for path in ("/docs", "/openapi.json", "/gradio_api/info", "/monitoring", "/gradio_api/runs", "/login"):
        assert served.ask("GET", path)[0] == 404, path
    found = config(served)
    assert found["analytics_enabled"] is False and not found["footer_links"]
    assert all(function["api_visibility"] == "private" for function in found["dependencies"])


def test_a_message_that_would_have_something_fetched_is_refused(served):
    file = {"path": "http://192.0.2.1/a.png", "meta": {"_type": "gradio.FileData"}}
    message = {"data": [file, 0.3, 0.5], "fn_index": 0, "session_hash": "abc"}
    assert served.ask("POST", "/gradio_api/queue/join", json.dumps(message).encode())[0] == 403


SMALL = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)
from pathlib import Path
from panvision.page import server
from panvision.page.server import PageOptions, serve

async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"alive", "more_body": True})
        while True:
            await receive()

def make_app(model, facts, options, folder):
    (folder / "upload").write_text("picture")
    if sys.argv[2] == "early":
        print("building", flush=True)
        time.sleep(60)
    return app

server.make_app = make_app
serve(None, None, PageOptions(int(sys.argv[1])), lambda address: print(address, flush=True))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("when", ["early", "served"])
def test_a_signal_ends_it_cleanly_whenever_it_comes(tmp_path, number, when):
    port = free_port()
    command = [sys.executable, "-c", SMALL, str(port), when]
    env = dict(os.environ, TMPDIR=str(tmp_path))
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env) as process:
        ended = threading.Timer(60, process.kill)
        ended.start()
        process.stdout.readline()
        with contextlib.ExitStack() as stack:
            if when == "served":
                # A visitor whose page is open keeps a connection that never ends.
                visitor = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
                visitor.sendall(f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
                assert b"200 OK" in visitor.recv(100)
            assert list(tmp_path.glob("*/upload"))
            process.send_signal(number)
            _, err = process.communicate()
        ended.cancel()
    assert (process.returncode, err, list(tmp_path.iterdir())) == (0, "", [])


def test_a_port_that_is_taken_is_one_line(tmp_path, monkeypatch, capsys):
    from panvision.cli.main import main

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        code = main(["page", "--checkpoint", str(write_onnx(tmp_path / "m.onnx")), "--port", port])
    said = capsys.readouterr()
    assert code == 1 and said.out == ""
    assert (
        said.err == f"panvision page: port {port}: Address already in use; name another with --port, or leave it out\n"
    )


def test_without_a_port_it_takes_the_next_that_is_free():
    with _listener(None) as one, _listener(None) as other:
        ports = [listener.getsockname()[1] for listener in (one, other)]
        assert FIRST_PORT <= ports[0] < ports[1] and one.getsockname()[0] == "127.0.0.1"


def test_without_the_toolkit_there_is_one_line(tmp_path):
    code = "import sys; sys.modules['gradio'] = None; from panvision.cli.main import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "page", "--checkpoint", str(write_onnx(tmp_path / "m.onnx"))]
    env = dict(os.environ, TMPDIR=str(tmp_path))
    done = subprocess.run([*command, "--port", str(free_port())], capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 1 and done.stdout == ""
    remedy = "`pip install 'panvision[page]'`"
    assert done.stderr == f"panvision page: needs the package gradio, which is not installed; {remedy}\n"
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]


def test_a_fault_of_our_own_is_not_taken_for_a_missing_package(model, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "panvision.page.app", None)
    with pytest.raises(ModuleNotFoundError):
        make_app(model, facts_of(), PageOptions(), tmp_path)


def test_facts_are_the_files_own(model, tmp_path):
    (tmp_path / "m.onnx").write_bytes(b"abc")
    facts = read_facts(tmp_path / "m.onnx", model.info)
    assert (facts.name, facts.size, facts.info) == ("m.onnx", 3, model.info)
    assert facts.sha256 == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert facts.scores.about.startswith("No metrics found")


def test_serving_names_what_is_wrong_before_anything_slow(model, monkeypatch):
    monkeypatch.setattr("panvision.page.server.make_app", lambda *arguments: pytest.fail("too late"))
    with _listener(None) as taken, pytest.raises(PageError, match=f"port {taken.getsockname()[1]}: "):
        serve(model, facts_of(), PageOptions(taken.getsockname()[1]), print)
