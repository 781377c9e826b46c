"""The page in a real Chromium; skipped where there is none."""

import base64
import csv
import io
import json
import threading
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
from hourglass.inference.poses.pose import Pose
from hourglass.inference.predictor import Predictor
from hourglass.serving.run import listen, url_of
from hourglass.serving.settings import Settings
from hourglass.synthetic.render import render

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=ABSENT)
expect.set_options(timeout=TIMEOUT_MS)

WIDTH, HEIGHT = 300, 360
BOXES = [[60, 36, 180, 306], [20, 20, 250, 330]]


@contextmanager
def served(others: tuple[str, ...] = (), **settings: Any) -> Iterator[str]:
    """Address of a server in a thread of this process."""
    import uvicorn

    from hourglass.serving.app import create_app

    first, *rest = [
        Predictor.from_pretrained(name, device="cpu", precision="fp32") for name in ("hg2_small", *others)
    ]
    config = uvicorn.Config(create_app(first, Settings(**settings), rest), ws="none", log_config=None)
    server = uvicorn.Server(config)
    with listen("127.0.0.1", 0) as listening:
        listening.listen()
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield url_of(listening)
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with served() as address:
        yield address


@pytest.fixture(scope="module")
def rendered() -> npt.NDArray[np.uint8]:
    return render(134, height=HEIGHT, width=WIDTH).image


