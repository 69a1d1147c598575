"""How far each piece is: stages that go on side by side hand it from one to the next."""

import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from queue import Empty, SimpleQueue

from stenopool.pipeline.shards import Piece
from stenopool.runtime.stopping import stop_if_asked

# Seconds between looks at whether the process was asked to stop, while a stage waits for the one before.
_LOOK_AGAIN = 0.5


class Handover:
    """Which stages have done which pieces, and who waits for them. Safe to use from several threads.

    ``is_sound``: whether nothing is wrong with a piece and no other run was faster. Whatever changes that calls
    `look_again`.
    """

    def __init__(self, is_sound: Callable[[Piece], bool]) -> None:
        self._is_sound = is_sound
        self._done: defaultdict[str, set[str]] = defaultdict(set)
        self._expected: defaultdict[str, set[str]] = defaultdict(set)
        self._stuck: set[str] = set()
        self._over: set[str] = set()
        self._waiting: defaultdict[str, list[_Waiting]] = defaultdict(list)
        self._lock = threading.RLock()

    def expect(self, stage: str, pieces: Iterable[Piece]) -> None:
        """The stage is going to be done for these pieces: those after it wait for it."""
        with self._lock:
            for piece in pieces:
                self._expected[piece.fingerprint].add(stage)

    def done(self, stage: str, piece: Piece) -> None:
        """The stage has done this piece."""
        with self._lock:
            self._done[piece.fingerprint].add(stage)
            self.look_again(piece)

    def is_done(self, stage: str, piece: Piece) -> bool:
        return piece.fingerprint in self._over or stage in self._done.get(piece.fingerprint, ())

    def end(self, stage: str, pieces: Iterable[Piece]) -> None:
        """The stage will do no more for these pieces. What it has not done, nobody waits for, or takes up."""
        with self._lock:
            for piece in pieces:
                expected = self._expected.get(piece.fingerprint, set())
                if stage in expected:
                    expected.discard(stage)
                    if not self.is_done(stage, piece):
                        self._stuck.add(piece.fingerprint)
                self.look_again(piece)

    def forget(self, piece: Piece) -> None:
        """The piece is finished: that alone is kept."""
        with self._lock:
            self._over.add(piece.fingerprint)
            self._done.pop(piece.fingerprint, None)
            self._expected.pop(piece.fingerprint, None)
            self.look_again(piece)

    def look_again(self, piece: Piece) -> None:
        """Tell those who wait for the piece, if it need not be waited for any longer."""
        with self._lock:
            waiting = self._waiting.pop(piece.fingerprint, [])
            still = [one for one in waiting if not self._settle(one, piece)]
            if still:
                self._waiting[piece.fingerprint] = still

    def coming(self, pieces: Iterable[Piece], after: Iterable[str] = (), *, stoppable: bool = True) -> Iterator[Piece]:
        """Sound pieces as soon as the stages before (``after``) are done with them; waits for those that are expected.

        Left out is what fails, what another run finishes and what a stage before ends without having done. While it
        waits a ``stoppable`` stage ends with `Stopped` if the process was asked to stop.
        """
        mine = _Waiting(frozenset(after))
        with self._lock:
            left = list(pieces)
            for piece in left:
                if not self._settle(mine, piece):
                    self._waiting[piece.fingerprint].append(mine)
        for _ in left:
            piece = mine.next(stop_if_asked if stoppable else lambda: None)
            if piece.fingerprint not in self._over | self._stuck and self._is_sound(piece):
                yield piece

    def _settle(self, waiting: "_Waiting", piece: Piece) -> bool:
        fingerprint = piece.fingerprint
        missing = waiting.after & self._expected.get(fingerprint, set()) - self._done.get(fingerprint, set())
        gone = fingerprint in self._over or fingerprint in self._stuck or not self._is_sound(piece)
        if missing and not gone:
            return False
        waiting.settled.put(piece)
        return True


class _Waiting:
    """One stage that waits for its pieces."""

    def __init__(self, after: frozenset[str]) -> None:
        self.after = after
        self.settled: SimpleQueue[Piece] = SimpleQueue()

    def next(self, meanwhile: Callable[[], None]) -> Piece:
        while True:
            meanwhile()
            try:
                return self.settled.get(timeout=_LOOK_AGAIN)
            except Empty:
                continue
