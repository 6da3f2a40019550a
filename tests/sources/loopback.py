"""An HTTP server on the loopback interface that can be told to misbehave, request by request."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

NORMAL = "normal"
CUT = "cut"  # promises the whole, closes the connection halfway
HALF = "half"  # calls half of the file the whole
BUSY = "busy"  # 503, come again in 7 s
GONE = "gone"  # 404
NO_RANGE = "no range"  # sends the whole, whatever was asked for
NO_RANGE_CUT = "no range, cut"
PAGE = "page"  # 200, but of a firewall
WRONG = "wrong"  # as many bytes, but others
LONGER = "longer"  # without a length, and does not end


@dataclass
class Loopback:
    """What is served, how, and what was asked.

    Attributes:
        files: path → content.
        moods: path → moods of its next requests; the last one stays.
        requests: (path, value of `Range` or None) of every request.
    """

    address: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    moods: dict[str, list[str]] = field(default_factory=dict)
    requests: list[tuple[str, str | None]] = field(default_factory=list)

    def serve(self, path: str, content: bytes, *moods: str) -> str:
        """Serve `content` in these moods, one a request; its address."""
        self.files[path] = content
        self.moods[path] = list(moods or (NORMAL,))
        return f"{self.address}/{path}"

    def mood(self, path: str) -> str:
        moods = self.moods[path]
        return moods.pop(0) if len(moods) > 1 else moods[0]


class _Site(ThreadingHTTPServer):
    """The server, with what its handlers serve."""

    def __init__(self, site: Loopback) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.site = site


class _Handler(BaseHTTPRequestHandler):
    server: _Site

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        site, path, asked = self.server.site, self.path.lstrip("/"), self.headers["Range"]
        site.requests.append((path, asked))
        content, mood = site.files[path], site.mood(path)
        if mood == BUSY:
            self.answer(503, b"", {"Retry-After": "7"})
        elif mood == GONE:
            self.send_error(404)
        elif mood == PAGE:
            self.answer(200, b"<html>blocked</html>", {"Content-Type": "text/html; charset=utf-8"})
        elif mood == LONGER:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(content + b"and more")
        elif asked and mood not in (NO_RANGE, NO_RANGE_CUT):
            self.part(content, int(re.fullmatch(r"bytes=(\d+)-", asked)[1]), cut=mood == CUT)
        else:
            whole = {HALF: content[: len(content) // 2], WRONG: bytes(len(content))}
            self.answer(200, whole.get(mood, content), {}, cut=mood in (CUT, NO_RANGE_CUT))

    def part(self, content: bytes, start: int, *, cut: bool) -> None:
        if start >= len(content):
            self.send_error(416)
            return
        span = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self.answer(206, content[start:], {"Content-Range": span}, cut=cut)

    def answer(
        self, status: int, body: bytes, headers: dict[str, str], *, cut: bool = False
    ) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body[: (len(body) + 1) // 2] if cut else body)


@contextmanager
def loopback() -> Iterator[Loopback]:
    """A server that runs until the block ends."""
    site = Loopback()
    server = _Site(site)
    site.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
