"""Threads in a row with bounded queues between: slow ones hold back fast ones, errors reach everybody."""

import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from time import monotonic
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")

_HANGS_S = 1.0
"""A first stage that has not ended so long after Ctrl-C hangs, and nobody waits for it any more."""
_PATIENCE_S = 10.0
"""How long stages may take to notice that their pipes were cut: a network's pass, a picture's encoding."""


class Stopped(Exception):
    """Nobody reads what is being put, or writes what is being waited for: the thread has to end."""


class Pipe(Generic[Item]):
    """A queue of at most `depth` items, for one thread at either end.

    Args:
        depth: `put` waits while so many items wait.
        merge: for a live source, which can't wait: with a full queue the oldest item goes, and `merge(oldest,
            next)` is what the next one becomes.

    `peak` is the most items that ever waited, `dropped` the items that went unread.

    Raises ValueError for a depth below 1, or below 2 where the oldest may go.
    """

    def __init__(self, depth: int, merge: Callable[[Item, Item], Item] | None = None) -> None:
        if depth < (1 if merge is None else 2):
            raise ValueError(f"a queue of depth {depth} can't hold what is needed")
        self.depth = depth
        self.peak = 0
        self.dropped = 0
        self._merge = merge
        self._items: deque[Item] = deque()
        self._changed = threading.Condition()
        self._closed = self._broken = False

    def put(self, item: Item) -> None:
        """Add an item, when there is room; raises Stopped once the pipe is cut or closed."""
        with self._changed:
            if self._merge is None:
                self._changed.wait_for(lambda: len(self._items) < self.depth or self._broken or self._closed)
            if self._broken or self._closed:
                raise Stopped
            if self._merge is not None and len(self._items) >= self.depth:
                oldest = self._items.popleft()
                self._items[0] = self._merge(oldest, self._items[0])
                self.dropped += 1
            self._items.append(item)
            self.peak = max(self.peak, len(self._items))
            self._changed.notify_all()

    def close(self, discard: bool = False) -> None:
        """No more items come; what waits is still read, unless it is discarded."""
        with self._changed:
            self._closed = True
            if discard:
                self._items.clear()
            self._changed.notify_all()

    def cut(self) -> None:
        """End both ends at once, with Stopped."""
        with self._changed:
            self._broken = True
            self._items.clear()
            self._changed.notify_all()

    def __iter__(self) -> Iterator[Item]:
        """Items until the pipe is closed and empty; raises Stopped when it is cut."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._items or self._closed or self._broken)
                if self._broken:
                    raise Stopped
                if not self._items:
                    return
                item = self._items.popleft()
                self._changed.notify_all()
            yield item


@contextmanager
def _counted_strikes() -> Iterator[list[int]]:
    """A list whose length is how often Ctrl-C was struck; no KeyboardInterrupt comes meanwhile.

    An exception that may come between any two instructions can't be answered in order. Only the main thread
    hears of Ctrl-C; in another one, and where it is ignored, nothing changes.
    """
    strikes: list[int] = []
    main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGINT) if main else None
    if not callable(before):
        yield strikes
        return
    signal.signal(signal.SIGINT, lambda number, _: strikes.append(number))
    try:
        yield strikes
    finally:
        signal.signal(signal.SIGINT, before)


def run_stages(
    stages: Sequence[tuple[str, Callable[[], None]]],
    pipes: Sequence[Pipe[Any]],
    watch: Callable[[], None],
    release: Callable[[], None] = lambda: None,
    every_s: float = 0.1,
) -> bool:
    """Run each stage in a thread of its own until all are done; True where Ctrl-C ended it.

    Stage i writes to `pipes[i]`, which is closed when it ends, and stage i + 1 reads from there. Ctrl-C
    closes the first pipe and throws away what waits in it; the stages behind finish what they have. A second
    Ctrl-C cuts all pipes and raises KeyboardInterrupt. `watch` is called in this thread all the while.

    The first error in any stage, or in `watch`, cuts all pipes, so that every thread ends, and is raised
    here.

    A first stage that hangs in a device, or in a pipe that gives nothing, is left behind, and so is a thread
    that takes very long to notice that its pipes were cut. `release` is called by the thread that ends last,
    so that nobody uses any more what it frees.
    """
    failures: list[BaseException] = []
    ended = [threading.Event() for _ in stages]
    running, lock = [len(stages)], threading.Lock()

    def cut_all() -> None:
        for pipe in pipes:
            pipe.cut()

    def work(index: int, stage: Callable[[], None]) -> None:
        try:
            stage()
        except Stopped:
            pass
        except BaseException as error:  # carried to the caller's thread, whatever it is
            failures.append(error)
            cut_all()
        finally:
            if index < len(pipes):
                pipes[index].close()
            with lock:
                running[0] -= 1
                last = not running[0]
            if last:
                release()
            ended[index].set()

    threads = [
        threading.Thread(target=work, args=(i, stage), name=f"hourglass-video-{name}", daemon=True)
        for i, (name, stage) in enumerate(stages)
    ]
    with _counted_strikes() as strikes:
        for thread in threads:
            thread.start()
        try:
            stopping = False
            while not all(event.is_set() for event in ended):
                next((e for e in reversed(ended) if not e.is_set()), ended[0]).wait(every_s)
                watch()
                if strikes and not stopping:
                    stopping = True
                    pipes[0].close(discard=True)
                if len(strikes) > 1:
                    raise KeyboardInterrupt
                if (stopping or failures) and all(event.is_set() for event in ended[1:]):
                    break
        except BaseException:
            cut_all()
            _wait(threads, _PATIENCE_S)
            raise
        _wait(threads, _HANGS_S)
        if failures:
            raise failures[0]
        return bool(strikes)


def _wait(threads: Sequence[threading.Thread], seconds: float) -> None:
    until_s = monotonic() + seconds
    for thread in threads:
        thread.join(max(until_s - monotonic(), 0))
