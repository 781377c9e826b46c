from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hourglass.inference.video.frames import Clip, Frame, Selection, VideoError
from hourglass.inference.video.open_video import open_clip
from inference.video.clips import break_packet, needs_av, number_of, write_clip

pytestmark = needs_av


def read(clip: Clip) -> list[Frame]:
    frames = [item for item in clip.produce(None) if isinstance(item, Frame)]
    clip.close()
    return frames


@pytest.mark.parametrize("frame", [1, 17, 25, 39])
@pytest.mark.parametrize("b_frames", [0, 2])
def test_a_broken_frame_is_told_and_the_rest_goes_on(tmp_path: Path, frame: int, b_frames: int) -> None:
    path = break_packet(write_clip(tmp_path / "clip.mp4", b_frames=b_frames), frame)
    clip = open_clip(str(path))
    assert clip.total == 40
    frames = read(clip)
    # Nothing is renumbered by the loss.
    assert [f.index for f in frames] == list(range(40))
    np.testing.assert_allclose([f.time_s for f in frames], np.arange(40) / 25, atol=1e-6)
    broken = [f for f in frames if f.image is None]
    assert frame in [f.index for f in broken]
    assert all(f.error for f in broken)
    # A picture that others were made from may take them along, up to the next key frame at most.
    assert len(broken) <= 12
    whole = [f for f in frames if f.image is not None]
    assert not any(f.error for f in whole)
    # Until the next key frame pictures may look wrong; before the loss and after that one they are right.
    key = next((k for k in range(0, 41, 12) if k > frame), 40)
    sure = [f for f in whole if f.index < frame - 2 or f.index >= key]
    assert [number_of(f.image) for f in sure if f.image is not None] == [f.index for f in sure]


def test_a_broken_frame_that_nobody_asked_for_is_no_fault(tmp_path: Path) -> None:
    path = break_packet(write_clip(tmp_path / "clip.mp4", b_frames=0, key_every=1), 17)
    assert not [f for f in read(open_clip(str(path), Selection(every=2))) if f.error]
    assert [f.index for f in read(open_clip(str(path), Selection(start_s=0.6))) if f.error] == [17]


def test_an_mpeg4_frame_with_spoilt_blocks_is_broken(tmp_path: Path) -> None:
    # The decoder papers over such a picture and only flags it.
    path = write_clip(tmp_path / "clip.avi", codec="mpeg4")
    data = bytearray(path.read_bytes())
    import av

    with av.open(str(path)) as container:
        rows: list[Any] = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    pos, size = rows[15]
    begin = pos + size // 3
    data[begin : pos + size] = np.random.default_rng(15).bytes(pos + size - begin)
    path.write_bytes(data)
    frames = read(open_clip(str(path)))
    assert 15 in [f.index for f in frames if f.error]


@pytest.mark.parametrize(
    ("ending", "options"), [("mkv", {}), ("mp4", {"movflags": "faststart"}), ("webm", {})]
)
def test_a_file_that_was_cut_off_gives_what_is_there(
    tmp_path: Path, ending: str, options: dict[str, str]
) -> None:
    codec = "libvpx" if ending == "webm" else "libx264"
    path = write_clip(tmp_path / f"clip.{ending}", codec=codec, options=options)
    data = path.read_bytes()
    path.write_bytes(data[: int(0.7 * len(data))])
    clip = open_clip(str(path))
    assert "ends early: its header promises 1.6" in clip.damage or "damaged" in clip.damage
    frames = [f for f in read(clip) if f.image is not None]
    assert 5 < len(frames) < 40
    # Next to the cut a picture may be there and one before it not: the time says which it is.
    told = [number_of(f.image) for f in frames if f.image is not None]
    assert told == [round(25 * f.time_s) for f in frames]
    assert told[:6] == [f.index for f in frames[:6]]
    # Whoever asks for a part that is there gets it without a word.
    early = open_clip(str(path), Selection(end_s=0.16))
    assert (early.total, early.damage) == (4, "")
    early.close()


def test_a_container_with_a_hole_is_told(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mkv")
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 400] = bytes(400)
    path.write_bytes(data)
    clip = open_clip(str(path))
    assert "damaged" in clip.damage or any(f.error for f in read(clip))
    clip.close()


def test_an_mp4_without_its_index_is_named(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4")
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(VideoError, match=r"clip\.mp4 can't be read as video: .*moov atom not found"):
        open_clip(str(path))


def test_what_is_no_video_is_named(tmp_path: Path) -> None:
    text = tmp_path / "words.mp4"
    text.write_text("these are words\n" * 50)
    with pytest.raises(VideoError, match=r"words\.mp4 can't be read as video"):
        open_clip(str(text))
    empty = tmp_path / "empty.mp4"
    empty.touch()
    with pytest.raises(VideoError, match=r"empty\.mp4 can't be read as video"):
        open_clip(str(empty))


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    import av

    path = tmp_path / "song.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=48_000)
        frame = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), "fltp", "stereo")
        frame.sample_rate = 48_000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(VideoError, match=r"song\.mp4 holds no video that can be decoded: it holds audio"):
        open_clip(str(path))


def test_a_stream_of_pictures_without_any_is_named(tmp_path: Path) -> None:
    import av

    path = tmp_path / "none.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height = 64, 64
        container.start_encoding()
    with pytest.raises(VideoError, match=r"none\.mkv"):
        open_clip(str(path))
