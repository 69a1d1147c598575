"""The start and end of every flow run."""

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
    """Context of a flow's run. Subflows share their parent's scratch folder, so audio does not have to be copied.

    ``batch``, ``shard``: the run's batch and shard. Raises `RunLost` if the run has been started too often.
    """
    if (attempts := runtime.flow_run.run_count or 0) > _MOST_ATTEMPTS:
        # A run that hangs is stopped by its pod's deadline, and a run ended by SIGTERM is restarted: forever, on a GPU.
        raise RunLost(f"The run was started {attempts - 1} times and never finished.")
    # A line per recording, also in the run's log if PREFECT_LOGGING_EXTRA_LOGGERS includes this logger.
    logger.setLevel(logging.INFO)
    start_process()  # again, because Prefect has configured its own log since
    with ExitStack() as stack:
        stack.enter_context(log_context(run=str(runtime.flow_run.id), batch=batch, shard=shard))
        scratch = _scratch.get() or stack.enter_context(Scratch())
        stop_at_safe_points()
        token = _scratch.set(scratch)
        try:
            yield RunContext(source, destination, options, execution, scratch, batch)
        except Stopped as stopped:
            # Prefect's exception for a stop; Prefect then checks whether the run was cancelled or its machine is
            # shutting down.
            raise TerminationSignal(signal.SIGTERM) from stopped
        finally:
            _scratch.reset(token)
            release_free_memory()


async def end_shard(run: RunContext, shard: Shard, flow: str, machine: Machine) -> ShardLog:
    """Store the log of a shard's run and publish its summary; returns the log."""
    log = run.log.model_copy(update={"machine": machine, "seconds": run.now()})
    await asyncio.to_thread(write_log, run.destination, shard, flow, log)
    await shard_summary(flow, shard, log, None if flow == "prepare" else run.destination)
    return log
