"""The Dockerfile, without an engine to build it: what it promises, and hadolint where it is installed."""

import json
import re
import shlex
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path, PurePosixPath

import pytest
import typer

from hourglass.cli.serve import serve

ROOT = Path(__file__).parents[2]
HADOLINT = shutil.which("hadolint") or shutil.which("hadolint", path=str(Path(sys.executable).parent))


def instructions() -> list[tuple[str, str]]:
    """Each instruction's word and the rest of it, continued lines joined."""
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = [line.strip() for line in text.replace("\\\n", " ").splitlines() if line.strip()]
    return [(line.split(None, 1)[0], " ".join(line.split(None, 1)[1].split())) for line in lines]


def of(word: str) -> list[str]:
    return [rest for name, rest in instructions() if name == word]


def last_stage() -> dict[str, str]:
    found: dict[str, str] = {}
    for word, rest in instructions():
        found = {"FROM": rest} if word == "FROM" else {**found, word: rest}
    return found


def test_it_has_two_stages_on_fixed_bases() -> None:
    first, second = of("FROM")
    assert first.endswith(" AS build")
    assert first.split()[0] == second == "python:3.11-slim-bookworm"
    assert last_stage()["COPY"].startswith("--from=build ")
    assert "ADD" not in {word for word, _ in instructions()}


def test_it_installs_through_the_constraints() -> None:
    (install,) = [run for run in of("RUN") if "pip install" in run]
    assert "-c constraints.txt" in install
    assert install.endswith('".[serve]"')
    assert "/whl/cpu" in of("ARG")[0]


def test_what_it_copies_is_there_and_not_ignored() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert lines[0] == "*"
    let_in = {line[1:] for line in lines if line.startswith("!")}
    copied = [shlex.split(rest)[:-1] for rest in of("COPY") if not rest.startswith("--from")]
    sources = {str(PurePosixPath(source)) for words in copied for source in words}
    assert sources == let_in
    assert all((ROOT / source).exists() for source in sources)


def test_it_runs_as_nobody_and_listens_to_all() -> None:
    stage = last_stage()
    user, _, group = stage["USER"].partition(":")
    assert int(user) > 0
    assert int(group) > 0
    command = json.loads(stage["ENTRYPOINT"])
    assert command[:2] == ["hourglass", "serve"]
    app = typer.Typer()
    app.command()(serve)
    parsed = typer.main.get_command(app).make_context("serve", [*command[2:], "hg2_small", "--queue", "9"])
    assert (parsed.params["host"], parsed.params["weights"]) == ("0.0.0.0", "hg2_small")
    assert str(parsed.params["port"]) == stage["EXPOSE"]
    assert stage["STOPSIGNAL"] == "SIGTERM"


def test_its_health_check_tells_health(tmp_path: Path) -> None:
    status = [200]

    class Health(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status[0] if self.path == "/healthz" else 404)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Keeps quiet."""

    server = HTTPServer(("127.0.0.1", 0), Health)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        options, _, check = last_stage()["HEALTHCHECK"].partition(" CMD ")
        assert "--start-period" in options
        command = json.loads(check)
        assert "127.0.0.1:8000" in command[2]
        command[0] = sys.executable
        command[2] = command[2].replace("8000", str(server.server_port))
        for code in (200, 503):
            status[0] = code
            done = subprocess.run(command, capture_output=True, timeout=30)
            assert (done.returncode == 0) == (code == 200)
    finally:
        server.shutdown()
        server.server_close()
        thread.join(30)


@pytest.mark.skipif(HADOLINT is None, reason="hadolint is not installed")
def test_hadolint_finds_nothing(tmp_path: Path) -> None:
    def lint(path: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run([str(HADOLINT), str(path)], capture_output=True, text=True, timeout=60)

    told = lint(ROOT / "Dockerfile")
    assert told.returncode == 0, told.stdout
    bad = tmp_path / "Dockerfile"
    bad.write_text("FROM python\nRUN pip install torch\n")
    assert lint(bad).returncode != 0
