"""A stage of the pipeline, declared once. Tasks, checkpoints, metric labels and the order of work derive from it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from stenopool.options import TranscriptionOptions
from stenopool.runtime.progress import Kind

if TYPE_CHECKING:
    from stenopool.pipeline.checkpoints import Checkpoint
    from stenopool.pipeline.context import Job, RunContext

# Objects of a store that a stage reads or writes at a time: each waits for the network most of its time.
TRANSFERS = 8

Use = Literal["cpu", "device", "loading"]
RunStream = Callable[["RunContext", Iterator["Job"], Callable[["Job"], None]], None]


@dataclass(frozen=True, eq=False)
class Stage:
    """One step that every recording goes through.

    ``run(context, job)`` does the work on one job, in a thread. Where there is ``run_stream(context, jobs, done)``, it
    is called instead, once per attempt: it iterates over ``jobs``, which blocks until the stages before have done the
    next one, and calls ``done`` for each job that it has done.
    Either may be repeated at any time. Errors: a `RecordingError` fails the job, a `TransientError` makes the task try
    again what is not done, a `SetupError` ends the run.
    """

    name: str
    """Name of its tasks, label of its metrics, ``stage`` in the log and in failures."""
    run: "Callable[[RunContext, Job], None]" = lambda _run, _job: None
    run_stream: "RunStream | None" = None
    waits_for: "tuple[Stage, ...]" = ()
    """A job reaches it when these have done it. Those that do not take part in a run are not waited for."""
    concurrency: int = 1
    """Most jobs (with ``run_stream``: batches) that a run works on at a time in this stage."""
    checkpoint: "Checkpoint[Any] | None" = None
    """Its result. Where an earlier run left it, there is nothing to do."""
    needed_for: "Checkpoint[Any] | None" = None
    """A later stage's result: where that exists, there is nothing to do either."""
    uses: Use | None = None
    """What its work keeps busy: the CPU, the device, or the device with loading. None: it waits for the network."""
    stoppable: bool = True
    """Whether it ends between jobs when the process was asked to stop."""
    takes_failed: bool = False
    """Whether it takes the jobs that failed, instead of those that did not."""
    event: Kind | None = None
    """What the progress display is told when it has done a job."""
    applies: Callable[[TranscriptionOptions], bool] = lambda _: True
    """Whether it takes part with these options."""

    def __repr__(self) -> str:
        return f"<stage {self.name}>"
