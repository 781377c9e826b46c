import io
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from hourglass.core.skeleton import COCO17, LSP14
from hourglass.core.structs import PersonRecord
from hourglass.data.loading.images import read_image
from hourglass.data.packs import write_pack as packing
from hourglass.data.packs.open_pack import load_records, read_facts
from hourglass.data.packs.pack_file import METADATA_KEY
from hourglass.data.packs.write_pack import write_pack


def person(
    folder: Path, number: int, side: float = 130.0, size: tuple[int, int] = (240, 180)
) -> PersonRecord:
    """A photo with a soft white dot at each joint, on grey; joint 2 is hidden, joint 5 not there."""
    rng = np.random.default_rng(number)
    width, height = size
    # Some of the photo's border is in the crop, and the person is not in the photo's middle.
    center = np.array([width * 0.4, height * 0.45]) + rng.uniform(-5, 5, 2)
    xy = center + rng.uniform(-0.35, 0.35, (14, 2)) * side
    yy, xx = np.mgrid[0:height, 0:width]
    picture = np.full((height, width), 60.0)
    xy[5] = np.nan
    for x, y in xy[np.isfinite(xy[:, 0])]:
        picture += 190 * np.exp(-((xx - x) ** 2 + (yy - y) ** 2) / (2 * (side / 50) ** 2))
    path = folder / f"photo{number}.png"
    Image.fromarray(np.repeat(picture.clip(0, 255).astype(np.uint8)[:, :, None], 3, axis=2)).save(path)
    visibility = np.full(14, 2, np.uint8)
    visibility[2], visibility[5] = 1, 0
    return PersonRecord(
        image=path,
        image_id=path.name,
        person_id=number,
        skeleton=LSP14,
        keypoints=xy.astype(np.float32),
        visibility=visibility,
        center=center.astype(np.float32),
        side_px=side,
    )


def test_weights_of_labels_are_kept(tmp_path: Path) -> None:
    weight = np.linspace(0, 1, 14).astype(np.float32)
    people = [person(tmp_path, 0), replace(person(tmp_path, 1), weight=weight)]
    write_pack({"train": people}, tmp_path / "people.parquet")
    plain, weighted = load_records(tmp_path / "people.parquet", "train")
    assert plain.weight is None
    assert weighted.weight is not None
    assert weighted.weight.tolist() == weight.tolist()


