"""Take the pictures of the page that the docs show.

    hourglass serve &
    python tests/page_pictures.py http://127.0.0.1:8000 docs/images page

writes `page.png`, a wide window in the light with the stacks side by side, and `page_phone.png`, a phone in
the dark; with the address of an exported page and another name it takes that page's.
"""

import io
import sys
from pathlib import Path
from typing import Any

from PIL import Image

from chromium import chromium

WINDOWS = {"": (1280, 1560, "light"), "_phone": (360, 740, "dark")}
"""By what is put behind the picture's name: width and height in pixels, and colours."""
WAIT_MS = 120_000


def take(browser: Any, address: str, path: Path, width: int, height: int, scheme: str) -> None:
    """One window with the second sample's answer; a wide one also shows how it gets there."""
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
    page.set_default_timeout(WAIT_MS)
    page.goto(f"{address.rstrip('/')}/#sample-2")
    page.wait_for_selector("#overlay .joint")
    if width > 600:
        page.click("#how")
        page.wait_for_selector("#stacks svg .joint")
        page.evaluate("scrollTo(0, 0)")
    page.hover("#overlay .hit[data-joint=left_wrist]")
    page.wait_for_timeout(800)  # until it has scrolled
    shot = Image.open(io.BytesIO(page.screenshot(animations="disabled")))
    shot.convert("RGB").quantize(256).save(path, optimize=True)  # a third of the bytes
    page.close()


def main(address: str, folder: str, name: str) -> None:
    """Take the pictures into a folder."""
    with chromium() as browser:
        for end, window in WINDOWS.items():
            take(browser, address, Path(folder) / f"{name}{end}.png", *window)


if __name__ == "__main__":
    main(*sys.argv[1:])
