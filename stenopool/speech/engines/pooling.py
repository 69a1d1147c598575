"""A pool of workers that decode windows of many recordings together, in frames as short as the speech allows.

Workers take windows in order of arrival, grouped with others of the same kind, so the first recordings finish first and
no worker is idle while windows wait. The result of a window does not depend on its group.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from math import ceil
from typing import Any

from stenopool.speech.engines.utterance_job import Kind, Window


class WindowPool:
    """The decoding workers of one engine and their waiting windows. Thread-safe.

    ``decode`` receives groups of one kind, of at most ``most(frame)`` windows, and must not raise. ``evenly``: no
    worker takes more than its share of the waiting windows, so that all finish together. This helps if each worker has
    its own cores; a GPU would decode two small groups one after the other.
    """

    def __init__(
        self,
        workers: int,
        most: Callable[[float], int],
        decode: Callable[[Sequence[Window]], None],
        *,
        evenly: bool = False,
    ) -> None:
        self._workers = workers
        self._most = most
        self._decode = decode
        self._evenly = evenly
        self._bins: dict[Kind, deque[tuple[int, Window]]] = {}
        self._urgent: deque[Callable[[], None]] = deque()
        self._working = 0
        self._count = 0
        self._guard = threading.Condition()
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="decode")

    def add(self, windows: Sequence[Window], *, most_waiting: int | None = None) -> None:
        """Queue windows for decoding. With ``most_waiting``, block until at most that many windows wait."""
        with self._guard:
            for window in windows:
                self._count += 1
                self._bins.setdefault(window.kind, deque()).append((self._count, window))
            self._wake(len(windows))
            if most_waiting is not None:
                self._guard.wait_for(lambda: self._waiting() <= most_waiting)

    def ask(self, do: Callable[[], Any]) -> Future[Any]:
        """Run a short function on a worker, ahead of the waiting windows."""
        answer: Future[Any] = Future()

        def work() -> None:
            try:
                answer.set_result(do())
            except BaseException as error:
                answer.set_exception(error)

        with self._guard:
            self._urgent.append(work)
            self._wake(1)
        return answer

    def drop(self, unwanted: Callable[[Window], bool]) -> None:
        """Remove waiting windows for which ``unwanted`` is true."""
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

    def _take(self) -> list[Window]:
        """Take the window that has waited longest and others of its kind, which may belong to later recordings."""
        kind = min(self._bins, key=lambda kind: self._bins[kind][0][0])
        waiting = self._bins[kind]
        share = ceil(self._waiting() / self._workers) if self._evenly else len(waiting)
        group = [waiting.popleft()[1] for _ in range(min(self._most(kind[1]), len(waiting), share))]
        if not waiting:
            del self._bins[kind]
        self._guard.notify_all()
        return group

    def _waiting(self) -> int:
        return sum(map(len, self._bins.values()))
