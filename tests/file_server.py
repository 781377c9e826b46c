"""A web server on this machine that can misbehave, for tests of downloads."""

import hashlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from hourglass.data.download.sources import RemoteFile

CONTENT = os.urandom(300_000)


@dataclass
class Shelf:
    """What the server has, how badly it behaves, and what it was asked.

    Args:
        ranges: whether it can send part of a file.
        length: whether it tells how long a file is.
        cuts: after how many bytes it drops the next connections.
        statuses: what it answers to the next requests instead of a file.
        slip: how far the part that it sends lies from the one it was asked for, by its own words.
        asked: path, Range and If-Range of each request.
    """

    port: int = 0
    files: dict[str, bytes] = field(default_factory=lambda: {"/file.bin": CONTENT})
    tag: str = '"one"'
    ranges: bool = True
    length: bool = True
    cuts: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    kind: str = "application/octet-stream"
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    moved: dict[str, str] = field(default_factory=dict)
    slip: int = 0

    def file(self, name: str = "file.bin", content: bytes = CONTENT, **changes: object) -> RemoteFile:
        made = RemoteFile(
            name=name,
            holds="noise",
            address=f"http://127.0.0.1:{self.port}/{name}",
            seen="in a test",
            size=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
        )
        return replace(made, **changes)  # type: ignore[arg-type]


class Handler(BaseHTTPRequestHandler):
    shelf: Shelf

    def do_GET(self) -> None:
        shelf = self.shelf
        wanted, condition = self.headers.get("Range", ""), self.headers.get("If-Range", "")
        shelf.asked.append((self.path, wanted, condition))
        if shelf.statuses:
            self.send_error(shelf.statuses.pop(0))
        elif self.path in shelf.moved:
            self.send_response(302)
            self.send_header("Location", shelf.moved[self.path])
            self.end_headers()
        elif self.path not in shelf.files:
            self.send_error(404)
        else:
            self.answer(shelf.files[self.path], wanted, condition)

    def answer(self, content: bytes, wanted: str, condition: str) -> None:
        start, status = 0, 200
        if self.shelf.ranges and wanted and condition in ("", self.shelf.tag):
            start, status = int(wanted.removeprefix("bytes=").removesuffix("-")), 206
            if start >= len(content):
                self.send_error(416)
                return
        self.send_response(status)
        self.send_header("Content-Type", self.shelf.kind)
        if status == 206:
            self.send_header(
                "Content-Range", f"bytes {start + self.shelf.slip}-{len(content) - 1}/{len(content)}"
            )
        if self.shelf.length:
            self.send_header("Content-Length", str(len(content) - start))
        if self.shelf.tag:
            self.send_header("ETag", self.shelf.tag)
        self.end_headers()
        self.wfile.write(content[start : start + self.shelf.cuts.pop(0) if self.shelf.cuts else None])

    def log_message(self, format: str, *args: object) -> None:
        """Keeps quiet."""


@contextmanager
def served() -> Iterator[Shelf]:
    """A server for as long as the block runs."""
    made = Shelf()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("OneShelf", (Handler,), {"shelf": made}))
    made.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
        thread.join(30)
