"""Windows of many recordings, decoded together in frames only as long as their speech allows.

Workers take windows in the order in which they come, each with others of its kind beside it, so that the first
recordings are answered first and none waits while there is work. What is decoded beside a window does not change what
it says.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from math import ceil
from typing import Generic, Protocol, TypeVar

from stenopool.speech.audio.vad import Region
from stenopool.speech.engines.policy import LONGEST_WINDOW

# Speech needs room after it, or its last words are lost: 12.4 % WER with 1 s of tail, 8.9 % with 5 s.
TAIL_SECONDS = 4.0
# Frames come in these steps. What a window says depends a little on its frame, so windows share one only if it is
# their own: the same recording says the same whatever is decoded beside it.
FRAME_STEP = 2.0
FRAMES_PER_SECOND = 100


def frame_seconds(region: Region) -> float:
    """Length of the frame in which a stretch of speech is decoded: a multiple of the step, at most 30."""
    return min(LONGEST_WINDOW, FRAME_STEP * ceil((region.duration + TAIL_SECONDS) / FRAME_STEP))


class Poolable(Protocol):
    """What can wait in a pool. Those with equal ``kind`` may be decoded together."""

    @property
    def kind(self) -> tuple[object, float]: ...


T = TypeVar("T")
W = TypeVar("W", bound=Poolable)


class WindowPool(Generic[W]):
    """The decoding workers of one engine and the windows that wait for them. Safe to use from several threads.

    ``decode`` is called with groups of one kind, of at most ``most(kind)`` windows; it raises nothing. ``evenly``: no
    worker takes more than its share of what waits, so that all of them end together. That pays where each has cores of
    its own; a GPU would do two small groups one after the other.
    """

    def __init__(
        self,
        workers: int,
        most: Callable[[tuple[object, float]], int],
        decode: Callable[[Sequence[W]], None],
        *,
        evenly: bool = False,
    ) -> None:
        self._workers = workers
        self._most = most
        self._decode = decode
        self._evenly = evenly
        self._bins: dict[tuple[object, float], deque[tuple[int, W]]] = {}
        self._urgent: deque[Callable[[], None]] = deque()
        self._working = 0
        self._count = 0
        self._guard = threading.Condition()
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="decode")

    def add(self, windows: Sequence[W], *, most_waiting: int | None = None) -> None:
        """Have windows decoded. Comes back when at most ``most_waiting`` windows wait, if that is given."""
        with self._guard:
            for window in windows:
                self._count += 1
                self._bins.setdefault(window.kind, deque()).append((self._count, window))
            self._wake(len(windows))
            if most_waiting is not None:
                self._guard.wait_for(lambda: self._waiting() <= most_waiting)

    def ask(self, do: Callable[[], T]) -> "Future[T]":
        """Have something short done by a worker before any window that waits."""
        answer: Future[T] = Future()

        def work() -> None:
            try:
                answer.set_result(do())
            except BaseException as error:
                answer.set_exception(error)

        with self._guard:
            self._urgent.append(work)
            self._wake(1)
        return answer

    def drop(self, unwanted: Callable[[W], bool]) -> None:
        """Take windows out again that have not been taken up yet."""
        with self._guard:
            for kind, waiting in list(self._bins.items()):
                self._bins[kind] = wanted = deque(one for one in waiting if not unwanted(one[1]))
                if not wanted:
                    del self._bins[kind]
            self._guard.notify_all()

    def _wake(self, work: int) -> None:
        for _ in range(min(work, self._workers - self._working)):
            self._working += 1
            self._threads.submit(self._work)

    def _work(self) -> None:
        while True:
            with self._guard:
                if self._urgent:
                    urgent, group = self._urgent.popleft(), None
                elif self._bins:
                    urgent, group = None, self._take()
                else:
                    self._working -= 1
                    return
            if urgent:
                urgent()
            elif group:
                self._decode(group)

    def _take(self) -> list[W]:
        """The window that has waited longest, and beside it others of its kind: those of later recordings fill up."""
        kind = min(self._bins, key=lambda kind: self._bins[kind][0][0])
        waiting = self._bins[kind]
        share = ceil(self._waiting() / self._workers) if self._evenly else len(waiting)
        group = [waiting.popleft()[1] for _ in range(min(self._most(kind), len(waiting), share))]
        if not waiting:
            del self._bins[kind]
        self._guard.notify_all()
        return group

    def _waiting(self) -> int:
        return sum(map(len, self._bins.values()))
