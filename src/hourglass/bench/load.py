"""Put a server on this machine under load, with batching and without, and print a table and JSON.

    python -m hourglass.bench.load [--clients 50] [--seconds 60] [--rounds 3] [-- OPTIONS OF hourglass serve]

Each client sends one rendered person after another over its own connection, on loopback, and comes again
after a 503 when it is told to. Two servers take turns: one as it is, and one that answers people one at a
time; the ratio is the median over the pairs of turns. Errors other than 503 must be none, and after the
warm-up neither server's memory must grow by more than 5 %. Needs the extra `serve`; nothing else should run
meanwhile.
"""

import argparse
import http.client
import io
import json
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from hourglass.synthetic.render import render

ONE_AT_A_TIME = ("--batch-ms", "0", "--batch-size", "1")
_SERVE = "import typer; from hourglass.cli.serve import serve; a = typer.Typer(); a.command()(serve); a()"
_PICTURES = 8


@dataclass
class Seen:
    """What the clients of one run saw."""

    statuses: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    memory_mb: list[tuple[float, float]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, status: str, seconds: float) -> None:
        with self.lock:
            self.statuses[status] += 1
            if status == "200":
                self.seconds.append(seconds)


def pictures() -> list[bytes]:
    """Rendered people as JPEG files."""
    files = []
    for seed in range(_PICTURES):
        file = io.BytesIO()
        Image.fromarray(render(seed, height=320, width=240).image).save(file, "JPEG", quality=90)
        files.append(file.getvalue())
    return files


def start(options: list[str], log: Path) -> tuple[subprocess.Popen[bytes], int]:
    """A server as a process of its own, and its port."""
    with log.open("wb") as file:
        line = [sys.executable, "-c", _SERVE, "--port", "0", *options]
        process = subprocess.Popen(line, stderr=file)
    while not (found := re.search(r"answers at http://\S+:(\d+)", log.read_text())):
        if process.poll() is not None:
            raise SystemExit(f"the server did not start: {log.read_text()}")
        time.sleep(0.1)
    return process, int(found[1])


def client(port: int, files: list[bytes], first: int, path: str, until: float, seen: Seen) -> None:
    """One client: a request after the other until the time is over."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    number = first
    while (began := time.monotonic()) < until:
        try:
            connection.request("POST", path, files[number % len(files)], {"Content-Type": "image/jpeg"})
            answer = connection.getresponse()
            answer.read()
            status, wait = str(answer.status), float(answer.getheader("Retry-After") or 0)
        except (OSError, http.client.HTTPException) as error:
            status, wait = type(error).__name__, 0.1
            connection.close()
        seen.add(status, time.monotonic() - began)
        number += 1
        if wait:
            time.sleep(min(wait, max(0.0, until - time.monotonic())))
    connection.close()


def resident_mb(pid: int) -> float:
    """Memory that a process holds, as Linux tells it."""
    text = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", text)
    return int(found[1]) / 1000 if found else 0.0


def counted(port: int, name: str) -> float:
    """One number of `/metrics`."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    found = re.search(rf"^{name} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else 0.0


