"""One Ray cluster for all tests of the batch; those that need it are skipped where Ray is not installed."""

import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from hourglass.core.skeleton import LSP14
from hourglass.models.build import build_network
from hourglass.recipe.network import NetworkRecipe
from hourglass.weights.checkpoint import WeightFacts, save_weights


def poisonous() -> None:
    """Every process of the cluster starts with this: one picture kills it, as a decoder's fault would."""
    import os
    import signal
    from typing import Any

    from PIL import Image

    good = Image.open

    def deadly(file: Any, *rest: Any, **named: Any) -> Any:
        if hasattr(file, "getvalue") and file.getvalue().startswith(b"poison: it kills"):
            os.kill(os.getpid(), signal.SIGKILL)
        return good(file, *rest, **named)

    Image.open = deadly  # type: ignore[assignment]


@pytest.fixture(scope="package")
def ray_folder() -> Iterator[Path]:
    """Where a Ray cluster of two CPUs runs and keeps its files; this process is connected to it.

    Only while this folder's tests run: a connected process ends when its cluster does, other tests or not.
    """
    pytest.importorskip("ray", reason="Ray is not installed; pip install -e '.[batch]'")
    from hourglass.batch.cluster import import_ray

    ray = import_ray()
    # A short path: Ray keeps sockets there, and the system limits their names to 107 characters.
    folder = Path(tempfile.mkdtemp(prefix="hg-ray-", dir="/tmp"))
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    ray.init(
        "local",
        num_cpus=2,
        object_store_memory=100 << 20,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        _temp_dir=str(folder),
        runtime_env={"worker_process_setup_hook": poisonous},
    )
    yield folder
    ray.shutdown()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of random numbers: its joints mean nothing, but they are always the same."""
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    torch.manual_seed(0)
    recipe = NetworkRecipe(stacks=2, features=16, depth=2)
    facts = WeightFacts("tiny", recipe, LSP14, 64, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    save_weights(path, build_network(recipe, LSP14).state_dict(), facts)
    return path
