"""The state of a batch: Prefect's state of its run, and the figures that the run writes to the destination."""

import asyncio
from collections import Counter
from datetime import datetime
from itertools import islice
from typing import Literal
from uuid import UUID

from prefect.client.schemas.objects import FlowRun
from pydantic import BaseModel, ConfigDict, Field

from stenopool.api.client_data import ClientData, read_client_data
from stenopool.api.ingest_runs import RunState, entry_of
from stenopool.api.problems import not_found
from stenopool.api.service import Service
from stenopool.options import TranscriptionOptions
from stenopool.orchestration.names import batch_name
from stenopool.pipeline.catalog import Selection, list_entries
from stenopool.pipeline.receipts import BATCHES, METRICS, read_model
from stenopool.pipeline.report import BatchCounts, BatchReport
from stenopool.pipeline.shards import estimate_seconds
from stenopool.storage import ObjectStore

_MOST_PLANNED = 10_000  # maximum number of recordings in a dry run


class RecordingCounts(BaseModel):
    """Number of recordings by outcome. `new`, `already_done` and `in_quarantine` are null until the batch has ended."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    new: int | None = None
    """To be transcribed."""
    already_done: int | None = None
    """Already had a transcript."""
    in_quarantine: int | None = None
    """Failed in an earlier batch, and were not retried."""
    done: int = 0
    """Transcribed by this batch so far."""
    failed: int = 0
    """Failed in this batch so far."""
    deferred: int = 0
    """Left for the next batch because of a transient error."""


class BatchState(ClientData):
    """A batch, which is one run over everything below a prefix; or the result of a dry run."""

    id: UUID | None
    """The run's id, which the queue uses too; null in a dry run."""
    prefix: str
    """Prefix of the keys of its recordings."""
    state: RunState | Literal["planned"]
    """`planned` for a dry run."""
    queued_at: datetime | None
    """When it was submitted; null in a dry run."""
    recordings: RecordingCounts = RecordingCounts()
    """Number of recordings by outcome."""
    failures: dict[str, int] = Field(default_factory=dict)
    """Failed and deferred recordings by error code."""
    audio_seconds: float = 0.0
    """Seconds of audio transcribed so far; in a dry run, the estimated duration of new recordings."""
    truncated: bool = False
    """Whether a dry run stopped early: it counts at most 10,000 recordings."""


async def read_batch(service: Service, id: UUID) -> BatchState:
    """Return a batch that the API started. Raises the problem 404 for any other run."""
    run = await service.runs.run(id)
    if run is None or (entry := entry_of(run)).prefix is None or not entry.is_below(service.caller.prefix):
        raise not_found("Unknown batch.")
    client, (counts, report) = await asyncio.gather(
        asyncio.to_thread(read_client_data, service.destination, id),
        asyncio.to_thread(_read_figures, service.destination, run),
    )
    batch = BatchState(id=id, prefix=entry.prefix, state=entry.state, queued_at=entry.queued_at, **client.model_dump())
    if counts:
        batch.recordings, batch.failures = _count(counts)
        batch.audio_seconds = sum(counts.sums.audio_seconds.values())
    if report:
        found = batch.recordings
        found.new, found.already_done, found.in_quarantine = report.new, report.already_done, report.in_quarantine
    return batch


async def plan_batch(service: Service, prefix: str, options: TranscriptionOptions, client: ClientData) -> BatchState:
    """Plan a batch. Nothing is started or written."""

    def plan() -> tuple[Counter[str], float, bool]:
        states, seconds = Counter[str](), 0.0
        entries = list_entries(service.source, service.destination, options, Selection(prefix=prefix))
        for entry in islice(entries, _MOST_PLANNED):
            states[entry.state] += 1
            seconds += estimate_seconds(entry.recording) if entry.state == "new" else 0.0
        return states, seconds, next(entries, None) is not None

    states, seconds, truncated = await asyncio.to_thread(plan)
    counts = RecordingCounts(
        new=states["new"],
        already_done=states["done"],
        in_quarantine=states["quarantined"],
        deferred=states["waiting"],
    )
    return BatchState(
        id=None,
        prefix=prefix,
        state="planned",
        queued_at=None,
        recordings=counts,
        audio_seconds=round(seconds, 1),
        truncated=truncated,
        **client.model_dump(include={"external_id", "metadata"}),
    )


def _read_figures(destination: ObjectStore, run: FlowRun) -> tuple[BatchCounts | None, BatchReport | None]:
    if run.expected_start_time is None:
        return None, None
    name = batch_name(run.expected_start_time, run.id)
    counts = read_model(destination, f"{METRICS}{name}.json", BatchCounts)
    is_over = run.state is not None and run.state.is_final()
    return counts, read_model(destination, f"{BATCHES}{name}/report.json", BatchReport) if is_over else None


def _count(counts: BatchCounts) -> tuple[RecordingCounts, dict[str, int]]:
    found, failures = RecordingCounts(), Counter[str]()
    for status, number in counts.sums.recordings.items():
        match status.split():
            case ["done"]:
                found.done += number
            case [("quarantined" | "deferred") as kind, code]:
                failures[code] += number
                if kind == "deferred":
                    found.deferred += number
                else:
                    found.failed += number
    return found, dict(failures)
