"""The page served on 127.0.0.1 until a signal stops it.

Any web page in the visitor's browser could send requests to 127.0.0.1, also under the name of a host that was made to
point to this machine (DNS rebinding). Such requests are refused, and headers bind the browser to this server.
"""

import contextlib
import json
import os
import re
import signal
import socket
import socketserver
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from panvision.core.signals import StopSignals
from panvision.page.model import Controls, PageError, SharedModel
from panvision.page.view import data_url, decode_image, describe
from panvision.page.watching import Cameras, missing_package, watch_clip

HOST = "127.0.0.1"
FIRST_PORT, PORTS = 7860, 100  # the ports that are tried
MAX_PIXELS = 40_000_000  # of an image
MAX_FRAME_PIXELS, MAX_FRAME_BYTES = 4_000_000, 8_000_000  # of a camera's frame
CHUNK = 2**20  # bytes of a clip that are copied at once

TYPES = {".html": "html", ".css": "css", ".js": "javascript"}
# The browser runs the page's own script alone, and asks this server alone.
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data: blob:; media-src blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
# The port may be another one, at the near end of a tunnel.
_OWN_HOST = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:\d{1,5})?", re.ASCII)


def serve(
    model: SharedModel,
    facts: dict[str, Any],
    ready: Callable[[str], None],
    *,
    port: int | None = None,
    max_upload: int = 100 * 2**20,
) -> None:
    """Serve the page until Ctrl-C or SIGTERM.

    Args:
        model: the model that is tried.
        facts: its facts, as JSON values.
        ready: called with the page's address once it is served.
        port: of 127.0.0.1; None: 7860, or the next free one.
        max_upload: bytes of one uploaded file.

    Raises:
        PageError: the port is in use.
    """
    ports = range(FIRST_PORT, FIRST_PORT + PORTS) if port is None else [port]
    with _stopped_by_signals(), _listen(ports, lambda one: PageServer(one, model, facts, max_upload)) as server:
        ready(f"http://{HOST}:{server.server_address[1]}")
        server.serve_forever()


def _listen(ports: Sequence[int], listen: Callable[[int], "PageServer"]) -> "PageServer":
    """Return the server on the first of the ports that is free."""
    for port in ports:
        try:
            return listen(port)
        except OSError as error:
            reason = error.strerror or str(error)
    if len(ports) > 1:
        raise PageError(f"no port from {ports[0]} to {ports[-1]} is free; name another with --port")
    raise PageError(f"port {ports[0]}: {reason}; name another with --port, or leave it out")


