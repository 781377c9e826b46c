"""`hourglass label`: its API, and the page in a real Chromium, which is skipped where there is none."""

import io
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("fastapi", reason="the extra `serve` is not installed")

from chromium import ABSENT, CHROMIUM, TIMEOUT_MS, chromium, opened, places, violations
from hourglass.core.skeleton import Skeleton
from hourglass.data.formats import coco
from hourglass.inference.predictor import Predictor
from hourglass.serving.label import STALE, create_label_app
from hourglass.serving.label_project import Project
from hourglass.serving.run import listen, url_of
from inference.video.clips import DOTS, Points, dot_predictor, dotted, triangle

HOST = "http://127.0.0.1:8010"
TRUTH = {f"day/p{n}.png": triangle(40 + 12 * n, 50 + 3 * n) for n in range(4)}
"""Where the joints of the one person in each picture are."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "project" / "day").mkdir(parents=True)
    for name, points in TRUTH.items():
        Image.fromarray(dotted([points])).save(tmp_path / "project" / name)
    return tmp_path / "project"


class Wrong(Predictor):
    """Finds every joint 9 px too far right."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        poses = super().__call__(*arguments, **options)
        return [replace(pose, keypoints=pose.keypoints + np.array([9, 0], np.float32)) for pose in poses]


def predictor(kind: type[Predictor] = Predictor, skeleton: Skeleton = DOTS) -> Predictor:
    made = dot_predictor()
    made.__class__ = kind
    made.facts = replace(made.facts, skeleton=skeleton)
    return made


@contextmanager
def client(folder: Path, network: Predictor | None = None, skeleton: Skeleton = DOTS) -> Iterator[Any]:
    from starlette.testclient import TestClient

    with TestClient(create_label_app(Project(folder, skeleton), network), HOST, False) as made:
        yield made


def put(client: Any, name: str, version: int, people: Any, labelled: Any = True, **more: Any) -> Any:
    body = {"version": version, "labelled": labelled, "people": people}
    return client.put("/api/picture", params={"name": name}, json=body, **more)


def get(client: Any, name: str = "day/p0.png") -> dict[str, Any]:
    answer: dict[str, Any] = client.get("/api/picture", params={"name": name}).json()
    return answer


def person(points: Points = TRUTH["day/p0.png"], key: Any = None, seen: int = 2) -> dict[str, Any]:
    joints = {name: [*map(float, point), seen] for name, point in zip(DOTS.joints, points, strict=True)}
    return {"id": key, "joints": joints}


def saved(folder: Path) -> dict[str, list[Points]]:
    """The labelled people by picture, as the package's own reader has them."""
    people = coco.read_file(folder / "labels.json").people
    found: dict[str, list[Points]] = {}
    for name, points in zip(people.names, people.keypoints, strict=True):
        found.setdefault(name, []).append(points)
    return found


def test_what_is_saved_is_coco(folder: Path) -> None:
    with client(folder) as asks:
        before = get(asks)
        assert (before["labelled"], before["people"], before["width"], before["height"]) == (
            False,
            [],
            128,
            96,
        )
        rows = [person(), person(triangle(90, 40), seen=1)]
        del rows[1]["joints"]["red"]
        after = put(asks, "day/p0.png", before["version"], rows).json()
        assert [row["id"] for row in after["people"]] == [1, 2]
        assert put(asks, "day/p2.png", get(asks, "day/p2.png")["version"], []).status_code == 200
        told = {one["name"]: one["labelled"] for one in asks.get("/api/project").json()["pictures"]}
        assert told == {"day/p0.png": True, "day/p1.png": False, "day/p2.png": True, "day/p3.png": False}
    people = coco.read_file(folder / "labels.json").people
    assert people.skeleton.joints == DOTS.joints
    assert people.skeleton.limbs == DOTS.limbs
    assert people.visibility.tolist() == [[2, 2, 2], [0, 1, 1]]
    np.testing.assert_array_equal(people.keypoints[0], TRUTH["day/p0.png"])
    content = json.loads((folder / "labels.json").read_text())
    assert {one["file_name"] for one in content["images"]} == {"day/p0.png", "day/p2.png"}
    x, y, width, height = content["annotations"][0]["bbox"]
    low, high = TRUTH["day/p0.png"].min(axis=0), TRUTH["day/p0.png"].max(axis=0)
    assert (x, y, x + width - 1, y + height - 1) == (*low, *high)
    assert [one["num_keypoints"] for one in content["annotations"]] == [3, 2]
    with client(folder) as asks:  # a server that is started again knows all of it
        assert get(asks) == after


