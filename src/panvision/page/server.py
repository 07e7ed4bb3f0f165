"""The page served on 127.0.0.1 until a signal stops it, with a temporary folder that goes with it."""

import contextlib
import logging
import os
import signal
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from panvision.page.facts import Facts
from panvision.page.guard import Guard
from panvision.page.model import PageError, SharedModel

HOST = "127.0.0.1"
FIRST_PORT, PORTS = 7860, 100  # where such pages are looked for
CLOSE_SECONDS = 1  # that requests in progress have when the server stops


@dataclass(frozen=True)
class PageOptions:
    """How the page is served.

    Attributes:
        port: of 127.0.0.1; None: 7860, or the next that is free.
        max_upload_mb: megabytes, of 2^20 bytes each, of one uploaded file.
    """

    port: int | None = None
    max_upload_mb: int = 100


def serve(model: SharedModel, facts: Facts, options: PageOptions, ready: Callable[[str], None]) -> None:
    """Serve the page until Ctrl-C or SIGTERM.

    Args:
        model: answers.
        facts: what the page says of it.
        options: port and limit.
        ready: called with the page's address once it is served.

    Raises:
        PageError: the port is in use, or Gradio is not installed.
    """
    with (
        _stopped_by_signals(),
        _listener(options.port) as listener,
        tempfile.TemporaryDirectory(prefix="panvision-page-") as folder,
    ):
        _run(make_app(model, facts, options, Path(folder)), listener, ready)


def _run(app: Any, listener: socket.socket, ready: Callable[[str], None]) -> None:
    """Serve an ASGI application on a socket until a signal comes."""
    import uvicorn

    class Server(uvicorn.Server):
        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            # An open page keeps connections that never end by themselves. That they are cut off now is no fault.
            logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
            await super().shutdown(sockets)

    config = uvicorn.Config(
        app,
        log_level="error",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=CLOSE_SECONDS,
    )
    ready(f"http://{HOST}:{listener.getsockname()[1]}")
    Server(config).run(sockets=[listener])


def make_app(model: SharedModel, facts: Facts, options: PageOptions, folder: Path) -> Any:
    """The guarded ASGI application.

    Args:
        model: answers.
        facts: what the page says of it.
        options: the limit on uploads counts.
        folder: for uploads and what is drawn; whoever calls removes it.

    Raises:
        PageError: Gradio is not installed.
    """
    # Read by the toolkit when it is imported and when the page is built.
    os.environ.update(GRADIO_TEMP_DIR=str(folder), GRADIO_ANALYTICS_ENABLED="False", HF_HUB_DISABLE_TELEMETRY="1")
    try:
        from panvision.page.app import mounted
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "panvision":
            raise
        raise PageError(
            f"needs the package {error.name}, which is not installed; `pip install 'panvision[page]'`"
        ) from error
    limit = options.max_upload_mb * 2**20  # as the toolkit counts megabytes when it tells a visitor
    return Guard(mounted(model, facts, folder, limit), max_upload=limit)


def _listener(port: int | None) -> socket.socket:
    """A socket on 127.0.0.1: taken before anything slow is done, and kept, so that nobody comes between."""
    reason = ""
    for number in range(FIRST_PORT, FIRST_PORT + PORTS) if port is None else (port,):
        listener = socket.socket()
        if os.name == "posix":  # elsewhere it would take another's port away
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, number))
            listener.listen()
        except OSError as error:
            listener.close()
            reason = error.strerror or str(error)
            continue
        return listener
    if port is None:
        raise PageError(f"no port from {FIRST_PORT} to {FIRST_PORT + PORTS - 1} is free; name another with --port")
    raise PageError(f"port {port}: {reason}; name another with --port, or leave it out")


class _StoppedError(BaseException):
    """A signal has come. No mere Exception, so that nothing on the way takes it for a fault."""


@contextlib.contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """End the block, without an error, by Ctrl-C or SIGTERM.

    While uvicorn serves it takes them itself, closes what is open, and raises them once more when it is done.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        raise _StoppedError

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {kind: signal.signal(kind, stop) for kind in (signal.SIGINT, signal.SIGTERM)}
    try:
        with contextlib.suppress(_StoppedError):
            yield
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)
