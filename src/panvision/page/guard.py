"""What stands before the page's server: only this machine's own page may ask, for what a page needs, within limits.

The server listens on 127.0.0.1, but any web page in the visitor's browser could send requests there, under its own
name or, by DNS rebinding, under that of a host that suddenly points to this machine. And the toolkit behind it can do
more than this page wants: fetch addresses, run in other ways, report on itself. So it is refused here.
"""

import json
import re
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]
Headers = dict[bytes, bytes]

# A port may differ: it is another one at the near end of a tunnel.
_OWN_HOST = re.compile(rb"(127\.0\.0\.1|localhost|\[::1\])(:\d{1,5})?")
_UPLOAD = "/gradio_api/upload"
# What carries words of a visitor that the toolkit reads as its own messages: sliders, and frames of a camera.
_MESSAGES = re.compile(r"/gradio_api/(queue/join|stream/\w+)/?")
# All that the page's own scripts ask for.
_READ = re.compile(
    r"/|/(config|theme\.css|favicon\.ico|manifest\.json|robots\.txt)|/(assets|static)/.+"
    r"|/gradio_api/(queue/data|upload_progress|startup-events|heartbeat/\w+|file=/.+)"
)
_WRITTEN = re.compile(rf"{_MESSAGES.pattern}|{_UPLOAD}|/gradio_api/(cancel|reset)/?|/gradio_api/stream/\w+/close")

# Of another machine; one letter before the colon is a drive of this one.
_ADDRESS = re.compile(r"\s*([a-z][a-z0-9+.-]+:|//|\\\\)", re.IGNORECASE)

MAX_MESSAGE = 8_000_000  # bytes: a frame of a camera
FORM_BYTES = 65_536  # that a form adds to the file in it

# The toolkit's scripts stand in the page and make functions of templates; nothing may come from, or go, elsewhere.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; "
    "worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)
_SAID = (
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)


class _RefusedError(Exception):
    """A request that is not answered.

    Attributes:
        status: HTTP's number.
        reason: in words.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


class Guard:
    """An ASGI application that hands on what the page itself asks for, and refuses the rest.

    Args:
        app: the application behind it.
        max_upload: bytes of one uploaded file.
    """

    def __init__(self, app: App, *, max_upload: int) -> None:
        self._app, self._max_upload = app, max_upload

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one connection."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        try:
            if scope["type"] != "http":
                raise _RefusedError(403, "not served here")
            headers = dict(scope["headers"])
            _check_asker(scope, headers)
            _check_place(scope["method"], scope["path"])
            limit = self._max_upload + FORM_BYTES if scope["path"] == _UPLOAD else MAX_MESSAGE
            receive = await _checked_body(scope, headers, receive, limit)
            # What a proxy would say; there is none, and the toolkit would believe it.
            kept = [(name, value) for name, value in scope["headers"] if not name.startswith(b"x-forwarded-")]
            await self._app({**scope, "headers": kept}, receive, _with_policy(send))
        except _RefusedError as refused:
            await _answer(send, refused)


def _check_asker(scope: Message, headers: Headers) -> None:
    """Refuse what another site, or a name that is not this machine's, asks."""
    hosts = [value for name, value in scope["headers"] if name == b"host"]
    if len(hosts) != 1 or not _OWN_HOST.fullmatch(hosts[0]):
        raise _RefusedError(421, "this page is served as 127.0.0.1 or localhost only")
    origin = headers.get(b"origin")
    if origin is not None and origin != b"http://" + hosts[0]:
        raise _RefusedError(403, "another site's request")
    visit = scope["path"] == "/" and headers.get(b"sec-fetch-mode") == b"navigate"
    if headers.get(b"sec-fetch-site", b"none") not in (b"none", b"same-origin") and not visit:
        raise _RefusedError(403, "another site's request")


def _check_place(method: str, path: str) -> None:
    """Refuse what the page has no need of."""
    allowed = {"GET": _READ, "HEAD": _READ, "POST": _WRITTEN}.get(method)
    if allowed is None:
        raise _RefusedError(405, "not served here")
    if not allowed.fullmatch(path):
        raise _RefusedError(404, "not served here")


async def _checked_body(scope: Message, headers: Headers, receive: Receive, limit: int) -> Receive:
    """The `receive` of a request whose body stays within `limit` bytes and names no address to be fetched."""
    length = headers.get(b"content-length", b"0")
    if not length.isdigit() or int(length) > limit:
        raise _RefusedError(413, f"more than {limit} bytes")
    if not _MESSAGES.fullmatch(scope["path"]):
        return _counted(receive, limit)
    body, counted = bytearray(), _counted(receive, limit)
    while True:
        message = await counted()
        body += message.get("body", b"")
        if message["type"] != "http.request" or not message.get("more_body"):
            break
    try:
        values = json.loads(bytes(body) or b"null")
    except (ValueError, RecursionError) as error:
        raise _RefusedError(400, "not JSON") from error
    if any(_is_address(file.get("path")) for file in _files(values)):
        raise _RefusedError(403, "files are uploaded here, not fetched")
    whole: list[Message] = [{"type": "http.request", "body": bytes(body), "more_body": False}]

    async def again() -> Message:
        return whole.pop() if whole else await receive()

    return again


def _counted(receive: Receive, limit: int) -> Receive:
    """`receive`, until it has given more than `limit` bytes."""
    got = 0

    async def counting() -> Message:
        nonlocal got
        message = await receive()
        got += len(message.get("body", b""))
        if got > limit:
            raise _RefusedError(413, f"more than {limit} bytes")
        return message

    return counting


def _files(values: Any) -> Iterator[dict[str, Any]]:
    """Every object in a message, however deep."""
    ahead = [values]
    while ahead:
        value = ahead.pop()
        if isinstance(value, dict):
            yield value
            ahead += value.values()
        elif isinstance(value, list):
            ahead += value


def _is_address(path: object) -> bool:
    return isinstance(path, str) and _ADDRESS.match(path) is not None


def _with_policy(send: Send) -> Send:
    """`send`, with the headers that bind the browser."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            names = {name for name, _ in _SAID}
            kept = [(name, value) for name, value in message.get("headers", ()) if name.lower() not in names]
            message = {**message, "headers": [*kept, *_SAID]}
        await send(message)

    return sending


async def _answer(send: Send, refused: _RefusedError) -> None:
    text = f"panvision page: {refused.reason}\n".encode()
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(text)).encode()), *_SAID]
    await send({"type": "http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "http.response.body", "body": text})
