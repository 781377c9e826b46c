"""The page's files: what the served and the exported page share, and what each has of its own.

`page/` holds everything but `api.js`, the one module that knows who answers: it gives `model`, `pose`,
`readable` and `useKey`, by asking a server or by running the network where the page is.
"""

import os
from importlib import resources
from typing import Any

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


def _read(folder: Any) -> dict[str, bytes]:
    return {
        item.name: item.read_bytes()
        for item in folder.iterdir()
        if os.path.splitext(item.name)[1] in KINDS and item.is_file()
    }