def rows_of(path: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return rows


@pytest.mark.parametrize(("side", "crop_px"), [(130.0, 256), (130.3, 64), (700.5, 256), (9.2, 256)])
def test_coordinates_map_back_to_the_photo(side: float, crop_px: int, tmp_path: Path) -> None:
    size = (int(side * 2), int(side * 1.5))
    people = [person(tmp_path, n, side, size) for n in range(3)]
    out = tmp_path / "people.parquet"
    write_pack({"train": people}, out, crop_px=crop_px)
    for before, after, row in zip(people, load_records(out, "train"), rows_of(out), strict=True):
        a, b, c, d, e, f = row["crop_to_orig"]
        u, v = after.keypoints[before.labelled].astype(np.float64).T
        back = np.stack([a * u + b * v + c, d * u + e * v + f], axis=1)
        np.testing.assert_allclose(back, before.keypoints[before.labelled], atol=1e-3)
        u, v = after.center.astype(np.float64)
        np.testing.assert_allclose((a * u + c, e * v + f), before.center, atol=1e-3)
        assert after.side_px * a == pytest.approx(before.side_px)
        assert after.visibility.tolist() == before.visibility.tolist()
        assert (after.image_id, after.person_id, after.skeleton) == (before.image_id, before.person_id, LSP14)
        height, width, _ = read_image(after.image).shape
        assert width == height == min(crop_px, int(np.ceil(side * 1.5)))


@pytest.mark.parametrize(("side", "crop_px"), [(130.0, 256), (400.0, 256)])
def test_the_picture_moves_with_the_joints(side: float, crop_px: int, tmp_path: Path) -> None:
    people = [person(tmp_path, n, side, (int(side * 2), int(side * 1.6))) for n in range(3)]
    out = tmp_path / "people.parquet"
    write_pack({"train": people}, out, crop_px=crop_px, quality=95)
    checked = 0
    for record in load_records(out, "train"):
        grey = read_image(record.image)[:, :, 0].astype(np.float64)
        others = record.keypoints[record.labelled]
        for x, y in others:
            alone = np.sort(np.hypot(*(others - (x, y)).T))[1] > 22
            if alone and min(x, y) > 7 and max(x, y) < len(grey) - 8:
                x0, y0 = round(float(x)) - 6, round(float(y)) - 6
                patch = (grey[y0 : y0 + 13, x0 : x0 + 13] - 70).clip(0)
                yy, xx = np.mgrid[0:13, 0:13]
                found = (patch * xx).sum() / patch.sum() + x0, (patch * yy).sum() / patch.sum() + y0
                np.testing.assert_allclose(found, (x, y), atol=0.25)
                checked += 1
    assert checked > 5


def test_a_small_person_keeps_the_photos_own_pixels(tmp_path: Path) -> None:
    record = person(tmp_path, 0, side=60.0)
    photo = read_image(record.image)
    crop, matrix = packing.cut_out(photo, record, 256, 1.5)
    x, y = np.round(-matrix[:2, 2]).astype(int)
    assert crop.shape == (90, 90, 3)
    np.testing.assert_allclose(matrix[:2, :2], np.eye(2))
    np.testing.assert_array_equal(crop, photo[y : y + 90, x : x + 90])
    # The person is in the crop's middle, to half a pixel.
    assert np.abs(matrix[:2, :2] @ record.center + matrix[:2, 2] - 44.5).max() <= 0.5


def test_splits_and_facts(tmp_path: Path) -> None:
    people = [person(tmp_path, n) for n in range(5)]
    out = tmp_path / "sub" / "people.parquet"
    calls: list[tuple[int, int]] = []
    report = write_pack(
        {"train": people[:3], "val": people[3:]},
        out,
        crop_px=100,
        quality=50,
        margin=1.25,
        progress=lambda done, total: calls.append((done, total)),
        source="drawn",
    )
    assert report.people == {"train": 3, "val": 2}
    assert (report.failed, report.resumed, report.bytes) == ([], 0, out.stat().st_size)
    assert calls[0] == (1, 5)
    assert calls[-1] == (5, 5)
    facts = read_facts(out)
    assert facts.people == report.people
    assert (facts.skeleton, facts.crop_px, facts.margin, facts.quality) == (LSP14, 100, 1.25, 50)
    assert facts.source == "drawn"
    assert [r.person_id for r in load_records(out, "val")] == [3, 4]
    assert [p.name for p in out.parent.iterdir()] == [out.name]


def test_other_tools_find_plain_columns(tmp_path: Path) -> None:
    out = tmp_path / "people.parquet"
    write_pack({"train": [person(tmp_path, 0)]}, out)
    row = rows_of(out)[0]
    assert set(row["image"]) == {"bytes", "path"}
    with Image.open(io.BytesIO(row["image"]["bytes"])) as image:
        assert (image.format, image.size) == ("WEBP", (195, 195))
    assert np.array(row["keypoints"]).shape == (14, 2)
    assert row["keypoints"][5] == [0.0, 0.0]
    raw = json.loads(pq.read_schema(out).metadata[METADATA_KEY])
    assert (raw["format"], raw["codec"]) == ("hourglass-pack-3", "webp")
    assert raw["skeleton"]["joints"] == list(LSP14.joints)


def test_a_pack_can_be_packed_again(tmp_path: Path) -> None:
    write_pack({"train": [person(tmp_path, 0)]}, tmp_path / "one.parquet")
    write_pack({"val": load_records(tmp_path / "one.parquet", "train")}, tmp_path / "two.parquet", crop_px=64)
    assert read_image(load_records(tmp_path / "two.parquet", "val")[0].image).shape == (64, 64, 3)


def test_a_damaged_photo_is_named_and_the_rest_packed(tmp_path: Path) -> None:
    people = [person(tmp_path, n) for n in range(4)]
    (tmp_path / "photo2.png").write_bytes(b"junk")
    out = tmp_path / "people.parquet"
    report = write_pack({"train": people}, out)
    assert report.people == {"train": 3}
    assert [(f.split, f.image_id, f.person_id) for f in report.failed] == [("train", "photo2.png", 2)]
    assert "photo2.png is not a picture" in report.failed[0].reason
    assert [r.person_id for r in load_records(out, "train")] == [0, 1, 3]


def test_no_readable_photo_leaves_nothing(tmp_path: Path) -> None:
    people = [person(tmp_path, n) for n in range(2)]
    for n in range(2):
        (tmp_path / f"photo{n}.png").write_bytes(b"")
    with pytest.raises(
        ValueError, match=r"none of the 2 people could be packed; the first: .*photo0\.png is empty"
    ):
        write_pack({"train": people}, tmp_path / "out" / "people.parquet")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"crop_px": 0}, "crop's side must be 8 to 4096 pixels, not 0"),
        ({"quality": 101}, "quality must be 1 to 100, not 101"),
        ({"quality": -1}, "quality must be 1 to 100, not -1"),
        ({"codec": "png"}, "codec 'png' is not one of webp, jpeg"),
        ({"margin": 0.5}, "margin must be 1 to 4, not 0.5"),
        ({"margin": float("nan")}, "margin must be 1 to 4, not nan"),
        ({"workers": 0}, "at least one worker, not 0"),
    ],
)
def test_settings_that_make_no_pack(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        write_pack({"train": [person(tmp_path, 0)]}, tmp_path / "people.parquet", **options)


def test_people_that_make_no_pack(tmp_path: Path) -> None:
    one = person(tmp_path, 0)
    with pytest.raises(ValueError, match="nobody to pack in the split 'val'"):
        write_pack({"train": [one], "val": []}, tmp_path / "people.parquet")
    with pytest.raises(ValueError, match="these people have none"):
        write_pack({}, tmp_path / "people.parquet")
    other = replace(one, skeleton=replace(LSP14, name="other"))
    with pytest.raises(ValueError, match="these people have lsp14, other"):
        write_pack({"train": [one, other]}, tmp_path / "people.parquet")


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    people = {"train": [person(tmp_path, 0)]}
    with pytest.raises(ValueError, match=r"cannot write .*: it is a folder"):
        write_pack(people, tmp_path)
    with pytest.raises(ValueError, match=r"cannot write /dev/null: it is a folder or no regular file"):
        write_pack(people, Path("/dev/null"))
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"cannot write .*people\.parquet"):
        write_pack(people, tmp_path / "file" / "people.parquet")


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from hourglass.data.packs import write_pack as packing
from test_write_pack import person
packing.CHUNK = 4
def stop(done, total):
    if done == 10:
        os.kill(os.getpid(), signal.SIGKILL)
