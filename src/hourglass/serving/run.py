"""A server process: its socket, its signals, and clients that take too long."""

import logging
import signal
import socket
import time
from collections.abc import Callable, Coroutine
from typing import Any

from hourglass.core.files import reason
from hourglass.serving.settings import Settings

_log = logging.getLogger(__name__)
_State = tuple[str, int]

MOST_CONNECTIONS = 1000
"""Open at once; further ones are answered with 503."""


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens there; port 0 takes a free one. Raises OSError in one sentence."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (socket.gaierror, UnicodeError) as error:
        raise OSError(f"--host {host} is no address of this machine") from error
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
    except (OSError, OverflowError) as error:
        made.close()
        raise OSError(f"cannot listen on {host} port {port}: {reason(error)}") from error
    return made


def url_of(listening: socket.socket) -> str:
    """The address to open in a browser."""
    host, port = listening.getsockname()[:2]
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{shown}:{port}"


def run(app: Any, listening: socket.socket, settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then finish what is in flight and return.

    Must be called in the main thread.
    """
    import uvicorn

    # After a clean end uvicorn raises the signal again, for whoever listened before it; we have finished.
    before = {number: signal.signal(number, _finished) for number in (signal.SIGTERM, signal.SIGINT)}
    connections: list[Any] = []
    config = uvicorn.Config(
        app,
        http="h11",
        ws="none",
        lifespan="on",
        log_level="warning",
        access_log=False,
        server_header=False,
        limit_concurrency=MOST_CONNECTIONS,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=int(2 * settings.timeout_s) + 5,
        timeout_notify=1,
        callback_notify=close_silent(
            lambda: list(connections[0].server_state.connections), settings.timeout_s
        ),
    )
    server = uvicorn.Server(config)
    connections.append(server)
    try:
        server.run(sockets=[listening])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def close_silent(
    connections: Callable[[], list[Any]], timeout_s: float, now: Callable[[], float] = time.monotonic
) -> Callable[[], Coroutine[Any, Any, None]]:
    """A function to be called every second: it drops connections in which nothing moves for too long.

    uvicorn itself waits forever for a request's head, for the rest of a body that was refused, and for a
    client to take its answer. The application's own waits have their own limit.

    Args:
        connections: uvicorn's open h11 connections.
    """
    since: dict[tuple[Any, _State], float] = {}

    async def look() -> None:
        nonlocal since
        stuck = {(connection, state) for connection in connections() if (state := _stuck(connection))}
        since = {key: since.get(key, now()) for key in stuck}
        for (connection, state), start in list(since.items()):
            if now() - start > timeout_s:
                _log.info("a connection was dropped: %s", state[0])
                connection.transport.abort()

    return look


def _stuck(connection: Any) -> _State | None:
    """What a connection waits for from its client; equal as long as nothing moves. None while we work."""
    import h11

    transport, ours, theirs = connection.transport, connection.conn.our_state, connection.conn.their_state
    if transport is None:
        return None
    if unsent := transport.get_write_buffer_size():
        return "the answer is not taken", unsent
    if theirs is h11.IDLE:
        return "no request comes", id(connection.cycle)
    if ours is h11.DONE and theirs is h11.SEND_BODY:
        return "the refused body does not end", id(connection.cycle)
    return None


def _finished(*_: object) -> None:
    """Nothing is left to do."""