def test_a_stale_tab_is_told_and_writes_nothing(folder: Path) -> None:
    with client(folder) as one:
        first = get(one)["version"]
        mine = put(one, "day/p0.png", first, [person()]).json()
        # The answer got lost: saying the same again is no conflict, and adds nobody.
        assert put(one, "day/p0.png", first, [person()]).json() == mine
        before = (folder / "labels.json").read_bytes()
        refused = put(one, "day/p0.png", first, [person(triangle(60, 60))])
        assert (refused.status_code, refused.json()["error"]["message"]) == (409, STALE)
        assert (folder / "labels.json").read_bytes() == before
        other = put(one, "day/p1.png", get(one, "day/p1.png")["version"], [person()])
        assert other.status_code == 200  # another picture isn't touched by that
    with client(folder) as again:  # after a restart the same holds
        assert put(again, "day/p0.png", first, [person(triangle(60, 60))]).status_code == 409
        assert put(again, "day/p0.png", mine["version"], [person(triangle(60, 60), 1)]).status_code == 200


def test_another_program_is_another_tab(folder: Path) -> None:
    with client(folder) as asks:
        mine = put(asks, "day/p0.png", get(asks)["version"], [person()]).json()
        file = folder / "labels.json"
        content = json.loads(file.read_text())
        content["annotations"][0]["keypoints"][0] += 5
        file.write_text(json.dumps(content))
        assert put(asks, "day/p0.png", mine["version"], [person(triangle(60, 60), 1)]).status_code == 409
        assert get(asks)["people"][0]["joints"]["red"][0] == TRUTH["day/p0.png"][0, 0] + 5
        file.write_text("{")
        spoilt = put(asks, "day/p0.png", mine["version"], [])
        assert spoilt.status_code == 422
        assert "labels.json" in spoilt.json()["error"]["message"]
        assert file.read_text() == "{"


def test_what_is_not_understood_stays(folder: Path) -> None:
    def entry(key: int, image: int, category: int = 1, **more: Any) -> dict[str, Any]:
        flat = [value for point in TRUTH["day/p0.png"].tolist() for value in (*point, 2)]
        return {"id": key, "image_id": image, "category_id": category, "keypoints": flat, **more}

    boxed = entry(
        7, 3, bbox=[20, 20, 60, 60], area=1234.5, colour="red", crop={"center": [1, 2], "side_px": 9}
    )
    nobody = entry(9, 3) | {"keypoints": [0] * 9}
    annotations = [boxed, entry(8, 3, iscrowd=1), nobody, entry(10, 3, 2), entry(11, 4), entry(12, 3)]
    names = {"id": 1, "name": "dots", "keypoints": list(DOTS.joints), "skeleton": [], "remark": "ours"}
    content = {
        "licences": ["free"],
        "images": [{"id": 3, "file_name": "day/p0.png", "by": "me"}, {"id": 4, "file_name": "gone.png"}],
        "annotations": annotations,
        "categories": [names, {"id": 2, "name": "cars"}],
    }
    (folder / "labels.json").write_text(json.dumps(content))

    def written() -> Any:
        return json.loads((folder / "labels.json").read_text())

    with client(folder) as asks:
        assert asks.get("/api/project").json()["elsewhere"] == 1
        state = get(asks)
        assert [row["id"] for row in state["people"]] == [7, 12]
        moved = person(TRUTH["day/p0.png"] + [40, 0], 7)
        unmoved = person(TRUTH["day/p0.png"], 12)
        state = put(asks, "day/p0.png", state["version"], [moved, unmoved]).json()
        after = written()
        assert after["annotations"][1:] == annotations[1:]
        changed = after["annotations"][0]
        assert changed["bbox"] == [20, 20, 76, 60]  # as it was drawn, out to the joint that lies outside
        assert (changed["area"], changed["colour"], "crop" in changed) == (1234.5, "red", False)
        assert after["images"][0] == {"id": 3, "file_name": "day/p0.png", "by": "me", "labelled": True}
        assert (after["licences"], after["categories"]) == (content["licences"], content["categories"])
        # Who is deleted and comes back by an undo comes back whole.
        gone = put(asks, "day/p0.png", state["version"], [moved]).json()
        assert [one["id"] for one in written()["annotations"]] == [7, 8, 9, 10, 11]
        put(asks, "day/p0.png", gone["version"], [moved, unmoved])
        assert written()["annotations"][5] == annotations[5]


