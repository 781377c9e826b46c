"""The page in a real Chromium; skipped where there is none."""

import base64
import csv
import io
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

pytest.importorskip("fastapi", reason="the extra `serve` is not installed")
pytest.importorskip("playwright", reason="playwright is not installed")

from playwright.sync_api import expect

from chromium import ABSENT, CHROMIUM, assert_drawn_at, chromium, download, opened, places
from hourglass.inference.poses.pose import Pose
from hourglass.inference.predictor import Predictor
from hourglass.serving.responses import stage_joints
from hourglass.serving.run import listen, url_of
from hourglass.serving.settings import Settings
from hourglass.synthetic.render import render

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=ABSENT)

CAMERA = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
WIDTH, HEIGHT = 300, 360


@contextmanager
def served(**settings: Any) -> Iterator[str]:
    """Address of a server in a thread of this process."""
    import uvicorn

    from hourglass.serving.app import create_app

    predictor = Predictor.from_pretrained("hg2_small", device="cpu", precision="fp32")
    config = uvicorn.Config(create_app(predictor, Settings(**settings)), ws="none", log_config=None)
    server = uvicorn.Server(config)
    with listen("127.0.0.1", 0) as listening:
        listening.listen()
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield url_of(listening)
        finally:
            server.should_exit = True
            thread.join(30)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with served() as address:
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium(*CAMERA) as running:
        yield running


@pytest.fixture
def page(browser: Any, url: str) -> Iterator[Any]:
    with opened(browser, url) as page:
        yield page


@pytest.fixture(scope="module")
def rendered() -> npt.NDArray[np.uint8]:
    return render(134, height=HEIGHT, width=WIDTH).image


