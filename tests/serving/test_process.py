"""A server as a process of its own: signals, slow clients, and what the machine behind it is called."""

import http.client
import json
import socket
import threading
import time
from contextlib import suppress
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the extra `serve` is not installed")
pytest.importorskip("prometheus_client", reason="the extra `serve` is not installed")
pytest.importorskip("h11", reason="the extra `serve` is not installed")

import h11

from hourglass.serving.run import close_silent, listen, url_of

PNG = {"Content-Type": "image/png"}
HEAD = b"POST /v1/pose?boxes=1,1,90,90 HTTP/1.1\r\nHost: x\r\n"
HEAD += b"Content-Type: image/png\r\nContent-Length: %d\r\n\r\n"


@pytest.fixture(scope="module")
def server(start_server: Any) -> Any:
    return start_server("--timeout-s", "2", "--max-mb", "1", "--batch-ms", "1000", "--batch-size", "64")


def answer_of(connection: socket.socket) -> tuple[bytes, bytes]:
    """Head and body of what comes until the other side closes."""
    connection.settimeout(20)
    told = b""
    while chunk := connection.recv(65536):
        told += chunk
    head, _, body = told.partition(b"\r\n\r\n")
    return head, body


def test_slow_clients_are_sent_away_and_others_are_not(server: Any, png: bytes) -> None:
    with (
        socket.create_connection(("127.0.0.1", server.port)) as silent,
        socket.create_connection(("127.0.0.1", server.port)) as half_head,
        socket.create_connection(("127.0.0.1", server.port)) as half_body,
        socket.create_connection(("127.0.0.1", server.port)) as endless,
    ):
        half_head.sendall(HEAD[:40])
        half_body.sendall(HEAD % len(png) + png[:100])
        endless.sendall(HEAD % 50_000_000 + b"x" * 1000)
        client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
        for _ in range(8):  # one connection that is used all the while
            client.request("GET", "/healthz")
            assert client.getresponse().read() == b'{"status":"alive"}'
            time.sleep(0.5)
        client.close()
        head, body = answer_of(half_body)
        assert head.startswith(b"HTTP/1.1 408")
        assert b"longer than 2 s" in body
        head, body = answer_of(endless)
        assert head.startswith(b"HTTP/1.1 413")
        for connection in (silent, half_head):
            connection.settimeout(20)
            with suppress(ConnectionResetError):
                assert connection.recv(100) == b""


def test_a_large_body_is_refused_with_a_sentence_that_arrives(server: Any) -> None:
    client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    client.request("POST", "/v1/pose", b"x" * 8_000_000, PNG)
    answer = client.getresponse()
    assert answer.status == 413
    assert "larger than 1 MB" in json.loads(answer.read())["error"]["message"]
    client.close()


def test_a_signal_ends_it_after_what_is_in_flight(start_server: Any, png: bytes) -> None:
    """Each of four requests waits a second for others, so the signal comes while all are inside."""
    server = start_server("--batch-ms", "1000", "--batch-size", "64")
    answers: list[tuple[int, int]] = []

    def ask() -> None:
        client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        client.request("POST", "/v1/pose?boxes=1,1,90,90", png, PNG)
        answer = client.getresponse()
        answers.append((answer.status, len(json.loads(answer.read())["images"][0]["people"])))
        client.close()

    def four_inside() -> bool:
        client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        inside = b""
        while b"\nhourglass_inside 4.0" not in inside and not answers:
            client.request("GET", "/metrics")
            inside = client.getresponse().read()
        client.close()
        return not answers

    for _ in range(5):  # on a busy machine the first may be answered before the last has come
        answers.clear()
        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        if four_inside():
            break
        for thread in threads:
            thread.join(60)
    assert not answers
    assert server.stop() == 0
    for thread in threads:
        thread.join(20)
    assert answers == [(200, 1)] * 4
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port))
    assert "Traceback" not in server.log.read_text()


class FakeConnection:
    """As uvicorn's: an h11 connection and a transport."""

    def __init__(self) -> None:
        self.conn = h11.Connection(h11.SERVER)
        self.cycle: object = None
        self.unsent = 0
        self.aborted = False
        self.transport = self

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def abort(self) -> None:
        self.aborted = True


def test_only_connections_in_which_nothing_moves_are_dropped() -> None:
    import asyncio

    silent, busy, reading, stalled = (FakeConnection() for _ in range(4))
    head = HEAD % 10
    reading.conn.receive_data(head)
    reading.conn.next_event()
    clock = [0.0]
    look = close_silent(lambda: [silent, busy, reading, stalled], 3, lambda: clock[0])
    for second in range(8):
        clock[0] = float(second)
        busy.cycle = object()  # it finished another request
        stalled.unsent = 1000 if second < 3 else 400  # it takes something, then no more
        asyncio.run(look())
        assert silent.aborted == (second > 3)
        assert stalled.aborted == (second > 6)
    assert not busy.aborted
    assert not reading.aborted  # a body that trickles in is the application's affair


def test_an_address_that_is_taken_or_unknown_is_named() -> None:
    with listen("127.0.0.1", 0) as taken:
        taken.listen()
        port = taken.getsockname()[1]
        assert url_of(taken) == f"http://127.0.0.1:{port}"
        with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1 port {port}"):
            listen("127.0.0.1", port)
    with pytest.raises(OSError, match=r"--host 300\.1\.1\.1 is no address"):
        listen("300.1.1.1", 0)
