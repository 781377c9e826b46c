"""The folder for a static host: page, network, runtime, rendered samples; written whole or not at all."""

import json
import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import resources
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hourglass.core.files import reason
from hourglass.engines import onnx_file
from hourglass.engines.entry import EngineError, Signature
from hourglass.inference import predictor
from hourglass.web.browser.runtime import runtime_files
from hourglass.web.pages import PHOTOS, SEEDS, model_json, page_files, photo_jpeg, sample_jpeg
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
    networks: Sequence[tuple[bytes, WeightFacts, Signature]],
    *,
    runtime: Path | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> None:
    """Write a folder that any static host can serve: a page that runs networks in the browser.

    Args:
        folder: a new one, or one that is there and empty.
        networks: those that the page offers, the first one first: ONNX files that `hourglass export` wrote,
            as `onnx_file.read` gives them; the very files that Python runs.
        runtime: a local copy of onnxruntime-web, its tarball or folder; by default it comes from npm.
        progress: is told what is being done.

    Raises EngineError for a network that is too large, RuntimeUnavailable (`runtime`), ValueError for two
    networks of one name, OSError naming the folder when that is not empty or can't be written. Then there is
    no new folder.
    """
    folder = Path(os.path.abspath(folder))
    check_free(folder)
    names = [facts.name for _, facts, _ in networks]
    if len(set(names)) < len(names):
        raise ValueError(f"two networks are called {max(names, key=names.count)}: name each only once")
    for model, facts, _ in networks:
        _check_size(model, facts)
    files = {f"runtime/{name}": content for name, content in runtime_files(runtime, progress).items()}
    files |= _licences()
    progress("rendering the samples")
    files |= {f"samples/{number}.jpg": sample_jpeg(number) for number in range(len(SEEDS))}
    files |= {f"samples/{name}.jpg": photo_jpeg(name) for name in PHOTOS}
    offered = []
    for number, (model, facts, signature) in enumerate(networks, 1):
        place = f"network/{number}.onnx"
        files[place] = model
        offered.append(_facts_for_page(model, facts, signature, place))
    runtimes = {
        name: {f"runtime/{file}": len(files[f"runtime/{file}"]) for file in (f"{stem}.js", f"{stem}.wasm")}
        for name, stem in _RUNTIMES.items()
    }
    told = {"networks": offered, "runtimes": runtimes}
    files["model.json"] = json.dumps(told, allow_nan=False, indent=1).encode()
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


def _facts_for_page(model: bytes, facts: WeightFacts, signature: Signature, place: str) -> dict[str, Any]:
    """What the page is told of a network whose file lies at this place."""
    heatmaps = signature.output == "heatmap"
    outputs = json.loads(onnx_file.metadata(model)["outputs"])
    stages = sum(name.startswith("stage_") for name in outputs)
    return {
        **model_json(facts, heatmaps, stages if heatmaps else 0),
        "several": False,
        "passes": _passes(),
        "files": {place: len(model)},
    }


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
