"""Stages on the CPU: fetch, decode and normalize, store. All that can be wrong with an input is found here."""

import hashlib
import os
import time
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel

from stenopool.errors import ErrorCode, ObjectNotFound, RecordingError, SourceChanged, TransientError
from stenopool.pipeline.run import TRANSFERS, Run, each
from stenopool.pipeline.shards import WorkItem
from stenopool.pipeline.work import AUDIO
from stenopool.runtime.progress import Event, emit
from stenopool.speech.audio.preparation import Prepared, prepare_audio


class PreparedRecording(BaseModel):
    """Checkpoint of ``prepare``: the audio lies beside it as FLAC."""

    prepared: Prepared
    sha256: str
    seconds: float


def fetch(run: Run, items: Sequence[WorkItem]) -> None:
    """Download sources to scratch. Those prepared before are left out."""

    def one(item: WorkItem) -> None:
        # Asked so late because a plan may be hours old: one small request, against a download and all that follows.
        if run.work(item).has("prepare") or run.leave(item):
            return
        recording = item.recording
        if recording.size > run.execution.max_bytes:
            message = f"The file has {recording.size:,} bytes; {run.execution.max_bytes:,} are allowed."
            raise RecordingError(ErrorCode.TOO_LARGE, message)
        path = _source_path(run, item)
        try:
            got = run.source.get_file(recording.key, path, etag=recording.etag)
            if got.size != recording.size:  # cut off on the way, and the answer's own length with it
                message = f"{recording.key} came with {got.size:,} bytes; {recording.size:,} were listed."
                raise TransientError(ErrorCode.SOURCE_UNAVAILABLE, message)
        except ObjectNotFound as error:
            message = f"{recording.key} was there when it was listed and is gone now."
            raise SourceChanged(message) from error

    each(run, "fetch", items, one, at_once=TRANSFERS)


def normalize(run: Run, items: Sequence[WorkItem]) -> None:
    """Decode and normalize what was fetched: 16 kHz FLAC in scratch."""

    def one(item: WorkItem) -> None:
        if run.work(item).has("prepare"):
            return
        start = time.monotonic()
        source = _source_path(run, item)
        flac = source.with_name(AUDIO)
        with run.timed("prepare", item):
            prepared = prepare_audio(source, flac, run.options, run.execution)
            run.durations[item.fingerprint] = prepared.audio.duration
        with source.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        seconds = time.monotonic() - start
        run.work(item).keep("prepare", PreparedRecording(prepared=prepared, sha256=digest, seconds=seconds))
        source.unlink()

    each(run, "normalize", items, one, after=["fetch"], at_once=os.cpu_count() or 1)


def store(run: Run, items: Sequence[WorkItem]) -> None:
    """Upload the prepared audio to the work area; its checkpoint follows last."""

    def one(item: WorkItem) -> None:
        work = run.work(item)
        checkpoint = work.load("prepare", PreparedRecording)
        if not work.has("prepare"):
            work.put_audio(run.scratch.folder(item.fingerprint) / AUDIO)
            work.save("prepare", checkpoint)
        run.durations[item.fingerprint] = checkpoint.prepared.audio.duration
        emit(Event("prepared", item.recording.key, checkpoint.prepared.audio.duration))

    each(run, "store", items, one, after=["normalize"], at_once=TRANSFERS)


def _source_path(run: Run, item: WorkItem) -> Path:
    # The name in scratch is ours: an odd key never becomes a local path or an argument.
    return run.scratch.folder(item.fingerprint, reserve=item.recording.size) / "source"
