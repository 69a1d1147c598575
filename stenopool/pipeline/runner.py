"""Moves a batch of work items through the stages of a run.

Every stage has an inbox, a memory stream. A job arrives there when the stages that it waits for have finished it, and
the stream ends when those stages have ended, whatever the result. So all stages end, and transcribed recordings are
published even if another stage stopped. The caller (Prefect tasks, a test) starts the attempts.
"""

import math
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from functools import partial
from queue import SimpleQueue

import anyio
from anyio import CapacityLimiter, from_thread, lowlevel, to_thread

from stenopool import errors
from stenopool.pipeline.context import Job, RunContext, RunStream, Stage
from stenopool.pipeline.outcomes import Interval, StageAttempt, union
from stenopool.pipeline.shards import WorkItem
from stenopool.runtime import traces
from stenopool.runtime.logs import Event, emit, log_context, logger, printable
from stenopool.runtime.signals import Stopped, stop_if_asked

Limiters = dict[Stage, CapacityLimiter]


class BatchRunner:
    """Moves a batch's jobs through ``stages``.

    ``limiters``: shared by the batches of a run, to limit each stage to its concurrency.
    """

    def __init__(
        self, context: RunContext, stages: Sequence[Stage], items: Iterable[WorkItem], limiters: Limiters
    ) -> None:
        self.context = context
        self.stages = [stage for stage in stages if stage.applies(context.options)]
        self.jobs = [Job(context, item) for item in items]
        self.troubles = dict[Job, errors.TransientError]()
        """The error that kept a job from being finished in the last attempt at a stage."""
        self._limiters = limiters
        self._open = set(self.stages)
        self._inboxes = {stage: _Inbox(stage, self.stages) for stage in self.stages}
        for stage, inbox in self._inboxes.items():
            limiters.setdefault(stage, CapacityLimiter(stage.concurrency))
            if not inbox.running:
                inbox.close_with(self.jobs)

    @property
    def label(self) -> str:
        """Description of the batch, for the names of its task runs."""
        first = printable(self.jobs[0].key)
        return first if len(self.jobs) == 1 else f"{len(self.jobs)} recordings from {first}"

    async def has_work(self, stage: Stage) -> bool:
        """Wait until a job reaches the stage; returns False if none will."""
        return await anext(self._inboxes[stage].arriving(), None) is not None

    async def attempt(self, stage: Stage, *, again: bool = False) -> None:
        """One attempt at a stage, for every unfinished job that reaches it.

        Raises a `TransientError` (another attempt may succeed) after the other jobs are finished; raises any other
        error as soon as the work in progress has ended.
        """
        inbox, attempt = self._inboxes[stage], _Attempt(self, stage, again=again)
        in_thread = partial(to_thread.run_sync, limiter=self._limiters[stage])
        with traces.span(stage.name, recordings=len(self.jobs), again=again, batch=self.context.batch or ""):
            try:
                async with anyio.create_task_group() as group:
                    if stage.run_stream:
                        group.start_soon(attempt.hand_over, inbox)
                        await in_thread(attempt.stream, stage.run_stream)
                        group.cancel_scope.cancel()
                    else:
                        async for job in inbox.jobs():
                            if attempt.fatal:
                                break
                            group.start_soon(in_thread, attempt.do, job)
            finally:
                self.context.log.attempts.append(attempt.summary())
            for error in (*attempt.fatal[:1], *attempt.transient[-1:]):
                raise error

    def give_up(self, stage: Stage, error: errors.TransientError) -> errors.StenopoolError | None:
        """After the last attempt: defer the unfinished jobs to the next run, each with its own failure.

        Returns the fault of a whole store, if there is one; it affects all other recordings too.
        """
        fault = self.context.find_store_fault(error)
        for job in self._inboxes[stage].unfinished.values():
            own: errors.StenopoolError = self.troubles.get(job, error)
            if isinstance(own, errors.SourceUnavailable) and not fault:
                own = errors.ObjectUnreadable(own.message)
            job.fail(own.failure(stage.name))
            if stage.takes_failed:
                job.end("deferred")
        return fault

    def close(self, stage: Stage) -> bool:
        """Close a stage, and the inboxes that wait for nothing else. Returns whether it was the last stage."""
        self._open.remove(stage)
        for inbox in self._inboxes.values():
            if stage in inbox.running:
                inbox.running.remove(stage)
                if not inbox.running:
                    failed = [job for job in self.jobs if job.failure is not None and job.outcome is None]
                    inbox.close_with(failed if inbox.takes_failed else ())
        return not self._open

    def pass_on(self, stage: Stage, job: Job) -> None:
        """Pass a job from a stage to the following stages, or end it."""
        self._inboxes[stage].unfinished.pop(job.fingerprint, None)
        if not job.sound:
            return  # failed jobs wait for the stage that processes them
        following = [inbox for inbox in self._inboxes.values() if stage in inbox.waits_for]
        for inbox in following:
            inbox.arrive(job, stage)
        if not following:
            job.end("prepared")