def test_a_disk_that_is_full_changes_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError("cannot write labels.json: No space left on device")

    with client(folder) as asks:
        state = put(asks, "day/p0.png", get(asks)["version"], [person()]).json()
        with monkeypatch.context() as patched:
            patched.setattr("hourglass.serving.label_project.write_text_atomically", full)
            refused = put(asks, "day/p0.png", state["version"], [])
            assert (refused.status_code, refused.json()["error"]["message"][-9:]) == (507, "on device")
        assert get(asks) == state
        assert put(asks, "day/p0.png", state["version"], []).json()["people"] == []


OWN = {"sec-fetch-site": "same-origin", "origin": HOST}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (OWN, 200),
        ({"host": "localhost:9000", "origin": "http://localhost:9000"}, 200),  # as a tunnel has it
        ({"host": "[::1]:8010"}, 200),
        ({"host": "evil.example:8010"}, 403),  # a name that was made to point at this machine
        ({"host": "127.0.0.1.evil.example"}, 403),
        ({"host": "[::1"}, 403),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "http://localhost:3000"}, 403),  # another server on this machine
        ({"origin": "null"}, 403),
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors", "sec-fetch-dest": "image"}, 403),
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}, 200),
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe"}, 403),
    ],
)
def test_only_its_own_page_is_answered(folder: Path, headers: dict[str, str], status: int) -> None:
    with client(folder) as asks:
        for path in ("/", "/api/project", "/picture?name=day/p0.png"):
            assert asks.get(path, headers=headers).status_code == status
        answer = put(asks, "day/p0.png", get(asks)["version"], [person()], headers=headers)
        assert answer.status_code == status
        assert (folder / "labels.json").exists() == (status == 200)
        assert asks.get("/", headers=headers).headers["x-frame-options"] == "DENY"


def test_no_file_outside_is_reached(folder: Path) -> None:
    Image.new("RGB", (30, 30)).save(folder.parent / "secret.png")
    (folder / "link.png").symlink_to(folder.parent / "secret.png")
    (folder / ".hidden").mkdir()
    Image.new("RGB", (30, 30)).save(folder / ".hidden" / "thumb.png")
    with client(folder) as asks:
        told = asks.get("/api/project").json()
        assert [one["name"] for one in told["pictures"]] == list(TRUTH)
        assert told["unreadable"] == ["link.png is a link to a file outside of the project"]
        for name in (
            "../secret.png",
            str(folder.parent / "secret.png"),
            "link.png",
            ".hidden/thumb.png",
            "labels.json",
            "",
        ):
            for path in ("/picture", "/api/picture", "/api/suggested", "/api/next"):
                assert asks.get(path, params={"name": name}).status_code == 404
            assert put(asks, name, 0, []).status_code == 404
        for path in ("/page/..%2flabel.py", "/page/label.py", "/labels.json", "/docs", "/openapi.json"):
            assert asks.get(path).status_code == 404
        # A picture that becomes a link while the server runs.
        (folder / "day" / "p0.png").unlink()
        (folder / "day" / "p0.png").symlink_to(folder.parent / "secret.png")
        assert asks.get("/picture", params={"name": "day/p0.png"}).status_code == 422


@pytest.mark.parametrize(
    ("people", "sentence"),
    [
        ({}, "people"),
        ([{"joints": {"red": [1, 2]}}], "red"),
        ([{"joints": {"red": [1, 2, 0]}}], "red"),
        ([{"joints": {"red": [1, "x", 2]}}], "red"),
        ([{"joints": {"red": [1e9, 2, 2]}}], "where no picture reaches"),
        ([{"joints": {"tail": [1, 2, 2]}}], "'tail' is no joint of the skeleton dots"),
        ([person(key=1), person(key=1)], "two people have the same id"),
        ([{"id": [1], "joints": {}}], "id"),
    ],
)
def test_labels_that_cannot_be_are_refused(folder: Path, people: Any, sentence: str) -> None:
    with client(folder) as asks:
        refused = put(asks, "day/p0.png", get(asks)["version"], people)
        assert refused.status_code == 422
        assert sentence in refused.json()["error"]["message"]
        form = {"Content-Type": "text/plain"}
        assert asks.put("/api/picture?name=day/p0.png", content=b"{}", headers=form).status_code == 422
        assert not (folder / "labels.json").exists()


