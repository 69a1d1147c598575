"""Stages on the CPU: fetch, decode and normalize, store. All that can be wrong with an input is found here."""

import hashlib
import os
import time
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel

from stenopool.errors import ErrorCode, RecordingError, SetupError, TransientError
from stenopool.pipeline.run import TRANSFERS, Run, each
from stenopool.pipeline.shards import Piece
from stenopool.pipeline.work import AUDIO
from stenopool.runtime.progress import Event, tell
from stenopool.speech.audio.prepare import Prepared, prepare_audio


class PreparedRecording(BaseModel):
    """Checkpoint of ``prepare``: the audio lies beside it as FLAC."""

    prepared: Prepared
    sha256: str
    seconds: float


def fetch(run: Run, pieces: Sequence[Piece]) -> None:
    """Download sources to scratch. Those prepared before are left out."""

    def one(piece: Piece) -> None:
        # Asked so late because a plan may be hours old: one small request, against a download and all that follows.
        if run.work(piece).has("prepare") or run.leave(piece):
            return
        recording = piece.recording
        if recording.size > run.execution.max_bytes:
            message = f"The file has {recording.size:,} bytes; {run.execution.max_bytes:,} are allowed."
            raise RecordingError(ErrorCode.TOO_LARGE, message)
        path = _source_path(run, piece)
        try:
            got = run.source.get_file(recording.key, path, etag=recording.etag)
            if got.size != recording.size:  # cut off on the way, and the answer's own length with it
                message = f"{recording.key} came with {got.size:,} bytes; {recording.size:,} were listed."
                raise TransientError(ErrorCode.SOURCE_UNAVAILABLE, message)
        except SetupError as error:
            if error.code is not ErrorCode.OBJECT_NOT_FOUND:
                raise
            message = f"{recording.key} was there when it was listed and is gone now."
            raise TransientError(ErrorCode.SOURCE_CHANGED, message) from error

    each(run, "fetch", pieces, one, at_once=TRANSFERS)


def normalize(run: Run, pieces: Sequence[Piece]) -> None:
    """Decode and normalize what was fetched: 16 kHz FLAC in scratch."""

    def one(piece: Piece) -> None:
        if run.work(piece).has("prepare"):
            return
        start = time.monotonic()
        source = _source_path(run, piece)
        flac = source.with_name(AUDIO)
        with run.timed("prepare", piece):
            prepared = prepare_audio(source, flac, run.options, run.execution)
            run.durations[piece.fingerprint] = prepared.audio.duration
        with source.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        seconds = time.monotonic() - start
        run.work(piece).keep("prepare", PreparedRecording(prepared=prepared, sha256=digest, seconds=seconds))
        source.unlink()

    each(run, "normalize", pieces, one, after=["fetch"], at_once=os.cpu_count() or 1)


def store(run: Run, pieces: Sequence[Piece]) -> None:
    """Upload the prepared audio to the work area; its checkpoint follows last."""

    def one(piece: Piece) -> None:
        work = run.work(piece)
        checkpoint = work.load("prepare", PreparedRecording)
        if not work.has("prepare"):
            work.put_audio(run.scratch.folder(piece.fingerprint) / AUDIO)
            work.save("prepare", checkpoint)
        run.durations[piece.fingerprint] = checkpoint.prepared.audio.duration
        tell(Event("prepared", piece.recording.key, checkpoint.prepared.audio.duration))

    each(run, "store", pieces, one, after=["normalize"], at_once=TRANSFERS)


def _source_path(run: Run, piece: Piece) -> Path:
    # The name in scratch is ours: an odd key never becomes a local path or an argument.
    return run.scratch.folder(piece.fingerprint, reserve=piece.recording.size) / "source"