@pytest.fixture(scope="module")
def browser(rendered: npt.NDArray[np.uint8], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with chromium(*camera_words(tmp_path_factory.mktemp("camera") / "seen.mjpeg", rendered)) as running:
        yield running


@pytest.fixture
def page(browser: Any, url: str) -> Iterator[Any]:
    with opened(browser, url) as page:
        yield page


@pytest.fixture(scope="module")
def file(rendered: npt.NDArray[np.uint8], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pictures") / "some one.png"
    Image.fromarray(rendered).save(path)
    return path


@pytest.fixture(scope="module")
def pose(rendered: npt.NDArray[np.uint8], trained: Predictor) -> Pose:
    return trained(rendered, keep_heatmaps=True)[0]


def upload(page: Any, file: Path, people: str = "1 person") -> None:
    page.set_input_files("#file", str(file))
    expect(page.locator("#status")).to_contain_text(f"{people} in")


def set_confidence(page: Any, value: float) -> None:
    page.eval_on_selector(
        "#confidence", f"(e) => {{ e.value = {value}; e.dispatchEvent(new Event('input')); }}"
    )


def test_the_answer_is_on_the_picture_at_once(page: Any, file: Path, pose: Pose) -> None:
    upload(page, file)
    names = pose.skeleton.joints
    assert_drawn_at(page, pose.keypoints, names)
    # In view without scrolling, and most of the window.
    box = page.locator("#sheet").bounding_box()
    assert box["y"] >= 0
    assert box["y"] + box["height"] <= 900
    assert box["height"] > 0.6 * 900
    # A calibrated network's table, slider and words are of one thing.
    said = pose.scores if pose.confidences is None else pose.confidences
    rows = page.locator("#joints tbody tr")
    assert rows.count() == len(names)
    for value in (0.0, 0.75, 1.0):
        set_confidence(page, value)
        sure = np.round(said, 4) >= value
        assert page.locator("#overlay .joint[data-sure=true]").count() == int(sure.sum())
        assert page.locator("#joints tr.unsure").count() == int((~sure).sum())
        assert f"{sure.sum()} of 14 joints" in page.inner_text("#people")
    assert f"{said[0]:.2f}" in rows.first.inner_text()
    assert f"{pose.scores[0]:.2f}" in rows.first.inner_text()
    assert f"{pose.keypoints[0, 0]:.1f}" in rows.first.inner_text()
    assert "how likely" in page.inner_text("#explained")


def test_script_and_style_are_small() -> None:
    from hourglass.web.pages import page_files

    for package in ("hourglass.web.server", "hourglass.web.browser"):
        scripts = {name: len(text) for name, text in page_files(package).items() if name.endswith(".js")}
        assert sum(scripts.values()) < 150_000, scripts


@pytest.mark.slow
def test_joints_are_named_under_the_pointer_and_by_keys(page: Any, file: Path, pose: Pose) -> None:
    upload(page, file)
    tip = page.locator("#tip")
    expect(tip).to_be_hidden()
    page.locator("#overlay .hit[data-joint=neck]").hover()
    expect(tip).to_contain_text("neck, confidence")
    page.mouse.move(2, 2)
    expect(tip).to_be_hidden()
    assert page.locator("#overlay [tabindex='0']").count() == 1  # one stop on the way through the page
    page.focus("#overlay [tabindex='0']")
    expect(tip).to_contain_text("right ankle")
    page.keyboard.press("ArrowRight")
    expect(tip).to_contain_text("right knee")
    page.keyboard.press("End")
    expect(tip).to_contain_text("head top")
    page.check("#names")  # drawn anew
    assert page.locator("#overlay text").count() > 0
    page.keyboard.press("Escape")
    expect(tip).to_be_hidden()


@pytest.mark.slow
def test_zoom_and_pan(page: Any, file: Path, pose: Pose) -> None:
    upload(page, file)
    before = page.locator("#sheet").bounding_box()
    page.click("#zoom-in")
    page.click("#zoom-in")
    grown = page.locator("#sheet").bounding_box()
    assert grown["width"] == pytest.approx(2.25 * before["width"], rel=0.01)
    assert_drawn_at(page, pose.keypoints, pose.skeleton.joints)  # lines and picture grow as one
    view = page.locator("#viewport").bounding_box()
    middle = (view["x"] + view["width"] / 2, view["y"] + 20)
    page.mouse.move(*middle)
    page.mouse.down()
    page.mouse.move(middle[0], middle[1] + 80, steps=4)
    page.mouse.up()
    assert page.locator("#sheet").bounding_box()["y"] == pytest.approx(grown["y"] + 80, abs=1)
    page.focus("#zoom-in")
    page.keyboard.press("0")
    assert page.locator("#sheet").bounding_box() == before


@pytest.mark.slow
def test_how_it_gets_there(page: Any, file: Path, pose: Pose, trained: Predictor) -> None:
    upload(page, file)
    assert not page.is_visible("#result")
    page.click("#how")
    page.wait_for_selector("#stacks svg .joint")
    expect(page.locator("#stacks figure")).to_have_count(2)
    assert pose.stages is not None
    first, last = ((stage.keypoints, stage.scores) for stage in pose.stages)
    assert np.abs(first[0] - last[0]).max() > 2  # else the two could be mixed up unseen
    assert_drawn_at(page, first[0], pose.skeleton.joints, stack=1)
    assert_drawn_at(page, last[0], pose.skeleton.joints, stack=2)
    assert "moves" in page.inner_text("#summary")
    assert page.locator("figure[data-stack='2'] .move").count() > 0
    assert page.locator("figure[data-stack='1'] .move").count() == 0
    page.uncheck("#moves")
    assert page.locator(".move").count() == 0
    joint = int(pose.scores.argmax())
    page.select_option("#heat", str(joint))
    brightest = """(c) => {
      const { data } = c.getContext('2d').getImageData(0, 0, c.width, c.height);
      let best = 0;
      const value = (i) => data[i + 1] * data[i + 3];
      for (let i = 0; i < data.length; i += 4) if (value(i) > value(best)) best = i;
      return [best / 4 % c.width / c.width, Math.floor(best / 4 / c.width) / c.height];
    }"""
    peak = np.array(page.eval_on_selector("figure[data-stack='2'] .heat", brightest))
    assert np.abs(pose.box[:2] + peak * pose.box[2] - pose.keypoints[joint]).max() < 1.5 * pose.box[2] / 32
    page.click("#gallery-box summary")
    expect(page.locator("#gallery canvas")).to_have_count(2 * len(pose.skeleton))
    page.click("#gallery button >> nth=3")
    assert page.input_value("#heat") == "3"
    page.set_viewport_size({"width": 360, "height": 740})
    tops = [box.bounding_box()["y"] for box in page.locator("#stacks figure").all()]
    assert tops[1] > tops[0] + 200  # one below the other


@pytest.mark.slow
def test_boxes_before_the_picture_and_several_people(page: Any, file: Path, trained: Predictor) -> None:
    page.click("details.card:has(#box) summary")
    page.fill("#box", "; ".join(",".join(map(str, box)) for box in BOXES))
    upload(page, file, "2 people")
    for person, pose in enumerate(trained(file, BOXES)):
        assert_drawn_at(page, pose.keypoints, pose.skeleton.joints, person=person)
    colours = [
        page.get_attribute(f"#overlay .joint[data-person='{person}'][data-sure=true]", "fill")
        for person in (0, 1)
    ]
    assert colours[0] != colours[1]
    page.click("#people button >> nth=1")
    assert page.get_attribute("#people button >> nth=1", "aria-pressed") == "true"
    assert float(page.get_attribute("#overlay [data-person='0']", "opacity")) < 1
    # The next picture is somebody else's.
    page.locator("#samples button").nth(1).click()
    expect(page.locator("#status")).to_contain_text("sample 2, 384 x 384 px: 1 person")


@pytest.mark.slow
def test_boxes_are_drawn_moved_resized_and_deleted(page: Any, file: Path, trained: Predictor) -> None:
    upload(page, file)
    page.click("#mark")
    box = page.locator("#sheet").bounding_box()

    def at(x: float, y: float) -> tuple[float, float]:
        return box["x"] + x / WIDTH * box["width"], box["y"] + y / HEIGHT * box["height"]

    def drag(start: tuple[float, float], end: tuple[float, float]) -> None:
        page.mouse.move(*at(*start))
        page.mouse.down()
        page.mouse.move(*at(*end), steps=3)
        with page.expect_response("**/v1/pose*"):
            page.mouse.up()

    def given() -> list[float]:
        return [float(value) for value in page.input_value("#box").split(",")]

    drag((60, 36), (240, 342))
    assert given() == pytest.approx([60, 36, 180, 306], abs=1.5)
    (pose,) = trained(file, given())
    expect(page.locator("#status")).to_contain_text("1 person in")
    assert_drawn_at(page, pose.keypoints, pose.skeleton.joints)
    drag((150, 150), (160, 140))
    assert given() == pytest.approx([70, 26, 180, 306], abs=1.5)
    drag((250, 332), (230, 350))
    assert given() == pytest.approx([70, 26, 160, 324], abs=1.5)
    page.focus("#boxes .box")
    with page.expect_response("**/v1/pose*"):
        page.keyboard.press("ArrowRight")
    assert given() == pytest.approx([73.6, 26, 160, 324], abs=1.5)
    page.focus("#boxes .box")
    with page.expect_response("**/v1/pose*"):
        page.keyboard.press("Delete")
    assert page.input_value("#box") == ""
    with page.expect_response("**/v1/pose*"):
        page.click("#mark-add")
    assert page.locator("#boxes .box").count() == 1
    with page.expect_response("**/v1/pose*"):
        page.locator("#boxes .remove").click()
    assert page.locator("#boxes .box").count() == 0


@pytest.mark.slow
def test_downloads(page: Any, file: Path, pose: Pose, rendered: npt.NDArray[np.uint8]) -> None:
    upload(page, file)
    name, content = download(page, "#save-json")
    assert name == "some_one.json"
    (person,) = json.loads(content)["images"][0]["people"]
    np.testing.assert_allclose(Pose.from_dict(person).keypoints, pose.keypoints, atol=0.01)
    assert "heatmaps" not in person
    name, content = download(page, "#save-csv")
    rows = list(csv.DictReader(io.StringIO(content.decode())))
    assert name == "some_one.csv"
    np.testing.assert_allclose([float(row["x"]) for row in rows], pose.keypoints[:, 0], atol=0.01)
    page.click("#how")
    page.wait_for_selector("#stacks svg .joint")
    _, content = download(page, "#save-json")
    assert len(json.loads(content)["images"][0]["people"][0]["stages"]) == 2

    name, content = download(page, "#save-png")
    image = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"), np.int16)
    assert name == "some_one.png"
    assert image.shape == rendered.shape
    changed = np.abs(image - rendered).max(axis=2) > 30
    assert 0.01 < changed.mean() < 0.5  # the skeleton is on it, and the picture is still there
    for x, y in np.round(pose.keypoints).astype(int):
        if 3 <= x < WIDTH - 3 and 3 <= y < HEIGHT - 3:
            assert changed[y - 3 : y + 4, x - 3 : x + 4].any()
    page.click("#no-joints")
    assert places(page) == {}
    page.check("[data-toggle='head_top']")
    assert list(places(page)) == ["head_top"]
    page.click("#all-joints")
    assert len(places(page)) == len(pose.skeleton)


@pytest.mark.slow
def test_the_live_camera(page: Any, pose: Pose) -> None:
    page.click("#camera-open")
    page.wait_for_selector("#overlay .joint")
    expect(page.locator("#rate")).to_contain_text("frames/s")
    page.uncheck("#mirror")
    # The camera sees the picture that Python was asked about, through JPEG and a video's colours.
    # Chromium's fake camera may give another size, so that places are compared as shares of the picture.
    drawn = np.array(list(places(page).values()))
    size = page.eval_on_selector("#film", "(film) => [film.videoWidth, film.videoHeight]")
    share = drawn / np.array(size) - pose.keypoints / np.array([WIDTH, HEIGHT])
    assert np.median(np.abs(share)) < 0.03
    page.check("#mirror")
    turned = np.array(list(places(page).values()))
    assert np.median(np.abs(turned[:, 0] + drawn[:, 0] - size[0])) < 0.03 * size[0]
    page.click("#live-take")
    expect(page.locator("#status")).to_contain_text(f"camera, {size[0]} x {size[1]} px: 1 person")
    assert page.evaluate("document.getElementById('film').srcObject") is None
    page.click("#camera-open")
    page.wait_for_selector("#overlay .joint")
    page.click("#live-stop")
    expect(page.locator("#status")).to_contain_text("off")
    assert not page.is_visible("#viewport")


@pytest.mark.slow
def test_a_video(page: Any, rendered: npt.NDArray[np.uint8], pose: Pose, tmp_path: Path) -> None:
    shift = 12
    wide = np.full((HEIGHT, WIDTH + 60, 3), 120, np.uint8)
    frames = []
    for number in range(5):
        frames.append(wide.copy())
        frames[-1][:, number * shift : number * shift + WIDTH] = rendered
    write_video(tmp_path / "walk.webm", frames, 5)
    page.evaluate("document.getElementById('fps').value = '5'")
    page.set_input_files("#file", str(tmp_path / "walk.webm"))
    expect(page.locator("#status")).to_contain_text("walk.webm, 360 x 360 px: 5 frames read")
    name, content = download(page, "#save-json")
    lines = [json.loads(line) for line in content.decode().splitlines()]
    assert name == "walk.jsonl"
    assert [(line["frame"], line["time_s"]) for line in lines] == [(i, i / 5) for i in range(5)]
    assert {person["person"] for line in lines for person in line["people"]} == {0}
    found = np.array(
        [[[row["x"], row["y"]] for row in line["people"][0]["joints"].values()] for line in lines]
    )
    truth = pose.keypoints + np.arange(5)[:, None, None] * np.array([shift, 0])
    assert np.median(np.abs(found - truth)) < 4
    name, content = download(page, "#save-csv")
    rows = list(csv.DictReader(io.StringIO(content.decode())))
    assert name == "walk.csv"
    assert len(rows) == 5 * 14
    assert rows[0].keys() >= {"frame", "time_s", "person", "joint", "x", "y", "score"}

    page.select_option("#plot-joint", "neck")
    page.select_option("#plot-what", "x")
    assert "neck, x in pixels" in page.get_attribute("#plot", "aria-label")
    neck = pose.skeleton.joints.index("neck")
    for number in (3, 1):
        page.eval_on_selector(
            "#scrub", f"(e) => {{ e.value = {number / 5 + 0.1}; e.dispatchEvent(new Event('input')); }}"
        )
        expect(page.locator("#time")).to_have_text(f"{number / 5 + 0.1:.1f} s")
        expect(page.locator("#overlay .joint[data-joint=neck]")).to_have_attribute(
            "cx", str(found[number, neck, 0])
        )
    page.click("#frame-on")
    expect(page.locator("#overlay .joint[data-joint=neck]")).to_have_attribute("cx", str(found[2, neck, 0]))
    page.locator("#plot").click(position={"x": 5, "y": 40})
    expect(page.locator("#time")).to_have_text("0.0 s")
    page.click("#play")
    expect(page.locator("#play")).to_have_text("Pause")
    expect(page.locator("#play")).to_have_text("Play")
    expect(page.locator("#overlay .joint[data-joint=neck]")).to_have_attribute("cx", str(found[4, neck, 0]))


@pytest.mark.slow
def test_mistakes_clear_the_old_answer(page: Any, tmp_path: Path, file: Path) -> None:
    status = page.locator("#status")
    upload(page, file)
    page.click("details.card:has(#box) summary")
    page.fill("#box", "900,900,10,10")
    with page.expect_response("**/v1/pose*") as told:
        page.press("#box", "Enter")
    assert told.value.status == 422
    expect(status).to_contain_text("lies outside the picture")
    assert places(page) == {}
    assert not page.is_visible("#panel")
    assert page.is_visible("#photo")
    page.fill("#box", "1,2,3")
    page.press("#box", "Enter")
    expect(status).to_contain_text("boxes of four numbers")
    page.fill("#box", "")
    page.press("#box", "Enter")
    expect(status).to_contain_text("1 person in")
    for name, says in (("note.png", "no picture"), ("note.webm", "no video")):
        (tmp_path / name).write_text("neither")
        page.set_input_files("#file", str(tmp_path / name))
        expect(status).to_contain_text(f"{says} that this browser can read")
        assert not page.is_visible("#viewport")
        assert not page.is_visible("#panel")
    page.route("**/v1/pose*", lambda route: route.abort())
    page.set_input_files("#file", str(file))
    expect(status).to_contain_text("the server can't be reached")


@pytest.mark.slow
def test_samples_by_keyboard_paste_drop_and_address(page: Any, browser: Any, url: str, file: Path) -> None:
    status = page.locator("#status")
    page.locator("#samples button").nth(1).focus()
    page.keyboard.press("Enter")
    expect(status).to_contain_text("sample 2, 384 x 384 px: 1 person")
    page.locator("#photos button").first.click()
    expect(status).to_contain_text("astronaut, 512 x 512 px: 1 person")
    give = """([data, kind]) => {
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
        page.evaluate(give, [data, kind])
        expect(status).to_contain_text(f"{name}, {WIDTH} x {HEIGHT} px: 1 person")
    with opened(browser, f"{url}/#sample-3") as other:
        expect(other.locator("#status")).to_contain_text("sample 3, 384 x 384 px: 1 person")


@pytest.mark.slow
def test_a_phone(browser: Any, url: str, file: Path) -> None:
    with opened(browser, url) as page:
        page.set_viewport_size({"width": 360, "height": 740})
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        upload(page, file)
        # Where the page scrolled to, the whole picture is seen.
        page.wait_for_function("() => scrollY > 0 || document.getElementById('stage').offsetTop < 20")
        expect(page.locator("#sheet")).to_be_in_viewport(ratio=0.99)
        page.click("#how")
        page.wait_for_selector("#stacks svg .joint")
        page.click("#gallery-box summary")
        expect(page.locator("#gallery button")).to_have_count(14)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360


@pytest.mark.slow
def test_a_picture_that_lies_on_its_side(page: Any, file: Path, tmp_path: Path, trained: Predictor) -> None:
    path = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(file).transpose(Image.Transpose.ROTATE_90).save(path, quality=95, exif=exif)
    upload(page, path)
    (pose,) = trained(path)
    assert_drawn_at(page, pose.keypoints, pose.skeleton.joints)
    # The drawn photo itself must be upright: compare it with the picture before it was turned.
    shown = page.eval_on_selector("#photo", "(c) => c.toDataURL('image/png').split(',')[1]")
    seen = np.asarray(Image.open(io.BytesIO(base64.b64decode(shown))).convert("RGB"), np.int16)
    assert seen.shape == (HEIGHT, WIDTH, 3)
    assert np.abs(seen - np.asarray(Image.open(file), np.int16)).mean() < 8


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(browser: Any, url: str, file: Path, scheme: str) -> None:
    with opened(browser, url) as page:
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        expect(page.locator("#model")).to_contain_text("joints")
        page.click("details.card:has(#box) summary")
        for step in ("empty", "answered", "marking"):
            if step == "answered":
                upload(page, file)
                page.click("#how")
                page.wait_for_selector("#stacks svg .joint")
                page.click("#gallery-box summary")
                expect(page.locator("#gallery button")).to_have_count(14)
            if step == "marking":
                page.click("#mark")
                page.click("#mark-add")
                expect(page.locator("#status")).to_contain_text("1 person in")
            for width in (360, 768, 1440):
                page.set_viewport_size({"width": width, "height": 900})
                assert page.evaluate("document.documentElement.scrollWidth") <= width
                assert violations(page) == [], (step, width)
        moving = "(all) => all.filter((e) => getComputedStyle(e).transitionDuration !== '0s').length"
        assert page.eval_on_selector_all("*", moving) == 0


@pytest.mark.slow
def test_the_description_of_the_api(browser: Any, url: str) -> None:
    with opened(browser, f"{url}/docs") as page:
        expect(page.locator(".operation")).to_have_count(5)
        expect(page.locator("[aria-label='post /v1/pose']")).to_contain_text("curl --data-binary @photo.jpg")
        expect(page.locator("[aria-label='post /v1/pose']")).to_contain_text(f"{url}/v1/pose")
        assert "multipart/form-data" in page.inner_text("#api")
        for width in (360, 1440):
            page.set_viewport_size({"width": width, "height": 900})
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert violations(page) == []


@pytest.mark.slow
def test_a_key_and_a_choice_of_networks(browser: Any, file: Path) -> None:
    with served(("hg2_small_192",), api_key="s3cret") as locked, opened(browser, locked) as page:
        expect(page.locator("#key-form")).to_be_visible()
        page.set_input_files("#file", str(file))
        page.fill("#key", "wrong")
        page.press("#key", "Enter")
        expect(page.locator("#status")).to_contain_text("missing or wrong")
        page.fill("#key", "s3cret")
        page.press("#key", "Enter")
        page.wait_for_selector("#overlay .joint")
        expect(page.locator("#key-form")).to_be_hidden()
        before = places(page)
        page.select_option("#network", "hg2_small_192")
        expect(page.locator("#model")).to_contain_text("192 px")
        other = Predictor.from_pretrained("hg2_small_192", device="cpu", precision="fp32")(file)[0]
        expect(page.locator("#joints tbody tr").first).to_contain_text(f"{other.keypoints[0, 0]:.1f}")
        assert_drawn_at(page, other.keypoints, other.skeleton.joints)
        assert places(page) != before
