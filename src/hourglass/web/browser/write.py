"""The folder for a static host: page, network, runtime, rendered samples; written whole or not at all."""

import json
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from importlib import resources
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hourglass.core.files import reason
from hourglass.engines import onnx_file
from hourglass.engines.entry import EngineError, Signature
from hourglass.inference import predictor
from hourglass.web.browser.runtime import FILES, runtime_files
from hourglass.web.pages import SEEDS, model_json, page_files, sample_jpeg
from hourglass.weights.facts import WeightFacts

LARGEST_MB = 500
"""Of a network; a visitor has to fetch it."""

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self' 'wasm-unsafe-eval'",
        "worker-src 'self' blob:",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
    )
)
"""The page's content security policy: it can reach nothing but its own host."""
_MODEL = "network/model.onnx"
_RUNTIME = [f"runtime/{name}" for name in FILES]
_HEAD = f"""<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="referrer" content="no-referrer">"""


def write_web(
    folder: Path,
    model: bytes,
    facts: WeightFacts,
    signature: Signature,
    *,
    runtime: Path | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> None:
    """Write a folder that any static host can serve: a page that runs the network in the browser.

    Args:
        folder: a new one, or one that is there and empty.
        model, signature: of an ONNX file that `hourglass export` wrote, as `onnx_file.read` gives them: the
            very file that Python runs.
        runtime: a local copy of onnxruntime-web, its tarball or folder; by default it comes from npm.
        progress: is told what is being done.

    Raises EngineError for a network that is too large, RuntimeUnavailable (`runtime`), OSError naming the
    folder when that is not empty or can't be written. Then there is no new folder.
    """
    folder = Path(os.path.abspath(folder))
    check_free(folder)
    _check_size(model, facts)
    files = {f"runtime/{name}": content for name, content in runtime_files(runtime, progress).items()}
    files |= _licences()
    progress("rendering the samples")
    samples = [sample_jpeg(number) for number in range(len(SEEDS))]
    files |= {f"samples/{number}.jpg": content for number, content in enumerate(samples)}
    sizes = {name: len(files[name]) for name in _RUNTIME}
    files |= _network_files(model, facts, signature, sizes)
    page = page_files(__package__, _HEAD)
    files["index.html"] = page.pop("index.html")
    files |= {f"page/{name}": content for name, content in page.items()}
    _write(folder, files)


def check_free(folder: Path) -> None:
    """Raise OSError, naming the folder, unless it is new or empty."""
    if folder.exists() and not folder.is_dir():
        raise OSError(f"cannot write {folder}: it is a file; name a new folder")
    if folder.is_dir() and any(folder.iterdir()):
        raise OSError(f"{folder} is not empty; name a new folder, or delete this one first")
    parent = next(place for place in (folder, *folder.parents) if place.exists())
    try:
        TemporaryDirectory(dir=parent).cleanup()  # found out now rather than after a minute's work
    except OSError as error:
        raise OSError(f"cannot write {folder}: {parent} can't be written to ({reason(error)})") from error


def _check_size(model: bytes, facts: WeightFacts) -> None:
    megabytes = len(model) / 1e6
    if megabytes > LARGEST_MB:
        raise EngineError(
            f"{facts.name} takes {megabytes:,.0f} MB, more than a page's visitor can be asked to fetch "
            f"({LARGEST_MB} MB): export fewer stacks, or use hourglass serve"
        )


def _licences() -> dict[str, bytes]:
    """The runtime's terms, which npm's package leaves out and PyPI's, of the same project, has."""
    onnx_file.onnxruntime()
    place = resources.files("onnxruntime")
    names = ("LICENSE", "ThirdPartyNotices.txt")
    return {f"runtime/{name}": (place / name).read_bytes() for name in names}


def _network_files(
    model: bytes, facts: WeightFacts, signature: Signature, runtime: dict[str, int]
) -> dict[str, bytes]:
    """The network, and what the page is told of it and of the runtime's files with their sizes."""
    heatmaps = signature.output == "heatmap"
    outputs = json.loads(onnx_file.metadata(model)["outputs"])
    stages = sum(name.startswith("stage_") for name in outputs)
    told = {
        **model_json(facts, heatmaps, stages if heatmaps else 0),
        "passes": _passes(),
        "files": {_MODEL: len(model)},
        "runtime": runtime,
    }
    return {_MODEL: model, "model.json": json.dumps(told, allow_nan=False, indent=1).encode()}


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
