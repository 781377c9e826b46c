"""The page in Chromium, for tests of the server's page and of the exported one."""

import io
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ABSENT = "there is no chromium on the PATH"
AXE = "4.14.1"
TIMEOUT_MS = 90_000
"""For one step of a page; other work may share the machine."""

QUIET = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
QUIET += " --disable-component-update --disable-sync"

# Where each joint is on the screen, in the picture's pixels by where that is on the screen.
PLACES = """(svg) => {
  const seen = svg.parentElement.getBoundingClientRect();
  const [x0, y0, width, height] = svg.getAttribute('viewBox').split(' ').map(Number);
  return Object.fromEntries([...svg.querySelectorAll('.joint')].map((joint) => {
    const { left, right, top, bottom } = joint.getBoundingClientRect();
    const x = ((left + right) / 2 - seen.left) / seen.width * width + x0;
    const y = ((top + bottom) / 2 - seen.top) / seen.height * height + y0;
    return [`${joint.dataset.person} ${joint.dataset.joint}`, [x, y]];
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
    page.set_default_timeout(TIMEOUT_MS)
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


def places(page: Any, stack: int | None = None, person: int = 0) -> dict[str, list[float]]:
    """Where a person's joints are drawn, in the picture's pixels: on the large picture, or a stack's."""
    svg = "#overlay" if stack is None else f"figure[data-stack='{stack}'] svg"
    found: dict[str, list[float]] = page.eval_on_selector(svg, PLACES)
    own = f"{person} "
    return {name.removeprefix(own): place for name, place in found.items() if name.startswith(own)}


def assert_drawn_at(
    page: Any,
    joints: npt.NDArray[np.float32],
    names: tuple[str, ...],
    stack: int | None = None,
    person: int = 0,
) -> None:
    """All of these joints (J, 2) are drawn, each less than 2 px from its place."""
    drawn = places(page, stack, person)
    assert tuple(drawn) == names
    apart = np.linalg.norm(np.array(list(drawn.values())) - joints, axis=1)
    assert apart.max() < 2, dict(zip(drawn, apart, strict=True))


def download(page: Any, button: str) -> tuple[str, bytes]:
    """Name and content of what a button gives."""
    with page.expect_download() as started:
        page.click(button)
    return started.value.suggested_filename, Path(started.value.path()).read_bytes()


def camera_words(film: Path, image: npt.NDArray[np.uint8]) -> tuple[str, ...]:
    """A browser's words for a camera that sees only this picture (H, W, 3), written to a file for it."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=95)
    film.write_bytes(8 * file.getvalue())
    fake = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
    return (*fake, f"--use-file-for-fake-video-capture={film}")


def write_video(path: Path, frames: list[npt.NDArray[np.uint8]], fps: int) -> None:
    """Frames (H, W, 3) RGB as VP8 in WebM, which any browser plays."""
    av = pytest.importorskip("av", reason="the extra `video` is not installed")
    with av.open(str(path), "w") as film:
        height, width = frames[0].shape[:2]
        stream = film.add_stream("libvpx", rate=fps, width=width, height=height, pix_fmt="yuv420p")
        stream.bit_rate = 4_000_000
        for frame in frames:
            film.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        film.mux(stream.encode())


@lru_cache
def axe_core() -> str:
    """The script of axe-core, from npm; skips where that isn't to be had."""
    with tempfile.TemporaryDirectory() as folder:
        words = ["npm", "pack", f"axe-core@{AXE}", "--silent"]
        try:
            subprocess.run(words, cwd=folder, check=True, capture_output=True, timeout=120)
        except (OSError, subprocess.SubprocessError) as error:
            pytest.skip(f"axe-core is not to be had from npm here: {error}")
        with tarfile.open(f"{folder}/axe-core-{AXE}.tgz") as packed:
            file = packed.extractfile("package/axe.min.js")
            assert file is not None
            return file.read().decode()


def violations(page: Any) -> list[str]:
    """What axe-core finds wrong by WCAG 2.2 AA and its own advice, each with the first place of it."""
    page.evaluate(axe_core())
    found = page.evaluate("axe.run(document, { resultTypes: ['violations'] }).then((r) => r.violations)")
    return [f"{one['id']}: {one['help']}: {one['nodes'][0]['html'][:200]}" for one in found]
