"""What a server allows, and the answer to whoever asks for more."""

import re
from dataclasses import dataclass

_ORIGIN = re.compile(r"https?://[A-Za-z0-9.-]+(:\d{1,5})?|https?://\[[0-9A-Fa-f:]+\](:\d{1,5})?")
_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)+")


class Refused(Exception):
    """A request that is not answered with poses.

    Args:
        status: of HTTP.
        message: one sentence for the client; it never holds a path or a stack.
        retry_s: when to come again, for 503.
    """

    def __init__(self, status: int, message: str, retry_s: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.retry_s = retry_s


@dataclass(frozen=True)
class Settings:
    """Limits and habits of a server.

    Args:
        api_key: what clients must know; empty lets everybody in.
        max_mb: of a request's body, in 10^6 bytes.
        max_megapixels: of one picture.
        max_images: pictures in a request.
        max_boxes: people in a request.
        queue: requests that may be inside at once, from the end of their upload to their answer.
        batch_ms: how long the first request of a batch waits for others.
        batch_size: people that go through the network at once.
        timeout_s: for a client to send its request, for the network to answer it, for a client to take the
            answer.
        memory_mb: of bodies and decoded pictures of all requests together, in 10^6 bytes.
        flip_test: whether answers are averaged with the mirrored picture's where a request doesn't say.
        allow_origin: pages of other hosts that may ask, such as `https://example.org`; `*` for all.
        root_path: where a proxy puts the server below its host's root, such as `/pose`.

    Raises ValueError, naming the option, for a number that can't be.
    """

    api_key: str = ""
    max_mb: float = 16
    max_megapixels: float = 50
    max_images: int = 16
    max_boxes: int = 64
    queue: int = 64
    batch_ms: float = 5
    batch_size: int = 8
    timeout_s: float = 30
    memory_mb: float = 1024
    flip_test: bool = True
    allow_origin: tuple[str, ...] = ()
    root_path: str = ""

    def __post_init__(self) -> None:
        for name in ("max_images", "max_boxes", "queue", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{_option(name)} is {getattr(self, name)}; it must be 1 at least")
        for name in ("max_mb", "max_megapixels", "timeout_s", "memory_mb"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{_option(name)} is {getattr(self, name)}; it must be a positive number")
        if not 0 <= self.batch_ms <= 1000:
            raise ValueError(f"--batch-ms is {self.batch_ms}; it must lie between 0 and 1000")
        if self.memory_mb < 3 * self.max_mb:
            raise ValueError(
                f"--memory-mb {self.memory_mb:g} is too little for a request of --max-mb {self.max_mb:g}: "
                "give three times as much at least"
            )
        if self.api_key and not (self.api_key.isascii() and self.api_key.isprintable()):
            raise ValueError("--api-key may hold printable ASCII characters only")
        for origin in self.allow_origin:
            if origin != "*" and not _ORIGIN.fullmatch(origin):
                raise ValueError(
                    f"--allow-origin {origin!r} is no origin: give https://host or http://host:port, without "
                    "a path, or * for every page"
                )
        if self.root_path and not _PATH.fullmatch(self.root_path):
            raise ValueError(
                f"--root-path {self.root_path!r} is no path: it begins with / and doesn't end with it"
            )

    @property
    def max_bytes(self) -> int:
        return int(self.max_mb * 1e6)


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"
