"""How far each item is: stages that go on side by side hand it from one to the next."""

import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from queue import Empty, SimpleQueue

from stenopool.pipeline.shards import WorkItem
from stenopool.runtime.signals import stop_if_asked

# Seconds between looks at whether the process was asked to stop, while a stage waits for the one before.
_LOOK_AGAIN = 0.5


class Handover:
    """Which stages have done which items, and who waits for them. Safe to use from several threads.

    ``is_sound``: whether nothing is wrong with a item and no other run was faster. Whatever changes that calls
    `look_again`.
    """

    def __init__(self, is_sound: Callable[[WorkItem], bool]) -> None:
        self._is_sound = is_sound
        self._done: defaultdict[str, set[str]] = defaultdict(set)
        self._expected: defaultdict[str, set[str]] = defaultdict(set)
        self._stuck: set[str] = set()
        self._over: set[str] = set()
        self._waiting: defaultdict[str, list[_Waiting]] = defaultdict(list)
        self._lock = threading.RLock()

    def expect(self, stage: str, items: Iterable[WorkItem]) -> None:
        """The stage is going to be done for these items: those after it wait for it."""
        with self._lock:
            for item in items:
                self._expected[item.fingerprint].add(stage)

    def done(self, stage: str, item: WorkItem) -> None:
        """The stage has done this item."""
        with self._lock:
            self._done[item.fingerprint].add(stage)
            self.look_again(item)

    def is_done(self, stage: str, item: WorkItem) -> bool:
        return item.fingerprint in self._over or stage in self._done.get(item.fingerprint, ())

    def end(self, stage: str, items: Iterable[WorkItem]) -> None:
        """The stage will do no more for these items. What it has not done, nobody waits for, or takes up."""
        with self._lock:
            for item in items:
                expected = self._expected.get(item.fingerprint, set())
                if stage in expected:
                    expected.discard(stage)
                    if not self.is_done(stage, item):
                        self._stuck.add(item.fingerprint)
                self.look_again(item)

    def forget(self, item: WorkItem) -> None:
        """The item is finished: that alone is kept."""
        with self._lock:
            self._over.add(item.fingerprint)
            self._done.pop(item.fingerprint, None)
            self._expected.pop(item.fingerprint, None)
            self.look_again(item)

    def look_again(self, item: WorkItem) -> None:
        """Tell those who wait for the item, if it need not be waited for any longer."""
        with self._lock:
            waiting = self._waiting.pop(item.fingerprint, [])
            still = [one for one in waiting if not self._settle(one, item)]
            if still:
                self._waiting[item.fingerprint] = still

    def coming(
        self, items: Iterable[WorkItem], after: Iterable[str] = (), *, stoppable: bool = True
    ) -> Iterator[WorkItem]:
        """Sound items as soon as the stages before (``after``) are done with them; waits for those that are expected.

        Left out is what fails, what another run finishes and what a stage before ends without having done. While it
        waits a ``stoppable`` stage ends with `Stopped` if the process was asked to stop.
        """
        mine = _Waiting(frozenset(after))
        with self._lock:
            left = list(items)
            for item in left:
                if not self._settle(mine, item):
                    self._waiting[item.fingerprint].append(mine)
        for _ in left:
            item = mine.next(stop_if_asked if stoppable else lambda: None)
            if item.fingerprint not in self._over | self._stuck and self._is_sound(item):
                yield item

    def _settle(self, waiting: "_Waiting", item: WorkItem) -> bool:
        fingerprint = item.fingerprint
        missing = waiting.after & self._expected.get(fingerprint, set()) - self._done.get(fingerprint, set())
        gone = fingerprint in self._over or fingerprint in self._stuck or not self._is_sound(item)
        if missing and not gone:
            return False
        waiting.settled.put(item)
        return True


class _Waiting:
    """One stage that waits for its items."""

    def __init__(self, after: frozenset[str]) -> None:
        self.after = after
        self.settled: SimpleQueue[WorkItem] = SimpleQueue()

    def next(self, meanwhile: Callable[[], None]) -> WorkItem:
        while True:
            meanwhile()
            try:
                return self.settled.get(timeout=_LOOK_AGAIN)
            except Empty:
                continue