class PageServer(socketserver.ThreadingTCPServer):
    """The server, with one thread per request. Closing it ends the open connections and waits for their threads.

    Args:
        port: of 127.0.0.1; 0: any.
        model: the model that is tried.
        facts: its facts, as JSON values.
        max_upload: bytes of one uploaded file.

    Raises:
        OSError: the port is in use.
    """

    allow_reuse_address = os.name == "posix"  # elsewhere it would take another program's port
    request_queue_size = 64

    def __init__(self, port: int, model: SharedModel, facts: dict[str, Any], max_upload: int) -> None:
        self.model, self.facts, self.max_upload = model, facts, max_upload
        self.cameras = Cameras(model)
        self.decoding = threading.Lock()  # one image at a time: decoded, a large one takes hundreds of megabytes
        self._connections: set[socket.socket] = set()
        super().__init__((HOST, port), _Handler)

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection."""
        connection, address = super().get_request()
        self._connections.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        """End a connection."""
        self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print a traceback, unless the visitor has gone."""
        if not isinstance(sys.exception(), (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)

    def server_close(self) -> None:
        """End the open connections and wait for their threads, which then remove their temporary files."""
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        super().server_close()


class _Handler(BaseHTTPRequestHandler):
    """Answers one request: files and facts by GET, results by POST."""

    server: PageServer
    timeout = 30  # seconds that a read or a write may take

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        try:
            self._check_sender(path)
            self._answer(path, dict(parse_qsl(query)))
        except PageError as error:
            self._send_json({"error": str(error)}, error.status)

    def do_POST(self) -> None:
        self.do_GET()

    def _check_sender(self, path: str) -> None:
        """Refuse requests of other sites, and those under a name that is not this machine's."""
        hosts, origins = (self.headers.get_all(name) or [] for name in ("Host", "Origin"))
        if len(hosts) != 1 or not _OWN_HOST.fullmatch(hosts[0]):
            raise PageError("this page is served as 127.0.0.1 or localhost only", 421)
        # A link from elsewhere may lead to the page, and no further.
        link = self.command == "GET" and path == "/" and self.headers.get("Sec-Fetch-Mode") == "navigate"
        own = link or self.headers.get("Sec-Fetch-Site", "none") in ("none", "same-origin")
        if not own or any(origin != f"http://{hosts[0]}" for origin in origins):
            raise PageError("a request of another site", 403)

    def _answer(self, path: str, query: dict[str, str]) -> None:
        name, controls = Path(query.get("name", "")).name or "the file", self.server.model.start.changed(query)
        match self.command, path:
            case "GET", "/" | "/page.css" | "/page.js":
                file = Path(__file__).with_name("page.html" if path == "/" else path[1:])
                self._send(file.read_bytes(), f"text/{TYPES[file.suffix]}; charset=utf-8")
            case "GET", "/model":
                more = {"max_upload": self.server.max_upload, "no_clips": missing_package()}
                self._send_json(self.server.facts | more)
            case "POST", "/image":
                self._look(name, controls)
            case "POST", "/clip":
                self._watch(name, controls)
            case "POST", "/camera":
                content = self._read(self._body_length("the frame", MAX_FRAME_BYTES))
                frame = decode_image(content, "the frame", MAX_FRAME_PIXELS)
                self._send_json(self.server.cameras.see(query.get("visitor", ""), frame, controls))
            case _:
                raise PageError("not served here", 404)

    def _look(self, name: str, controls: Controls) -> None:
        content = self._read(self._body_length(name, self.server.max_upload))
        with self.server.decoding:
            image = decode_image(content, name, MAX_PIXELS)
            result = self.server.model.predict(image, controls)
            found = describe(image, result)
        if "segmentation" in result:
            # In the image's own pixels and lossless, because it may be used for more than looking at.
            found["mask"] = data_url(result["segmentation"]["mask"], "PNG")
        self._send_json(found)

    def _watch(self, name: str, controls: Controls) -> None:
        """Answer with a line of JSON for each item; the clip is on the disk until then."""
        left = self._body_length(name, self.server.max_upload)
        with tempfile.TemporaryDirectory(prefix="panvision-page-") as folder:
            with (path := Path(folder, "clip")).open("wb") as file:
                while left:
                    left -= file.write(self._read(min(left, CHUNK)))
            self._begin("application/x-ndjson")
            try:
                for item in watch_clip(self.server.model, path, name, controls, Path(folder)):
                    self.wfile.write(json.dumps(item).encode() + b"\n")
            except PageError as error:
                self.wfile.write(json.dumps({"error": str(error)}).encode() + b"\n")

    def _body_length(self, name: str, limit: int) -> int:
        length = self.headers.get("Content-Length", "")
        if not re.fullmatch(r"[0-9]{1,15}", length):
            raise PageError(f"{name}: was sent without its length", 411)
        if int(length) > limit:
            raise PageError(f"{name}: is larger than {limit / 2**20:.3g} MB; --max_upload_mb N allows more", 413)
        return int(length)

    def _read(self, length: int) -> bytes:
        content = self.rfile.read(length)
        if len(content) < length:
            raise ConnectionAbortedError("the visitor has gone")
        return content

    def _send_json(self, value: dict[str, Any], status: int = 200) -> None:
        self._send(json.dumps(value).encode(), "application/json", status)

    def _send(self, body: bytes, kind: str, status: int = 200) -> None:
        self._begin(kind, status, str(len(body)))
        self.wfile.write(body)

    def _begin(self, kind: str, status: int = 200, length: str | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        if length is not None:
            self.send_header("Content-Length", length)
        self.end_headers()

    def end_headers(self) -> None:
        for name, value in HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def version_string(self) -> str:
        return "panvision"

    def log_message(self, format: str, *args: Any) -> None:
        pass  # the terminal shows the address and errors of ours alone


@contextlib.contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """End the block, without an error, by Ctrl-C or SIGTERM; further signals do not disturb its end."""

    def stop(number: signal.Signals) -> None:
        if len(signals.received) == 1:
            raise KeyboardInterrupt

    signals = StopSignals(stop, insist=False)
    with contextlib.suppress(KeyboardInterrupt), signals:
        yield
