"""The page: its files, shared or of the served or the exported one alone, the network's facts, and samples.

`page/` holds everything but `api.js`, the one module that knows who answers: it gives `networks`, `load`,
`pose`, `runsOn`, `readable`, `encoded` and `useKey`, by asking a server or by running the network itself.
"""

import io
import os
from functools import lru_cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from PIL import Image

from hourglass.synthetic.render import render

if TYPE_CHECKING:
    from hourglass.weights.facts import WeightFacts

KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
"""Endings of the page's files and their media types."""

_HEAD, _ABOUT = b"<!-- head -->", b"<!-- about -->"


def page_files(package: str, head: str = "") -> dict[str, bytes]:
    """The page's files by name; `index.html` finds the others in the folder `page` beside it.

    Args:
        package: which has `api.js`, what else is this page's own, and `about.html`, which
            becomes the footer.
        head: lines of HTML for the page's head.
    """
    files = {**_read(resources.files("hourglass.web") / "page"), **_read(resources.files(package))}
    about = files.pop("about.html").strip()
    files["index.html"] = files["index.html"].replace(_HEAD, head.encode()).replace(_ABOUT, about)
    return files


def label_files() -> dict[str, bytes]:
    """The files of the page of `hourglass label` by name; `label.html` finds the others in `page/`."""
    shared = _read(resources.files("hourglass.web") / "page")
    own = _read(resources.files("hourglass.web") / "label")
    return {name: shared[name] for name in ("page.css", "icon.svg", "draw.js", "zoom.js")} | own


def _read(folder: Any) -> dict[str, bytes]:
    return {
        item.name: item.read_bytes()
        for item in folder.iterdir()
        if os.path.splitext(item.name)[1] in KINDS and item.is_file()
    }


def model_json(facts: "WeightFacts", heatmaps: bool, stages: int) -> dict[str, Any]:
    """The network's facts for JSON; `heatmaps` is false for one that answers with coordinates."""
    return {
        "name": facts.name,
        "input_px": facts.input_px,
        "stages": stages,
        "heatmaps": heatmaps,
        "skeleton": facts.skeleton.to_dict(),
        "box_margin": facts.box_margin,
        "data": facts.data,
        "licence": facts.licence,
        "metrics": dict(facts.metrics),
    }


SEEDS = (134, 112, 125, 114, 127, 106)
"""Chosen: in the first five the bundled network's second stack corrects its first; the sixth goes wrong."""
SAMPLE_PX = 384
PHOTOS = ("astronaut", "camera")
"""In `photos/`, whose README tells where they come from and on which terms."""


def photo_jpeg(name: str) -> bytes:
    """One of `PHOTOS` as a JPEG file."""
    return (resources.files("hourglass.web") / "photos" / f"{name}.jpg").read_bytes()


@lru_cache(maxsize=len(SEEDS))
def sample_jpeg(number: int) -> bytes:
    """Sample `number` (0-based) as a JPEG file; raises IndexError past the last."""
    file = io.BytesIO()
    scene = render(SEEDS[number], height=SAMPLE_PX, width=SAMPLE_PX)
    Image.fromarray(scene.image).save(file, "JPEG", quality=92)
    return file.getvalue()
