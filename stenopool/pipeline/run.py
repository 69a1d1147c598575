"""What the stages of one run share: stores, options, scratch, and what has failed so far."""

import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from contextvars import copy_context
from functools import partial

from pydantic import BaseModel

from stenopool.errors import ErrorCode, Failure, RecordingError, SetupError, TransientError
from stenopool.options import ExecutionOptions, TranscriptionOptions
from stenopool.pipeline.clock import DeviceClock, StageClock
from stenopool.pipeline.handover import Handover
from stenopool.pipeline.receipts import Receipt, ReceiptName, names, read, receipt_stem
from stenopool.pipeline.shards import Piece
from stenopool.pipeline.tally import Tally
from stenopool.pipeline.work import WorkArea
from stenopool.runtime import traces
from stenopool.runtime.logs import where
from stenopool.runtime.progress import Event, logger, tell
from stenopool.runtime.scratch import Scratch
from stenopool.runtime.stopping import Stopped, stop_if_asked
from stenopool.storage import ObjectStore

# Objects of a store that a stage reads or writes side by side: each waits for the network most of its time.
TRANSFERS = 8


class FailedRecording(BaseModel):
    """One line of ``failed.jsonl``."""

    key: str
    fingerprint: str
    failure: Failure

    @property
    def quarantined(self) -> bool:
        """Whether it stays aside until somebody asks, instead of being taken up by the next run."""
        return not self.failure.retryable


class Run:
    """One run's context. Stages are functions over it and some pieces; they may be repeated at any time.

    ``batch``: the batch that it works for; what it finishes carries its name.
    """

    def __init__(
        self,
        source: ObjectStore,
        destination: ObjectStore,
        options: TranscriptionOptions,
        execution: ExecutionOptions,
        scratch: Scratch,
    ) -> None:
        self.source = source
        self.destination = destination
        self.options = options
        self.execution = execution
        self.scratch = scratch
        self.batch: str | None = None
        self.failures: dict[str, Failure] = {}
        self.finished_elsewhere: set[str] = set()
        self.finished_before: dict[str, Receipt] = {}
        """Of those, what an earlier attempt at this very run had finished: nobody else counts it."""
        self.found: dict[str, frozenset[str]] = {}
        """Stages that an earlier run had done, by fingerprint."""
        self.flags: dict[str, tuple[str, ...]] = {}
        self.handover = Handover(self.is_sound)
        self.tally = Tally()
        self.durations: dict[str, float] = {}
        self.device = DeviceClock()
        self.stages = StageClock()
        self.stage_audio: defaultdict[str, float] = defaultdict(float)
        self._worked = StageClock()
        self._work: dict[str, WorkArea] = {}
        self._lock = threading.Lock()

    def work(self, piece: Piece) -> WorkArea:
        """The piece's checkpoints."""
        with self._lock:
            if piece.fingerprint not in self._work:
                found = partial(self.found.setdefault, piece.fingerprint)
                self._work[piece.fingerprint] = WorkArea(self.destination, piece.fingerprint, found)
            return self._work[piece.fingerprint]

    def is_sound(self, piece: Piece) -> bool:
        """Whether the piece is still this run's: nothing is wrong with it, and no other run was faster."""
        return piece.fingerprint not in self.failures and piece.fingerprint not in self.finished_elsewhere

    def sound(self, pieces: Iterable[Piece]) -> list[Piece]:
        """The pieces that are still this run's."""
        return [piece for piece in pieces if self.is_sound(piece)]

    def failed(self, pieces: Iterable[Piece]) -> list[Piece]:
        """The pieces that something is wrong with."""
        return [piece for piece in pieces if piece.fingerprint in self.failures]

    def fail(self, piece: Piece, failure: Failure) -> None:
        self.failures[piece.fingerprint] = failure
        self.handover.look_again(piece)
        tell(Event("failed", piece.recording.key, piece.seconds, failure))

    def leave(self, piece: Piece, there: Iterable[ReceiptName] | None = None) -> bool:
        """Whether another run has finished the piece meanwhile; then it is left to that, and nothing of ours stays.

        ``there``: the receipts of its recording, where they have just been listed.
        """
        if piece.formats:  # finished long ago; only a format is missing
            return False
        if there is None:
            there = names(self.destination, prefix=receipt_stem(piece.recording.key))
        # One that was taken up again out of quarantine has that receipt still.
        ends = ("done",) if piece.attempts else ("done", "quarantined")
        end = next((one for one in there if one.fingerprint == piece.fingerprint and one.status in ends), None)
        if end is None:
            return False
        self.finished_elsewhere.add(piece.fingerprint)
        self._recall(end)
        self.failures.pop(piece.fingerprint, None)
        self.work(piece).remove()
        self.forget(piece)
        logger.info("%s: finished by another run", piece.recording.key)
        return True

    def _recall(self, end: ReceiptName) -> None:
        with suppress(SetupError):  # a quarantine's receipt may be gone again
            receipt = read(self.destination, end.key, end.fingerprint, end.status)
            if self.batch and receipt.batch == self.batch:
                self.finished_before[end.fingerprint] = receipt

    @contextmanager
    def in_hand(self, stage: str) -> Iterator[None]:
        """The stage's task works; else it waits for the stage before."""
        self._worked.begin(stage)
        try:
            yield
        finally:
            self._worked.end(stage)

    def take_up(self, stage: str) -> None:
        """A stage that has many pieces in hand at a time, as an engine has, begins with one more."""
        self.stages.begin(stage)
        self._worked.begin(stage)

    def let_go(self, stage: str, piece: Piece) -> None:
        """It is through with one."""
        self._worked.end(stage)
        self.stages.end(stage)
        with self._lock:
            self.stage_audio[stage] += self.durations.get(piece.fingerprint, 0.0)

    @contextmanager
    def timed(self, stage: str, piece: Piece) -> Iterator[None]:
        """Count a stage's wall time, and the audio of the piece that it has in hand."""
        self.stages.begin(stage)
        try:
            yield
        finally:
            self.stages.end(stage)
            with self._lock:
                self.stage_audio[stage] += self.durations.get(piece.fingerprint, 0.0)

    @contextmanager
    def attempt(self, stage: str, pieces: Sequence[Piece], *, again: bool) -> Iterator[None]:
        """Count an attempt at a stage's task: how long it had work in hand, which it was, what went wrong."""
        before, code = self._worked.seconds().get(stage, 0.0), None
        try:
            with traces.span(stage, recordings=len(pieces), again=again, batch=self.batch or ""):
                yield
        except TransientError as error:
            code = error.code
            raise
        finally:
            with self._lock:
                audio = sum(self.durations.get(piece.fingerprint, 0.0) for piece in pieces)
                worked = self._worked.seconds().get(stage, 0.0) - before
                self.tally.attempt(stage, worked, audio, again=again, error=code)

    def forget(self, piece: Piece) -> None:
        """Drop what is kept of a finished piece, so that memory does not grow recording by recording."""
        self.scratch.release(piece.fingerprint)
        with self._lock:
            self._work.pop(piece.fingerprint, None)
        self.handover.forget(piece)