def test_damaged_pictures_are_told_and_others_are_shown(folder: Path) -> None:
    (folder / "bad.jpg").write_bytes(b"no picture")
    cut = (folder / "day" / "p3.png").read_bytes()[:300]
    (folder / "day" / "p3.png").write_bytes(cut)
    Image.fromarray(dotted([TRUTH["day/p0.png"]])).save(folder / "day" / "scan.tif")
    with client(folder, predictor()) as asks:
        assert "bad.jpg is not a picture" in asks.get("/api/project").json()["unreadable"][0]
        for path in ("/picture", "/api/suggested"):
            refused = asks.get(path, params={"name": "day/p3.png"})
            assert refused.status_code == 422
            assert "day/p3.png is cut off" in refused.json()["error"]["message"]
        shown = asks.get("/picture", params={"name": "day/scan.tif"})
        assert shown.headers["content-type"] == "image/png"
        seen = np.asarray(Image.open(io.BytesIO(shown.content)))
        np.testing.assert_array_equal(seen, dotted([TRUTH["day/p0.png"]]))


def test_suggestions_are_the_joints_that_both_know(folder: Path) -> None:
    known = Skeleton("own", ("tail", "blue", "red"))
    with client(folder, predictor(), known) as asks:
        assert asks.get("/api/project").json()["suggested"] == ["blue", "red"]
        (one,) = asks.get("/api/suggested", params={"name": "day/p1.png"}).json()["people"]
        assert set(one["joints"]) == {"blue", "red"}
        for name, (x, y, seen, _) in one["joints"].items():
            place = TRUTH["day/p1.png"][DOTS.index(name)]
            assert seen == 2
            assert np.abs(place - [x, y]).max() < 1
    for network in (None, predictor(skeleton=Skeleton("other", ("a", "b", "c")))):
        with client(folder, network, known) as asks:
            assert asks.get("/api/suggested", params={"name": "day/p1.png"}).json() == {"people": []}


def test_next_is_unlabelled_or_the_most_doubtful(folder: Path) -> None:
    grey = Image.open(folder / "day/p2.png").convert("L").convert("RGB")
    Image.blend(grey, Image.open(folder / "day/p2.png"), 0.4).save(folder / "day/p2.png")
    with client(folder, predictor()) as asks:

        def following(name: str, **more: Any) -> Any:
            return asks.get("/api/next", params={"name": name, **more}).json()["name"]

        for name in TRUTH:
            asks.get("/api/suggested", params={"name": name})
        assert following("day/p0.png") == "day/p1.png"
        assert following("day/p3.png") == "day/p0.png"
        assert following("day/p0.png", doubtful=1) == "day/p2.png"
        for name in ("day/p1.png", "day/p2.png"):
            put(asks, name, get(asks, name)["version"], [])
        assert following("day/p0.png") == "day/p3.png"
        assert following("day/p0.png", doubtful=1) == "day/p3.png"


@contextmanager
def served(folder: Path, network: Predictor | None, skeleton: Skeleton = DOTS) -> Iterator[str]:
    import uvicorn

    app = create_label_app(Project(folder, skeleton), network)
    server = uvicorn.Server(uvicorn.Config(app, ws="none", log_config=None))
    with listen("127.0.0.1", 0) as listening:
        listening.listen()
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield url_of(listening)
        finally:
            server.should_exit = True
            thread.join()


# The page.

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason=ABSENT)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    pytest.importorskip("playwright", reason="playwright is not installed")
    with chromium() as running:
        yield running


def on_screen(page: Any, place: Any) -> tuple[float, float]:
    """Where a place of the picture is on the screen."""
    sheet = page.locator("#sheet").bounding_box()
    x, y = (np.asarray(place, float) + 0.5) / [128, 96] * [sheet["width"], sheet["height"]]
    return float(sheet["x"] + x), float(sheet["y"] + y)


def drag(page: Any, start: Any, end: Any) -> None:
    page.mouse.move(*on_screen(page, start))
    page.mouse.down()
    page.mouse.move(*on_screen(page, (np.asarray(start) + end) / 2))
    page.mouse.move(*on_screen(page, end))
    page.mouse.up()


