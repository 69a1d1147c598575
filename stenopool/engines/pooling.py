"""Windows of many recordings, decoded together in frames only as long as their speech allows.

Workers take windows as they come: a full group where there is one, and otherwise what there is, so that none waits
while there is work. What is decoded beside a window does not change what it says.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from math import ceil
from typing import Generic, Protocol, TypeVar

from stenopool.audio.vad import Region

# Speech needs room after it, or its last words are lost: 12.4 % WER with 1 s of tail, 8.9 % with 5 s.
TAIL_SECONDS = 4.0
# Frames come in these steps. What a window says depends a little on its frame, so windows share one only if it is
# their own: the same recording says the same whatever is decoded beside it.
FRAME_STEP = 2.0
LONGEST_WINDOW = 30.0
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


@dataclass
class _Bin(Generic[W]):
    """Windows of one kind, in the order in which they came."""

    windows: deque[W]
    since: int


class Pool(Generic[W]):
    """The decoding workers of one engine and the windows that wait for them. Safe to use from several threads.

    ``decode`` is called with groups of one kind, of at most ``most(kind)`` windows; it raises nothing.
    """

    def __init__(
        self, workers: int, most: Callable[[tuple[object, float]], int], decode: Callable[[Sequence[W]], None]
    ) -> None:
        self._workers = workers
        self._most = most
        self._decode = decode
        self._bins: dict[tuple[object, float], _Bin[W]] = {}
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
                self._bins.setdefault(window.kind, _Bin(deque(), self._count)).windows.append(window)
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
                waiting.windows = deque(window for window in waiting.windows if not unwanted(window))
                if not waiting.windows:
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
        """The full group that has waited longest; if none is full, the fullest."""
        most = {kind: self._most(kind) for kind in self._bins}
        full = [kind for kind, waiting in self._bins.items() if len(waiting.windows) >= most[kind]]
        if full:
            kind = min(full, key=lambda kind: self._bins[kind].since)
        else:
            kind = max(self._bins, key=lambda kind: (len(self._bins[kind].windows), kind[1]))
        waiting = self._bins[kind]
        group = [waiting.windows.popleft() for _ in range(min(most[kind], len(waiting.windows)))]
        self._count += 1
        waiting.since = self._count
        if not waiting.windows:
            del self._bins[kind]
        self._guard.notify_all()
        return group

    def _waiting(self) -> int:
        return sum(len(waiting.windows) for waiting in self._bins.values())
