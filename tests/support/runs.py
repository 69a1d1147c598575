"""Runs without Prefect: stages executed by the runner alone."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import anyio

from stenopool.errors import TransientError
from stenopool.options import ExecutionOptions, TranscriptionOptions
from stenopool.pipeline.catalog import Recording
from stenopool.pipeline.context import Job, RunContext, Stage
from stenopool.pipeline.runner import BatchRunner
from stenopool.pipeline.shards import WorkItem
from stenopool.runtime.scratch import Scratch
from stenopool.storage.local import LocalStore


def work_item(name: str, *, formats: tuple[str, ...] = (), attempts: int = 0) -> WorkItem:
    """``name`` is one hex digit: the recording is named after it, and the fingerprint consists of it."""
    recording = Recording(uri=f"file:///{name}.wav", key=f"{name}.wav", size=1, etag="e", modified=0.0)
    return WorkItem.model_validate(
        {"recording": recording, "fingerprint": name * 32, "seconds": 1.0, "formats": formats, "attempts": attempts}
    )


def run_context(
    folder: Path,
    scratch: Scratch,
    options: TranscriptionOptions | None = None,
    execution: ExecutionOptions | None = None,
    batch: str | None = None,
) -> RunContext:
    """A run from ``folder/source`` to ``folder/out``."""
    (folder / "source").mkdir(exist_ok=True)
    return RunContext(
        LocalStore(folder / "source"),
        LocalStore(folder / "out"),
        options or TranscriptionOptions(),
        execution or ExecutionOptions(),
        scratch,
        batch,
    )


def carry(
    run: RunContext, stages: Sequence[Stage], items: Iterable[WorkItem], *, attempts: int = 1
) -> tuple[list[Job], list[BaseException]]:
    """Run a batch through stages, each with this many attempts. Returns the jobs, and the errors that ended stages."""
    errors: list[BaseException] = []

    async def carry_stage(runner: BatchRunner, stage: Stage) -> None:
        try:
            if not await runner.has_work(stage):
                return
            for number in range(attempts):
                try:
                    await runner.attempt(stage, again=number > 0)
                    return
                except TransientError:
                    if number == attempts - 1:
                        raise
        except TransientError as error:
            if fault := await anyio.to_thread.run_sync(runner.give_up, stage, error):
                errors.append(fault)
        except Exception as error:
            errors.append(error)
        finally:
            runner.close(stage)

    async def main() -> list[Job]:
        runner = BatchRunner(run, stages, items, {})
        with anyio.fail_after(60):
            async with anyio.create_task_group() as group:
                for stage in runner.stages:
                    group.start_soon(carry_stage, runner, stage)
        return runner.jobs

    return anyio.run(main), errors
