"""What surrounds every answer: headers, what `/metrics` counts, a 500 that tells nothing of this machine."""

import json
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from hourglass.serving.settings import Refused

_PEOPLE = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """Counters of one server, in a registry of its own. Needs prometheus-client (the extra `serve`)."""

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

        self.registry: Any = CollectorRegistry()
        labels = ("path", "status")
        own: dict[str, Any] = {"registry": self.registry}
        self.requests: Any = Counter("hourglass_requests", "Requests that were answered.", labels, **own)
        self.seconds: Any = Histogram(
            "hourglass_request_seconds", "From a request's head to its answer.", ("path",), **own
        )
        self.batches: Any = Counter("hourglass_batches", "Batches that the network was given.", **own)
        self.batch_requests: Any = Counter("hourglass_batch_requests", "Requests in those batches.", **own)
        self.batch_people: Any = Histogram(
            "hourglass_batch_people", "People in a batch.", buckets=_PEOPLE, **own
        )
        self.batch_seconds: Any = Histogram("hourglass_batch_seconds", "Time a batch took.", **own)
        self.inside: Any = Gauge("hourglass_inside", "Requests between upload and answer.", **own)
        self.memory: Any = Gauge("hourglass_memory_bytes", "Memory promised to requests.", **own)

    def batch(self, requests: int, people: int, seconds: float) -> None:
        """Count one batch."""
        self.batches.inc()
        self.batch_requests.inc(requests)
        self.batch_people.observe(people)
        self.batch_seconds.observe(seconds)

    def text(self) -> tuple[bytes, str]:
        """Everything in Prometheus' text form, and its content type."""
        from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

        return generate_latest(self.registry), CONTENT_TYPE_LATEST


_log = logging.getLogger(__name__)

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
Receive = Callable[[], Awaitable[Message]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "media-src 'self' blob:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = (
    (b"content-security-policy", CONTENT_SECURITY_POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"permissions-policy", b"camera=(self), microphone=(), geolocation=()"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)


class Guard:
    """ASGI middleware around the whole application."""

    def __init__(self, app: App, metrics: Metrics, root_path: str = "") -> None:
        self.app = app
        self.metrics = metrics
        self.root_path = root_path

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        # Routes are found with this path before them and without, as proxies leave it on or cut it off.
        scope["root_path"] = self.root_path
        began_s, status = time.monotonic(), 0

        async def guarded(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), *HEADERS]
            await send(message)

        try:
            await self.app(scope, receive, guarded)
        except Exception:
            name = secrets.token_hex(4)
            _log.exception("request %s failed", name)
            if status:
                raise  # too late for another answer
            text = f"something went wrong here; the server's log has it as {name}"
            await _send_error(guarded, text, name)
        finally:
            path = getattr(scope.get("route"), "path", "other")
            self.metrics.requests.labels(path, str(status)).inc()
            self.metrics.seconds.labels(path).observe(time.monotonic() - began_s)


def error_json(status: int, message: str, **more: str) -> dict[str, Any]:
    """The body of every answer that is no success."""
    return {"error": {"status": status, "message": message, **more}}


def error_headers(refused: Refused) -> dict[str, str]:
    """Headers that go with a refusal."""
    headers = {}
    if refused.retry_s is not None:
        headers["Retry-After"] = str(refused.retry_s)
    if refused.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return headers


def error_handlers() -> dict[Any, Any]:
    """What FastAPI answers for `Refused` and for addresses and methods that there aren't."""
    from fastapi.responses import JSONResponse
    from starlette.exceptions import HTTPException

    async def refused(_: Any, error: Any) -> Any:
        return JSONResponse(error_json(error.status, error.message), error.status, error_headers(error))

    async def http_error(_: Any, error: Any) -> Any:
        text = {404: "there is nothing at this address", 405: "this address has no such method"}
        message = text.get(error.status_code, "the request can't be answered")
        return JSONResponse(error_json(error.status_code, message), error.status_code, error.headers)

    return {Refused: refused, HTTPException: http_error}


async def _send_error(send: Send, text: str, name: str) -> None:
    body = json.dumps(error_json(500, text, id=name)).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 500, "headers": headers})
    await send({"type": "http.response.body", "body": body})