class _Inbox:
    """The jobs that arrive at one stage, and its unfinished ones. Use only in the event loop's thread."""

    def __init__(self, stage: Stage, stages: Sequence[Stage]) -> None:
        others = frozenset(other for other in stages if not other.takes_failed)
        self.takes_failed = stage.takes_failed
        self.waits_for = frozenset() if stage.takes_failed else others & frozenset(stage.waits_for)
        self.running = set(others if stage.takes_failed else self.waits_for)  # preceding stages that have not ended
        self.unfinished: dict[str, Job] = {}
        self._missing: dict[str, set[Stage]] = {}
        self._send, self._receive = anyio.create_memory_object_stream[Job](math.inf)

    def arrive(self, job: Job, stage: Stage) -> None:
        """Record that a preceding stage has finished the job; the last one admits it."""
        missing = self._missing.setdefault(job.fingerprint, set(self.waits_for))
        missing.discard(stage)
        if not missing:
            del self._missing[job.fingerprint]
            self._send.send_nowait(job)

    def close_with(self, jobs: Iterable[Job]) -> None:
        """Admit these jobs, then close the inbox."""
        for job in jobs:
            self._send.send_nowait(job)
        self._send.close()

    async def arriving(self) -> AsyncIterator[Job]:
        """The jobs as they arrive."""
        async for job in self._receive:
            self.unfinished[job.fingerprint] = job
            yield job

    async def jobs(self) -> AsyncIterator[Job]:
        """The jobs that an earlier attempt left unfinished, then those that arrive."""
        for job in list(self.unfinished.values()):
            yield job
        async for job in self.arriving():
            yield job


class _Attempt:
    """One attempt at a stage. Its work runs in threads."""

    def __init__(self, runner: BatchRunner, stage: Stage, *, again: bool) -> None:
        self.transient = list[errors.TransientError]()  # another attempt may succeed
        self.fatal = list[BaseException]()  # the stage ends
        self._runner, self._stage, self._again = runner, stage, again
        self._queue, self._closed = SimpleQueue[Job | None](), False
        self._token = lowlevel.current_token()
        self._began = dict[Job, float]()
        self._worked = list[tuple[Job, Interval]]()

    def do(self, job: Job) -> None:
        """Run the stage on one job."""
        with log_context(recording=job.key):
            try:
                if self.fatal:
                    return
                if self._needs_work(job):
                    self._stage.run(self._runner.context, job)
                self._leave(job)
            except BaseException as error:
                # Transient errors are retried first.
                transient = isinstance(error, errors.TransientError)
                if not transient and (fault := self._runner.context.find_store_fault(error)):
                    self._stop(fault, job)
                elif self._concerns_only(job, error):
                    self._leave(job)
                else:
                    self._stop(error, job)

    async def hand_over(self, inbox: _Inbox) -> None:
        """Hand the jobs to `stream` through a queue, since engines take them in their own threads."""
        try:
            async for job in inbox.jobs():
                self._queue.put(job)
            self._queue.put(None)
            await anyio.sleep_forever()
        finally:  # the engine has ended or the run is cancelled: waiting jobs are not started
            self._closed = True
            self._queue.put(None)

    def stream(self, run_stream: RunStream) -> None:
        """Run the stage on all jobs, in one call."""
        try:
            run_stream(self._runner.context, self._coming(), self._leave)
        except BaseException as error:
            self._stop(error, *self._began)

    def summary(self) -> StageAttempt:
        """The attempt's log entry."""
        return StageAttempt(
            stage=self._stage.name,
            uses=self._stage.uses,
            working=tuple(union(interval for _, interval in self._worked)),
            audio=sum(job.known_duration or 0.0 for job, _ in self._worked),
            again=self._again,
            error=self.transient[-1].code if self.transient and not self.fatal else None,
        )

    def _coming(self) -> Iterator[Job]:
        while (job := self._queue.get()) is not None and not self._closed:
            if self._needs_work(job):
                yield job
            else:
                self._leave(job)

    def _needs_work(self, job: Job) -> bool:
        """Whether the stage has work to do for the job. Stops here if requested."""
        if self._stage.stoppable:
            stop_if_asked()
        if job.outcome is not None or (job.failure is not None and not self._stage.takes_failed):
            return False
        own, later = self._stage.checkpoint, self._stage.needed_for
        if own and job.work.has(own):
            job.reused = tuple(dict.fromkeys((*job.reused, own.name)))
        elif not (later and job.work.has(later)):
            self._began[job] = self._runner.context.now()
        return job in self._began

    def _leave(self, job: Job) -> None:
        """Finish the stage's work on the job."""
        self._record(job)
        ended = job.outcome is not None and job.outcome.status != "done"
        if self._stage.event and job.failure is None and not ended:
            emit(Event(self._stage.event, job.key, job.duration))
        from_thread.run_sync(self._runner.pass_on, self._stage, job, token=self._token)

    def _record(self, job: Job) -> None:
        if (began := self._began.pop(job, None)) is not None:
            self._worked.append((job, (began, self._runner.context.now())))

    def _stop(self, error: BaseException, *jobs: Job) -> None:
        """Record an error that leaves these jobs unfinished, for now or in this run."""
        for job in jobs:
            self._record(job)
            if isinstance(error, errors.TransientError):
                self._runner.troubles[job] = error
        if isinstance(error, errors.TransientError):
            self.transient.append(error)
        else:
            self.fatal.append(error)

    def _concerns_only(self, job: Job, error: BaseException) -> bool:
        """Whether an error concerns only this job. If so, the job fails and the others continue."""
        own: errors.StenopoolError
        match error:
            case errors.ObjectNotFound():  # another run that finishes a work item deletes its checkpoints
                if job.skip_if_finished():
                    return True
                own = errors.RunLost(f"Its checkpoint no longer exists. {error.message}")
            case errors.SourceChanged() | errors.RunLost() | errors.RecordingError():  # would fail again
                own = error
            case errors.TransientError() | errors.SetupError() | Stopped():
                return False
            case Exception():
                logger.exception("%s: %s failed", job.key, self._stage.name)
                own = errors.RecordingError(errors.ErrorCode.INTERNAL, f"{type(error).__name__}: {error}")
            case _:
                return False
        job.fail(own.failure(self._stage.name))
        return True