folder = Path({folder!r})
people = [person(folder, n) for n in range(14)]
packing.write_pack({{"train": people}}, folder / "people.parquet", progress=stop)
"""


@pytest.mark.slow
def test_a_killed_run_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = KILLED.format(tests=str(Path(__file__).parent), folder=str(tmp_path))
    killed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    out = tmp_path / "people.parquet"
    assert not out.exists()
    monkeypatch.setattr(packing, "CHUNK", 4)
    people = [person(tmp_path, n) for n in range(14)]
    report = write_pack({"train": people}, out)
    assert report.resumed == 8
    assert report.people == {"train": 14}
    resumed = out.read_bytes()
    write_pack({"train": people}, tmp_path / "whole.parquet")
    assert resumed == (tmp_path / "whole.parquet").read_bytes()
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_chunks_of_another_job_are_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "CHUNK", 2)
    people = [person(tmp_path, n) for n in range(4)]
    out = tmp_path / "people.parquet"

    def stop(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    for options in ({"quality": 40}, {"crop_px": 64}, {"margin": 1.2}):
        with pytest.raises(KeyboardInterrupt):
            write_pack({"train": people}, out, progress=stop)
        assert write_pack({"train": people}, out, **options).resumed == 0
    with pytest.raises(KeyboardInterrupt):
        write_pack({"train": people}, out, progress=stop)
    moved = [replace(people[0], keypoints=people[0].keypoints + 1), *people[1:]]
    assert write_pack({"train": moved}, out).resumed == 0
    with pytest.raises(KeyboardInterrupt):
        write_pack({"train": people}, out, progress=stop)
    (tmp_path / ".people.parquet.parts" / "00000000.parquet").write_bytes(b"PAR1 half a chunk")
    assert write_pack({"train": people}, out).resumed == 0


def test_a_failed_write_keeps_the_old_pack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    people = [person(tmp_path, n) for n in range(2)]
    out = tmp_path / "people.parquet"
    write_pack({"train": people}, out)
    before = out.read_bytes()

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match=r"cannot write .*people\.parquet: No space left on device"):
        write_pack({"train": people}, out, quality=20)
    assert out.read_bytes() == before
    assert not list(tmp_path.rglob("*.part"))


def test_packing_does_not_load_torch() -> None:
    script = "import hourglass.cli.data, hourglass.data.packs.write_pack, hourglass.data.formats.lsp, "
    script += "hourglass.data.formats.coco, sys; print('torch' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert answer.stdout.strip() == "False", answer.stderr


@pytest.mark.realdata
@pytest.mark.skipif("HOURGLASS_DATA" not in os.environ, reason="HOURGLASS_DATA names no folder of data sets")
def test_real_lspet_packs_below_50_mb(tmp_path: Path) -> None:
    from hourglass.data.formats.lsp import load_lspet as lspet_records

    people = lspet_records(Path(os.environ.get("HOURGLASS_DATA", "")) / "lspet", "all")[::75]
    report = write_pack({"train": people}, tmp_path / "some.parquet")
    assert report.people == {"train": 120}
    assert report.bytes / 120 * 9000 < 50e6


@pytest.mark.realdata
@pytest.mark.skipif("HOURGLASS_DATA" not in os.environ, reason="HOURGLASS_DATA names no folder of data sets")
def test_real_coco_packs(tmp_path: Path) -> None:
    from hourglass.data.formats.coco import load_records as coco_records

    root = Path(os.environ.get("HOURGLASS_DATA", "")) / "coco" / "mmpose"
    write_pack({"val": coco_records(root / "test_coco.json", root)}, tmp_path / "some.parquet")
    records = load_records(tmp_path / "some.parquet", "val")
    assert len(records) == 12
    assert all(r.skeleton == COCO17 for r in records)
