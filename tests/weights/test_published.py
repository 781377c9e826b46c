import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from hourglass.weights import published as weights
from hourglass.weights.published import DEFAULT, bundled_weights, resolve

CONTENT = b"not really tensors"


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """Two bundled networks, one of them the default."""
    files = {name: tmp_path / "bundle" / f"{name}.safetensors" for name in (DEFAULT, "other")}
    for path in files.values():
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(CONTENT)
    monkeypatch.setattr(weights, "bundled_weights", lambda: files)
    return files


def test_bundled_weights_are_named_after_their_files() -> None:
    for name, path in bundled_weights().items():
        assert path.is_file()
        assert path.name == f"{name}.safetensors"


def test_no_name_is_the_default(bundle: dict[str, Path]) -> None:
    assert resolve() == resolve(DEFAULT) == bundle[DEFAULT]


def test_a_bundled_name(bundle: dict[str, Path]) -> None:
    assert resolve("other") == bundle["other"]


def test_a_file_by_text_and_by_path(tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    path.write_bytes(CONTENT)
    assert resolve(path) == resolve(str(path)) == path


def test_a_folder_with_one_file(tmp_path: Path) -> None:
    (tmp_path / "mine.safetensors").write_bytes(CONTENT)
    (tmp_path / "recipe.yaml").write_text("")
    assert resolve(tmp_path) == tmp_path / "mine.safetensors"


def test_a_run_folder_gives_its_best(tmp_path: Path) -> None:
    for name in ("last", "best"):
        (tmp_path / f"{name}.safetensors").write_bytes(CONTENT)
    assert resolve(tmp_path) == tmp_path / "best.safetensors"


@pytest.mark.parametrize("names", [(), ("a", "b")])
def test_a_folder_that_leaves_a_choice_is_refused(tmp_path: Path, names: tuple[str, ...]) -> None:
    for name in names:
        (tmp_path / f"{name}.safetensors").write_bytes(CONTENT)
    with pytest.raises(FileNotFoundError, match=f"{tmp_path} holds {len(names)} safetensors files"):
        resolve(tmp_path)


@pytest.mark.parametrize(
    "name", ["hg9", "./gone.safetensors", "/gone/model", "a/b/c.safetensors", "runs/gone.safetensors"]
)
def test_an_unknown_name_is_answered_with_the_known_ones(name: str, bundle: dict[str, Path]) -> None:
    with pytest.raises(FileNotFoundError, match=rf"no weights '{name}'.*{DEFAULT}, other"):
        resolve(name)


class Hub(BaseHTTPRequestHandler):
    """As much of the hub's protocol as one download needs."""

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def answer(self) -> None:
        found = self.path.startswith(("/me/pose/resolve/main/", "/me/pose/resolve/v2/"))
        body = (CONTENT if "/main/" in self.path else CONTENT + b" v2") if found else b"nothing"
        self.send_response(200 if found else 404)
        self.send_header("Content-Length", str(len(body)))
        if found:
            self.send_header("ETag", f'"{hashlib.sha1(body).hexdigest()}"')
            self.send_header("X-Repo-Commit", "0" * 39 + ("1" if "/main/" in self.path else "2"))
        else:
            self.send_header("X-Error-Code", "RepoNotFound")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join(30)
    server.server_close()


ASK = """
import sys, time
from hourglass.weights.published import resolve
time.sleep = lambda seconds: None  # the client waits half a minute between its attempts
for name in sys.argv[1:]:
    try:
        print(resolve(name).read_bytes().decode())
    except FileNotFoundError as error:
        print("refused:", error)
"""


def ask(endpoint: str, home: Path, *names: str) -> list[str]:
    """Resolve in a process of its own: the hub's client reads its settings when it is imported."""
    proxies = ("http_proxy", "https_proxy", "all_proxy", "hf_token", "hf_hub_offline")
    settings = {key: value for key, value in os.environ.items() if key.lower() not in proxies}
    settings |= {
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(home),
        "HF_HUB_CACHE": str(home / "hub"),
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    done = subprocess.run(
        [sys.executable, "-c", ASK, *names],
        env=settings,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_hub_id_is_downloaded_once_and_read_from_the_cache_without_the_hub(
    hub: str, tmp_path: Path
) -> None:
    first = ask(hub, tmp_path, "me/pose", "me/pose@v2", "me/nothing")
    assert first[:2] == ["not really tensors", "not really tensors v2"]
    assert first[2].startswith("refused: the weights 'me/nothing' are no file here")
    (again,) = ask("http://127.0.0.1:9", tmp_path, "me/pose")
    assert again == "not really tensors"


def test_a_hub_that_cannot_be_reached_is_one_sentence(tmp_path: Path) -> None:
    (answer,) = ask("http://127.0.0.1:9", tmp_path, "me/pose")
    assert answer.startswith(
        "refused: the weights 'me/pose' are no file here and can't be had from the hub: "
    )
