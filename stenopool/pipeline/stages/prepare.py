"""Stages on the CPU: fetch, decode and normalize, store. All faults of the input are found here."""

import hashlib
import os
import time
from pathlib import Path

from stenopool.errors import (
    AccessDenied,
    ErrorCode,
    ObjectDenied,
    ObjectGone,
    ObjectNotFound,
    RecordingError,
    SourceUnavailable,
    StorageUnavailable,
)
from stenopool.pipeline.checkpoints import PREPARED, PreparedRecording
from stenopool.pipeline.context import TRANSFERS, Job, RunContext, Stage
from stenopool.speech.audio.preparation import prepare_audio


def fetch(run: RunContext, job: Job) -> None:
    """Download the recording to scratch."""
    # Checked here because a plan may be hours old: one small request may save a download and all later work.
    if not _needs_audio(job) or job.skip_if_finished():
        return
    recording = job.item.recording
    if recording.size > run.execution.max_bytes:
        message = f"The file has {recording.size:,} bytes; the maximum is {run.execution.max_bytes:,}."
        raise RecordingError(ErrorCode.TOO_LARGE, message)
    try:
        size = run.source.get_file(recording.key, _source_path(run, job), etag=recording.etag)
    except ObjectNotFound as error:
        raise ObjectGone(f"{recording.key} was listed but no longer exists.") from error
    except AccessDenied as error:
        raise ObjectDenied(error.message) from error
    except StorageUnavailable as error:
        raise SourceUnavailable(error.message) from error
    if size != recording.size:  # truncated in transit, along with the response's length
        message = f"{recording.key} was received with {size:,} bytes; {recording.size:,} were listed."
        raise SourceUnavailable(message)


def normalize(run: RunContext, job: Job) -> None:
    """Decode and normalize the downloaded file to 16 kHz FLAC in scratch."""
    if not _needs_audio(job):
        return
    start = time.monotonic()
    source = _source_path(run, job)
    prepared = prepare_audio(source, job.audio, run.options, run.execution)
    job.known_duration = prepared.audio.duration
    with source.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    seconds = time.monotonic() - start
    job.work.keep(PREPARED, PreparedRecording(prepared=prepared, sha256=digest, seconds=seconds))
    source.unlink()


def store(run: RunContext, job: Job) -> None:  # noqa: ARG001 (every stage takes both)
    """Upload the prepared audio to the work area, then its checkpoint."""
    job.work.put_audio(job.audio)
    job.work.save(PREPARED, job.work.load(PREPARED))


FETCH = Stage("fetch", fetch, concurrency=TRANSFERS, needed_for=PREPARED)
NORMALIZE = Stage(
    "normalize", normalize, waits_for=(FETCH,), concurrency=os.cpu_count() or 1, needed_for=PREPARED, uses="cpu"
)
STORE = Stage("store", store, waits_for=(NORMALIZE,), concurrency=TRANSFERS, checkpoint=PREPARED, event="prepared")


def _needs_audio(job: Job) -> bool:
    """Of the formats that a finished recording may lack, only HTML needs audio."""
    return not job.item.formats or "html" in job.item.formats


def _source_path(run: RunContext, job: Job) -> Path:
    # A fixed name, so that an unusual key never becomes a local path or an argument.
    return run.scratch.folder(job.fingerprint, reserve=job.item.recording.size) / "source"
