"""The exported page in a real Chromium with nothing but a file server; skipped where there is no browser."""

import base64
import csv
import functools
import io
import json
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

pytest.importorskip("playwright", reason="playwright is not installed")

from playwright.sync_api import expect

from chromium import (
    ABSENT,
    CHROMIUM,
    TIMEOUT_MS,
    assert_drawn_at,
    camera_words,
    chromium,
    download,
    opened,
    places,
    violations,
    write_video,
)
from hourglass.core.geometry import crop_matrix, warp
from hourglass.inference.poses.pose import Pose
from hourglass.inference.predictor import Predictor
from hourglass.synthetic.render import render

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=ABSENT)
expect.set_options(timeout=TIMEOUT_MS)
WIDTH, HEIGHT = 300, 360
ATOL_PX = 0.5
"""Python and the page run the same file; they read and cut the picture each in their own way."""


class Files(SimpleHTTPRequestHandler):
    """Python's own file server; it keeps what it was asked."""

    asked: list[tuple[str, str]]

    def log_request(self, code: Any = "-", size: Any = "-") -> None:
        self.asked.append((self.command, self.path))

    def log_message(self, format: str, *args: object) -> None:
        """Keeps quiet."""


@pytest.fixture(scope="module")
def site(folder: Path) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """The page's address, below its host's root, and what the host was asked."""
    asked: list[tuple[str, str]] = []
    handler = type("These", (Files,), {"asked": asked})
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(handler, directory=str(folder.parent)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/web%20page/", asked
    server.shutdown()
    server.server_close()
    thread.join(30)


@pytest.fixture(scope="module")
def browser(rendered: npt.NDArray[np.uint8], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with chromium(*camera_words(tmp_path_factory.mktemp("camera") / "seen.mjpeg", rendered)) as running:
        yield running


@pytest.fixture
def page(browser: Any, site: tuple[str, list[tuple[str, str]]], trained: Predictor) -> Iterator[Any]:
    with opened(browser, site[0]) as page:
        facts = trained.facts
        told = f"{facts.name}: {facts.network.stacks} stacks, {len(facts.skeleton)} joints"
        expect(page.locator("#model")).to_contain_text(told)
        yield page


@pytest.fixture(scope="module")
def rendered() -> npt.NDArray[np.uint8]:
    return render(134, height=HEIGHT, width=WIDTH).image


def upload(page: Any, image: npt.NDArray[np.uint8], path: Path) -> None:
    Image.fromarray(image).save(path)
    page.set_input_files("#file", str(path))
    text = f"{path.name}, {image.shape[1]} x {image.shape[0]} px: 1 person in"
    expect(page.locator("#status")).to_contain_text(text)


def test_it_answers_as_python_does(
    page: Any,
    site: tuple[str, list[tuple[str, str]]],
    rendered: npt.NDArray[np.uint8],
    trained: Predictor,
    tmp_path: Path,
) -> None:
    (pose,) = trained(rendered, keep_heatmaps=True)
    assert pose.stages is not None
    first, last = (stage.keypoints for stage in pose.stages)
    assert np.abs(first - last).max() > 2  # else the two could be mixed up unseen
    asked = site[1]
    before = len(asked)
    upload(page, rendered, tmp_path / "some one.png")
    assert_drawn_at(page, last, pose.skeleton.joints)
    page.click("#how")
    page.wait_for_selector("#stacks svg .joint")
    assert_drawn_at(page, first, pose.skeleton.joints, stack=1)
    assert_drawn_at(page, last, pose.skeleton.joints, stack=2)
    assert asked[before:] == []  # nothing was uploaded, nor anything else asked
    page.click("#gallery-box summary")
    expect(page.locator("#gallery canvas")).to_have_count(2 * len(pose.skeleton))

    name, content = download(page, "#save-json")
    assert name == "some_one.json"
    (person,) = json.loads(content)["images"][0]["people"]
    found = Pose.from_dict(person)
    assert found.skeleton == pose.skeleton
    np.testing.assert_allclose(found.keypoints, pose.keypoints, atol=ATOL_PX)
    np.testing.assert_allclose(found.scores, pose.scores, atol=0.01)
    np.testing.assert_allclose(found.box, pose.box, atol=0.5)
    assert found.covariances is not None
    assert pose.covariances is not None
    np.testing.assert_allclose(found.covariances, pose.covariances, rtol=0.02, atol=0.5)
    assert (found.confidences is None) == (pose.confidences is None)
    if pose.confidences is not None and found.confidences is not None:
        np.testing.assert_allclose(found.confidences, pose.confidences, atol=0.01)

    name, content = download(page, "#save-csv")
    rows = [row for row in csv.DictReader(io.StringIO(content.decode())) if row["stack"] == "2"]
    assert name == "some_one.csv"
    np.testing.assert_allclose([float(row["y"]) for row in rows], pose.keypoints[:, 1], atol=0.5)

    name, content = download(page, "#save-png")
    image = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"), np.int16)
    assert name == "some_one.png"
    changed = np.abs(image - rendered).max(axis=2) > 30
    assert 0.01 < changed.mean() < 0.5  # the skeleton is on it, and the picture is still there
    assert {method for method, _ in asked} == {"GET"}


def test_without_a_flip_test_and_in_boxes(
    page: Any, rendered: npt.NDArray[np.uint8], trained: Predictor, tmp_path: Path
) -> None:
    plain = Predictor(trained.runner, trained.facts, flip_test=False)
    page.click("details.card:has(#box) summary")
    page.uncheck("#flip")
    upload(page, rendered, tmp_path / "plain.png")
    (pose,) = plain(rendered)
    assert_drawn_at(page, pose.keypoints, pose.skeleton.joints)

    boxes = [[60, 36, 180, 306], [20, 20, 250, 330]]
    page.fill("#box", "; ".join(",".join(map(str, box)) for box in boxes))
    page.click("#again")
    expect(page.locator("#status")).to_contain_text(": 2 people in")
    for number, pose in enumerate(plain(rendered, boxes)):
        assert_drawn_at(page, pose.keypoints, pose.skeleton.joints, person=number)


def test_a_picture_of_more_pixels_than_it_holds(
    page: Any, rendered: npt.NDArray[np.uint8], trained: Predictor, tmp_path: Path
) -> None:
    size = (3900, 4680)
    large = np.asarray(Image.fromarray(rendered).resize(size, Image.Resampling.BICUBIC))
    upload(page, large, tmp_path / "large.png")
    (pose,) = trained(large)
    apart = np.array(list(places(page).values())) - pose.keypoints
    # Looked at in fewer pixels and answered in the picture's own: half a pixel of the crop is allowed.
    assert np.abs(apart).max() < 0.5 * pose.box[2] / trained.facts.input_px


@pytest.mark.parametrize(("height", "width"), [(90, 70), (360, 300), (1100, 900)])
def test_crops_are_those_of_geometry(page: Any, height: int, width: int) -> None:
    rng = np.random.default_rng(height)
    image = rng.integers(0, 256, (height, width, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    squares = [{"x": (width - 1) / 2, "y": (height - 1) / 2, "side": max(height, width)}]
    for _ in range(4):
        x, y, side = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(8, 1.5 * height)
        squares.append({"x": x, "y": y, "side": side})
    script = """async ([data, squares]) => {
      const { readPicture, cutOut } = await import('./page/picture.js');
      const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
      const picture = await readPicture(new Blob([bytes], { type: 'image/png' }));
      return squares.map((square) => Array.from(cutOut(picture, square, 64)));
    }"""
    crops = page.evaluate(script, [base64.b64encode(file.getvalue()).decode(), squares])
    for square, crop in zip(squares, crops, strict=True):
        matrix = crop_matrix(np.array([square["x"], square["y"]]), square["side"], 64)
        ours = warp(image, matrix, 64).astype(int)
        apart = np.abs(np.array(crop).reshape(3, 64, 64).transpose(1, 2, 0) - ours)
        assert apart.max() <= 1, square
        assert apart.mean() < 0.1, square


def test_mistakes_are_told(
    page: Any, rendered: npt.NDArray[np.uint8], trained: Predictor, tmp_path: Path
) -> None:
    status = page.locator("#status")
    (tmp_path / "note.png").write_text("no picture")
    page.set_input_files("#file", str(tmp_path / "note.png"))
    expect(status).to_contain_text("no picture that this browser can read")
    upload(page, rendered, tmp_path / "one.png")
    page.click("details.card:has(#box) summary")
    for text, says in (
        ("900,900,10,10", "the box 900,900,10,10 lies outside the picture of 300 x 360 px."),
        ("1,2,3", "boxes must be x,y,w,h;x,y,w,h, not 1,2,3."),
        ("1,2,0,4", "has no positive width and height."),
        ("0,0,9000,9000", "more than 20 times as large"),
    ):
        page.fill("#box", text)
        page.press("#box", "Enter")
        expect(status).to_contain_text(says)
        assert places(page) == {}  # no older answer stays beside it


def test_a_newer_picture_takes_the_place_of_one_in_work(page: Any, rendered: npt.NDArray[np.uint8]) -> None:
    page.eval_on_selector_all("#samples button", "(all) => { for (const one of all) one.click(); }")
    expect(page.locator("#status")).to_contain_text("1 person in")
    page.locator("#samples button").nth(2).click()
    expect(page.locator("#status")).to_contain_text("sample 3, 384 x 384 px: 1 person in")


def test_a_file_that_is_missing_is_named(browser: Any, site: tuple[str, list[tuple[str, str]]]) -> None:
    page = browser.new_page()
    page.route("**/network/1.onnx", lambda route: route.fulfill(status=404))
    page.goto(site[0])
    expect(page.locator("#status")).to_contain_text("network/1.onnx can't be fetched")
    page.close()


def test_the_worker_can_send_nothing_elsewhere(
    browser: Any, site: tuple[str, list[tuple[str, str]]], trained: Predictor
) -> None:
    address, asked = site
    page = browser.new_page()
    page.goto(address)
    expect(page.locator("#model")).to_contain_text(f"{len(trained.skeleton)} joints")
    send = "(url) => fetch(url, { mode: 'no-cors' }).then(() => 'sent', () => 'kept')"
    (worker,) = page.workers
    # The same server under another name is another host to a browser.
    assert worker.evaluate(send, f"{address}model.json?own") == "sent"
    assert worker.evaluate(send, f"{address.replace('127.0.0.1', 'localhost')}model.json?other") == "kept"
    assert [path[-3:] for _, path in asked if "?" in path] == ["own"]
    page.close()


@pytest.mark.slow
def test_the_live_camera_stays_here(
    page: Any, site: tuple[str, list[tuple[str, str]]], rendered: npt.NDArray[np.uint8], trained: Predictor
) -> None:
    (pose,) = trained(rendered)
    before = len(site[1])
    page.click("#camera-open")
    page.wait_for_selector("#overlay .joint")
    expect(page.locator("#rate")).to_contain_text("frames/s, in this browser")
    page.uncheck("#mirror")
    size = page.eval_on_selector("#film", "(film) => [film.videoWidth, film.videoHeight]")
    drawn = np.array(list(places(page).values()))
    share = drawn / np.array(size) - pose.keypoints / np.array([WIDTH, HEIGHT])
    assert np.median(np.abs(share)) < 0.03
    page.click("#live-take")
    expect(page.locator("#status")).to_contain_text(f"camera, {size[0]} x {size[1]} px: 1 person")
    assert site[1][before:] == []


@pytest.mark.slow
def test_a_video_is_read_here(page: Any, rendered: npt.NDArray[np.uint8], tmp_path: Path) -> None:
    write_video(tmp_path / "still.webm", 3 * [rendered], 2)
    page.evaluate("document.getElementById('fps').value = '2'")
    page.set_input_files("#file", str(tmp_path / "still.webm"))
    expect(page.locator("#status")).to_contain_text("still.webm, 300 x 360 px: 3 frames read")
    name, content = download(page, "#save-json")
    assert name == "still.jsonl"
    assert [json.loads(line)["time_s"] for line in content.decode().splitlines()] == [0, 0.5, 1]


@pytest.mark.slow
def test_axe_finds_nothing(page: Any, rendered: npt.NDArray[np.uint8], tmp_path: Path) -> None:
    upload(page, rendered, tmp_path / "one.png")
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert violations(page) == []
