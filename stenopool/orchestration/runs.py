"""What every flow begins and ends with."""

import asyncio
import logging
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar

from prefect import runtime
from prefect.exceptions import TerminationSignal

from stenopool.errors import RunLost
from stenopool.options import ExecutionOptions, TranscriptionOptions
from stenopool.orchestration.artifacts import shard_summary
from stenopool.pipeline.context import RunContext
from stenopool.pipeline.outcomes import Machine, ShardLog
from stenopool.pipeline.shards import Shard, write_log
from stenopool.runtime.logs import log_context, logger
from stenopool.runtime.scratch import Scratch
from stenopool.runtime.signals import Stopped, stop_at_safe_points
from stenopool.runtime.startup import release_free_memory, start_process
from stenopool.storage import ObjectStore

_MOST_ATTEMPTS = 5

_scratch: ContextVar[Scratch | None] = ContextVar("scratch", default=None)


@contextmanager
def open_run(
    source: ObjectStore,
    destination: ObjectStore,
    options: TranscriptionOptions,
    execution: ExecutionOptions,
    batch: str | None = None,
    shard: int | None = None,
) -> Iterator[RunContext]:
    """One flow's run. Flows that run inside their parent share its scratch folder, so the audio stays where it is.

    ``batch``, ``shard``: what it works for. Raises `RunLost` if the run has been started too often.
    """
    if (attempts := runtime.flow_run.run_count or 0) > _MOST_ATTEMPTS:
        # Whatever hangs is stopped by its pod's deadline, and what SIGTERM ends is started again: for ever, on a GPU.
        raise RunLost(f"The run was started {attempts - 1} times and never came to its end.")
    # A line per recording; where PREFECT_LOGGING_EXTRA_LOGGERS names us, it is in the run's log too.
    logger.setLevel(logging.INFO)
    start_process()  # once more: Prefect has set up its own log meanwhile
    with ExitStack() as stack:
        stack.enter_context(log_context(run=str(runtime.flow_run.id), batch=batch, shard=shard))
        scratch = _scratch.get() or stack.enter_context(Scratch())
        stop_at_safe_points()
        token = _scratch.set(scratch)
        try:
            yield RunContext(source, destination, options, execution, scratch, batch)
        except Stopped as stopped:
            # What Prefect knows a stop by: it asks whether the run was cancelled or its machine is going away.
            raise TerminationSignal(signal.SIGTERM) from stopped
        finally:
            _scratch.reset(token)
            release_free_memory()


async def end_shard(run: RunContext, shard: Shard, flow: str, machine: Machine) -> ShardLog:
    """Store the log of a run over a shard and publish its summary; returns the log."""
    log = run.log.model_copy(update={"machine": machine, "seconds": run.now()})
    await asyncio.to_thread(write_log, run.destination, shard, flow, log)
    await shard_summary(flow, shard, log, None if flow == "prepare" else run.destination)
    return log
