"""Weights through huggingface_hub's own client to a hub on this machine, and back."""

import base64
import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from huggingface_hub import ModelCard
from PIL import Image

from hourglass.core.skeleton import LSP14
from hourglass.recipe.network import NetworkRecipe
from hourglass.weights.checkpoint import WeightFacts, save_weights
from hourglass.weights.load import network_from_facts

FACTS = WeightFacts("tiny", NetworkRecipe(stacks=1, features=8, depth=1), LSP14, 64, (0, 0, 0), (1, 1, 1))
COMMIT = "1" * 40


class Hub(BaseHTTPRequestHandler):
    """As much of the hub's protocol as making a repository, one commit and downloads need."""

    files: dict[str, bytes]
    asked: list[tuple[str, Any]]

    def do_POST(self) -> None:
        chunked = self.headers.get("Transfer-Encoding", "") == "chunked"
        raw = self.chunks() if chunked else self.rfile.read(int(self.headers["Content-Length"]))
        rows = [json.loads(line) for line in raw.splitlines()]
        self.asked.append((self.path, rows))
        base = f"http://{self.headers['Host']}"
        if rows[0].get("name") == "broken":
            self.connection.close()
        elif self.path == "/api/repos/create":
            self.answer({"url": f"{base}/me/pose", "name": "me/pose"})
        elif self.path == "/api/validate-yaml":
            self.answer({"errors": [], "warnings": []})
        elif self.path == "/api/models/me/pose/preupload/main":
            paths = [file["path"] for file in rows[0]["files"]]
            self.answer(
                {"files": [{"path": p, "uploadMode": "regular", "shouldIgnore": False} for p in paths]}
            )
        elif self.path.startswith("/api/models/me/pose/commit/main"):
            for row in rows:
                if row["key"] == "file":
                    self.files[row["value"]["path"]] = base64.b64decode(row["value"]["content"])
            self.answer(
                {"commitUrl": f"{base}/me/pose/commit/{COMMIT}", "commitOid": COMMIT, "success": True}
            )
        else:
            self.answer({"error": "no such thing"}, 404)

    def chunks(self) -> bytes:
        content = b""
        while size := int(self.rfile.readline(), 16):
            content += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return content

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        content = self.files.get(self.path.removeprefix("/me/pose/resolve/main/"))
        if content is None:
            self.answer({"error": "no such file"}, 404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def answer(self, content: dict[str, Any], status: int = 200) -> None:
        raw = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[tuple[str, type[Hub]]]:
    handler = type("Made", (Hub,), {"files": {}, "asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", handler
    server.shutdown()
    thread.join(30)
    server.server_close()


RUN = """
import json, sys
from typer.testing import CliRunner
from hourglass.cli.main import app
for command in json.loads(sys.argv[1]):
    done = CliRunner().invoke(app, command)
    error = None if done.exception is None else [type(done.exception).__name__, str(done.exception)]
    print(json.dumps({"said": done.stdout, "error": error}))
"""


def hourglass(endpoint: str, home: Path, *commands: tuple[object, ...]) -> list[Any]:
    """Commands in a process of their own: the hub's client reads its settings when it is imported."""
    others = ("http_proxy", "https_proxy", "all_proxy", "hf_token_path", "hf_hub_offline")
    settings = {key: value for key, value in os.environ.items() if key.lower() not in others}
    settings |= {
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(home),
        "HF_HUB_CACHE": str(home / "hub"),
        "HF_TOKEN": "hf_of_nobody",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    plain = json.dumps([[str(word) for word in command] for command in commands])
    call = [sys.executable, "-c", RUN, plain]
    done = subprocess.run(call, env=settings, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_what_is_uploaded_can_be_used_by_name(hub: tuple[str, type[Hub]], tmp_path: Path) -> None:
    endpoint, server = hub
    mine = tmp_path / "mine.safetensors"
    save_weights(mine, network_from_facts(FACTS).state_dict(), FACTS)
    Image.fromarray(np.zeros((70, 60, 3), np.uint8)).save(tmp_path / "p.png")
    predict = ("predict", tmp_path / "p.png", "--weights", "me/pose", "--no-overlay", "--json", "-")
    sent, used, refused, broken = hourglass(
        endpoint,
        tmp_path,
        ("convert", mine, "--to", "hub", "me/pose"),
        (*predict, "--device", "cpu"),
        ("convert", mine, "--to", "hub", "me/other"),
        ("convert", mine, "--to", "hub", "me/broken"),
    )
    assert sent["error"] is None
    assert sent["said"].strip() == f"{endpoint}/me/pose/commit/{COMMIT}"
    assert sorted(server.files) == ["README.md", "config.json", "model.safetensors"]
    assert server.files["model.safetensors"] == mine.read_bytes()
    assert WeightFacts.from_json(server.files["config.json"].decode()) == FACTS
    card = ModelCard(server.files["README.md"].decode())
    assert 'Predictor.from_pretrained("me/pose")' in card.content
    created = next(rows[0] for path, rows in server.asked if path == "/api/repos/create")
    assert (created["organization"], created["name"]) == ("me", "pose")
    # The hub was asked whether it takes the card.
    assert any(path == "/api/validate-yaml" for path, _ in server.asked)

    assert used["error"] is None
    assert json.loads(used["said"])["weights"] == "tiny"

    # No repository there, and a connection that breaks: a sentence each, which the command line ends with 2.
    for answer, repository in ((refused, "me/other"), (broken, "me/broken")):
        assert answer["error"][0] == "OSError"
        assert answer["error"][1].startswith(f"{repository} can't be uploaded: ")
        assert "\n" not in answer["error"][1]
