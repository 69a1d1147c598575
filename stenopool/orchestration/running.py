"""What the flows share: the run at hand, and how a stage's task tries again."""

import asyncio
import logging
import signal
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar, copy_context
from typing import Any

from prefect import Task, runtime, task
from prefect.client.schemas.objects import State, TaskRun
from prefect.exceptions import TerminationSignal
from prefect.tasks import exponential_backoff
from prefect.utilities.annotations import quote

from stenopool.errors import ErrorCode, TransientError
from stenopool.options import ExecutionOptions, TranscriptionOptions
from stenopool.pipeline.run import Run, give_up
from stenopool.pipeline.shards import WorkItem
from stenopool.runtime import allocator, logs
from stenopool.runtime.progress import logger
from stenopool.runtime.scratch import Scratch
from stenopool.runtime.signals import Stopped, stop_at_safe_points
from stenopool.runtime.startup import start_process
from stenopool.settings import get_settings
from stenopool.storage import ObjectStore

# A flow's process is Prefect's: this is the first of ours that runs in it, and before Prefect's span of the run begins.
start_process()

_MOST_ATTEMPTS = 5
_BATCHES_AT_ONCE = 2
# What a long run leaves free among what it holds grows slowly. Giving it back stops all that allocate for a moment.
_GIVE_BACK_SECONDS = 30.0
# A thread for each stage of the batches on their way: they wait for one another, so none may wait for a thread.
_STAGES = ThreadPoolExecutor(64, thread_name_prefix="stage")

_scratch: ContextVar[Scratch | None] = ContextVar("scratch", default=None)
_run: ContextVar[Run | None] = ContextVar("run", default=None)

Stage = Callable[[Run, Sequence[WorkItem]], None]


@contextmanager
def running(
    source: ObjectStore,
    destination: ObjectStore,
    options: TranscriptionOptions,
    execution: ExecutionOptions,
    batch: str | None = None,
    shard: int | None = None,
) -> Iterator[Run]:
    """One flow's run. Flows that were dispatched inline share their parent's scratch folder: audio stays at hand.

    ``batch``, ``shard``: what it works for.
    """
    if (attempts := runtime.flow_run.run_count or 0) > _MOST_ATTEMPTS:
        # Whatever hangs is stopped by its pod's deadline, and what SIGTERM ends is started again: for ever, on a GPU.
        message = f"The run was begun {attempts - 1} times and never came to its end."
        raise TransientError(ErrorCode.RUN_LOST, message)
    # A line per recording; where PREFECT_LOGGING_EXTRA_LOGGERS names us, it is in the run's log too.
    logger.setLevel(logging.INFO)
    logs.configure()  # once more: Prefect has set up its own meanwhile
    with ExitStack() as stack:
        stack.enter_context(logs.log_context(run=str(runtime.flow_run.id), batch=batch, shard=shard))
        scratch = _scratch.get()
        if scratch is None:
            scratch = stack.enter_context(Scratch())
        run = Run(source, destination, options, execution, scratch)
        run.batch = batch
        stop_at_safe_points()
        tokens = _scratch.set(scratch), _run.set(run)
        try:
            yield run
        except Stopped as stopped:
            # What Prefect knows a stop by: it asks whether the run was cancelled or its machine is going away.
            raise TerminationSignal(signal.SIGTERM) from stopped
        finally:
            _scratch.reset(tokens[0])
            _run.reset(tokens[1])
            allocator.release_free_memory()


async def _is_transient(_task: Task[..., Any], _task_run: TaskRun, state: State[Any]) -> bool:
    try:
        await state.aresult()
    except TransientError:
        return True
    except Exception:
        return False
    return False


def stage_task(name: str, stage: Stage) -> Task[..., Any]:
    """A task for one stage of a batch: a thin wrapper, tried again on transient errors only.

    It is given items; the run, which holds stores and scratch, is no parameter and comes from the flow at hand.
    """
    retry = get_settings().retry

    @task(
        name=name,
        task_run_name=name + ", {label}",
        retries=retry.attempts,
        retry_delay_seconds=exponential_backoff(retry.base_delay),
        retry_jitter_factor=retry.jitter or None,
        retry_condition_fn=_is_transient,
        persist_result=False,
    )
    async def work(items: Sequence[WorkItem], label: str) -> None:  # noqa: ARG001 (for the run's name)
        run = _run.get()
        if run is None:
            raise RuntimeError(f"the task {name} was called outside its flow")
        with logs.log_context(stage=name), run.attempt(name, items, again=(runtime.task_run.run_count or 1) > 1):
            await asyncio.get_running_loop().run_in_executor(_STAGES, copy_context().run, stage, run, items)

    return work


def attempt(work: Task[..., Any], run: Run, items: Sequence[WorkItem]) -> Coroutine[Any, Any, None]:
    """A stage for the sound items of a batch; what is not done after its retries waits for the next run.

    From this call on, not only from its awaiting, the stages after it wait for it.
    """
    sound = run.sound(items)
    run.handover.expect(work.name, sound)
    return _attempt(work, run, sound)


async def _attempt(work: Task[..., Any], run: Run, items: Sequence[WorkItem]) -> None:
    try:
        if items:
            await work(as_they_are(items), described(items))
    except TransientError as error:
        give_up(run, work.name, items, error)
    finally:
        run.handover.end(work.name, items)


async def side_by_side(*work: Awaitable[None]) -> None:
    """Work that goes on at the same time. What goes wrong in one is raised when all have come to their end.

    They wait for one another item by item (`Handover.coming`), and what one of them ends without having done, the
    others do not wait for: so all end, and what is transcribed is published also where the next stage stopped.
    """
    errors = [outcome for outcome in await asyncio.gather(*work, return_exceptions=True) if outcome is not None]
    if errors:
        raise next((error for error in errors if not isinstance(error, Stopped)), errors[0])


async def in_turn(carried: Iterable[Sequence[WorkItem]], do: Callable[[Sequence[WorkItem]], Awaitable[None]]) -> None:
    """Every batch, the next one beginning while the one before is on its way; no more than that at a time."""
    going: set[asyncio.Future[None]] = set()
    errors: list[BaseException] = []
    gave_back = time.monotonic()
    for items in carried:
        if len(going) == _BATCHES_AT_ONCE:
            over, going = await asyncio.wait(going, return_when=asyncio.FIRST_COMPLETED)
            errors += [error for each in over if (error := each.exception())]
            if time.monotonic() - gave_back > _GIVE_BACK_SECONDS:
                await asyncio.to_thread(allocator.release_free_memory)
                gave_back = time.monotonic()
        if errors:
            break
        going.add(asyncio.ensure_future(do(items)))
    outcomes = await asyncio.gather(*going, return_exceptions=True)
    if errors := errors + [outcome for outcome in outcomes if outcome is not None]:
        raise errors[0]


def as_they_are(items: Sequence[WorkItem]) -> Any:
    """A batch as a task's parameter. Prefect would look for futures in every field of every item, at each task."""
    return quote(items)


def described(items: Sequence[WorkItem]) -> str:
    """A batch in words, for the names of its task runs."""
    first = logs.printable(items[0].recording.key)
    return first if len(items) == 1 else f"{len(items)} recordings from {first}"
