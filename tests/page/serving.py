"""A page over HTTP: in a thread of the tests, or as the command in a separate process."""

import http.client
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Self

import numpy as np
from PIL import Image

# Prints every host that the process connects to or looks up. A shell that runs the tests in the background ignores
# SIGINT, and so would the page.
WATCHED = """
import signal
import sys
signal.signal(signal.SIGINT, signal.default_int_handler)
EVENTS = {"connect": 1, "sendto": 1, "getaddrinfo": 0, "gethostbyname": 0, "gethostbyaddr": 0}
def hook(event, arguments):
    if event.startswith("socket.") and event[7:] in EVENTS:
        address = arguments[EVENTS[event[7:]]]
        print("HOST", address[0] if isinstance(address, tuple) else address, file=sys.stderr, flush=True)
sys.addaudithook(hook)
from panvision.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


def png(image: np.ndarray) -> bytes:
    content = io.BytesIO()
    Image.fromarray(image).save(content, "PNG")
    return content.getvalue()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Site:
    """A page on a port of this machine."""

    def __init__(self, port: int) -> None:
        self.port = port

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> http.client.HTTPResponse:
        """The response to a request, with its body in `content`."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            response = connection.getresponse()
            response.content = response.read()
            return response
        finally:
            connection.close()

    def post(self, path: str, body: bytes) -> tuple[int, list[dict[str, Any]]]:
        """Status and JSON lines of the response to a body."""
        response = self.ask("POST", path, body)
        return response.status, [json.loads(line) for line in response.content.splitlines()]

    def raw(self, text: bytes) -> bytes:
        """The response to these bytes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
            connection.sendall(text)
            connection.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: connection.recv(65536), b""))


class Served(Site):
    """`panvision page` in its own process. Use it as a context.

    Attributes:
        temporary: the folder for its temporary files.
    """

    def __init__(self, folder: Path, *options: object) -> None:
        super().__init__(free_port())
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        self._log = folder / "log"
        self._command = [sys.executable, "-c", WATCHED, "page", "--port", str(self.port), *map(str, options)]

    def __enter__(self) -> Self:
        env = dict(os.environ, TMPDIR=str(self.temporary))
        with self._log.open("w") as log:
            self.process = subprocess.Popen(self._command, stdout=subprocess.PIPE, stderr=log, text=True, env=env)
        ended = threading.Timer(120, self.process.kill)
        ended.start()
        line = self.process.stdout.readline()
        ended.cancel()
        assert line == f"http://127.0.0.1:{self.port}  (Ctrl-C stops it)\n", line + self._log.read_text()
        return self

    def stop(self, number: int = signal.SIGTERM) -> None:
        """End it by a signal: without an error, and without a file left."""
        self.process.send_signal(number)
        code = self.process.wait(30)
        words = re.sub(r"HOST .*\n", "", self._log.read_text())
        assert (code, words, list(self.temporary.iterdir())) == (0, "", [])

    def __exit__(self, *_: object) -> None:
        try:
            if self.process.poll() is None:
                self.stop()
        finally:
            self.process.kill()
            self.process.stdout.close()

    @property
    def hosts(self) -> set[str]:
        """Every host that it has turned to."""
        return set(re.findall(r"HOST (.*)", self._log.read_text()))