def expect(page: Any, selector: str, text: str) -> None:
    from playwright.sync_api import expect

    expect(page.locator(selector)).to_contain_text(text, timeout=TIMEOUT_MS)


def suggested(page: Any, name: str) -> Points:
    """Waits for a picture's suggestion; where its joints are drawn."""
    expect(page, "#status", f"{name}: 1 person")
    return np.array(list(places(page).values()))


def settled(page: Any) -> None:
    expect(page, "#saved", "Saved.")


@needs_chromium
def test_two_rounds_of_suggesting_and_correcting(browser: Any, folder: Path) -> None:
    with served(folder, predictor(Wrong)) as url, opened(browser, url) as page:
        drawn = suggested(page, "day/p0.png")
        truth = TRUTH["day/p0.png"]
        assert np.abs(drawn - truth - [9, 0]).max() < 1
        drag(page, drawn[0], truth[0])
        drag(page, drawn[1], truth[1])
        page.click("#joints button[data-value=blue]")
        page.keyboard.press("Shift+ArrowLeft")
        page.keyboard.press("ArrowRight")
        settled(page)
        (first,) = saved(folder)["day/p0.png"]
        assert np.abs(first - truth).max() < 1
        assert np.abs(first - list(places(page).values())).max() < 0.1
        assert np.abs(first[2] - drawn[2] + [9, 0]).max() < 0.1  # keys are exact
        page.keyboard.press("Enter")
        drawn = suggested(page, "day/p1.png")
        assert "day/p1.png" not in saved(folder)  # what is only suggested is no label
        page.focus("#overlay .joint[tabindex='0']")
        for n in range(3):
            page.keyboard.press("Shift+ArrowLeft")
            page.keyboard.press("ArrowRight")
            if n == 1:
                page.keyboard.press("h")
            page.keyboard.press(".")
        page.keyboard.press("PageDown")
        suggested(page, "day/p2.png")
        (second,) = saved(folder)["day/p1.png"]
        assert np.abs(second - drawn + [9, 0]).max() < 0.1
    assert coco.read_file(folder / "labels.json").people.visibility.tolist() == [[2, 2, 2], [2, 1, 2]]
    before = saved(folder)
    with served(folder, predictor()) as url, opened(browser, url) as page:
        for name in ("day/p2.png", "day/p3.png"):
            assert np.abs(suggested(page, name) - TRUTH[name]).max() < 1
            page.keyboard.press("Enter")
        expect(page, "#status", "Every other picture is labelled.")
        page.select_option("#pictures", "day/p0.png")
        expect(page, "#status", "day/p0.png: 1 person, labelled")
        assert np.abs(np.array(list(places(page).values())) - before["day/p0.png"][0]).max() < 0.1
    after = saved(folder)
    for name, truth in TRUTH.items():
        assert np.abs(after[name][0] - truth).max() < 1
    for name, rows in before.items():
        np.testing.assert_array_equal(after[name], rows)


@needs_chromium
def test_two_tabs_undo_and_reload(browser: Any, folder: Path) -> None:
    with served(folder, predictor()) as url, opened(browser, url) as one, opened(browser, url) as other:
        for page in (one, other):
            drawn = suggested(page, "day/p0.png")
        drag(one, drawn[0], drawn[0] + [20, 5])
        settled(one)
        (kept,) = saved(folder)["day/p0.png"]
        assert np.abs(kept[0] - drawn[0] - [20, 5]).max() < 1
        drag(other, drawn[1], drawn[1] + [0, 30])
        expect(other, "#stale", STALE)
        np.testing.assert_array_equal(saved(folder)["day/p0.png"], [kept])
        other.click("#reload")
        expect(other, "#status", "day/p0.png: 1 person, labelled")
        assert not other.is_visible("#stale")
        assert np.abs(np.array(list(places(other).values())) - kept).max() < 0.1
        # Undone as far as it goes, the picture isn't labelled any more.
        one.keyboard.press("ArrowRight")
        one.keyboard.press("Delete")
        settled(one)
        assert coco.read_file(folder / "labels.json").people.visibility.tolist() == [[0, 2, 2]]
        for _ in range(3):
            one.keyboard.press("Control+z")
        settled(one)
        assert saved(folder) == {}
        assert one.is_disabled("#undo")
        assert np.abs(np.array(list(places(one).values())) - drawn).max() < 0.1
        one.click("#redo")
        settled(one)
        np.testing.assert_array_equal(saved(folder)["day/p0.png"], [kept])
        one.reload()
        expect(one, "#status", "day/p0.png: 1 person, labelled")
        assert np.abs(np.array(list(places(one).values())) - kept).max() < 0.1


