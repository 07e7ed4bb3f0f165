"""`panvision page` in a process of its own, which tells every address that it turns to."""

import http.client
import os
import re
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Self

# Connections and look-ups of names, whoever makes them.
WATCHED = """
import signal, sys
# A shell that runs the tests in the background has Ctrl-C ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
def hook(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"):
        address = arguments[1] if event in ("socket.connect", "socket.sendto") else arguments[0]
        host = address[0] if isinstance(address, tuple) else address
        print("TURNED TO", host, file=sys.stderr, flush=True)
sys.addaudithook(hook)
from panvision.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Served:
    """A running page. Use it as a context.

    Attributes:
        port, url: where it is.
        temporary: the folder in which it keeps its temporary one.
    """

    def __init__(self, folder: Path, *options: object) -> None:
        self.port = free_port()
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        self._log = folder / "log"
        command = [sys.executable, "-c", WATCHED, "page", "--port", self.port, *options]
        self._command = list(map(str, command))

    def __enter__(self) -> Self:
        env = dict(os.environ, TMPDIR=str(self.temporary))
        with self._log.open("w") as log:
            self.process = subprocess.Popen(self._command, stdout=subprocess.PIPE, stderr=log, text=True, env=env)
        ended = threading.Timer(120, self.process.kill)
        ended.start()
        said = self.process.stdout.readline()
        ended.cancel()
        found = re.match(r"(http://127\.0\.0\.1:\d+)  \(Ctrl-C stops it\)\n", said)
        assert found, said + self.log
        self.url = found[1]
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        code = self.process.wait(30)
        self.process.stdout.close()
        assert code == 0 and "Traceback" not in self.log, self.log
        assert not [path for path in self.temporary.iterdir() if path.is_dir()], "its temporary folder goes with it"
        assert self.turned_to <= {"127.0.0.1"}

    @property
    def log(self) -> str:
        return self._log.read_text()

    @property
    def turned_to(self) -> set[str]:
        """Hosts that the server has turned to."""
        return set(re.findall(r"TURNED TO (.*)", self.log))

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
        """Status and body of an answer."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, named)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def upload(self, name: str, content: bytes) -> tuple[int, bytes]:
        head = f'--x\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'.encode()
        body = head + content + b"\r\n--x--\r\n"
        return self.ask("POST", "/gradio_api/upload", body, Content_Type="multipart/form-data; boundary=x")
