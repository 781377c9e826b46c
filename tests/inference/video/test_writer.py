from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hourglass.inference.video.frames import Clip, Selection, Sound, VideoError
from hourglass.inference.video.open_video import open_clip
from hourglass.inference.video.writer import VideoWriter, choose_suffix, encoder_name
from inference.video.clips import needs_av, number_of, numbered, packets, video_frames, write_clip

pytestmark = needs_av


def copy(source: Path, target: Path, selection: Selection | None = None) -> Path:
    """Every frame asked for, undrawn, with the sound, to a file of the container that fits."""
    wanted = selection or Selection()
    clip = open_clip(str(source), wanted)
    suffix, sounds, note = choose_suffix(clip.sounds)
    assert note == ""
    writer = VideoWriter(target.with_suffix(suffix), clip, sounds, wanted.start_s)
    for item in clip.produce(None):
        if isinstance(item, Sound):
            writer.sound(item.packets)
        elif item.image is not None:
            writer.add(item.image, item.time_s, item.pts, item.sound)
    assert writer.finish()
    clip.close()
    assert writer.frames == len(video_frames(writer.path))
    return writer.path


def test_pictures_and_times_come_through_as_h264(tmp_path: Path) -> None:
    import av

    pts_ms = [0, 10, 50, 90, 590, 600, 640, 1000, 1033, 1066]
    out = copy(write_clip(tmp_path / "in.mp4", 10, pts_ms=pts_ms), tmp_path / "out")
    assert out.suffix == ".mp4"
    with av.open(str(out)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.codec_context.pix_fmt == "yuv420p"
    shown = video_frames(out)
    np.testing.assert_allclose([t for t, _ in shown], np.array(pts_ms) / 1000, atol=1e-3)
    assert [number_of(image) for _, image in shown] == list(range(10))
    for i, (_, image) in enumerate(shown):
        assert np.abs(image.astype(int) - numbered(i)).mean() < 12


@pytest.mark.parametrize(("ending", "codec"), [("mp4", "aac"), ("mkv", "libopus"), ("mkv", "libmp3lame")])
def test_sound_is_kept_packet_by_packet(tmp_path: Path, ending: str, codec: str) -> None:
    source = write_clip(tmp_path / f"in.{ending}", sound=codec)
    out = copy(source, tmp_path / "out")
    before, after = packets(source, "audio"), packets(out, "audio")
    assert [data for _, data in after] == [data for _, data in before]
    assert len(after) > 30
    unit_before, unit_after = (1 / 48_000 if p.suffix == ".mp4" else 1e-3 for p in (source, out))
    np.testing.assert_allclose(
        [pts * unit_after for pts, _ in after], [pts * unit_before for pts, _ in before], atol=1.1e-3
    )


def test_a_part_begins_at_zero_with_its_own_sound(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in.mp4", sound="aac")
    out = copy(source, tmp_path / "out", Selection(every=3, start_s=0.5, end_s=1.1))
    shown = video_frames(out)
    assert [number_of(image) for _, image in shown] == [13, 16, 19, 22, 25]
    np.testing.assert_allclose([t for t, _ in shown], np.array([0.02, 0.14, 0.26, 0.38, 0.5]), atol=1e-3)
    expected = [(pts - 24_000, data) for pts, data in packets(source, "audio") if 24_000 <= pts < 52_800]
    assert packets(out, "audio") == expected


@pytest.mark.parametrize(
    ("ending", "codec", "expected"),
    [
        ("mkv", "mp2", ".mp4"),
        ("mkv", "real_144", ".mkv"),
        ("avi", "pcm_mulaw", ".mov"),
        ("avi", "adpcm_yamaha", ""),
    ],
)
def test_the_container_is_one_that_takes_the_sound(
    tmp_path: Path, ending: str, codec: str, expected: str
) -> None:
    import av

    path = tmp_path / f"in.{ending}"
    with av.open(str(path), "w") as container:
        pictures: Any = container.add_stream("mpeg4", rate=25)
        pictures.width = pictures.height = 64
        rate = 8000 if codec in ("real_144", "pcm_mulaw") else 48_000
        sounds: Any = container.add_stream(codec, rate=rate)
        sounds.codec_context.layout = "mono"
        for i in range(5):
            frame: Any = av.VideoFrame.from_ndarray(numbered(i, 64, 64), "rgb24")
            frame.pts, frame.time_base = i, Fraction(1, 25)
            container.mux(pictures.encode(frame))
        container.mux(pictures.encode(None))
        size = sounds.codec_context.frame_size or 800
        for i in range(3):
            part: Any = av.AudioFrame.from_ndarray(np.full((1, size), 500 * i, np.int16), "s16", "mono")
            part.sample_rate, part.pts, part.time_base = rate, i * size, Fraction(1, rate)
            container.mux(sounds.encode(part))
        container.mux(sounds.encode(None))
    if expected:
        out = copy(path, tmp_path / "out")
        assert out.suffix == expected
        # Of plain samples a container may make larger packets.
        whole, given = (b"".join(data for _, data in packets(p, "audio")) for p in (out, path))
        assert whole == given
        return
    clip = open_clip(str(path))
    suffix, fitting, note = choose_suffix(clip.sounds)
    clip.close()
    assert suffix == ".mp4"
    assert fitting == ()
    assert note == "the sound (adpcm_yamaha) fits no container for H.264 as it is and is left out"


def test_odd_sizes_gain_a_row_and_a_column(tmp_path: Path) -> None:
    images = [np.full((33, 47, 3), 40 * i + 30, np.uint8) for i in range(5)]
    clip = Clip("x", "", lambda after: iter(()), 5, Fraction(25), Fraction(1, 25))
    writer = VideoWriter(tmp_path / "odd.mp4", clip)
    for i, image in enumerate(images):
        writer.add(image, i / 25, i)
    writer.finish()
    shown = video_frames(tmp_path / "odd.mp4")
    assert {image.shape for _, image in shown} == {(34, 48, 3)}
    np.testing.assert_allclose([image.mean() for _, image in shown], [40 * i + 30 for i in range(5)], atol=3)


def test_a_frame_of_another_size_is_fitted_in(tmp_path: Path) -> None:
    clip = Clip("x", "", lambda after: iter(()), 2, Fraction(25), Fraction(1, 25))
    writer = VideoWriter(tmp_path / "mixed.mp4", clip)
    writer.add(np.full((64, 96, 3), 200, np.uint8), 0.0, 0)
    writer.add(np.full((64, 32, 3), 200, np.uint8), 0.04, 1)
    writer.finish()
    (_, first), (_, second) = video_frames(tmp_path / "mixed.mp4")
    assert first.shape == second.shape == (64, 96, 3)
    assert second[:, 40:56].mean() > 190
    assert second[:, :24].mean() < 10


@pytest.mark.parametrize("turned", [False, True])
def test_pixels_that_are_not_square_stay_so(tmp_path: Path, turned: bool) -> None:
    import av

    source = write_clip(tmp_path / "in.mp4", 3, aspect=Fraction(4, 3), rotation=90 if turned else 0)
    out = copy(source, tmp_path / "out")
    with av.open(str(out)) as container:
        assert container.streams.video[0].sample_aspect_ratio == (
            Fraction(3, 4) if turned else Fraction(4, 3)
        )


def test_nothing_appears_before_it_is_whole(tmp_path: Path) -> None:
    clip = Clip("x", "", lambda after: iter(()), 2, Fraction(25), Fraction(1, 25))
    target = tmp_path / "clip.mp4"
    target.write_bytes(b"the one before")
    writer = VideoWriter(target, clip)
    writer.add(numbered(0), 0.0, 0)
    assert target.read_bytes() == b"the one before"
    writer.discard()
    assert [p.name for p in tmp_path.iterdir()] == ["clip.mp4"]
    assert VideoWriter(tmp_path / "never.mp4", clip).finish() is False
    assert not (tmp_path / "never.mp4").exists()


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    clip = Clip("x", "", lambda after: iter(()), 2, Fraction(25), Fraction(1, 25))
    writer = VideoWriter(tmp_path / "clip.mp4", clip)
    (tmp_path / ".clip.part.mp4").mkdir()
    with pytest.raises(VideoError, match=r"cannot write .*clip\.mp4"):
        writer.add(numbered(0), 0.0, 0)


def test_the_encoder_is_the_first_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    import av

    known: set[str] = {"libopenh264", "h264_mf"}

    def codec(name: str, mode: str) -> Any:
        if name not in known:
            raise ValueError(name)

    assert encoder_name() in ("libx264", "libopenh264", "h264_videotoolbox", "h264_mf")
    monkeypatch.setattr(av, "Codec", codec)
    assert encoder_name() == "libopenh264"
    known.clear()
    with pytest.raises(VideoError, match=r"encodes no H\.264"):
        encoder_name()


def test_frames_that_come_back_in_time_are_kept_apart(tmp_path: Path) -> None:
    clip = Clip("x", "", lambda after: iter(()), 3, Fraction(25), Fraction(1, 25))
    writer = VideoWriter(tmp_path / "stutter.mp4", clip)
    for i, pts in enumerate((0, 5, 5)):
        writer.add(numbered(i), pts / 25, pts)
    writer.finish()
    np.testing.assert_allclose(
        [t for t, _ in video_frames(tmp_path / "stutter.mp4")], [0, 0.2, 0.24], atol=1e-3
    )