@needs_chromium
def test_no_stroke_is_lost_while_the_server_is_away(browser: Any, folder: Path) -> None:
    with served(folder, predictor()) as url, opened(browser, url) as page:
        drawn = suggested(page, "day/p0.png")
        page.on("dialog", lambda dialog: dialog.accept())
        page.route(
            "**/api/picture*",
            lambda route: route.abort() if route.request.method == "PUT" else route.continue_(),
        )
        drag(page, drawn[0], drawn[0] + [10, 0])
        expect(page, "#status", "the server doesn't answer")
        drag(page, drawn[1], drawn[1] + [0, 10])
        page.keyboard.press("PageDown")
        other = suggested(page, "day/p1.png")
        drag(page, other[2], other[2] + [5, 5])
        assert not (folder / "labels.json").exists()
        page.unroute("**/api/picture*")
        page.reload()
        expect(page, "#status", "day/p1.png: 1 person, labelled")
        (first,), (second,) = saved(folder)["day/p0.png"], saved(folder)["day/p1.png"]
        assert np.abs(first - drawn - [[10, 0], [0, 10], [0, 0]]).max() < 1
        assert np.abs(second - other - [[0, 0], [0, 0], [5, 5]]).max() < 1
        # And it goes on from there without a conflict.
        page.select_option("#pictures", "day/p0.png")
        expect(page, "#status", "day/p0.png: 1 person, labelled")
        page.focus("#overlay .joint[tabindex='0']")
        page.keyboard.press("ArrowDown")
        settled(page)
        assert saved(folder)["day/p0.png"][0][0, 1] == pytest.approx(first[0, 1] + 1)


@needs_chromium
def test_people_from_nothing_by_clicks_and_by_keys(browser: Any, folder: Path) -> None:
    with served(folder, None) as url, opened(browser, url) as page:
        expect(page, "#status", "day/p0.png: 0 people, not labelled yet")
        truth = TRUTH["day/p0.png"]
        page.click("#zoom-in")
        page.keyboard.press("n")
        for place in truth:
            page.mouse.click(*on_screen(page, place))
        settled(page)
        assert np.abs(saved(folder)["day/p0.png"][0] - truth).max() < 0.5
        drag(page, truth[1], truth[1] + [10, 4])  # zoomed, the joint moves and the picture stays
        settled(page)
        assert np.abs(saved(folder)["day/p0.png"][0][1] - truth[1] - [10, 4]).max() < 0.5
        page.click("#person-add")
        page.focus("#joints button[data-value=green]")
        page.keyboard.press("Enter")
        page.keyboard.press("Insert")
        expect(page, "#status", "green is in the middle")
        for _ in range(3):
            page.keyboard.press("ArrowRight")
        settled(page)
        people = coco.read_file(folder / "labels.json").people
        assert people.visibility.tolist() == [[2, 2, 2], [0, 2, 0]]
        assert people.keypoints[1, 1].tolist() == [67, 48]
        page.keyboard.press("Shift+Delete")
        settled(page)
        assert len(saved(folder)["day/p0.png"]) == 1
        page.click("summary >> nth=0")
        page.uncheck("#letters")
        page.focus("#stage")
        page.keyboard.press("h")
        assert page.locator("#overlay .hidden").count() == 0


@needs_chromium
@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(browser: Any, folder: Path, scheme: str) -> None:
    (folder / "bad.jpg").write_bytes(b"no picture")
    with served(folder, predictor()) as url, opened(browser, url) as page:
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        suggested(page, "day/p0.png")
        for summary in page.locator("summary").all():
            summary.click()
        page.focus("#overlay .joint[tabindex='0']")
        page.keyboard.press("h")
        settled(page)
        label = page.get_attribute("#overlay .joint[tabindex='0']", "aria-label")
        assert "Person 1, red, hidden" in label
        for width in (360, 768, 1440):
            page.set_viewport_size({"width": width, "height": 900})
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert violations(page) == [], width
