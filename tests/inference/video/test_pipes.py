import signal
import threading
import time

import pytest

from hourglass.inference.video.pipes import Pipe, Stopped, run_stages


def strike() -> None:
    """Ctrl-C, delivered to another thread than this one.

    In this one it ends the process without a word where another test's library has left the main thread a
    signal stack that isn't there any more; the answer is this thread's all the same.
    """
    thread = threading.Thread(target=signal.raise_signal, args=[signal.SIGINT])
    thread.start()
    thread.join(30)


def threads_left() -> list[str]:
    """Names of our threads that are still there after five seconds at most."""
    deadline = time.monotonic() + 5
    while True:
        alive = [t.name for t in threading.enumerate() if t.name.startswith("hourglass-video")]
        if not alive or time.monotonic() > deadline:
            return alive
        time.sleep(0.01)


def test_items_come_in_order_and_the_queue_stays_bounded() -> None:
    first: Pipe[int] = Pipe(3)
    second: Pipe[int] = Pipe(2)
    ahead: list[int] = []
    seen: list[int] = []
    made = [0]

    def produce() -> None:
        for i in range(40):
            made[0] += 1
            first.put(i)

    def double() -> None:
        for i in first:
            second.put(2 * i)

    def consume() -> None:
        for i in second:
            time.sleep(0.002)
            # A slow end holds the others back: nobody is further ahead than the queues and hands can hold.
            ahead.append(made[0] - len(seen))
            seen.append(i)

    stages = (("a", produce), ("b", double), ("c", consume))
    assert run_stages(stages, (first, second), lambda: None, every_s=0.01) is False
    assert seen == [2 * i for i in range(40)]
    assert (first.peak, second.peak) == (3, 2)
    assert max(ahead) <= 3 + 2 + 3


@pytest.mark.parametrize("faulty", [0, 1, 2])
def test_an_error_in_any_stage_ends_all_and_is_raised(faulty: int) -> None:
    pipes: tuple[Pipe[int], Pipe[int]] = (Pipe(2), Pipe(2))

    def stage(number: int) -> None:
        source = iter(pipes[number - 1]) if number else iter(range(10_000))
        for i in source:
            if number == faulty and i == 5:
                raise OSError(f"stage {number} broke")
            if number < 2:
                pipes[number].put(i)

    with pytest.raises(OSError, match=f"stage {faulty} broke"):
        run_stages([(str(n), lambda n=n: stage(n)) for n in range(3)], pipes, lambda: None, every_s=0.01)  # type: ignore[misc]
    assert not threads_left()


def test_ctrl_c_stops_the_reader_and_lets_the_others_finish() -> None:
    pipes: tuple[Pipe[int], Pipe[int]] = (Pipe(2), Pipe(2))
    seen: list[int] = []
    read = [0]

    def produce() -> None:
        while True:
            pipes[0].put(read[0])
            read[0] += 1

    def middle() -> None:
        for i in pipes[0]:
            time.sleep(0.005)
            pipes[1].put(i)

    def consume() -> None:
        seen.extend(pipes[1])

    def watch() -> None:
        if read[0] > 20 and not struck:
            struck.append(True)
            strike()

    struck: list[bool] = []
    stages = (("a", produce), ("b", middle), ("c", consume))
    assert run_stages(stages, pipes, watch, every_s=0.01) is True
    # What had been taken out of the first queue came through, without a gap.
    assert seen == list(range(len(seen)))
    assert read[0] - 4 <= len(seen) <= read[0] + 1


def test_a_second_ctrl_c_ends_all_at_once() -> None:
    pipes: tuple[Pipe[int], Pipe[int]] = (Pipe(2), Pipe(2))
    go = threading.Event()
    released: list[str] = []

    def produce() -> None:
        while True:
            pipes[0].put(1)

    def middle() -> None:
        for _ in pipes[0]:
            go.wait(10)  # a network that takes its time
            pipes[1].put(1)

    def consume() -> None:
        for _ in pipes[1]:
            pass

    strikes = [0]

    def watch() -> None:
        strikes[0] += 1
        strike()
        if strikes[0] == 2:
            go.set()

    stages = (("a", produce), ("b", middle), ("c", consume))
    with pytest.raises(KeyboardInterrupt):
        run_stages(stages, pipes, watch, lambda: released.append(threading.current_thread().name), 0.01)
    assert strikes == [2]
    assert len(released) == 1
    assert not threads_left()


def test_ctrl_c_at_any_moment_is_answered_in_order() -> None:
    """No KeyboardInterrupt comes out between two lines, wherever this thread happens to be."""
    for delay_s in [0.0005 * i for i in range(40)]:
        pipe: Pipe[int] = Pipe(2)
        seen: list[int] = []

        def produce(pipe: Pipe[int] = pipe) -> None:
            for i in range(10_000):
                pipe.put(i)

        def consume(pipe: Pipe[int] = pipe, seen: list[int] = seen, delay_s: float = delay_s) -> None:
            timer = threading.Timer(delay_s, signal.raise_signal, [signal.SIGINT])
            timer.start()
            for i in pipe:
                time.sleep(0.0002)
                seen.append(i)
            timer.join(30)

        assert run_stages((("a", produce), ("b", consume)), (pipe,), lambda: None, every_s=0.001) is True
        assert seen == list(range(len(seen)))
        assert not threads_left()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("how", ["ctrl-c", "error"])
def test_a_reader_that_hangs_is_left_behind_and_keeps_what_it_uses(how: str) -> None:
    pipe: Pipe[int] = Pipe(2)
    device, released = threading.Event(), threading.Event()

    def produce() -> None:
        pipe.put(0)
        device.wait(20)

    def consume() -> None:
        for _ in pipe:
            if how == "error":
                raise OSError("the disk is full")
            signal.raise_signal(signal.SIGINT)

    stages = (("a", produce), ("b", consume))
    if how == "error":
        with pytest.raises(OSError, match="the disk is full"):
            run_stages(stages, (pipe,), lambda: None, released.set, 0.01)
    else:
        assert run_stages(stages, (pipe,), lambda: None, released.set, 0.01) is True
    assert not released.is_set()
    device.set()
    assert released.wait(10)
    assert not threads_left()


def test_a_live_source_loses_its_oldest_item_and_never_waits() -> None:
    pipe: Pipe[list[int]] = Pipe(2, merge=lambda old, new: [*old, *new])
    for i in range(5):
        pipe.put([i])
    pipe.close()
    assert list(pipe) == [[0, 1, 2, 3], [4]]
    assert (pipe.dropped, pipe.peak) == (3, 2)


def test_a_pipe_that_is_closed_or_cut() -> None:
    pipe: Pipe[int] = Pipe(2)
    pipe.put(1)
    pipe.close()
    with pytest.raises(Stopped):
        pipe.put(2)
    assert list(pipe) == [1]
    pipe.cut()
    with pytest.raises(Stopped):
        list(pipe)
    with pytest.raises(ValueError, match="depth 0"):
        Pipe(0)
    with pytest.raises(ValueError, match="depth 1"):
        Pipe(1, merge=lambda old, new: new)


def test_an_error_while_watching_ends_the_threads() -> None:
    pipe: Pipe[int] = Pipe(1)

    def produce() -> None:
        while True:
            pipe.put(1)

    def consume() -> None:
        for _ in pipe:
            time.sleep(0.001)

    def watch() -> None:
        raise RuntimeError("no bar")

    with pytest.raises(RuntimeError, match="no bar"):
        run_stages((("a", produce), ("b", consume)), (pipe,), watch, every_s=0.01)
    assert not threads_left()
