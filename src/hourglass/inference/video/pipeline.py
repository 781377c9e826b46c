"""A video from end to end: reader, network and writer in threads, with bounded queues between them."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from hourglass.inference.detection.boxes import Boxes
from hourglass.inference.predictor import Predictor
from hourglass.inference.video.frames import Clip, Frame, Item, Sound
from hourglass.inference.video.joints_log import Journal, Record, write_csv
from hourglass.inference.video.pipes import Pipe, run_stages
from hourglass.inference.video.smooth import Calmer, JitterMeter, Smoothing
from hourglass.inference.video.track import DETECT_EVERY, Follower
from hourglass.inference.video.writer import VideoWriter, choose_suffix

DEPTH = 4
"""Frames that wait at most before the network, and as many before the writer."""

Done = tuple[Frame, Record] | Sound


@dataclass(frozen=True)
class Outputs:
    """Where results go; each may be left out.

    Args:
        joints: one line of JSON per frame, appended as frames are done; what a run is resumed from.
        csv: the same as a table, written at the end.
        video: the drawn video without its ending, which `choose_suffix` adds.
        emit: called with each line of JSON as it is done.
    """

    joints: Path | None = None
    csv: Path | None = None
    video: Path | None = None
    emit: Callable[[str], None] | None = None


@dataclass
class Progress:
    """What a run has done so far; another thread may look at it at any time.

    Args:
        done: frames, broken ones included; those known from an earlier run count too.
        broken: frames that were skipped, with why; in order.
        known: frames that an earlier run had done.
        dropped: frames of a camera that nobody had time for.
        interrupted: Ctrl-C ended the run.
        found_jitter, smoothed_jitter: mean acceleration of the joints in px/s^2.
        video: the drawn video, once it is whole.
        notes: sentences about what could not be kept.
        peaks: most frames that waited before the network and before the writer.
    """

    done: int = 0
    broken: int = 0
    known: int = 0
    dropped: int = 0
    interrupted: bool = False
    found_jitter: float = 0.0
    smoothed_jitter: float = 0.0
    video: Path | None = None
    notes: tuple[str, ...] = ()
    peaks: tuple[int, int] = (0, 0)


def run_video(
    clip: Clip,
    predictor: Predictor,
    outputs: Outputs,
    run: str,
    smoothing: Smoothing = None,
    boxes: Boxes | None = None,
    start_s: float = 0.0,
    resume: bool = False,
    threshold: float | None = None,
    on_broken: Callable[[Record], None] = lambda record: None,
    watch: Callable[[Progress], None] = lambda progress: None,
    detect_every: int | None = None,
) -> Progress:
    """Find, smooth, draw and write the joints of every frame that was asked for.

    Args:
        run: names the settings; it stands in every line, and a run is resumed only under the same.
        boxes: people's boxes in the first frame; None is whom the predictor's detector finds, or without one
            one person, wherever.
        start_s: where the drawn video begins in the source.
        resume: go on behind the last whole line of `outputs.joints`. A drawn video is made anew from the
            first frame: known frames are decoded and drawn again but not predicted again.
        threshold: joints below are drawn hollow (`Pose.sure`).
        on_broken: told of each broken frame, in the writer's thread.
        watch: called in this thread ten times a second.
        detect_every: the predictor's detector looks for new people every so many frames, or as `track` says.

    Ctrl-C ends the run; what was done by then is written, whole. An error in any thread ends all of them
    and is raised here; the lines written so far stay, and the drawn video is not put in place.

    Raises ValueError for a file of joints that can't be continued, VideoError and OSError, naming the file,
    for what can't be read or written, and whatever the predictor raises.
    """
    if resume and (outputs.joints is None or not clip.identity):
        raise ValueError(
            f"--resume needs a file of joints and a source that can be read again, not {clip.name}"
        )
    progress = Progress()
    idle = threading.Event()
    idle.set()
    with TemporaryDirectory() as spare:
        journal = Journal(outputs.joints or Path(spare) / "joints.jsonl", run, resume)
        try:
            drawn = _open_writer(clip, outputs, start_s, progress)
            progress.known = len(journal.known)
            machine = _Machine(clip, journal, drawn, outputs, progress, threshold, on_broken, idle)
            follower = Follower(predictor, boxes, detect_every or DETECT_EVERY)
            machine.run(follower, smoothing, watch)
            if outputs.csv is not None:
                journal.close()
                write_csv(journal.path, outputs.csv)
        finally:
            journal.close()
            # A thread that hangs in the source still uses it; the process's end closes it then.
            if idle.is_set():
                clip.close()
    return progress


def _open_writer(clip: Clip, outputs: Outputs, start_s: float, progress: Progress) -> VideoWriter | None:
    if outputs.video is None:
        return None
    suffix, sounds, note = choose_suffix(clip.sounds)
    progress.notes = (note,) if note else ()
    return VideoWriter(outputs.video.with_name(outputs.video.name + suffix), clip, sounds, start_s)


@dataclass(eq=False)
class _Machine:
    """The three stages and what they share; each field is used by one stage only, or never changes.

    What FFmpeg holds must not be closed under the feet of a thread that uses it: the reader alone works with
    the source's container, the writer alone with the drawn video's, and `idle` is set when no thread is left.
    """

    clip: Clip
    journal: Journal
    drawn: VideoWriter | None
    outputs: Outputs
    progress: Progress
    threshold: float | None
    on_broken: Callable[[Record], None]
    idle: threading.Event

    def run(
        self,
        follower: Follower,
        smoothing: Smoothing,
        watch: Callable[[Progress], None],
    ) -> None:
        read: Pipe[Item] = Pipe(DEPTH, _newer if self.clip.live else None)
        answered: Pipe[Done] = Pipe(DEPTH)
        calmer: Calmer[Frame] = Calmer(smoothing, follower.predictor.facts.box_margin)
        ended = [False]

        def reader() -> None:
            # Without a video to draw, known frames need not be decoded again.
            for item in self.clip.produce(None if self.drawn else self.journal.last):
                read.put(item)
            read.put(Sound(()))

        def network() -> None:
            for known in [] if self.drawn else self.journal.known.values():
                follower.restore(known)
                answered.put((Frame(known.frame, known.time_s, 0, None), known))
            for item in read:
                answered.put(
                    item if isinstance(item, Sound) else (self._kept(item), self._answer(item, follower))
                )

        def writer() -> None:
            try:
                write()
                if self.drawn and self.drawn.finish():
                    self.progress.video = self.drawn.path
            finally:
                if self.drawn:
                    self.drawn.discard()

        def write() -> None:
            meter = JitterMeter()
            for item in answered:
                if isinstance(item, Sound):
                    # It comes last: nothing waits for frames behind it.
                    ended[0] = True
                    self._write_all(calmer.flush(), meter)
                    if self.drawn:
                        self.drawn.sound(item.packets)
                else:
                    self._write_all(iter(calmer.push(*item)), meter)
            # A run that can be resumed leaves the frames whose window isn't full to the next one.
            if not (self.clip.identity and self.outputs.joints):
                self._write_all(calmer.flush(), meter)

        stages = (("reader", reader), ("network", network), ("writer", writer))
        self.idle.clear()
        try:
            struck = run_stages(stages, (read, answered), lambda: watch(self.progress), self.idle.set)
        finally:
            self.progress.dropped = read.dropped
            self.progress.peaks = (read.peak, answered.peak)
        # Who strikes when the last frame has come through has missed nothing.
        self.progress.interrupted = struck and not ended[0]
        watch(self.progress)

    def _answer(self, frame: Frame, follower: Follower) -> Record:
        known = self.journal.known.get(frame.index)
        if known is not None:
            follower.restore(known)
            return known
        time_s = round(frame.time_s, 6)
        if frame.image is None:
            return Record(frame.index, time_s, error=frame.error)
        return Record(frame.index, time_s, follower(frame.image))

    def _kept(self, frame: Frame) -> Frame:
        """Without a picture that nobody will draw."""
        return frame if self.drawn else replace(frame, image=None)

    def _write_all(
        self, ready: "Iterator[tuple[Frame, Record]] | list[tuple[Frame, Record]]", meter: JitterMeter
    ) -> None:
        for frame, record in ready:
            meter.add(record)
            if record.frame not in self.journal.known:
                line = self.journal.add(record)
                if self.outputs.emit is not None:
                    self.outputs.emit(line)
            if record.error:
                self.progress.broken += 1
                self.on_broken(record)
            if self.drawn and frame.image is not None:
                image = frame.image
                for person in record.people:
                    image = person.pose.draw(image, self.threshold)
                self.drawn.add(image, frame.time_s, frame.pts, frame.sound)
            elif self.drawn:
                self.drawn.sound(frame.sound)
            self.progress.done += 1
            self.progress.found_jitter, self.progress.smoothed_jitter = meter.found, meter.smoothed


def _newer(oldest: Item, following: Item) -> Item:
    """The item that stays when a camera's oldest one goes; its sound goes along."""
    if isinstance(oldest, Frame) and isinstance(following, Frame):
        return replace(following, sound=oldest.sound + following.sound)
    return following