class Server:
    """One server under load: it is warmed up once, then gets its turns."""

    def __init__(self, label: str, options: list[str], given: argparse.Namespace, log: Path) -> None:
        self.label, self.options, self.given, self.log = label, options, given, log
        self.warm, self.turns = Seen(), list[Seen]()
        self.rates: list[float] = []
        self.process, self.port = start(options, log)

    def turn(self, files: list[bytes], seconds: float, seen: Seen) -> None:
        """All clients for so long."""
        path = "/v1/pose" if self.given.whole else "/v1/pose?boxes=20,20,200,280"
        run_clients(self.given.clients, self.port, files, path, seconds, seen, self.process.pid)

    def timed_turn(self, files: list[bytes]) -> None:
        """A turn that counts."""
        began, seen = time.monotonic(), Seen()
        self.turn(files, self.given.seconds, seen)
        self.rates.append(len(seen.seconds) / (time.monotonic() - began))
        self.turns.append(seen)

    def stop(self) -> dict[str, Any]:
        """End it, and say what was seen."""
        batches = counted(self.port, "hourglass_batches_total")
        answered = counted(self.port, "hourglass_batch_requests_total")
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(120)
        times = 1000 * np.array([s for seen in self.turns for s in seen.seconds] or [0.0])
        memory = np.array([mb for seen in self.turns for _, mb in seen.memory_mb] or [0.0])
        quarter = max(1, len(memory) // 4)
        start_mb, end_mb = float(np.median(memory[:quarter])), float(np.median(memory[-quarter:]))
        statuses = sum((seen.statuses for seen in self.turns), self.warm.statuses)
        return {
            "server": self.label,
            "options": self.options,
            "requests_per_s": self.rates,
            "statuses": dict(statuses),
            "errors_but_503": sum(n for status, n in statuses.items() if status not in ("200", "503")),
            "median_ms": float(np.median(times)),
            "p95_ms": float(np.percentile(times, 95)),
            "requests_per_batch": answered / max(1.0, batches),
            "memory_mb": [round(start_mb), round(end_mb)],
            "memory_most_mb": round(float(memory.max())),
            "memory_growth": end_mb / max(start_mb, 1e-9) - 1,
            "exit_code": code,
            "tracebacks": self.log.read_text().count("Traceback"),
        }


def measure(given: argparse.Namespace) -> list[dict[str, Any]]:
    """Both servers, in turns, so that what else the machine does falls on both alike."""
    files = pictures()
    with tempfile.TemporaryDirectory() as folder:
        servers: list[Server] = []
        try:
            for label, more in (("batched", ()), ("one at a time", ONE_AT_A_TIME)):
                log = Path(folder) / f"{len(servers)}.log"
                servers.append(Server(label, [*given.serve, *more], given, log))
                servers[-1].turn(files, given.warm_up, servers[-1].warm)
            for number in range(given.rounds):
                for server in servers if number % 2 == 0 else servers[::-1]:
                    server.timed_turn(files)
            return [server.stop() for server in servers]
        finally:
            for server in servers:
                if server.process.poll() is None:
                    server.process.kill()
                    server.process.wait()


def run_clients(
    count: int, port: int, files: list[bytes], path: str, seconds: float, seen: Seen, pid: int
) -> None:
    """All clients at once, and the server's memory twice a second meanwhile."""
    until = time.monotonic() + seconds
    threads = [
        threading.Thread(target=client, args=(port, files, i, path, until, seen)) for i in range(count)
    ]
    for thread in threads:
        thread.start()
    while time.monotonic() < until:
        seen.memory_mb.append((time.monotonic(), resident_mb(pid)))
        time.sleep(0.5)
    for thread in threads:
        thread.join()


def main() -> None:
    """Measure both servers, print the table and the JSON, and fail where a promise is broken."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--clients", type=int, default=50, help="at once")
    parser.add_argument("--seconds", type=float, default=60, help="of each turn")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each of the two servers")
    parser.add_argument("--warm-up", type=float, default=10, help="seconds of each server that don't count")
    parser.add_argument("--whole", action="store_true", help="send no boxes, which takes up to three passes")
    parser.add_argument("--json", metavar="FILE", help="also write the numbers there")
    parser.add_argument("serve", nargs="*", help="options of hourglass serve, behind --")
    given = parser.parse_args()
    rows = measure(given)
    print("| server | requests/s | median ms | p95 ms | requests a batch | 503 | other errors | memory MB |")
    print("|---|---|---|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row['server']} | {np.median(row['requests_per_s']):.1f} | {row['median_ms']:.0f} "
            f"| {row['p95_ms']:.0f} | {row['requests_per_batch']:.2f} | {row['statuses'].get('503', 0)} "
            f"| {row['errors_but_503']} | {row['memory_mb'][0]} to {row['memory_mb'][1]} "
            f"({row['memory_growth']:+.1%}) |"
        )
    ratios = np.array(rows[0]["requests_per_s"]) / np.maximum(rows[1]["requests_per_s"], 1e-9)
    ratio = float(np.median(ratios))
    print(
        f"\nbatching answers {ratio:.2f} times as many requests ({ratios.min():.2f} to {ratios.max():.2f} "
        f"over {given.rounds} pairs)\n"
    )
    result = {
        "clients": given.clients,
        "seconds": given.seconds,
        "ratio": ratio,
        "ratios": ratios.tolist(),
        "rows": rows,
    }
    text = json.dumps(result, indent=1)
    print(text)
    if given.json:
        Path(given.json).write_text(text + "\n", encoding="utf-8")
    if any(row["errors_but_503"] or row["memory_growth"] > 0.05 or row["exit_code"] for row in rows):
        raise SystemExit("a promise is broken: see errors, memory and exit codes above")


if __name__ == "__main__":
    main()
