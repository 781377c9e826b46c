"""The page in Chromium, for tests of the server's page and of the exported one."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ABSENT = "there is no chromium on the PATH"

QUIET = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
QUIET += " --disable-component-update --disable-sync"

# Where each joint is on the screen, brought back to the picture's pixels by where the photo is on the screen.
PLACES = """(svg) => {
  const photo = svg.parentElement.querySelector('.photo').getBoundingClientRect();
  const [, , width, height] = svg.getAttribute('viewBox').split(' ').map(Number);
  return Object.fromEntries([...svg.querySelectorAll('.joint')].map((joint) => {
    const { left, right, top, bottom } = joint.getBoundingClientRect();
    const x = ((left + right) / 2 - photo.left) / photo.width * width - 0.5;
    const y = ((top + bottom) / 2 - photo.top) / photo.height * height - 0.5;
    return [joint.dataset.joint, [x, y]];
  }));
}"""


@contextmanager
def chromium(*words: str) -> Iterator[Any]:
    """A browser without a window, started with these words behind the usual ones."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as started:
        running = started.chromium.launch(executable_path=CHROMIUM, args=[*QUIET.split(), *words])
        yield running
        running.close()


@contextmanager
def opened(browser: Any, url: str) -> Iterator[Any]:
    """A page; fails a test in which it asked another host or wrote an error."""
    context = browser.new_context(viewport={"width": 1000, "height": 900}, accept_downloads=True)
    page = context.new_page()
    page.set_default_timeout(30_000)
    asked: list[str] = []
    errors: list[str] = []
    context.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda line: errors.append(line.text) if line.type == "error" else None)
    page.goto(url)
    yield page
    context.close()
    host = "/".join(url.split("/")[:3])
    assert [other for other in asked if not other.startswith((f"{host}/", "blob:", "data:"))] == []
    # Chromium writes a line of its own for each refusal; what the page makes of those is tested.
    assert [text for text in errors if "Failed to load resource" not in text] == []


def places(page: Any, stack: int) -> dict[str, list[float]]:
    """Where a stack's joints are drawn, in the picture's pixels."""
    found: dict[str, list[float]] = page.eval_on_selector(f"figure[data-stack='{stack}'] svg", PLACES)
    return found


def assert_drawn_at(page: Any, stack: int, joints: npt.NDArray[np.float32], names: tuple[str, ...]) -> None:
    """All of these joints (J, 2) are drawn, each less than 2 px from its place."""
    drawn = places(page, stack)
    assert tuple(drawn) == names
    apart = np.linalg.norm(np.array(list(drawn.values())) - joints, axis=1)
    assert apart.max() < 2, dict(zip(drawn, apart, strict=True))


def download(page: Any, button: str) -> tuple[str, bytes]:
    """Name and content of what a button gives."""
    with page.expect_download() as started:
        page.click(button)
    return started.value.suggested_filename, Path(started.value.path()).read_bytes()
