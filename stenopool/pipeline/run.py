"""What the stages of one run share: stores, options, scratch, and what has failed so far."""

import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from contextvars import copy_context
from functools import partial

from pydantic import BaseModel

from stenopool.errors import (
    ErrorCode,
    Failure,
    ObjectNotFound,
    RecordingError,
    SetupError,
    SourceChanged,
    TransientError,
)
from stenopool.options import ExecutionOptions, TranscriptionOptions
from stenopool.pipeline.clock import DeviceClock, StageClock
from stenopool.pipeline.handover import Handover
from stenopool.pipeline.receipts import Receipt, ReceiptName, find_receipts, read
from stenopool.pipeline.shards import WorkItem
from stenopool.pipeline.tally import Tally
from stenopool.pipeline.work import WorkArea
from stenopool.runtime import traces
from stenopool.runtime.logs import log_context
from stenopool.runtime.progress import Event, emit, logger
from stenopool.runtime.scratch import Scratch
from stenopool.runtime.signals import Stopped, stop_if_asked
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
    """One run's context. Stages are functions over it and some items; they may be repeated at any time.

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

    def work(self, item: WorkItem) -> WorkArea:
        """The item's checkpoints."""
        with self._lock:
            if item.fingerprint not in self._work:
                found = partial(self.found.setdefault, item.fingerprint)
                self._work[item.fingerprint] = WorkArea(self.destination, item.fingerprint, found)
            return self._work[item.fingerprint]

    def is_sound(self, item: WorkItem) -> bool:
        """Whether the item is still this run's: nothing is wrong with it, and no other run was faster."""
        return item.fingerprint not in self.failures and item.fingerprint not in self.finished_elsewhere

    def sound(self, items: Iterable[WorkItem]) -> list[WorkItem]:
        """The items that are still this run's."""
        return [item for item in items if self.is_sound(item)]

    def failed(self, items: Iterable[WorkItem]) -> list[WorkItem]:
        """The items that something is wrong with."""
        return [item for item in items if item.fingerprint in self.failures]

    def fail(self, item: WorkItem, failure: Failure) -> None:
        self.failures[item.fingerprint] = failure
        self.handover.look_again(item)
        emit(Event("failed", item.recording.key, item.seconds, failure))

    def leave(self, item: WorkItem) -> bool:
        """Whether another run has finished the item meanwhile; then it is left to that, and nothing of ours stays."""
        if item.formats:  # finished long ago; only a format is missing
            return False
        there = find_receipts(self.destination, item.recording.key, item.fingerprint)
        # One that was taken up again out of quarantine has that receipt still.
        ends = ("done",) if item.attempts else ("done", "quarantined")
        end = next((one for one in there if one.status in ends), None)
        if end is None:
            return False
        self.finished_elsewhere.add(item.fingerprint)
        self._recall(end)
        self.failures.pop(item.fingerprint, None)
        self.work(item).remove()
        self.forget(item)
        logger.info("%s: finished by another run", item.recording.key)
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
        """A stage that has many items in hand at a time, as an engine has, begins with one more."""
        self.stages.begin(stage)
        self._worked.begin(stage)

    def let_go(self, stage: str, item: WorkItem) -> None:
        """It is through with one."""
        self._worked.end(stage)
        self.stages.end(stage)
        with self._lock:
            self.stage_audio[stage] += self.durations.get(item.fingerprint, 0.0)

    @contextmanager
    def timed(self, stage: str, item: WorkItem) -> Iterator[None]:
        """Count a stage's wall time, and the audio of the item that it has in hand."""
        self.stages.begin(stage)
        try:
            yield
        finally:
            self.stages.end(stage)
            with self._lock:
                self.stage_audio[stage] += self.durations.get(item.fingerprint, 0.0)

    @contextmanager
    def attempt(self, stage: str, items: Sequence[WorkItem], *, again: bool) -> Iterator[None]:
        """Count an attempt at a stage's task: how long it had work in hand, which it was, what went wrong."""
        before, code = self._worked.seconds().get(stage, 0.0), None
        try:
            with traces.span(stage, recordings=len(items), again=again, batch=self.batch or ""):
                yield
        except TransientError as error:
            code = error.code
            raise
        finally:
            with self._lock:
                audio = sum(self.durations.get(item.fingerprint, 0.0) for item in items)
                worked = self._worked.seconds().get(stage, 0.0) - before
                self.tally.attempt(stage, worked, audio, again=again, error=code)

    def forget(self, item: WorkItem) -> None:
        """Drop what is kept of a finished item, so that memory does not grow recording by recording."""
        self.scratch.release(item.fingerprint)
        with self._lock:
            self._work.pop(item.fingerprint, None)
        self.handover.forget(item)


def each(
    run: Run,
    stage: str,
    items: Iterable[WorkItem],
    do: Callable[[WorkItem], None],
    *,
    after: Iterable[str] = (),
    at_once: int = 1,
    stoppable: bool = True,
) -> None:
    """Do a stage for every sound item, ``at_once`` of them side by side; one's fault leaves the others alone.

    A item is taken up as soon as the stages in ``after`` have done it, which may run meanwhile.

    A `RecordingError` (or a bug) becomes the item's failure. A `TransientError` is raised after the others went on,
    so that the task is tried again; what was done is not done again then, and what failed for good is not tried.
    Between items a ``stoppable`` stage ends with `Stopped` if the process was asked to stop.
    """
    transient: list[TransientError] = []
    fatal: list[BaseException] = []

    def one(item: WorkItem) -> None:
        try:
            with log_context(recording=item.recording.key):
                _do(run, stage, item, do)
        except TransientError as error:
            transient.append(error)
        except BaseException as error:
            fatal.append(error)

    turns = threading.Semaphore(at_once)
    with ThreadPoolExecutor(at_once, thread_name_prefix=stage) as threads:
        for item in run.handover.coming(run.sound(items), after, stoppable=stoppable):
            if run.handover.is_done(stage, item):
                continue
            if stoppable:
                stop_if_asked()
            turns.acquire()
            if fatal:
                break
            # With the task's context: a line in the log names its run.
            threads.submit(copy_context().run, one, item).add_done_callback(lambda _: turns.release())
    if fatal:
        raise fatal[0]
    if transient:
        raise transient[-1]


def _do(run: Run, stage: str, item: WorkItem, do: Callable[[WorkItem], None]) -> None:
    try:
        with run.in_hand(stage):
            do(item)
        run.handover.done(stage, item)
    except RecordingError as error:
        run.fail(item, error.failure(stage))
    except SourceChanged as error:
        run.fail(item, error.failure(stage))  # trying again would meet the same new content
    except ObjectNotFound:
        # Another run that finishes a item removes its checkpoints.
        if not run.leave(item):
            raise
    except (TransientError, SetupError, Stopped):
        raise
    except Exception as error:
        logger.exception("%s: %s failed", item.recording.key, stage)
        message = f"{type(error).__name__}: {error}"
        run.fail(item, RecordingError(ErrorCode.INTERNAL, message).failure(stage))


def give_up(run: Run, stage: str, items: Iterable[WorkItem], error: TransientError) -> None:
    """After the last retry: these items wait for the next run. They get no receipt."""
    for item in run.sound(items):
        if not run.handover.is_done(stage, item):
            run.fail(item, error.failure(stage))
