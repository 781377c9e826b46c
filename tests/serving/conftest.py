"""What the server's tests share: small networks, rendered pictures, and clients."""

import io
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from hourglass.core.skeleton import LSP14
from hourglass.inference.predictor import Predictor
from hourglass.models.build import build_network
from hourglass.recipe.network import NetworkRecipe
from hourglass.serving.settings import Settings
from hourglass.synthetic.render import render
from hourglass.weights.facts import WeightFacts

Picture = npt.NDArray[np.uint8]
MakeClient = Callable[..., Any]


def new_predictor(stacks: int = 2) -> Predictor:
    """A small network of random numbers: what it finds means nothing, but is always the same."""
    torch.manual_seed(0)
    recipe = NetworkRecipe(stacks=stacks, features=16, depth=2)
    facts = WeightFacts("tiny", recipe, LSP14, 64, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    return Predictor(build_network(recipe, LSP14).eval(), facts, device="cpu", precision="fp32")


@pytest.fixture
def predictor() -> Predictor:
    return new_predictor()


@pytest.fixture
def other_predictor() -> Predictor:
    """Another network, which finds something else."""
    predictor = new_predictor(stacks=3)
    predictor.facts = replace(predictor.facts, name="other")
    return predictor


@pytest.fixture(scope="session")
def photo() -> Picture:
    return render(134, height=160, width=120).image


@pytest.fixture(scope="session")
def png(photo: Picture) -> bytes:
    file = io.BytesIO()
    Image.fromarray(photo).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def make_client() -> Iterator[MakeClient]:
    """`make_client(predictor=None, others=(), **settings)` is a client of a running application."""
    from starlette.testclient import TestClient

    from hourglass.serving.app import create_app

    with ExitStack() as open_clients:

        def make(
            predictor: Predictor | None = None, others: tuple[Predictor, ...] = (), **settings: Any
        ) -> Any:
            app = create_app(predictor or new_predictor(), Settings(**settings), others)
            return open_clients.enter_context(TestClient(app, raise_server_exceptions=False))

        yield make


@dataclass
class ServerProcess:
    """A server of its own, as the command line starts it."""

    process: "subprocess.Popen[str]"
    url: str
    log: Path

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def stop(self) -> int:
        """Ask it to end, as a container's manager does; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)


COMMAND = "import typer; from hourglass.cli.serve import serve; a = typer.Typer(); a.command()(serve); a()"


@pytest.fixture(scope="session")
def start_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., ServerProcess]]:
    """`start_server(*words)` runs `hourglass serve hg2_small --port 0` with those words behind it."""
    folder = tmp_path_factory.mktemp("servers")
    started: list[ServerProcess] = []

    def start(*words: str) -> ServerProcess:
        log = folder / f"{len(started)}.log"
        line = [sys.executable, "-c", COMMAND, "hg2_small", "--port", "0", "--precision", "fp32", *words]
        with log.open("w") as file:
            process = subprocess.Popen(line, stderr=file, text=True)
        server = ServerProcess(process, "", log)
        started.append(server)
        until = time.monotonic() + 60
        while not (found := re.search(r"answers at (\S+)", log.read_text())):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < until, "the server did not start within a minute"
            time.sleep(0.05)
        server.url = found[1]
        return server

    yield start
    for server in started:
        if server.process.poll() is None:
            server.process.kill()
            server.process.wait(30)
