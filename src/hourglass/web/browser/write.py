"""The folder for a static host: page, network, runtime, rendered samples; written whole or not at all."""

import io
import json
import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import nn

from hourglass.core.files import reason
from hourglass.engines.engine import EngineError, Signature, example
from hourglass.engines.onnx_engine import OnnxNetwork, convert
from hourglass.inference import predictor
from hourglass.inference.backends import make_runnable
from hourglass.web.browser.graphs import check, reading, slim
from hourglass.web.browser.runtime import runtime_files
from hourglass.web.pages import PHOTOS, SEEDS, model_json, page_files, photo_jpeg, sample_jpeg
from hourglass.weights.checkpoint import WeightFacts

LARGEST_MB = 500
"""Of a network; a visitor has to fetch it."""

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self' 'wasm-unsafe-eval'",
        "worker-src 'self' blob:",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "media-src 'self' blob:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
    )
)
"""The page's content security policy: it can reach nothing but its own host."""
_RUNTIMES = {"wasm": "ort", "webgpu": "ort_webgpu"}
"""What may run a network in a browser, and how its files are called, all of them in `runtime.FILES`."""
_HEAD = f"""<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="referrer" content="no-referrer">"""


def write_web(
    folder: Path,
    network: nn.Module,
    facts: WeightFacts,
    *,
    stacks: int | None = None,
    others: Sequence[tuple[nn.Module, WeightFacts]] = (),
    runtime: Path | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> None:
    """Write a folder that any static host can serve: a page that runs the network in the browser.

    Args:
        folder: a new one, or one that is there and empty.
        network: of the weights, not an engine.
        stacks: use the first so many stacks only.
        others: further networks that the page offers.
        runtime: a local copy of onnxruntime-web, its tarball or folder; by default it comes from npm.
        progress: is told what is being done.

    Raises EngineError for a network that can't be exported, is too large or answers otherwise than before,
    RuntimeUnavailable (`runtime`), ValueError for stacks that it doesn't have and two networks of one name,
    OSError naming the folder when that is not empty or can't be written. Then there is no new folder.
    """
    folder = Path(os.path.abspath(folder))
    _check_free(folder)
    offered = [(network, facts), *others]
    names = [told.name for _, told in offered]
    if len(set(names)) < len(names):
        raise ValueError(f"two networks are called {max(names, key=names.count)}: name each only once")
    runnables = [
        make_runnable(one, told, torch.device("cpu"), "torch", "fp32", stacks)[0] for one, told in offered
    ]
    for runnable, (_, told) in zip(runnables, offered, strict=True):
        _check_size(runnable, told)
    files = {f"runtime/{name}": content for name, content in runtime_files(runtime, progress).items()}
    files |= _licences()
    progress("rendering the samples")
    samples = [sample_jpeg(number) for number in range(len(SEEDS))]
    files |= {f"samples/{number}.jpg": content for number, content in enumerate(samples)}
    files |= {f"samples/{name}.jpg": photo_jpeg(name) for name in PHOTOS}
    models = []
    for number, (runnable, (_, told)) in enumerate(zip(runnables, offered, strict=True), 1):
        progress(f"writing {told.name} as ONNX")
        sent, model = _network_files(runnable.eval(), told, stacks, samples, f"network/{number}")
        files |= sent
        models.append(model)
    runtimes = {
        name: {f"runtime/{file}": len(files[f"runtime/{file}"]) for file in (f"{stem}.js", f"{stem}.wasm")}
        for name, stem in _RUNTIMES.items()
    }
    told_json = {"networks": models, "runtimes": runtimes}
    files["model.json"] = json.dumps(told_json, allow_nan=False, indent=1).encode()
    page = page_files(__package__, _HEAD)
    files["index.html"] = page.pop("index.html")
    files |= {f"page/{name}": content for name, content in page.items()}
    _write(folder, files)


def _check_free(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise OSError(f"cannot write {folder}: it is a file; name a new folder")
    if folder.is_dir() and any(folder.iterdir()):
        raise OSError(f"{folder} is not empty; name a new folder, or delete this one first")
    parent = next(place for place in (folder, *folder.parents) if place.exists())
    try:
        TemporaryDirectory(dir=parent).cleanup()  # found out now rather than after a minute's work
    except OSError as error:
        raise OSError(f"cannot write {folder}: {parent} can't be written to ({reason(error)})") from error


def _check_size(network: nn.Module, facts: WeightFacts) -> None:
    megabytes = sum(number.numel() for number in network.parameters()) * 4 / 1e6
    if megabytes > LARGEST_MB:
        raise EngineError(
            f"{facts.name} takes {megabytes:,.0f} MB, more than a page's visitor can be asked to fetch "
            f"({LARGEST_MB} MB): export fewer stacks, or use hourglass serve"
        )


def _licences() -> dict[str, bytes]:
    """The runtime's terms, which npm's package leaves out and PyPI's, of the same project, has."""
    try:
        place = resources.files("onnxruntime")
    except ImportError as error:
        raise EngineError(f"onnxruntime is missing ({error}); pip install -e '.[export]'") from error
    names = ("LICENSE", "ThirdPartyNotices.txt")
    return {f"runtime/{name}": (place / name).read_bytes() for name in names}


def _network_files(
    network: nn.Module, facts: WeightFacts, stacks: int | None, samples: list[bytes], folder: str
) -> tuple[dict[str, bytes], dict[str, Any]]:
    """A network's files in that folder of the page, itself and its readings, and what the page is told."""
    output = str(network.output)
    heatmaps = output != "coordinates"
    with torch.inference_mode():
        stages = network(example(facts.input_px))
    model = slim(convert(network, facts.input_px, facts.to_json(), output))
    crops = np.stack([_square(sample, facts.input_px) for sample in samples])
    check(OnnxNetwork(model, Signature(facts.input_px, output, "fp32")), network, facts, crops)
    # In the order in which the page asks for them: without a flip test and with it.
    readings = {
        f"{folder}/{name}.onnx": reading(facts, output, stages, flip_test)
        for name, flip_test in (("read", False), ("read_mirrored", True))
    }
    sent = {f"{folder}/model.onnx": model, **readings}
    told = {
        **model_json(facts, heatmaps, len(stages) if heatmaps else 0),
        "several": False,
        "calibration": _calibration(facts, stacks),
        "passes": _passes(),
        "files": {name: len(content) for name, content in sent.items()},
    }
    return sent, told


def _calibration(facts: WeightFacts, stacks: int | None) -> dict[str, Any] | None:
    """What makes confidences of the last stack's scores; as in `Predictor`, of all stacks only."""
    return None if facts.calibration is None or stacks is not None else asdict(facts.calibration)


def _passes() -> dict[str, Any]:
    """The numbers by which a person is looked for, so that the page has none of its own."""
    return {
        "most": predictor.MAX_PASSES,
        "settled": predictor.SETTLED,
        "worse": predictor.WORSE,
        "seen": predictor.SEEN,
        "fewest_seen": predictor.FEWEST_SEEN,
        "smallest_side_px": predictor.SMALLEST_SIDE_PX,
    }


def _square(sample: bytes, side: int) -> npt.NDArray[np.uint8]:
    with Image.open(io.BytesIO(sample)) as image:
        return np.asarray(image.convert("RGB").resize((side, side)))


def _write(folder: Path, files: dict[str, bytes]) -> None:
    """All files into a neighbour of the folder, which then takes its place."""
    part = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    try:
        for name, content in files.items():
            path = part / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        with suppress(FileNotFoundError):
            folder.rmdir()  # the empty one that was checked before
        part.rename(folder)
    except OSError as error:
        raise OSError(f"cannot write {folder}: {reason(error)}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