@pytest.fixture(scope="module")
def file(rendered: npt.NDArray[np.uint8], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pictures") / "some one.png"
    Image.fromarray(rendered).save(path)
    return path


@pytest.fixture(scope="module")
def pose(rendered: npt.NDArray[np.uint8], trained: Predictor) -> Pose:
    return trained(rendered, keep_heatmaps=True)[0]


def upload(page: Any, file: Path) -> None:
    page.set_input_files("#file", str(file))
    page.wait_for_selector("#stacks svg .joint")
    expect(page.locator("#status")).to_contain_text("1 person in")


def test_a_picture_is_answered_stack_by_stack(page: Any, file: Path, pose: Pose, trained: Predictor) -> None:
    upload(page, file)
    first, last = stage_joints(pose, trained.facts)
    assert np.abs(first[0] - last[0]).max() > 2  # else the two could be mixed up unseen
    assert_drawn_at(page, 1, first[0], pose.skeleton.joints)
    assert_drawn_at(page, 2, last[0], pose.skeleton.joints)
    assert "moves" in page.inner_text("#summary")
    rows = page.locator("#joints tbody tr")
    assert rows.count() == len(pose.skeleton)
    assert f"{pose.keypoints[0, 0]:.1f}" in rows.first.inner_text()


def test_a_picture_that_lies_on_its_side(page: Any, file: Path, tmp_path: Path, trained: Predictor) -> None:
    path = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(file).transpose(Image.Transpose.ROTATE_90).save(path, quality=95, exif=exif)
    upload(page, path)
    (pose,) = trained(path)
    assert_drawn_at(page, 2, pose.keypoints, pose.skeleton.joints)
    photo = page.eval_on_selector(".photo", "(c) => [c.width, c.height]")
    assert photo == [WIDTH, HEIGHT]
    # The drawn photo itself must be upright: compare it with the picture before it was turned.
    shown = page.eval_on_selector(".photo", "(c) => c.toDataURL('image/png').split(',')[1]")
    seen = np.asarray(Image.open(io.BytesIO(base64.b64decode(shown))).convert("RGB"), np.int16)
    assert np.abs(seen - np.asarray(Image.open(file), np.int16)).mean() < 8


def test_stacks_joints_and_confidence_are_toggled(page: Any, file: Path, pose: Pose) -> None:
    upload(page, file)
    page.uncheck("#stack-1")
    assert not page.is_visible("figure[data-stack='1']")
    assert page.is_visible("figure[data-stack='2']")
    page.check("#stack-1")
    assert page.is_visible("figure[data-stack='1']")

    page.uncheck("[data-toggle='head_top']")
    assert "head_top" not in places(page, 1)
    assert len(places(page, 2)) == len(pose.skeleton) - 1
    page.click("#no-joints")
    assert places(page, 2) == {}
    page.click("#all-joints")
    assert len(places(page, 2)) == len(pose.skeleton)

    sure = "figure[data-stack='2'] .joint[data-sure=true]"
    said = pose.scores if pose.confidences is None else pose.confidences
    for confidence in (0.0, 0.75, 1.0):
        page.eval_on_selector(
            "#confidence", f"(e) => {{ e.value = {confidence}; e.dispatchEvent(new Event('input')); }}"
        )
        assert page.locator(sure).count() == int((np.round(said, 4) >= confidence).sum())
    moves = page.locator("figure[data-stack='2'] .move").count()
    assert moves > 0
    assert page.locator("figure[data-stack='1'] .move").count() == 0
    page.uncheck("#moves")
    assert page.locator(".move").count() == 0


def test_a_joints_heatmap_lies_where_the_joint_is(page: Any, file: Path, pose: Pose) -> None:
    upload(page, file)
    joint = int(pose.scores.argmax())
    page.select_option("#heat", str(joint))
    brightest = """(c) => {
      const { data } = c.getContext('2d').getImageData(0, 0, c.width, c.height);
      let best = 0;
      const value = (i) => data[i + 1] * data[i + 3];
      for (let i = 0; i < data.length; i += 4) if (value(i) > value(best)) best = i;
      return [best / 4 % c.width, Math.floor(best / 4 / c.width)];
    }"""
    peak = page.eval_on_selector("figure[data-stack='2'] canvas:not(.photo)", brightest)
    cell_px = pose.box[2] / 32
    assert np.abs(np.array(peak) - pose.keypoints[joint]).max() < 1.5 * cell_px
    page.click("#gallery-box summary")
    # The gallery is filled when the browser tells that it was opened, a moment later.
    expect(page.locator("#gallery button")).to_have_count(len(pose.skeleton))
    assert page.locator("#gallery canvas").count() == 2 * len(pose.skeleton)
    page.click("#gallery button >> nth=3")
    assert page.input_value("#heat") == "3"


def test_downloads(page: Any, file: Path, pose: Pose, rendered: npt.NDArray[np.uint8]) -> None:
    upload(page, file)
    name, content = download(page, "#save-json")
    assert name == "some_one.json"
    (person,) = json.loads(content)["images"][0]["people"]
    np.testing.assert_allclose(Pose.from_dict(person).keypoints, pose.keypoints, atol=0.01)
    assert len(person["stages"]) == 2
    assert "heatmaps" not in person

    name, content = download(page, "#save-csv")
    rows = list(csv.DictReader(io.StringIO(content.decode())))
    assert name == "some_one.csv"
    assert len(rows) == 2 * len(pose.skeleton)
    last = [row for row in rows if row["stack"] == "2"]
    np.testing.assert_allclose([float(row["x"]) for row in last], pose.keypoints[:, 0], atol=0.01)

    name, content = download(page, "#save-png")
    image = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"), np.int16)
    assert name == "some_one.png"
    assert image.shape == rendered.shape
    changed = np.abs(image - rendered).max(axis=2) > 30
    assert 0.01 < changed.mean() < 0.5  # the skeleton is on it, and the picture is still there
    for x, y in np.round(pose.keypoints).astype(int):
        if 3 <= x < WIDTH - 3 and 3 <= y < HEIGHT - 3:
            assert changed[y - 3 : y + 4, x - 3 : x + 4].any()


def test_samples_by_keyboard_paste_drop_and_camera(page: Any, file: Path) -> None:
    status = page.locator("#status")
    samples = page.locator("#samples button")
    expect(samples).to_have_count(6)
    samples.nth(1).focus()
    page.keyboard.press("Enter")
    expect(status).to_contain_text("sample 2, 384 x 384 px: 1 person")

    give = """(data, kind) => {
      const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
      const held = new DataTransfer();
      held.items.add(new File([bytes], 'given.png', { type: 'image/png' }));
      const event = kind === 'paste'
        ? new ClipboardEvent('paste', { clipboardData: held, bubbles: true })
        : new DragEvent('drop', { dataTransfer: held, bubbles: true });
      document.body.dispatchEvent(event);
    }"""
    data = base64.b64encode(file.read_bytes()).decode()
    for kind, name in (("paste", "pasted"), ("drop", "given.png")):
        page.evaluate(f"([d, k]) => ({give})(d, k)", [data, kind])
        expect(status).to_contain_text(f"{name}, {WIDTH} x {HEIGHT} px: 1 person")

    page.click("#camera-open")
    until = time.monotonic() + 20
    while not page.evaluate("document.getElementById('video').videoWidth"):
        assert time.monotonic() < until
    page.click("#camera-take")
    expect(status).to_contain_text(re.compile(r"camera, \d+ x \d+ px: 1 person"))
    assert not page.is_visible("#camera")


def test_a_person_is_marked_by_dragging(page: Any, file: Path, trained: Predictor) -> None:
    upload(page, file)
    page.click("#input details summary")
    page.click("#mark")
    view = page.locator("figure[data-stack='1'] .view")
    view.scroll_into_view_if_needed()
    box = view.bounding_box()
    page.mouse.move(box["x"] + 0.2 * box["width"], box["y"] + 0.1 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.8 * box["width"], box["y"] + 0.95 * box["height"], steps=3)
    with page.expect_response("**/v1/pose*"):
        page.mouse.up()
    marked = [float(value) for value in page.input_value("#box").split(",")]
    assert marked == pytest.approx([60, 36, 180, 306], abs=2)
    expect(page.locator("#status")).to_contain_text("1 person")
    (pose,) = trained(file, marked)
    assert_drawn_at(page, 2, pose.keypoints, pose.skeleton.joints)


def test_mistakes_are_told(page: Any, tmp_path: Path, file: Path) -> None:
    (tmp_path / "note.png").write_text("no picture")
    page.set_input_files("#file", str(tmp_path / "note.png"))
    expect(page.locator("#status")).to_contain_text("no picture that this browser can read")
    upload(page, file)
    page.click("#input details summary")
    page.fill("#box", "900,900,10,10")
    with page.expect_response("**/v1/pose*") as told:
        page.press("#box", "Enter")
    assert told.value.status == 422
    expect(page.locator("#status")).to_contain_text("lies outside the picture")
    assert len(places(page, 2)) == 14  # the last good answer stays


def test_it_fits_a_phone_and_the_dark(page: Any, file: Path) -> None:
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.emulate_media(color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != light
    page.set_viewport_size({"width": 360, "height": 740})
    upload(page, file)
    page.click("#gallery-box summary")
    expect(page.locator("#gallery button")).to_have_count(14)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_every_control_has_a_name(page: Any, file: Path) -> None:
    upload(page, file)
    nameless = """() => [...document.querySelectorAll('button, input, select, a, [role=img]')]
      .filter((e) => !(e.getAttribute('aria-label') || e.textContent.trim() || e.querySelector('img')?.alt
        || [...(e.labels ?? [])].some((label) => label.textContent.trim())))
      .map((e) => e.outerHTML)"""
    assert page.evaluate(nameless) == []
    assert page.get_attribute("html", "lang") == "en"
    assert "14 joints" in page.get_attribute("figure[data-stack='2'] svg", "aria-label")


def test_a_key_is_asked_for(browser: Any, file: Path) -> None:
    with served(api_key="s3cret") as locked:
        context = browser.new_context()
        page = context.new_page()
        page.goto(locked)
        expect(page.locator("#key-form")).to_be_visible()
        page.set_input_files("#file", str(file))
        page.fill("#key", "wrong")
        page.press("#key", "Enter")
        expect(page.locator("#status")).to_contain_text("missing or wrong")
        page.fill("#key", "s3cret")
        page.press("#key", "Enter")
        page.wait_for_selector("#stacks svg .joint")
        expect(page.locator("#key-form")).to_be_hidden()
        context.close()


def test_an_address_can_name_a_sample(browser: Any, url: str) -> None:
    page = browser.new_page()
    page.goto(f"{url}/#sample-3")
    expect(page.locator("#status")).to_contain_text("sample 3, 384 x 384 px: 1 person")
    page.close()