def each(
    run: Run,
    stage: str,
    pieces: Iterable[Piece],
    do: Callable[[Piece], None],
    *,
    after: Iterable[str] = (),
    at_once: int = 1,
    stoppable: bool = True,
) -> None:
    """Do a stage for every sound piece, ``at_once`` of them side by side; one's fault leaves the others alone.

    A piece is taken up as soon as the stages in ``after`` have done it, which may run meanwhile.

    A `RecordingError` (or a bug) becomes the piece's failure. A `TransientError` is raised after the others went on,
    so that the task is tried again; what was done is not done again then, and what failed for good is not tried.
    Between pieces a ``stoppable`` stage ends with `Stopped` if the process was asked to stop.
    """
    transient: list[TransientError] = []
    fatal: list[BaseException] = []

    def one(piece: Piece) -> None:
        try:
            with where(recording=piece.recording.key):
                _do(run, stage, piece, do)
        except TransientError as error:
            transient.append(error)
        except BaseException as error:
            fatal.append(error)

    turns = threading.Semaphore(at_once)
    with ThreadPoolExecutor(at_once, thread_name_prefix=stage) as threads:
        for piece in run.handover.coming(run.sound(pieces), after, stoppable=stoppable):
            if run.handover.is_done(stage, piece):
                continue
            if stoppable:
                stop_if_asked()
            turns.acquire()
            if fatal:
                break
            # With the task's context: a line in the log names its run.
            threads.submit(copy_context().run, one, piece).add_done_callback(lambda _: turns.release())
    if fatal:
        raise fatal[0]
    if transient:
        raise transient[-1]


def _do(run: Run, stage: str, piece: Piece, do: Callable[[Piece], None]) -> None:
    try:
        with run.in_hand(stage):
            do(piece)
        run.handover.done(stage, piece)
    except RecordingError as error:
        run.fail(piece, error.failure(stage))
    except TransientError as error:
        if error.code is not ErrorCode.SOURCE_CHANGED:
            raise
        run.fail(piece, error.failure(stage))  # trying again would meet the same new content
    except SetupError as error:
        # Another run that finishes a piece removes its checkpoints.
        if error.code is not ErrorCode.OBJECT_NOT_FOUND or not run.leave(piece):
            raise
    except Stopped:
        raise
    except Exception as error:
        logger.exception("%s: %s failed", piece.recording.key, stage)
        message = f"{type(error).__name__}: {error}"
        run.fail(piece, RecordingError(ErrorCode.INTERNAL, message).failure(stage))


def give_up(run: Run, stage: str, pieces: Iterable[Piece], error: TransientError) -> None:
    """After the last retry: these pieces wait for the next run. They get no receipt."""
    for piece in run.sound(pieces):
        if not run.handover.is_done(stage, piece):
            run.fail(piece, error.failure(stage))
