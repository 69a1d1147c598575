"""A pool of workers that decode windows of many recordings together, in frames as short as their speech allows.

Workers take windows in order of arrival, grouped with others of the same kind: the first recordings finish first, and
no worker is idle while windows wait. The result of a window does not depend on its group.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from math import ceil
from typing import Generic, Protocol, TypeVar

from stenopool.speech.audio.vad import Region
from stenopool.speech.engines.policy import LONGEST_WINDOW

# Speech needs room after it, or its last words are lost: 12.4 % WER with 1 s of tail, 8.9 % with 5 s.
TAIL_SECONDS = 4.0
# Step of the lengths of frames. A window's text depends a little on its frame, so only windows with the same frame are
# decoded together: then the text does not depend on the group.
FRAME_STEP = 2.0
FRAMES_PER_SECOND = 100


def frame_seconds(region: Region) -> float:
    """Length of the frame in which a stretch of speech is decoded: a multiple of the step, at most 30."""
    return min(LONGEST_WINDOW, FRAME_STEP * ceil((region.duration + TAIL_SECONDS) / FRAME_STEP))


class Poolable(Protocol):
    """Something that can wait in a pool; those of equal ``kind`` may be decoded together."""

    @property
    def kind(self) -> tuple[object, float]: ...


T = TypeVar("T")
W = TypeVar("W", bound=Poolable)


class WindowPool(Generic[W]):
    """The decoding workers of one engine and the windows that wait for them. Safe to use from several threads.

    ``decode`` gets groups of one kind, of at most ``most(kind)`` windows, and raises nothing. ``evenly``: no worker
    takes more than its share of the waiting windows, so that all end together. That helps if each worker has its own
    cores; a GPU would decode two small groups one after the other.
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
        """Have windows decoded. Returns once at most ``most_waiting`` windows wait, if given."""
        with self._guard:
            for window in windows:
                self._count += 1
                self._bins.setdefault(window.kind, deque()).append((self._count, window))
            self._wake(len(windows))
            if most_waiting is not None:
                self._guard.wait_for(lambda: self._waiting() <= most_waiting)

    def ask(self, do: Callable[[], T]) -> "Future[T]":
        """Have a worker do something short before the windows that wait."""
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
        """Remove unwanted windows that still wait."""
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
        while do := self._next():
            do()

    def _next(self) -> Callable[[], None] | None:
        with self._guard:
            if self._urgent:
                return self._urgent.popleft()
            if self._bins:
                return partial(self._decode, self._take())
            self._working -= 1
            return None

    def _take(self) -> list[W]:
        """The window that has waited longest, and others of its kind, which may be of later recordings."""
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
