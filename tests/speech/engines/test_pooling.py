"""Grouping of windows: the oldest first, no window waits while a worker is idle, and none is lost."""

import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from stenopool.speech.audio.vad import Region
from stenopool.speech.engines.policy import FRAME_STEP, LONGEST_WINDOW, TAIL_SECONDS, frame_seconds
from stenopool.speech.engines.pooling import WindowPool


@dataclass(frozen=True)
class Waiting:
    number: int
    kind: tuple[object, float]


class Recorder:
    """Decodes by recording its input; holds its first group until released."""

    def __init__(self) -> None:
        self.groups: list[list[Waiting]] = []
        self.go = threading.Event()
        self.began = threading.Event()
        self.news = threading.Condition()

    def __call__(self, group: Sequence[Waiting]) -> None:
        self.began.set()
        assert self.go.wait(10)
        with self.news:
            self.groups.append(list(group))
            self.news.notify_all()

    def wait_for(self, count: int) -> None:
        with self.news:
            assert self.news.wait_for(lambda: sum(map(len, self.groups)) >= count, 10)


def of(number: int, frame: float) -> Waiting:
    return Waiting(number, ("decoder", frame))


def test_the_oldest_window_comes_first_with_later_ones_of_its_kind() -> None:
    recorder = Recorder()
    pool = WindowPool(1, lambda _: 2, recorder)
    pool.add([of(0, 30.0)])
    assert recorder.began.wait(10)  # an idle worker takes all available windows
    pool.add([of(1, 10.0), of(2, 20.0), of(3, 30.0), of(4, 20.0)])
    recorder.go.set()
    recorder.wait_for(5)
    numbers = [[window.number for window in group] for group in recorder.groups]
    assert numbers == [[0], [1], [2, 4], [3]]


def test_the_last_windows_are_shared_among_the_workers() -> None:
    recorder = Recorder()
    pool = WindowPool(2, lambda _: 4, recorder, evenly=True)
    pool.add([of(0, 30.0)])
    assert recorder.began.wait(10)
    both = threading.Event()
    pool.ask(both.wait)  # now both are busy
    pool.add([of(number, 30.0) for number in range(1, 12)])
    recorder.go.set()
    recorder.wait_for(1)
    both.set()
    recorder.wait_for(12)
    # Of 11, 7, 3 and 1 waiting windows, a worker takes four, or a half if that is less.
    assert sorted(len(group) for group in recorder.groups[1:]) == [1, 2, 4, 4]


@given(
    st.lists(st.sampled_from([8.0, 12.0, 30.0]), min_size=1, max_size=60),
    st.integers(1, 5),
    st.integers(1, 3),
    st.booleans(),
)
def test_every_window_is_decoded_once_and_only_with_its_kind(
    frames: list[float], most: int, workers: int, evenly: bool
) -> None:
    recorder = Recorder()
    recorder.go.set()
    pool = WindowPool(workers, lambda _: most, recorder, evenly=evenly)
    windows = [of(number, frame) for number, frame in enumerate(frames)]
    for window in windows:
        pool.add([window])
    recorder.wait_for(len(windows))
    assert Counter(window for group in recorder.groups for window in group) == Counter(windows)
    assert all(len({window.kind for window in group}) == 1 and len(group) <= most for group in recorder.groups)


def test_questions_precede_waiting_windows_and_return_their_errors() -> None:
    recorder = Recorder()
    pool = WindowPool(1, lambda _: 1, recorder)
    pool.add([of(0, 30.0), of(1, 30.0)])
    assert recorder.began.wait(10)
    seen = pool.ask(lambda: len(recorder.groups))
    fault = pool.ask(lambda: 1 // 0)
    recorder.go.set()
    assert seen.result(10) == 1
    assert isinstance(fault.exception(10), ZeroDivisionError)
    recorder.wait_for(2)


def test_adding_too_many_windows_blocks_until_they_are_decoded_or_dropped() -> None:
    recorder = Recorder()
    pool = WindowPool(1, lambda _: 1, recorder)
    pool.add([of(0, 30.0)])
    assert recorder.began.wait(10)
    brought = threading.Thread(target=lambda: pool.add([of(n, 30.0) for n in range(1, 9)], most_waiting=4))
    brought.start()
    brought.join(0.2)
    assert brought.is_alive()
    pool.drop(lambda window: window.number > 4)
    brought.join(10)
    assert not brought.is_alive()
    recorder.go.set()
    recorder.wait_for(5)
    assert sorted(window.number for group in recorder.groups for window in group) == [0, 1, 2, 3, 4]


@given(st.floats(0.05, 29.0))
def test_a_frame_has_room_for_the_tail_up_to_the_models_limit(duration: float) -> None:
    frame = frame_seconds(Region(5.0, 5.0 + duration))
    assert frame <= LONGEST_WINDOW
    assert frame == LONGEST_WINDOW or frame >= duration + TAIL_SECONDS - 1e-6
    assert frame % FRAME_STEP == 0
